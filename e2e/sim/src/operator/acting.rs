//! Carries out what was decided, one action after the other; whatever could hurt is done by compare-and-swap.

use std::collections::VecDeque;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use mainstay_crds::BrokerGroupStatus;
use mainstay_crds::group::{Order, OrderKind};
use mainstay_operator::decide::action::Action;
use mainstay_operator::decide::memory::Memory;

use super::{ANSWER, API, Answer, Record, Scene, member_of};
use crate::api::{ApiReply, ApiRequest};
use crate::wire::{Control, ControlReply, RequestId};

/// An order between its steps.
#[derive(Debug, Clone)]
struct Ordering {
    epoch: u64,
    supersedes: u64,
    member: String,
    kind: OrderKind,
    as_of_ms: u64,
    valid: Duration,
    reason: String,
}

/// What is being waited for.
#[derive(Debug)]
enum Step {
    Nothing,
    /// The record is read again before the order is written.
    OrderRead(Ordering),
    OrderWritten(Ordering),
    /// The broker has been told.
    OrderGiven(u64),
    Published,
    /// Read again after a conflict.
    Reread,
    Other,
}

#[derive(Debug)]
pub(super) struct Acting {
    actions: VecDeque<Action>,
    step: Step,
    call: Option<RequestId>,
    /// When to look again.
    pub(super) next: Duration,
}

impl Acting {
    pub(super) fn new(actions: VecDeque<Action>, next: Duration) -> Self {
        Self { actions, step: Step::Nothing, call: None, next }
    }

    pub(super) fn waits_for(&self, call: RequestId) -> bool {
        self.call == Some(call)
    }

    /// Takes the answer to what was waited for; `None` when it did not come in time.
    pub(super) fn answered(&mut self, answer: Option<Answer>, record: &mut Record, memory: &mut Memory) {
        self.call = None;
        if let Some(Answer::Api(ApiReply::Group { version, status })) = &answer {
            *record = Record { version: *version, status: (**status).clone() };
        }
        let read = matches!(answer, Some(Answer::Api(ApiReply::Group { .. })));
        self.step = match std::mem::replace(&mut self.step, Step::Nothing) {
            Step::OrderRead(order) if read => {
                let on_record = record.status.order.as_ref().map_or(0, |order| order.epoch);
                if on_record != signed(order.supersedes) || on_record >= signed(order.epoch) {
                    memory.order_refused(order.epoch);
                    Step::Nothing
                } else {
                    Step::OrderRead(order)
                }
            }
            Step::OrderWritten(order) if read => Step::OrderWritten(order),
            Step::OrderRead(order) | Step::OrderWritten(order) => {
                memory.order_refused(order.epoch);
                Step::Nothing
            }
            Step::OrderGiven(epoch) => {
                if !matches!(answer, Some(Answer::Control(ControlReply::Ordered(Ok(()))))) {
                    memory.order_refused(epoch);
                }
                Step::Nothing
            }
            Step::Published if !read => Step::Reread,
            Step::Nothing | Step::Published | Step::Reread | Step::Other => Step::Nothing,
        };
    }

    /// Goes on until something has to be waited for: then true.
    pub(super) fn go_on(
        &mut self,
        record: &Record,
        holds: bool,
        memory: &mut Memory,
        scene: &mut Scene<'_>,
    ) -> bool {
        loop {
            match std::mem::replace(&mut self.step, Step::Nothing) {
                Step::OrderRead(order) => {
                    let request = write_order(record, &order);
                    self.step = Step::OrderWritten(order);
                    self.call = Some(scene.api(request, API));
                }
                Step::OrderWritten(order) if holds => self.give(&order, scene),
                Step::OrderWritten(order) => memory.order_refused(order.epoch),
                Step::Reread => {
                    self.step = Step::Other;
                    self.call = Some(scene.api(ApiRequest::ReadGroup, API));
                }
                Step::Nothing => match self.actions.pop_front() {
                    None => return false,
                    Some(action) if holds => self.begin(action, record, scene),
                    Some(Action::Order { epoch, .. }) => memory.order_refused(epoch),
                    Some(_) => {}
                },
                Step::OrderGiven(_) | Step::Published | Step::Other => {}
            }
            if self.call.is_some() {
                return true;
            }
        }
    }

    fn begin(&mut self, action: Action, record: &Record, scene: &mut Scene<'_>) {
        self.step = Step::Other;
        self.call = match action {
            Action::Order { epoch, supersedes, member, kind, as_of_clock_ms, valid, reason } => {
                let as_of_ms = as_of_clock_ms;
                let order = Ordering { epoch, supersedes, member, kind, as_of_ms, valid, reason };
                self.step = Step::OrderRead(order);
                Some(scene.api(ApiRequest::ReadGroup, API))
            }
            Action::GrantLease { member, epoch, as_of_clock_ms, duration, .. } => {
                scene.oracle.figures.grants += 1;
                let (as_of_ms, duration_ms) = (as_of_clock_ms, millis(duration));
                let control = Control::GrantLease { epoch, as_of_ms, duration_ms };
                member_of(&member).map(|member| scene.control(member, control, ANSWER))
            }
            Action::StepDown { member, to, timeout } => {
                let to = mainstay_record::NodeId::new(to.0);
                let asked = member_of(&member).zip(to);
                asked.map(|(member, to)| scene.control(member, Control::StepDown { to }, timeout + ANSWER))
            }
            Action::DeletePod { member, uid } => {
                member_of(&member).map(|member| scene.api(ApiRequest::DeletePod { member, uid }, API))
            }
            Action::Label { member, uid, role, routable } => member_of(&member)
                .map(|member| scene.api(ApiRequest::Label { member, uid, role, routable }, API)),
            Action::Publish(status) => {
                self.step = Step::Published;
                let status = BrokerGroupStatus { order: record.status.order.clone(), ..*status };
                let request = ApiRequest::WriteGroup { version: record.version, status: Box::new(status) };
                Some(scene.api(request, API))
            }
            // Nobody waits to be taken in here: a node whose volume is lost stays out.
            Action::ChangeMembership { .. }
            | Action::NameMembership { .. }
            | Action::AdoptMembership { .. }
            | Action::Event { .. } => None,
        };
        if self.call.is_none() {
            self.step = Step::Nothing;
        }
    }

    fn give(&mut self, order: &Ordering, scene: &mut Scene<'_>) {
        let Some(member) = member_of(&order.member) else { return };
        let (epoch, as_of_ms, valid_ms) = (order.epoch, order.as_of_ms, millis(order.valid));
        let control = match order.kind {
            OrderKind::Campaign => Control::Campaign { epoch, as_of_ms, valid_ms },
            OrderKind::Promote => Control::Promote { epoch, as_of_ms, valid_ms },
        };
        scene.oracle.figures.orders += 1;
        self.step = Step::OrderGiven(epoch);
        self.call = Some(scene.control(member, control, ANSWER));
    }
}

/// The group's object with the order on it.
fn write_order(record: &Record, order: &Ordering) -> ApiRequest {
    let Ordering { epoch, member, kind, reason, .. } = order.clone();
    let order = Order { epoch: signed(epoch), member, kind, reason, issued_at: Time(Timestamp::UNIX_EPOCH) };
    let status = BrokerGroupStatus { order: Some(order), ..record.status.clone() };
    ApiRequest::WriteGroup { version: record.version, status: Box::new(status) }
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
