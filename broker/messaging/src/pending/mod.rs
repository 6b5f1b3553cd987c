//! Messages that are stored and in no queue yet: those that wait for their time, and those that wait for their producer's
//! decision.

pub(crate) mod elapse;
pub(crate) mod halves;
mod runs;
pub(crate) mod ticket;
pub(crate) mod timers;
pub(crate) mod transactions;
