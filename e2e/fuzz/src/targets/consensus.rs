//! What a replica keeps beside its log, and what replicas say to each other: taken apart, and given to a consensus core.

use std::time::Duration;

use bytes::Bytes;
use mainstay_broker::fuzzing;
use mainstay_consensus::{
    Action, Append, AppendHeader, AppendResponse, Config, Core, Event, HardState, LogSummary, Membership,
    Message, Mode, Moment, Order, Standing, TimeoutNow, Timing, VoteRequest, VoteResponse,
};
use mainstay_record::{
    BatchBuilder, BatchKind, EntryId, Epoch, GroupId, LogIndex, LogPosition, NodeId, Timestamp,
};

use super::record::sealed;
use crate::{Input, Script};

pub(super) fn hard_state(bytes: &[u8]) {
    if let Ok(state) = HardState::decode(bytes) {
        assert_eq!(state.encode(), bytes);
    }
}

pub(super) fn hard_state_seeds() -> Vec<Vec<u8>> {
    let granted = [Epoch::ZERO, epoch(7, 2)];
    granted.map(|granted| HardState { granted }.encode().to_vec()).to_vec()
}

pub(super) fn standing(bytes: &[u8]) {
    if let Ok(standing) = Standing::decode(bytes) {
        assert_eq!(standing.encode(), bytes);
    }
}

pub(super) fn standing_seeds() -> Vec<Vec<u8>> {
    [Standing::default(), Standing::default().after_loss()]
        .map(|standing| standing.encode().to_vec())
        .to_vec()
}

pub(super) fn membership(bytes: &[u8]) {
    if let Ok(membership) = Membership::decode(bytes) {
        assert_eq!(Membership::decode(&membership.encode()), Ok(membership.clone()));
        let members = membership.members().len();
        assert!(membership.write_quorum() <= members && membership.grant_quorum() <= members);
    }
}

pub(super) fn membership_seeds() -> Vec<Vec<u8>> {
    let modes = [Mode::Async, Mode::Sync { min_in_sync: 2 }, Mode::Raft];
    modes.iter().map(|mode| of_three(*mode).encode().to_vec()).collect()
}

/// A replica's message in its protocol form.
pub(super) fn envelope(bytes: &[u8]) {
    fuzzing::envelope(Bytes::copy_from_slice(bytes));
}

pub(super) fn envelope_seeds() -> Vec<Vec<u8>> {
    messages().into_iter().map(|message| fuzzing::envelope_of(node(2), node(1), message)).collect()
}

/// Messages to a core of three, one after the other, with time passing: whatever they say, the core stays consistent.
/// What it wants persisted is persisted at once, or when the script says so.
pub(super) fn core(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let kind = input.byte();
    let mode = [Mode::Raft, Mode::Async, Mode::Sync { min_in_sync: 2 }][usize::from(kind % 3)];
    let mut bench = Bench::new(mode, kind & 0x80 == 0);
    while !input.is_empty() {
        match input.byte() % 6 {
            0 => bench.pass(Duration::from_millis(input.u16().into())),
            1 | 2 => {
                if let Some((from, message)) = fuzzing::envelope(input.chunk()) {
                    bench.step(Event::Message { from, message });
                }
            }
            3 => bench.step(Event::Disconnected { peer: node(u64::from(input.byte()).max(1)) }),
            4 => bench.order(u64::from(input.byte()), input.byte()),
            _ => bench.persist(),
        }
    }
}

struct Bench {
    core: Core,
    now: Moment,
    /// Persists at once.
    quick: bool,
    last: Option<EntryId>,
}

impl Bench {
    fn new(mode: Mode, quick: bool) -> Self {
        let config = Config { node: node(1), timing: Timing::default(), seed: 1, max_inflight_batches: 64 };
        let log = LogSummary {
            base: EntryId::ZERO,
            last: EntryId::ZERO,
            epochs: Vec::new(),
            membership: of_three(mode),
            memberships: Vec::new(),
            adopted: None,
            standing: Standing::default(),
        };
        let now = Moment::default();
        Self { core: Core::new(config, HardState::default(), log, now), now, quick, last: None }
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now.plus(time);
        self.step(Event::Tick);
    }

    fn order(&mut self, epoch: u64, what: u8) {
        let expires = self.now.plus(Duration::from_secs(10));
        self.step(match what % 4 {
            0 => Event::Order(Order::Campaign { epoch, expires }),
            1 => Event::Order(Order::Promote { epoch, expires }),
            2 => Event::StepDown { to: None },
            _ => Event::ChangeMembership { mode: Mode::Raft, members: vec![node(1), node(4)] },
        });
    }

    fn persist(&mut self) {
        if let Some(last) = self.last.take() {
            self.step(Event::Persisted { last });
        }
    }

    fn step(&mut self, event: Event) {
        let mut actions = Vec::new();
        // A refusal is an answer.
        let _ = self.core.step(event, self.now, &mut actions);
        for action in actions {
            self.execute(action);
        }
        if self.quick {
            self.persist();
        }
        let view = self.core.view(self.now);
        assert!(view.commit <= view.last.index && view.persisted <= view.last.index, "{view:?}");
    }

    fn execute(&mut self, action: Action) {
        match action {
            Action::Append(batches) => self.last = batches.last().map(|batch| batch.id()).or(self.last),
            Action::Truncate { keep, .. } if self.last.is_some_and(|last| last.index > keep) => {
                self.last = None
            }
            Action::Seal { kind, payload } => {
                let Some(id) = self.core.next_entry() else { return };
                let mut builder = BatchBuilder::default();
                builder.push(&payload);
                let batch = builder.seal(kind, GroupId(0), id, LogPosition(0), Timestamp(0));
                self.step(Event::Propose { batch });
            }
            _ => {}
        }
    }
}

pub(super) fn core_seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for kind in [0, 1, 2, 0x80] {
        let mut script = Script::new().byte(kind);
        for message in messages() {
            script = script.byte(1).chunk(&fuzzing::envelope_of(node(2), node(1), message));
        }
        seeds.push(script.byte(5).byte(0).u16(2000).byte(4).byte(9).byte(0).byte(0).u16(500).done());
        // A campaign that the others grant.
        let response = |pre_vote, number| {
            Message::VoteResponse(VoteResponse {
                epoch: epoch(number, 1),
                pre_vote,
                granted: true,
                if_all: false,
                highest: Epoch::ZERO,
                last: EntryId::ZERO,
            })
        };
        let mut script = Script::new().byte(kind).byte(0).u16(3000).byte(4).byte(1).byte(0);
        for (pre_vote, number) in [(true, 1), (false, 1), (true, 2), (false, 2)] {
            for from in [2, 3] {
                let bytes = fuzzing::envelope_of(node(from), node(1), response(pre_vote, number));
                script = script.byte(1).chunk(&bytes);
            }
        }
        let accepted = Message::AppendResponse(AppendResponse {
            epoch: epoch(1, 1),
            accepted: true,
            round: 1,
            index: LogIndex(1),
            index_epoch: epoch(1, 1),
            floor: false,
            standing: Standing::default(),
        });
        let bytes = fuzzing::envelope_of(node(2), node(1), accepted);
        seeds.push(script.byte(1).chunk(&bytes).byte(0).u16(100).byte(4).byte(0).byte(3).done());
    }
    seeds
}

pub(super) fn refill(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let kind = input.byte();
    let bytes = Bytes::copy_from_slice(input.rest());
    let _ = match kind % 4 {
        0 => fuzzing::refill_begin(bytes),
        1 => fuzzing::refill_batches(bytes),
        2 => fuzzing::refill_marker(bytes),
        _ => fuzzing::identity(&bytes),
    };
}

pub(super) fn refill_seeds() -> Vec<Vec<u8>> {
    use mainstay_proto::replication as proto;
    use prost::Message as _;

    let base = super::storage::some_base().to_bytes();
    let begin = proto::RefillBegin {
        from: 2,
        to: 1,
        epoch: Some(proto::Epoch { number: 3, candidate: 2 }),
        round: 9,
        log_base: base.clone(),
        snapshot_base: base.clone(),
    };
    let batches = proto::RefillBatches { batches: vec![sealed(BatchKind::Data, 1, &[b"x"]).bytes().clone()] };
    let membership = of_three(Mode::Raft).encode();
    let marker = Script::new().byte(1).u32(membership.len() as u32).raw(&membership).raw(&base).done();
    let identity = Script::new().byte(1).u64(77).u32(3).raw(b"orders").done();
    [begin.encode_to_vec(), batches.encode_to_vec(), marker, identity]
        .iter()
        .enumerate()
        .map(|(kind, bytes)| Script::new().byte(kind as u8).raw(bytes).done())
        .collect()
}

fn node(raw: u64) -> NodeId {
    NodeId::new(raw).expect("not zero")
}

fn epoch(number: u64, candidate: u64) -> Epoch {
    Epoch::new(number, node(candidate))
}

pub(super) fn of_three(mode: Mode) -> Membership {
    Membership::new(1, mode, vec![node(1), node(2), node(3)]).expect("three members")
}

fn messages() -> Vec<Message> {
    let last = EntryId { epoch: epoch(1, 1), index: LogIndex(2) };
    let new = epoch(2, 2);
    let header = |prev| AppendHeader {
        epoch: epoch(1, 1),
        membership: 1,
        prev,
        commit: LogIndex(1),
        losses: 0,
        round: 1,
    };
    let batches = vec![sealed(BatchKind::Epoch, 1, &[]), sealed(BatchKind::Data, 2, &[b"record"])];
    let member = of_three(Mode::Raft).encode();
    let change = vec![sealed(BatchKind::Membership, 3, &[&member])];
    vec![
        Message::Append(Append { header: header(EntryId::ZERO), batches }),
        Message::Append(Append { header: header(last), batches: change }),
        Message::Append(Append { header: header(last), batches: Vec::new() }),
        Message::VoteRequest(VoteRequest {
            epoch: new,
            pre_vote: true,
            membership: 1,
            last,
            released: Some(epoch(1, 1)),
            forced: false,
        }),
        Message::VoteRequest(VoteRequest {
            epoch: new,
            pre_vote: false,
            membership: 1,
            last,
            released: None,
            forced: true,
        }),
        Message::TimeoutNow(TimeoutNow { epoch: epoch(1, 1) }),
        Message::AppendResponse(AppendResponse {
            epoch: new,
            accepted: false,
            round: 1,
            index: LogIndex(1),
            index_epoch: epoch(1, 1),
            floor: true,
            standing: Standing { losses: 1, caught_up: false },
        }),
    ]
}
