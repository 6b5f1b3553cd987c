//! One broker group as seen by one of its replicas: the driver that owns the consensus core, the log and the state
//! machine, and the handle through which everything else talks to it.

mod error;
mod handle;
mod input;
mod view;

pub use error::{LoadError, ProposeError, ReceiveError};
pub use handle::GroupHandle;
pub use view::{GroupView, Leader, Role};

/// Bytes of records in one batch at most; commands of one proposal stay together.
pub const MAX_BATCH_RECORD_BYTES: usize = 32 << 20;
