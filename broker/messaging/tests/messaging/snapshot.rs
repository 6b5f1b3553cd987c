//! A snapshot is the state: whole, the same bytes for the same state, refused when anything about it is wrong.

use std::sync::LazyLock;

use bytes::{Bytes, BytesMut};
use mainstay_messaging::{
    Command, CreateTopic, Frozen, QueueCount, Receive, Restore, SnapshotError, StartPosition, State,
    SyncMetadata, TopicKind,
};
use mainstay_record::GroupId;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use crate::log::{INVISIBLE, Log, create_group, group, receive, tags, topic};

fn parts(state: &State) -> Vec<Bytes> {
    state.freeze().into_parts().collect()
}

fn joined(parts: &[Bytes]) -> BytesMut {
    BytesMut::from(&parts.concat()[..])
}

fn restored(parts: &[Bytes]) -> Result<State, SnapshotError> {
    let mut restore = Restore::new(GroupId(0), 1);
    for part in parts {
        restore.feed(part)?;
    }
    restore.finish()
}

/// Through bytes and back.
pub(crate) fn copy_of(state: &State) -> State {
    restored(&parts(state)).unwrap()
}

/// Messages with and without tags over many chunks, groups that are behind, in flight, redelivered, or have read
/// nothing yet.
fn busy() -> Log {
    let mut log = Log::with_queues(3);
    log.apply(create_group("late", StartPosition::Latest));
    log.apply(create_group("idle", StartPosition::Earliest));
    for n in 0..5000u32 {
        let tag = format!("t{}", n % 7);
        log.publish(n % 2, (n % 3 > 0).then_some(tag.as_str()));
        log.wait(u64::from(n % 2));
    }
    log.receive(receive(300));
    log.wait(INVISIBLE);
    for delivery in log.receive(Receive { filter: tags(&["t1", "t2"]), ..receive(40) }) {
        if delivery.offset.0 % 2 == 0 {
            log.ack(delivery.handle).unwrap();
        }
    }
    log.receive(Receive { group: group("late"), ..receive(5) });
    log
}

#[test]
fn an_empty_state_survives() {
    let state = State::new(GroupId(0), 1);
    assert_eq!(restored(&parts(&state)), Ok(state));
}

#[test]
fn a_busy_state_survives_and_behaves_as_before() {
    let mut log = busy();
    let mut copy = restored(&parts(&log.state)).unwrap();
    assert_eq!(copy, log.state);
    log.wait(INVISIBLE);
    for command in [
        Command::Receive(Receive { filter: tags(&["t3"]), ..receive(100) }),
        Command::Receive(receive(100)),
        Command::Receive(Receive { group: group("late"), ..receive(100) }),
        Command::Receive(Receive { group: group("idle"), ..receive(3000) }),
    ] {
        let record = log.next_record();
        let outcome = log.apply(command.clone());
        assert_eq!(copy.apply(record, log.now, &command), outcome);
    }
    assert_eq!(copy, log.state);
}

#[test]
fn a_follower_of_the_metadata_survives() {
    let mut log = Log::empty(1, 2);
    let metadata = busy().state.metadata();
    log.apply(Command::SyncMetadata(SyncMetadata { metadata }));
    log.publish(0, Some("x"));
    let mut restore = Restore::new(GroupId(1), 2);
    parts(&log.state).iter().for_each(|part| restore.feed(part).unwrap());
    assert_eq!(restore.finish(), Ok(log.state));
}

#[test]
fn what_happens_after_freezing_is_not_in_the_snapshot() {
    let mut log = busy();
    let before = parts(&log.state);
    let frozen: Frozen = log.state.freeze();
    assert_eq!((frozen.messages(), frozen.broker_group()), (5000, GroupId(0)));
    log.publish(0, Some("new"));
    log.publish(2, Some("t1"));
    log.wait(INVISIBLE);
    let delivery = log.receive(receive(10))[0];
    log.ack(delivery.handle).unwrap();
    log.apply(create_group("newer", StartPosition::Latest));
    assert_eq!(frozen.into_parts().collect::<Vec<_>>(), before);
    assert_ne!(parts(&log.state), before);
    log.assert_replays(0, 1);
}

#[test]
fn equal_states_give_equal_bytes() {
    let (one, other) = (many_names(), many_names());
    assert_eq!(one, other);
    assert_eq!(parts(&one), parts(&other));
    assert_eq!(parts(&copy_of(&one)), parts(&one));
    assert_eq!(parts(&one.clone()), parts(&one));
}

/// So many of everything kept by name or revision that no two maps have them in the same order by chance.
fn many_names() -> State {
    let mut log = Log::with_queues(1);
    for n in 0..40 {
        let name = format!("t{n}");
        let (queues, kind) = (QueueCount::new(2).unwrap(), TopicKind::Normal);
        log.apply(Command::CreateTopic(CreateTopic { name: topic(&name), kind, queues }));
        log.apply(create_group(&format!("g{n}"), StartPosition::Earliest));
        let tag = format!("x{n}");
        log.publish(0, Some(&tag));
        log.receive(Receive { group: group(&format!("g{n}")), ..receive(2) });
    }
    log.state
}

#[test]
fn parts_are_of_about_one_mebibyte() {
    let mut log = Log::with_queues(1);
    log.publish_to((0..200_000).map(|_| 0));
    let parts = parts(&log.state);
    assert!(parts.len() >= 3, "{}", parts.len());
    let (last, full) = parts.split_last().unwrap();
    assert!(full.iter().all(|part| (1 << 20..(1 << 20) + (1 << 17)).contains(&part.len())));
    assert!(last.len() < 1 << 21);
    assert_eq!(restored(&parts), Ok(log.state));
}

#[test]
fn a_long_tag_is_no_obstacle() {
    let mut log = Log::with_queues(1);
    let long = "x".repeat(5 << 20);
    log.publish(0, Some(&long));
    log.publish(0, Some("short"));
    assert_eq!(restored(&parts(&log.state)), Ok(log.state));
}

#[test]
fn errors_say_what_is_wrong() {
    let mut log = Log::with_queues(1);
    log.publish_to((0..140_000).map(|_| 0));
    let good = parts(&log.state);
    assert!(good.len() > 2);
    let error = |parts: &[Bytes]| restored(parts).unwrap_err().to_string();
    assert_eq!(error(&[]), "the snapshot has no end");
    assert_eq!(error(&good[..2]), "the snapshot has no end");
    assert_eq!(error(&good[1..]), "part 1 of the snapshot came where part 0 was due");
    assert_eq!(error(&[&good[..2], &good[1..]].concat()), "part 1 of the snapshot came where part 2 was due");
    assert_eq!(
        error(&[&good[..], &good[..1]].concat()),
        format!("{} bytes follow the end of the snapshot", good[0].len())
    );
    assert_eq!(error(&[Bytes::from_static(b"no snapshot at all")]), "no part of a snapshot begins here");
    assert_eq!(error(&[Bytes::from_static(b"MSS\x09 from the future")]), "snapshot format 9 is unknown");
    let mut damaged = joined(&good);
    damaged[5000] ^= 1;
    assert!(error(&[damaged.freeze()]).starts_with("part 0 of the snapshot is damaged"));
    let elsewhere = Restore::new(GroupId(1), 2).feed(&good[0]).unwrap_err();
    assert_eq!(elsewhere.to_string(), "the snapshot is of broker group 0 of 1, expected 1 of 2");
}

#[test]
fn a_part_of_another_snapshot_is_refused() {
    let snapshot = |messages| {
        let mut log = Log::with_queues(1);
        log.publish_to((0..messages).map(|_| 0));
        parts(&log.state)
    };
    let (one, other) = (snapshot(70_000), snapshot(70_001));
    assert!(one.len() > 1 && other.len() == one.len());
    let mixed = restored(&[one[0].clone(), other[1].clone()]);
    assert!(matches!(mixed, Err(SnapshotError::BadChecksum { part: 1, .. })), "{mixed:?}");
}

#[test]
fn after_an_error_there_is_no_state() {
    let good = parts(&busy().state);
    let mut restore = Restore::new(GroupId(0), 1);
    let error = restore.feed(&Bytes::from_static(b"something else, longer")).unwrap_err();
    for part in &good {
        assert_eq!(restore.feed(part), Err(error.clone()));
    }
    assert_eq!(restore.finish(), Err(error));
}

/// A busy state and its snapshot in one piece.
static BUSY: LazyLock<(State, Bytes)> = LazyLock::new(|| {
    let state = busy().state;
    let bytes = joined(&parts(&state)).freeze();
    (state, bytes)
});

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_cuts_between_fed_bytes_do_not_matter(cuts in vec(any::<Index>(), 0..20)) {
        let (state, bytes) = &*BUSY;
        let mut bytes = bytes.clone();
        let mut restore = Restore::new(GroupId(0), 1);
        for cut in cuts {
            restore.feed(&bytes.split_to(cut.index(bytes.len() + 1))).unwrap();
        }
        restore.feed(&bytes).unwrap();
        let found = restore.finish();
        prop_assert_eq!(found.as_ref(), Ok(state));
    }

    #[test]
    fn any_changed_bit_and_any_cut_is_an_error(at in any::<Index>(), bit in 0u8..8, cut in any::<Index>()) {
        let short = &BUSY.1;
        let mut bytes = BytesMut::from(&short[..]);
        prop_assert!(restored(&[short.slice(..cut.index(short.len()))]).is_err());
        let at = at.index(bytes.len());
        bytes[at] ^= 1u8 << bit;
        prop_assert!(restored(&[bytes.freeze()]).is_err());
    }
}
