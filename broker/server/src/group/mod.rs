//! One broker group as seen by one of its replicas: the driver that owns the consensus core, the log and the state
//! machine, and the handle through which everything else talks to it.

mod actions;
mod apply;
mod batches;
mod bootstrap;
mod clock;
mod control;
mod disk;
mod driver;
mod error;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod handle;
mod identity;
mod inbox;
mod input;
mod judging;
mod loss;
mod polls;
mod proposals;
mod publish;
mod receiving;
mod refill;
mod retention;
mod snapshots;
mod space;
mod start;
mod status;
mod step_down;
mod time;
mod timers;
mod versions;
mod view;

pub(crate) use clock::Clock;
pub use disk::StartError;
pub use error::{LoadError, ProposeError, ReceiveError};
pub use handle::{GroupHandle, Stored};
pub(crate) use input::Input;
pub use input::OrderError;
pub(crate) use judging::meets;
pub(crate) use refill::{Offer, RefillError, RefillId, RefillStep};
pub(crate) use start::{Replica, open};
pub use status::Status;
pub use view::{GroupView, Leader, Role};

/// Bytes of records in one batch at most; commands of one proposal stay together.
pub const MAX_BATCH_RECORD_BYTES: usize = 32 << 20;
