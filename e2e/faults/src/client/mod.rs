//! Clients of their own: they send each request once, know every broker's address, and write down everything.

pub(crate) mod connect;
pub(crate) mod consume;
pub(crate) mod history;
pub(crate) mod produce;
pub(crate) mod progress;
