//! A trial's accounts: what became of every message that was acknowledged, and whether that may be.

use std::collections::BTreeSet;

use mainstay_checker::Send;
use mainstay_storage::Flush;

use super::World;
use super::blow::{Scar, UNDER_WAY};
use crate::plan::TRIAL_FDATASYNC;
use crate::time::Time;
use crate::trial::{Account, Loss, Trial};

/// The moment of a history in microseconds.
fn time(moment: mainstay_checker::Moment) -> Time {
    moment.0 / 1000
}

impl World {
    pub(super) fn settle_accounts(
        &mut self,
        trial: Trial,
        stored: &BTreeSet<String>,
        aside: &BTreeSet<String>,
    ) {
        let Some(scar) = &self.scar else {
            return self.oracle.violated("trial", "nothing went wrong".to_owned());
        };
        let mut account = Account::default();
        let mut wrong = None;
        for send in self.histories().into_iter().flat_map(|history| &history.sends) {
            let began = time(send.call.invoked);
            let ended = send.call.completed.map(time);
            let acknowledged = ended.filter(|_| send.outcome.ok().is_some());
            let during = began > scar.at && began < scar.ends;
            account.held_up += u64::from(during && acknowledged.is_none_or(|at| at >= scar.ends));
            let (Some(receipt), Some(at)) = (send.outcome.ok(), acknowledged) else { continue };
            account.acknowledged += 1;
            account.before += u64::from(at <= scar.at);
            account.after += u64::from(began > scar.ends);
            if trial.allowed == Loss::Unavailable && at > scar.at + UNDER_WAY && at < scar.ends {
                wrong.get_or_insert_with(|| format!("{} is acknowledged at {at} µs, in the cut", send.id));
            }
            if stored.contains(&receipt.message_id) {
                continue;
            }
            let kept_aside = aside.contains(&receipt.message_id);
            account.set_aside += u64::from(kept_aside);
            account.lost += u64::from(!kept_aside);
            let allowed = if kept_aside {
                trial.allowed.sets_aside()
            } else {
                self.may_be_lost(trial.allowed, scar, &receipt.message_id, at)
            };
            if !allowed {
                let place = if kept_aside { "is only in quarantine" } else { "is nowhere" };
                wrong.get_or_insert_with(|| told(send, place, at, scar));
            }
        }
        self.account = account;
        if let Some(what) = wrong {
            self.oracle.violated("guarantee", what);
        }
    }

    fn may_be_lost(&self, allowed: Loss, scar: &Scar, message_id: &str, acknowledged: Time) -> bool {
        let before = acknowledged <= scar.at + UNDER_WAY;
        before
            && match allowed {
                Loss::Nothing | Loss::TailSetAside | Loss::Unavailable => false,
                Loss::FlushWindow | Loss::FlushWindowAndTail => acknowledged + self.flush_window() >= scar.at,
                Loss::TailWithDisk => !scar.elsewhere.contains(message_id),
                Loss::Everything => true,
            }
    }

    /// How long something written may wait until it is on the disk: for the interval, for an fdatasync that is under
    /// way and for its own.
    fn flush_window(&self) -> Time {
        match self.plan.flush {
            Flush::Sync => 0,
            Flush::Async { interval } => interval.as_micros() as Time + 2 * TRIAL_FDATASYNC + UNDER_WAY,
        }
    }

    /// The ids of all messages that were sent and are not among these.
    pub(super) fn not_in(&self, stored: &BTreeSet<String>) -> BTreeSet<String> {
        let sends = self.histories().into_iter().flat_map(|history| &history.sends);
        let missing = sends.filter(|send| !stored.contains(&format!("M-{}", send.id)));
        missing.flat_map(|send| [send.id.clone(), format!("M-{}", send.id)]).collect()
    }
}

fn told(send: &Send, place: &str, at: Time, scar: &Scar) -> String {
    format!("{} was acknowledged at {at} µs, the fault was at {} µs, and it {place}", send.id, scar.at)
}
