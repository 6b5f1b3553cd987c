//! Brokers in the world: starts and ends of their processes, what reaches them and what they do.

use mainstay_storage::Flush;

use super::{Happening, World, end};
use crate::broker::{Broker, Effect, Input, Refill, Scene, StartFailure};
use crate::client::place_of;
use crate::network::End;
use crate::time::{MILLI, ProcessClock, Time};
use crate::wire::{Control, ControlReply, Request, RequestId};

/// Longest time from a fatal error until the process is gone.
const DYING: Time = 100 * MILLI;
/// Starts that are tried where no snapshot can be read.
const ATTEMPTS: u64 = 4;
/// How soon a peer notices that a connection is gone.
const NOTICE: Time = 30 * MILLI;

impl World {
    /// Starts a broker where none runs.
    pub(super) fn start(&mut self, node: usize) {
        if self.machines[node].is_up() || self.machines[node].lost.is_some() {
            return;
        }
        let machine = &mut self.machines[node];
        machine.life += 1;
        let clock = ProcessClock::start(self.now, machine.clock.rate);
        let mut effects = Vec::new();
        let mut scene = Scene {
            plan: &self.plan,
            time: self.now,
            node,
            life: machine.life,
            now: clock.at(self.now),
            wall: machine.clock.wall(self.now),
            oracle: &mut self.oracle,
            effects: &mut effects,
        };
        let started = Broker::start(machine.id, machine.disk.clone(), clock, self.rng.next(), &mut scene);
        match started {
            Ok(broker) => {
                machine.failures = 0;
                machine.broker = Some(broker);
                self.wake(node);
            }
            Err(failure) => self.failed_start(node, failure),
        }
    }

    fn failed_start(&mut self, node: usize, failure: StartFailure) {
        self.trace.say(self.now, || format!("node {node} does not start: {failure:?}"));
        let machine = &mut self.machines[node];
        machine.failures += 1;
        match failure {
            StartFailure::Io(why) => {
                self.trace.say(self.now, || format!("    {why}"));
                machine.kill();
                let pause = (200 * MILLI) << machine.failures.min(4);
                self.after(pause, Happening::Start { node });
            }
            // A read that failed is tried again; a snapshot that is not there does not come back.
            StartFailure::NoState(_) if machine.failures < ATTEMPTS => {
                machine.kill();
                self.after(200 * MILLI, Happening::Start { node });
            }
            StartFailure::Refused(why) | StartFailure::NoState(why) if machine.damaged => {
                machine.lost = Some(why);
                self.oracle.figures.lost_disks += 1;
            }
            StartFailure::Refused(why) | StartFailure::NoState(why) => {
                let what = format!("node {node} refuses a disk that was not damaged: {why}");
                self.oracle.violated("recovers-after-crash", what);
            }
        }
    }

    /// The process of a broker that cannot go on ends, and another one is started.
    pub(super) fn exit(&mut self, node: usize, life: u64) {
        if self.machines[node].life == life && self.machines[node].is_up() {
            self.kill(node);
            let down = self.downtime();
            self.after(down, Happening::Start { node });
        }
    }

    pub(super) fn downtime(&mut self) -> Time {
        self.rng.between(50 * MILLI, self.plan.downtime)
    }

    pub(super) fn kill(&mut self, node: usize) {
        self.machines[node].kill();
        self.noticed(node);
    }

    pub(super) fn cut_power(&mut self, node: usize) {
        self.machines[node].cut_power();
        self.noticed(node);
    }

    /// Peers see their connections end, unless the network hides it.
    fn noticed(&mut self, gone: usize) {
        self.oracle.resigned(gone);
        let peer = self.machines[gone].id;
        for node in 0..self.machines.len() {
            if node != gone && !self.network.is_cut(end(gone), end(node)) && self.rng.chance(800) {
                let after = self.rng.between(0, NOTICE);
                self.after(after, Happening::PeerGone { node, peer });
            }
        }
    }

    /// One turn of a broker.
    pub(super) fn input(&mut self, node: usize, input: Input) {
        let machine = &mut self.machines[node];
        let Some(broker) = &mut machine.broker else { return };
        let mut effects = Vec::new();
        let mut scene = Scene {
            plan: &self.plan,
            time: self.now,
            node,
            life: machine.life,
            now: broker.clock.at(self.now),
            wall: machine.clock.wall(self.now),
            oracle: &mut self.oracle,
            effects: &mut effects,
        };
        broker.take(input, &mut scene);
        self.trace.mix(effects.len() as u64);
        self.trace.mix(broker.applied().0);
        for effect in effects {
            self.effect(node, effect);
        }
        self.wake(node);
    }

    fn effect(&mut self, node: usize, effect: Effect) {
        let life = self.machines[node].life;
        self.trace.say(self.now, || format!("    node {node}: {effect:?}"));
        match effect {
            Effect::Send { to, shown, message } => {
                let from = self.machines[node].id;
                let to = place_of(to);
                for delay in self.network.messages(end(node), end(to), self.now, &mut self.rng) {
                    let message = message.clone();
                    self.after(delay, Happening::Peer { node: to, from, shown, message });
                }
            }
            Effect::Refill { to, refill } => self.send_refill(node, place_of(to), refill),
            Effect::WriteSnapshot => {
                let time = self.rng.between(self.plan.snapshot_time / 10, self.plan.snapshot_time);
                self.after(time, Happening::SnapshotDue { node, life });
            }
            Effect::Check { message_id, transaction } => self.ask_producer(node, message_id, transaction),
            Effect::Reply { request, reply } => self.reply(node, request, reply),
            Effect::Control { call, reply } => self.control_answered(node, call, reply),
            Effect::Forcing => {
                let took = self.sync_time(node);
                self.after(took, Happening::ForcingEnds { node, life });
            }
            Effect::FlushLater => {
                if let Flush::Async { interval } = self.plan.flush {
                    self.after(interval.as_micros() as Time, Happening::FlushDue { node, life });
                }
            }
            Effect::Disk(event) => {
                let lag = self.rng.between(0, self.plan.report_lag);
                let machine = &mut self.machines[node];
                let at = machine.reported_at.max(self.now + lag);
                machine.reported_at = at;
                self.after(at - self.now, Happening::Disk { node, life, event });
            }
            Effect::GoOn => {
                let at = self.now + MILLI / 20;
                if at < self.machines[node].wake_at {
                    self.machines[node].wake_at = at;
                    self.after(MILLI / 20, Happening::Wake { node, life });
                }
            }
            Effect::Fatal(reason) => {
                self.trace.say(self.now, || format!("node {node} cannot go on: {reason}"));
                self.oracle.figures.fatal += 1;
                let after = self.rng.between(0, DYING);
                self.after(after, Happening::Exit { node, life });
            }
            Effect::Stopped => self.stopped(node),
        }
    }

    /// On the stream of a refill, which breaks where the other end is gone.
    fn send_refill(&mut self, node: usize, to: usize, refill: Refill) {
        let from = self.machines[node].id;
        if refill.begins() {
            self.disturb_later(node, to);
        }
        let Some(delay) = self.network.stream(end(node), end(to), &mut self.rng) else { return };
        match refill {
            Refill::Part { gift, .. } if !self.machines[to].is_up() => {
                let refill = Refill::Answer { gift, answer: Err("nobody is there".to_owned()) };
                let from = self.machines[to].id;
                self.after(2 * delay, Happening::Refill { node, from, refill });
            }
            refill => self.after(delay, Happening::Refill { node: to, from, refill }),
        }
    }

    fn sync_time(&mut self, node: usize) -> Time {
        let usual = self.rng.between(self.plan.sync_time / 10, self.plan.sync_time);
        let machine = &self.machines[node];
        let slow = if self.now < machine.slow_until { machine.slow_by } else { 0 };
        let stuck = machine.stuck_until.saturating_sub(self.now);
        (usual + slow).max(stuck)
    }

    /// The broker has ended in order; its pod comes back.
    fn stopped(&mut self, node: usize) {
        self.kill(node);
        if self.api.pods[node].deleting {
            self.api.replace_pod(node);
        }
        let down = self.downtime().min(2_000 * MILLI);
        self.after(down, Happening::Start { node });
    }

    /// A pod is told to end; one whose process is not there has ended.
    pub(super) fn pod_deleted(&mut self, node: usize) {
        if self.machines[node].is_up() {
            self.input(node, Input::Stop);
        } else if self.api.pods[node].deleting {
            self.api.replace_pod(node);
        }
    }

    /// Sees to it that the broker's next wake-up is in the queue.
    pub(super) fn wake(&mut self, node: usize) {
        let machine = &mut self.machines[node];
        let Some(broker) = &machine.broker else { return };
        let (now, wall) = (broker.clock.at(self.now), machine.clock.wall(self.now));
        let Some(due) = broker.clock.when(broker.next_wake(now, wall)) else { return };
        let due = due.max(self.now);
        if due < machine.wake_at {
            machine.wake_at = due;
            let life = machine.life;
            self.after(due - self.now, Happening::Wake { node, life });
        }
    }

    pub(super) fn ask(&mut self, node: usize, request: Request) {
        self.asked.insert(request.id, (request.client, node));
        self.input(node, Input::Request(request));
    }

    fn reply(&mut self, node: usize, request: RequestId, reply: crate::wire::Reply) {
        let Some((client, _)) = self.asked.remove(&request) else { return };
        self.watch_cut_off(node, &reply);
        if let Some(delay) = self.network.call(end(node), End::Client(client), &mut self.rng) {
            self.after(delay, Happening::Answer { client, request, reply });
        }
    }

    fn control_answered(&mut self, node: usize, call: RequestId, reply: ControlReply) {
        let Some((operator, life, _)) = self.called.remove(&call) else { return };
        if let Some(delay) = self.network.call(end(node), End::Operator(operator), &mut self.rng) {
            self.after(delay, Happening::ControlAnswers { operator, life, call, reply });
        }
    }

    /// Sends an operator's call to the process that runs at this moment.
    pub(super) fn control(
        &mut self,
        operator: usize,
        operator_life: u64,
        node: usize,
        call: RequestId,
        control: Control,
    ) {
        if !self.machines[node].is_up() {
            return;
        }
        let life = self.machines[node].life;
        if let Some(delay) = self.network.call(End::Operator(operator), end(node), &mut self.rng) {
            let happening = Happening::Control { node, life, operator, operator_life, call, control };
            self.after(delay, happening);
        }
    }
}
