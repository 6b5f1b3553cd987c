//! From a queue to consumers and back: who was given what, what was settled, whose turn it is.

pub(crate) mod candidates;
pub(crate) mod concurrent;
pub(crate) mod consuming;
pub(crate) mod cursor;
pub(crate) mod handle;
pub(crate) mod ordered;
pub(crate) mod subscription;
pub(crate) mod verdicts;
