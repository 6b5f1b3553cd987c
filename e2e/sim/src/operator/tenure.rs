//! Whether this operator is the active one: the lease is looked at again and again, as the real shell does it.

use std::time::Duration;

use mainstay_operator::candidacy::{Candidate, Step, Timing};
use mainstay_operator::decide::observed::Moment;

use super::{Effect, Input, Scene, Timer};
use crate::api::{ApiReply, ApiRequest};
use crate::wire::RequestId;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waiting {
    Nothing,
    Read(RequestId),
    Write(RequestId),
}

#[derive(Debug)]
pub(super) struct Tenure {
    name: String,
    candidate: Candidate,
    timing: Timing,
    until: Moment,
    active: bool,
    /// When the look began whose answers are awaited.
    before: Moment,
    waiting: Waiting,
}

impl Tenure {
    pub(super) fn new(name: String, candidate: Candidate, timing: Timing) -> Self {
        let (until, before) = (Moment::default(), Moment::default());
        Self { name, candidate, timing, until, active: false, before, waiting: Waiting::Nothing }
    }

    pub(super) const fn is_active(&self) -> bool {
        self.active
    }

    /// Whether this process may act now.
    pub(super) fn holds(&self, now: Moment) -> bool {
        now < self.until
    }

    /// Takes what concerns the lease. True when this operator has just become the active one.
    pub(super) fn take(&mut self, input: &Input, scene: &mut Scene<'_>) -> bool {
        match input {
            Input::Start | Input::Timer(Timer::Lease) => {
                if self.active && !self.holds(scene.now) {
                    scene.effects.push(Effect::Exit);
                    return false;
                }
                self.look(scene);
            }
            Input::Api { call, reply: ApiReply::Lease(seen) } if self.waiting == Waiting::Read(*call) => {
                match self.candidate.look(seen.as_ref(), scene.now) {
                    Step::Take | Step::Renew => {
                        let version = seen.as_ref().map(|seen| seen.version.clone());
                        let request = ApiRequest::WriteLease { version, holder: self.name.clone() };
                        let left = self.limit().saturating_sub(scene.now.since(self.before));
                        self.waiting = Waiting::Write(scene.api(request, left));
                    }
                    Step::Wait => self.lost(scene),
                }
            }
            Input::Api { call, reply } if self.waiting == Waiting::Write(*call) => {
                self.waiting = Waiting::Nothing;
                if matches!(reply, ApiReply::Done) {
                    self.until = self.before.plus(self.timing.renew_within);
                    return !std::mem::replace(&mut self.active, true);
                }
                self.lost(scene);
            }
            Input::Timer(Timer::Late(call))
                if [Waiting::Read(*call), Waiting::Write(*call)].contains(&self.waiting) =>
            {
                self.waiting = Waiting::Nothing;
            }
            _ => {}
        }
        false
    }

    fn limit(&self) -> Duration {
        self.timing.retry * 2
    }

    fn look(&mut self, scene: &mut Scene<'_>) {
        if self.waiting == Waiting::Nothing {
            self.before = scene.now;
            self.waiting = Waiting::Read(scene.api(ApiRequest::ReadLease, self.limit()));
        }
        scene.effects.push(Effect::Timer { at: scene.now.plus(self.timing.retry), timer: Timer::Lease });
    }

    /// Somebody else has it. The active operator stops at once.
    fn lost(&mut self, scene: &mut Scene<'_>) {
        self.waiting = Waiting::Nothing;
        self.until = Moment::default();
        if self.active {
            scene.effects.push(Effect::Exit);
        }
    }
}
