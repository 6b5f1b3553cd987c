//! The simulated world: true time, a queue of what happens when, and everybody who lives in it.
//!
//! One thread, no real clock, every choice drawn from one seed: the same seed is the same run, event by event.

mod accounts;
mod blow;
mod faults;
mod healing;
mod losses;
mod operators;
mod past;
mod replicas;
mod users;

use std::collections::BTreeMap;

use mainstay_consensus::{Message, Mode};
use mainstay_messaging::TransactionId;
use mainstay_operator::candidacy;
use mainstay_record::{NodeId, Timestamp};
use mainstay_storage::{Flush, MemFileSystem};

use crate::api::{Api, ApiReply, ApiRequest};
use crate::broker::{self, DiskEvent, Refill};
use crate::client::Client;
use crate::machine::Machine;
use crate::network::{End, Network};
use crate::operator::{self, Operator};
use crate::oracle::Oracle;
use crate::plan::Plan;
use crate::rng::Rng;
use crate::time::{MachineClock, ProcessClock, Time};
use crate::trace::Trace;
use crate::trial::Account;
use crate::wire::{Control, ControlReply, Reply, Request, RequestId};

/// Something that happens at its time. `life` names the process it is meant for.
#[derive(Debug)]
pub(crate) enum Happening {
    Start { node: usize },
    Exit { node: usize, life: u64 },
    Wake { node: usize, life: u64 },
    Peer { node: usize, from: NodeId, shown: Timestamp, message: Message },
    PeerGone { node: usize, peer: NodeId },
    Disk { node: usize, life: u64, event: DiskEvent },
    ForcingEnds { node: usize, life: u64 },
    FlushDue { node: usize, life: u64 },
    SnapshotDue { node: usize, life: u64 },
    Refill { node: usize, from: NodeId, refill: Refill },
    Ask { node: usize, request: Request },
    Answer { client: usize, request: RequestId, reply: Reply },
    ClientLate { client: usize, request: RequestId },
    ClientWakes { client: usize },
    Check { client: usize, message_id: String, transaction: TransactionId },
    OperatorStarts { operator: usize },
    OperatorTimer { operator: usize, life: u64, timer: operator::Timer },
    Api { operator: usize, life: u64, call: RequestId, request: ApiRequest },
    ApiAnswers { operator: usize, life: u64, call: RequestId, reply: ApiReply },
    Control { node: usize, life: u64, operator: usize, operator_life: u64, call: RequestId, control: Control },
    ControlAnswers { operator: usize, life: u64, call: RequestId, reply: ControlReply },
    PodDeleted { member: usize },
    Fault,
    Mends { what: faults::Mending },
}

/// An operator's machine and process.
#[derive(Debug)]
pub(crate) struct Office {
    process: Option<Operator>,
    life: u64,
    rate: u64,
    paused_until: Time,
}

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) rng: Rng,
    pub(crate) now: Time,
    queue: BTreeMap<(Time, u64), Happening>,
    sequence: u64,
    machines: Vec<Machine>,
    offices: Vec<Office>,
    api: Api,
    clients: Vec<Client>,
    network: Network,
    pub(crate) oracle: Oracle,
    pub(crate) trace: Trace,
    /// Where the answers to open requests and calls go.
    asked: BTreeMap<RequestId, (usize, usize)>,
    called: BTreeMap<RequestId, (usize, u64, usize)>,
    next_request: u64,
    /// No more faults.
    calm: bool,
    /// This period is free of faults.
    quiet_until: Time,
    /// How much has happened at this moment.
    at_once: u64,
    /// What a trial's blow has done.
    scar: Option<blow::Scar>,
    /// Replication has been held up for the blow.
    lags: bool,
    pub(crate) account: Account,
}

/// More than this at one moment means that somebody turns without getting anywhere.
const STANDSTILL: u64 = 20_000;

impl World {
    pub(crate) fn new(plan: Plan, mut rng: Rng, loud: bool) -> Self {
        let members = plan.members();
        let membership = plan.membership.clone();
        let durable_counts = plan.flush == Flush::Sync;
        let async_mode = membership.mode() == Mode::Async;
        let machines = membership.members().iter().map(|id| {
            let disk = MemFileSystem::new(rng.next());
            if let Err(error) = broker::found(&disk, &membership) {
                panic!("a data folder cannot be made: {error:?}");
            }
            // As if its machine had been off since.
            let clock = MachineClock::new(Plan::clock_rate(&mut rng));
            Machine::new(*id, clock, disk.kill())
        });
        let machines = machines.collect();
        let offices = (0..plan.operators).map(|_| Office {
            process: None,
            life: 0,
            rate: Plan::clock_rate(&mut rng),
            paused_until: 0,
        });
        let offices = offices.collect();
        let mut world = Self {
            rng,
            now: 0,
            queue: BTreeMap::new(),
            sequence: 0,
            machines,
            offices,
            api: Api::new(members, candidacy::Timing::default().duration),
            clients: Vec::new(),
            network: Network::new(plan.network),
            oracle: Oracle::new(members, membership.write_quorum(), durable_counts, async_mode),
            trace: Trace::new(loud),
            asked: BTreeMap::new(),
            called: BTreeMap::new(),
            next_request: 0,
            calm: false,
            quiet_until: 0,
            at_once: 0,
            scar: None,
            lags: false,
            account: Account::default(),
            plan,
        };
        for node in 0..members {
            if world.plan.bug == Some(crate::plan::Bug::SkipFolderSync) {
                world.machines[node].disk.skip_folder_syncs();
            }
            let after = world.rng.below(300_000);
            world.after(after, Happening::Start { node });
        }
        for operator in 0..world.offices.len() {
            world.after(0, Happening::OperatorStarts { operator });
        }
        world.hire_clients();
        world.after(world.plan.fault_gap, Happening::Fault);
        world
    }

    pub(crate) fn after(&mut self, delay: Time, happening: Happening) {
        self.sequence += 1;
        self.queue.insert((self.now + delay, self.sequence), happening);
    }

    /// Lets happen what is due until `end`, or until a promise is broken.
    pub(crate) fn run_until(&mut self, end: Time) {
        while self.oracle.violation.is_none()
            && let Some(entry) = self.queue.first_entry()
            && entry.key().0 <= end
        {
            let ((at, _), happening) = entry.remove_entry();
            self.at_once = if at == self.now { self.at_once + 1 } else { 0 };
            if self.at_once > STANDSTILL {
                self.oracle.violated("time-goes-on", format!("for ever at the same moment: {happening:?}"));
            }
            self.now = at;
            if let Some(happening) = self.postponed(happening) {
                self.trace.say(at, || format!("{happening:?}"));
                self.trace.event(at, kind(&happening));
                self.happen(happening);
                self.look();
            }
        }
        self.now = self.now.max(end);
    }

    /// What is meant for a process that does not run now comes when it runs again.
    fn postponed(&mut self, happening: Happening) -> Option<Happening> {
        let until = match &happening {
            Happening::Wake { node, .. }
            | Happening::Peer { node, .. }
            | Happening::PeerGone { node, .. }
            | Happening::Disk { node, .. }
            | Happening::ForcingEnds { node, .. }
            | Happening::FlushDue { node, .. }
            | Happening::SnapshotDue { node, .. }
            | Happening::Refill { node, .. }
            | Happening::Ask { node, .. }
            | Happening::Control { node, .. } => self.machines[*node].paused_until,
            Happening::OperatorTimer { operator, .. }
            | Happening::ApiAnswers { operator, .. }
            | Happening::ControlAnswers { operator, .. } => self.offices[*operator].paused_until,
            _ => 0,
        };
        if until <= self.now {
            return Some(happening);
        }
        self.after(until - self.now, happening);
        None
    }

    fn happen(&mut self, happening: Happening) {
        use crate::broker::Input;
        match happening {
            Happening::Start { node } => self.start(node),
            Happening::Exit { node, life } => self.exit(node, life),
            Happening::Wake { node, life } => {
                // One that was overtaken by an earlier one finds nothing to do.
                if self.machines[node].life == life && self.machines[node].wake_at <= self.now {
                    self.machines[node].wake_at = Time::MAX;
                    self.input(node, Input::Wake);
                }
            }
            Happening::Peer { node, from, shown, message } => {
                self.input(node, Input::Peer { from, shown, message });
            }
            Happening::PeerGone { node, peer } => self.input(node, Input::PeerGone(peer)),
            Happening::Disk { node, life, event } => self.for_life(node, life, Input::Disk(event)),
            Happening::ForcingEnds { node, life } => self.for_life(node, life, Input::ForcingEnds),
            Happening::FlushDue { node, life } => self.for_life(node, life, Input::FlushDue),
            Happening::SnapshotDue { node, life } => self.for_life(node, life, Input::SnapshotDue),
            Happening::Refill { node, from, refill } => self.input(node, Input::Refill { from, refill }),
            Happening::Ask { node, request } => self.ask(node, request),
            Happening::Answer { client, request, reply } => self.answer(client, request, reply),
            Happening::ClientLate { client, request } => self.client_late(client, request),
            Happening::ClientWakes { client } => self.client(client, crate::client::Input::Wake),
            Happening::Check { client, message_id, transaction } => {
                self.client(client, crate::client::Input::Check { message_id, transaction });
            }
            Happening::OperatorStarts { operator } => self.operator_starts(operator),
            Happening::OperatorTimer { operator, life, timer } => {
                self.for_tenure(operator, life, operator::Input::Timer(timer));
            }
            Happening::Api { operator, life, call, request } => self.api_asked(operator, life, call, request),
            Happening::ApiAnswers { operator, life, call, reply } => {
                self.for_tenure(operator, life, operator::Input::Api { call, reply });
            }
            Happening::Control { node, life, operator, operator_life, call, control } => {
                if self.machines[node].life == life {
                    self.called.insert(call, (operator, operator_life, node));
                    self.input(node, Input::Control { call, control });
                }
            }
            Happening::ControlAnswers { operator, life, call, reply } => {
                self.for_tenure(operator, life, operator::Input::Control { call, reply });
            }
            Happening::PodDeleted { member } => self.pod_deleted(member),
            Happening::Fault => self.fault(),
            Happening::Mends { what } => self.mend(what),
        }
    }

    /// Looks at everybody at once: what no single node can see.
    fn look(&mut self) {
        let mut serving = Vec::new();
        for (node, machine) in self.machines.iter().enumerate() {
            let Some(broker) = &machine.broker else { continue };
            let local = broker.clock.at(self.now);
            if broker.serves(local) {
                serving.push((node, broker.core().view(local).epoch));
            }
        }
        self.oracle.serving(&serving);
    }

    fn for_life(&mut self, node: usize, life: u64, input: crate::broker::Input) {
        if self.machines[node].life == life {
            self.input(node, input);
        }
    }
}

/// A number for each kind of happening, for the fingerprint.
fn kind(happening: &Happening) -> u64 {
    let (code, who) = match happening {
        Happening::Start { node } => (1, *node),
        Happening::Exit { node, .. } => (2, *node),
        Happening::Wake { node, .. } => (3, *node),
        Happening::Peer { node, .. } => (4, *node),
        Happening::PeerGone { node, .. } => (5, *node),
        Happening::Disk { node, .. } => (6, *node),
        Happening::ForcingEnds { node, .. } => (7, *node),
        Happening::FlushDue { node, .. } => (8, *node),
        Happening::Ask { node, .. } => (9, *node),
        Happening::Answer { client, .. } => (10, *client),
        Happening::ClientLate { client, .. } => (11, *client),
        Happening::ClientWakes { client } => (12, *client),
        Happening::OperatorStarts { operator } => (13, *operator),
        Happening::OperatorTimer { operator, .. } => (14, *operator),
        Happening::Api { operator, .. } => (15, *operator),
        Happening::ApiAnswers { operator, .. } => (16, *operator),
        Happening::Control { node, .. } => (17, *node),
        Happening::ControlAnswers { operator, .. } => (18, *operator),
        Happening::PodDeleted { member } => (19, *member),
        Happening::Fault => (20, 0),
        Happening::Mends { .. } => (21, 0),
        Happening::SnapshotDue { node, .. } => (22, *node),
        Happening::Refill { node, .. } => (23, *node),
        Happening::Check { client, .. } => (24, *client),
    };
    code << 8 | who as u64
}

impl Office {
    fn clock(&self, now: Time) -> ProcessClock {
        ProcessClock::start(now, self.rate)
    }
}

/// The ends of the network that a node's partition may cut off.
fn end(node: usize) -> End {
    End::Node(node)
}
