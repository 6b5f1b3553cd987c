//! A simulated broker process: the real consensus core, log, state files and state machine, and the glue between them
//! as the real driver has it, without its tasks and threads.
//!
//! One call of [`Broker::take`] is one turn of the real driver: an input, then everything that has become possible.

mod actions;
mod apply;
mod control;
mod disk;
mod entries;
mod proposing;
mod recovery;
mod refill;
mod requests;
mod retention;
mod snapshots;
mod start;
mod timers;
mod view;

use std::collections::{BTreeMap, VecDeque};

use mainstay_consensus::{Action, Core, Event, Message, Moment, Role, View};
use mainstay_messaging::{LogClock, State, TransactionId};
use mainstay_record::{EntryId, GroupId, LogIndex, LogPosition, NodeId, Timestamp};
use mainstay_storage::{DataFolder, Flush, MemFileSystem, StateFile};

use self::disk::Disk;
use self::refill::{Gift, Marker, Taking};
use self::requests::Requests;
use self::snapshots::Snapshots;
use self::timers::UnderWay;
use crate::oracle::Oracle;
use crate::plan::{Bug, Plan};
use crate::time::{ProcessClock, Time};
use crate::wire::{Control, ControlReply, Reply, Request, RequestId};

pub(crate) use self::disk::{Change, DiskEvent};
pub(crate) use self::entries::Entries;
pub(crate) use self::refill::Refill;
pub(crate) use self::start::{StartFailure, found};

const GROUP: GroupId = GroupId::METADATA;

/// What a broker may look at and where it puts what it does.
pub(crate) struct Scene<'a> {
    pub(crate) plan: &'a Plan,
    /// True time, for the oracle.
    pub(crate) time: Time,
    pub(crate) node: usize,
    pub(crate) life: u64,
    /// By the process's own clock.
    pub(crate) now: Moment,
    pub(crate) wall: Timestamp,
    pub(crate) oracle: &'a mut Oracle,
    pub(crate) effects: &'a mut Vec<Effect>,
}

/// What a broker does to the world.
#[derive(Debug)]
pub(crate) enum Effect {
    Send {
        to: NodeId,
        /// What the sender's clock shows.
        shown: Timestamp,
        message: Message,
    },
    Reply {
        request: RequestId,
        reply: Reply,
    },
    Control {
        call: RequestId,
        reply: ControlReply,
    },
    /// An fdatasync began.
    Forcing,
    /// An fdatasync is due after the flush interval.
    FlushLater,
    /// The driver is to be told.
    Disk(DiskEvent),
    /// Part of a refill, on a stream of its own.
    Refill {
        to: NodeId,
        refill: Refill,
    },
    /// A snapshot is being written.
    WriteSnapshot,
    /// The producer of a half message is asked what became of it.
    Check {
        message_id: String,
        transaction: TransactionId,
    },
    /// There is more to apply.
    GoOn,
    /// The process ends, with the reason.
    Fatal(String),
    /// The process has ended in order.
    Stopped,
}

/// What wakes a broker.
#[derive(Debug)]
pub(crate) enum Input {
    Wake,
    Peer {
        from: NodeId,
        shown: Timestamp,
        message: Message,
    },
    PeerGone(NodeId),
    Disk(DiskEvent),
    ForcingEnds,
    FlushDue,
    SnapshotDue,
    Refill {
        from: NodeId,
        refill: Refill,
    },
    Request(Request),
    Control {
        call: RequestId,
        control: Control,
    },
    /// Needless hand-over.
    StepDown {
        to: Option<NodeId>,
    },
    /// End in order.
    Stop,
}

#[derive(Debug, Clone, Copy)]
struct Tail {
    end: LogPosition,
    id: EntryId,
}

/// How far an orderly end has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stopping {
    No,
    /// Waits until somebody else leads, or until then.
    HandingOver {
        until: Moment,
    },
    /// Takes nothing new, waits until everybody is answered, or until then.
    Draining {
        until: Moment,
    },
}

#[derive(Debug)]
pub(crate) struct Broker {
    pub(crate) id: NodeId,
    pub(crate) clock: ProcessClock,
    fs: MemFileSystem,
    _folder: DataFolder,
    core: Core,
    view: View,
    disk: Option<Disk>,
    hard_state: StateFile,
    standing: StateFile,
    tail: Tail,
    entries: Entries,
    log_clock: LogClock,
    state: State,
    applied: LogIndex,
    applied_end: LogPosition,
    snapshots: Snapshots,
    /// When it is looked next whether part of the log may go.
    look_at: Moment,
    /// When each peer was heard last.
    heard: BTreeMap<NodeId, Moment>,
    /// Set while the log is being taken over from the leader.
    taking: Option<Taking>,
    marker: Marker,
    /// Refills of followers, and those that are over and of which the core has not heard.
    gifts: Vec<Gift>,
    ended_gifts: Vec<(NodeId, mainstay_record::Epoch)>,
    gift_numbers: u64,
    committed: LogIndex,
    caught_up: bool,
    requests: Requests,
    under_way: UnderWay,
    actions: VecDeque<Action>,
    persisted: LogIndex,
    stopping: Stopping,
    failed: Option<String>,
    led: Option<mainstay_record::Epoch>,
}

impl Broker {
    /// One turn of the driver.
    pub(crate) fn take(&mut self, input: Input, scene: &mut Scene<'_>) {
        self.log_clock.observe(scene.wall, scene.now.0);
        if scene.now >= self.core.next_wakeup() {
            self.step(Event::Tick, scene);
        }
        self.handle(input, scene);
        self.apply(scene);
        self.note_caught_up();
        self.start_polls(scene);
        self.look_at_timers(scene);
        self.propose(scene);
        self.expire(scene);
        self.end_broken_refill(None, scene);
        self.end_broken_gifts(scene);
        self.look_after_retention(scene);
        self.advance_stop(scene);
        self.run_disk(scene);
        if self.applied < self.committed && self.failed.is_none() {
            scene.effects.push(Effect::GoOn);
        }
    }

    fn handle(&mut self, input: Input, scene: &mut Scene<'_>) {
        match input {
            Input::Wake => {}
            Input::Peer { from, shown, message } => {
                self.heard.insert(from, scene.now);
                if self.view.membership.contains(from) {
                    self.log_clock.hear(from, shown, scene.now.0);
                }
                self.step(Event::Message { from, message }, scene);
            }
            Input::PeerGone(peer) => {
                self.heard.remove(&peer);
                self.end_broken_refill(Some(peer), scene);
                self.end_gifts_to(peer, scene);
                self.step(Event::Disconnected { peer }, scene);
            }
            Input::Refill { from, refill } => self.refill(from, refill, scene),
            Input::SnapshotDue => self.snapshot_due(scene),
            Input::Disk(event) => self.disk_event(event, scene),
            Input::ForcingEnds => self.forcing_ends(scene),
            Input::FlushDue => {
                if let Some(disk) = &mut self.disk {
                    disk.flush_is_due();
                }
            }
            Input::Request(request) => self.request(request, scene),
            Input::Control { call, control } => {
                let reply = self.control(control, scene);
                scene.effects.push(Effect::Control { call, reply });
            }
            Input::StepDown { to } => self.step(Event::StepDown { to }, scene),
            Input::Stop => self.begin_stop(scene),
        }
    }

    fn disk_event(&mut self, event: DiskEvent, scene: &mut Scene<'_>) {
        if self.refill_progress(&event, scene) {
            return;
        }
        match (event, scene.plan.flush) {
            (DiskEvent::Durable(last), Flush::Sync) | (DiskEvent::Written(last), Flush::Async { .. }) => {
                self.persisted = last.index;
                self.step(Event::Persisted { last }, scene);
            }
            (DiskEvent::Durable(_) | DiskEvent::Written(_), _) => {}
            (DiskEvent::Failed(error), _) => self.fail(format!("the log failed: {error}"), scene),
        }
    }

    /// Gives the core an event and does what it asks for.
    fn step(&mut self, event: Event, scene: &mut Scene<'_>) {
        if self.failed.is_none() {
            let _ = self.order(event, scene);
        }
    }

    /// As [`Self::step`], for somebody who waits for the verdict.
    fn order(&mut self, event: Event, scene: &mut Scene<'_>) -> Result<(), String> {
        let verdict = self.feed(event, scene);
        self.execute(scene);
        verdict
    }

    fn feed(&mut self, event: Event, scene: &mut Scene<'_>) -> Result<(), String> {
        let mut actions = Vec::new();
        let verdict = self.core.step(event, scene.now, &mut actions);
        self.actions.extend(actions);
        verdict.map_err(|error| {
            use mainstay_consensus::StepError::{CommittedConflict, Malformed, Misplaced};
            let text = error.to_string();
            if matches!(error, CommittedConflict { .. } | Malformed { .. } | Misplaced { .. }) {
                scene.oracle.violated("no-corruption", format!("node {}: {text}", scene.node));
            }
            text
        })
    }

    /// When the next turn is due without an input, by the own clock.
    pub(crate) fn next_wake(&self, now: Moment, wall: Timestamp) -> Moment {
        if self.failed.is_some() {
            return Moment::NEVER;
        }
        let mut wake = self.core.next_wakeup();
        let broken = self.next_broken_refill().into_iter().chain(self.next_broken_gift());
        let deadlines = broken.chain(self.requests.next_deadline()).chain([self.look_at]);
        let deadlines = deadlines.chain(self.next_timer(wall, now));
        wake = deadlines.fold(wake, Moment::min);
        if self.caught_up && self.view.serving {
            let stamp = self.log_clock.now(wall, now.0);
            let due = self.requests.polled().filter_map(|receive| {
                self.state.next_due(receive.group.as_str(), receive.topic.as_str(), stamp)
            });
            if let Some(due) = due.min() {
                let wait = self.log_clock.until(due, wall, now.0);
                wake = wake.min(now.plus(wait.max(std::time::Duration::from_millis(1))));
            }
        }
        match self.stopping {
            Stopping::No => wake,
            Stopping::HandingOver { until } | Stopping::Draining { until } => wake.min(until),
        }
    }

    /// Looks at the core after it reported a change.
    fn look(&mut self, scene: &mut Scene<'_>) {
        let view = self.core.view(scene.now);
        self.log_clock.retain_members(|node| view.membership.contains(node));
        let before = std::mem::replace(&mut self.view, view);
        let leads = (self.view.role == Role::Leader).then_some(self.view.epoch);
        if let Some(epoch) = leads.filter(|_| leads != self.led) {
            scene.oracle.became_leader(scene.node, scene.life, epoch, self.view.last.index);
        }
        if leads.is_none() {
            scene.oracle.resigned(scene.node);
        }
        self.led = leads;
        if before.role == Role::Leader && leads != Some(before.epoch) {
            let not_here = Reply::NotHere { leader: self.view.leader };
            let mut replies = Vec::new();
            self.requests.refuse_all(&not_here, "leadership was lost", &mut replies);
            self.reply_all(replies, scene);
            self.end_gifts(|_| true, scene);
        }
        if before.role != self.view.role || before.epoch != self.view.epoch {
            self.caught_up = false;
            self.under_way = UnderWay::default();
        }
    }

    /// This node cannot go on: everybody who waits is told, and the process ends.
    fn fail(&mut self, reason: String, scene: &mut Scene<'_>) {
        if self.failed.is_some() || scene.plan.bug == Some(Bug::IgnoreFailedSync) {
            return;
        }
        self.failed = Some(reason.clone());
        scene.oracle.resigned(scene.node);
        self.actions.clear();
        let mut replies = Vec::new();
        self.requests.refuse_all(&Reply::Unknown("the log has failed"), "the log has failed", &mut replies);
        self.reply_all(replies, scene);
        scene.effects.push(Effect::Fatal(reason));
    }
}
