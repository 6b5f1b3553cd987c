//! One broker group as seen by one of its replicas: the driver that owns the consensus core, the log and the state
//! machine, and the handle through which everything else talks to it.

mod error;
mod view;

pub use error::{LoadError, ProposeError};
pub use view::{GroupView, Leader, Role};
