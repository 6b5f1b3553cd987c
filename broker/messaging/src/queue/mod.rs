//! One queue: where its messages lie in the log, their tags, and the lanes of message groups.

pub(crate) mod chunk;
pub(crate) mod index;
pub(crate) mod lane;
pub(crate) mod tags;
