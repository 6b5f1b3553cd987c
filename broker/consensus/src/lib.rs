//! The replication protocol of a broker group as one pure state machine: epochs and their grants, the write quorum,
//! log matching and truncation, the leader's lease, elections, forced promotion and hand-over.
//!
//! [`Core::step`] takes an [`Event`] and the time and appends [`Action`]s. There is no clock, socket, file, thread or
//! randomness from outside in here: the same events at the same moments give the same actions. The caller (the
//! driver) executes the actions in order.
//!
//! What always holds, in every mode:
//! - A batch is committed when W members hold it persisted; an epoch begins when N-W+1 members granted it, none of
//!   which has a better log. Any two such sets meet, so a new leader has everything that was committed. The one
//!   exception is a forced promotion in [`Mode::Async`]; what it overrides is quarantined, never discarded.
//! - A member whose log may lack what it acknowledged helps nobody to an epoch until it has caught up, unless all
//!   members do.
//! - Only a batch of the leader's own epoch commits by counting.
//! - Members change through the log, one change at a time, and while one is under way every quorum takes one of the old
//!   voters and one of the new. A new member counts for nothing until it has caught up.
//! - At most one leader *serves* at a time, as long as monotonic clocks differ in rate by less than 5 %.

mod adopt;
mod change;
mod core;
mod election;
mod error;
mod event;
mod follower;
mod handover;
mod hard_state;
mod leader;
mod lease;
mod log;
mod membership;
mod membership_log;
mod message;
mod order;
mod portrait;
mod replication;
mod snapshot;
mod standing;
mod timing;
mod view;
mod vote;
mod voters;

pub use crate::core::{Config, Core};
pub use error::StepError;
pub use event::{Action, Event, Order, TailFate};
pub use hard_state::{HardState, HardStateError};
pub use log::{LogBase, LogSummary};
pub use membership::{Membership, MembershipError, Mode};
pub use message::{Append, AppendHeader, AppendResponse, Message, TimeoutNow, VoteRequest, VoteResponse};
pub use portrait::Portrait;
pub use standing::{Standing, StandingError};
pub use timing::{Moment, Timing, TimingError};
pub use view::{ChangeView, MemberView, Part, Problem, Role, View};
