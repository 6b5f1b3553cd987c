//! Operators in the world: starts and ends of their processes, the API server they talk to, and their calls.

use std::time::Duration;

use mainstay_operator::decide::observed::Moment;

use super::{Happening, World};
use crate::api::ApiRequest;
use crate::network::End;
use crate::operator::{Effect, Input, Operator, Scene};
use crate::time::{MILLI, SECOND, Time};
use crate::wire::RequestId;

impl World {
    pub(super) fn operator_starts(&mut self, operator: usize) {
        let office = &mut self.offices[operator];
        if office.process.is_some() {
            return;
        }
        office.life += 1;
        let name = format!("operator-{operator}-{}", office.life);
        office.process = Some(Operator::new(name, office.clock(self.now)));
        self.operate(operator, Input::Start);
    }

    pub(super) fn operator_ends(&mut self, operator: usize, down: Time) {
        self.offices[operator].process = None;
        self.offices[operator].paused_until = 0;
        self.after(down, Happening::OperatorStarts { operator });
    }

    pub(super) fn for_tenure(&mut self, operator: usize, life: u64, input: Input) {
        if self.offices[operator].life == life {
            self.operate(operator, input);
        }
    }

    fn operate(&mut self, operator: usize, input: Input) {
        let office = &mut self.offices[operator];
        let Some(process) = &mut office.process else { return };
        let life = office.life;
        let clock = process.clock;
        let mut effects = Vec::new();
        let mut scene = Scene {
            plan: &self.plan,
            now: Moment(clock.at(self.now).0),
            pods: &self.api.pods,
            oracle: &mut self.oracle,
            effects: &mut effects,
            next_call: &mut self.next_request,
        };
        process.take(input, &mut scene);
        self.trace.mix(effects.len() as u64);
        for effect in effects {
            self.trace.say(self.now, || format!("    operator {operator}: {effect:?}"));
            match effect {
                Effect::Timer { at, timer } => {
                    let due = clock.when(mainstay_consensus::Moment(at.0)).unwrap_or(Time::MAX / 2);
                    let delay = due.saturating_sub(self.now);
                    self.after(delay, Happening::OperatorTimer { operator, life, timer });
                }
                Effect::Api { call, request } => {
                    if let Some(delay) = self.network.call(End::Operator(operator), End::Api, &mut self.rng) {
                        self.after(delay, Happening::Api { operator, life, call, request });
                    }
                }
                Effect::Control { call, member, control } => {
                    self.control(operator, life, member, call, control);
                }
                Effect::Exit => {
                    self.operator_ends(operator, SECOND);
                    return;
                }
            }
        }
    }

    /// The API server gets a request, and answers if it can.
    pub(super) fn api_asked(&mut self, operator: usize, life: u64, call: RequestId, request: ApiRequest) {
        if self.api.down {
            return;
        }
        let deleted = match &request {
            ApiRequest::DeletePod { member, .. } if !self.api.pods[*member].deleting => Some(*member),
            _ => None,
        };
        let reply = self.api.handle(request);
        if let Some(member) = deleted.filter(|member| self.api.pods[*member].deleting) {
            let after = self.rng.between(MILLI, 200 * MILLI);
            self.after(after, Happening::PodDeleted { member });
            // The kubelet kills what does not end by itself.
            let grace = Duration::from_secs(30).as_micros() as Time;
            self.after(grace, Happening::Mends { what: super::faults::Mending::Grace { member } });
        }
        if let Some(delay) = self.network.call(End::Api, End::Operator(operator), &mut self.rng) {
            self.after(delay, Happening::ApiAnswers { operator, life, call, reply });
        }
    }
}
