//! Fuzz targets for everything that takes bytes apart: what lies on a disk, travels between replicas, or comes from
//! clients, people and the operator.
//!
//! A target is a plain function that is given any bytes and panics when the decoder behind it does what it must not:
//! panic, take something for good that comes back otherwise, or leave something broken behind. `cargo test` tries each
//! with mutations of its seeds; `cargo xtask fuzz` lets libFuzzer look for inputs that reach new code.
//!
//! What a checksum protects is tried twice: as it is, and with the checksum made right again, so that what lies behind
//! it is reached.

mod input;
mod kept;
mod mutate;
mod seal;
mod targets;

pub use input::{Input, Script};
pub use kept::{FOLDERS, failed_once, reached};
pub use mutate::Mutator;
pub use targets::{ALL, find};

/// One decoder under trial.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    pub name: &'static str,
    /// What is taken apart, for people.
    pub about: &'static str,
    /// # Panics
    /// When something is wrong with the decoder.
    pub run: fn(&[u8]),
    /// Inputs that are understood, made of real encodings.
    pub seeds: fn() -> Vec<Vec<u8>>,
}
