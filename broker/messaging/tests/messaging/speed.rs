//! How long snapshots take. Run with `cargo test --release -p mainstay-messaging speed -- --ignored --nocapture`.

use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use mainstay_messaging::{Command, Publish, QueueId, Receive, Restore, State};
use mainstay_record::{GroupId, LogIndex, RecordId, Timestamp};

use crate::log::{Log, create_group, create_topic, message, receive};

const QUEUES: u32 = 8;
const IN_FLIGHT: u32 = 10_000;

/// Messages over eight queues, a hundred to a batch, every second one with one of ten tags; then full cursors.
fn filled(messages: u64) -> State {
    let mut log = Log::empty(0, 1);
    log.apply(create_topic(QUEUES));
    log.apply(create_group(crate::log::GROUP, mainstay_messaging::StartPosition::Earliest));
    let encode = |n: u32| {
        let tag = format!("tag-{}", n % 10);
        let publish = Publish {
            queue: QueueId(n % QUEUES),
            // None, so that each is stored however often.
            message_id: String::new(),
            ..message(0, n.is_multiple_of(2).then_some(tag.as_str()))
        };
        let mut bytes = BytesMut::new();
        Command::Publish(publish).encode(&mut bytes);
        bytes.freeze()
    };
    let records: Vec<Bytes> = (0..40).map(encode).collect();
    for n in 0..messages {
        let id = RecordId { index: LogIndex(10 + n / 100), slot: (n % 100) as u32 };
        let now = Timestamp(1_000_000 + n / 100);
        log.state.apply_encoded(id, now, &records[n as usize % records.len()]).unwrap();
    }
    let record = RecordId { index: LogIndex(10 + messages), slot: 0 };
    let all = Command::Receive(Receive { max: QUEUES * IN_FLIGHT, ..receive(1) });
    log.state.apply(record, Timestamp(2_000_000_000), &all);
    log.state
}

/// By the clock, and what of it this thread was at work: other programs may take their share.
fn timed<T>(work: impl FnOnce() -> T) -> (String, T) {
    let began = (Instant::now(), worked());
    let result = work();
    (format!("{:?} ({:?} of work)", began.0.elapsed(), worked().saturating_sub(began.1)), result)
}

/// Linux counts it in nanoseconds, a little behind.
fn worked() -> Duration {
    std::thread::yield_now();
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = text.split(' ').next().and_then(|first| first.parse().ok());
    Duration::from_nanos(nanos.unwrap_or_default())
}

fn measure(messages: u64) {
    let (apply, mut state) = timed(|| filled(messages));
    let (freeze, frozen) = timed(|| state.freeze());
    let record = RecordId { index: LogIndex(1 << 40), slot: 0 };
    let next = Command::Publish(message(0, Some("tag-1")));
    let (first_push, _) = timed(|| black_box(state.apply(record, Timestamp(3_000_000_000), &next)));
    let (encode, parts) = timed(|| frozen.into_parts().collect::<Vec<Bytes>>());
    let (restore, restored) = timed(|| {
        let mut restore = Restore::new(GroupId(0), 1);
        parts.iter().for_each(|part| restore.feed(part).unwrap());
        restore.finish().unwrap()
    });
    let bytes: usize = parts.iter().map(Bytes::len).sum();
    println!(
        "{messages} messages: apply {apply}, freeze {freeze}, first publish after it {first_push}, \
         encode {encode}, {} parts, {bytes} bytes, restore {restore}",
        parts.len()
    );
    let mut again = restored;
    again.apply(record, Timestamp(3_000_000_000), &next);
    assert_eq!(again, state);
}

#[test]
#[ignore = "a measurement"]
fn speed_of_snapshots() {
    measure(1_000_000);
    measure(10_000_000);
}
