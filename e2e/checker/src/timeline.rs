//! How sends went over time: how long nothing was acknowledged, and when it went on.

use crate::history::{History, Moment};

/// The time between two acknowledgements in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pause {
    pub from: Moment,
    pub until: Moment,
}

impl Pause {
    #[must_use]
    pub fn length(&self) -> std::time::Duration {
        self.until.since(self.from)
    }
}

/// When the first send that began at `moment` or later was acknowledged. The histories must be of one machine.
#[must_use]
pub fn first_acknowledged_after(histories: &[History], moment: Moment) -> Option<Moment> {
    histories
        .iter()
        .flat_map(|history| &history.sends)
        .filter(|send| send.call.invoked >= moment && send.outcome.ok().is_some())
        .filter_map(|send| send.call.completed)
        .min()
}

/// The longest time without an acknowledgement between the first and the last. The histories must be of one machine.
#[must_use]
pub fn longest_pause(histories: &[History]) -> Option<Pause> {
    let mut acknowledged: Vec<Moment> = histories
        .iter()
        .flat_map(|history| &history.sends)
        .filter(|send| send.outcome.ok().is_some())
        .filter_map(|send| send.call.completed)
        .collect();
    acknowledged.sort_unstable();
    acknowledged.windows(2).map(|pair| Pause { from: pair[0], until: pair[1] }).max_by_key(Pause::length)
}
