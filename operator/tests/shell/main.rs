//! The shell against an API server in memory and brokers on loopback addresses.

mod access;
mod configurations;
mod failover;
mod hands;
mod leadership;
mod specs;
mod support;
mod world;
