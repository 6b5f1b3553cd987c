//! Durations and instants of the protocol: their bounds, and their way to and from the wire.

use std::time::{Duration, Instant};

use mainstay_proto::rocketmq::Code;
use mainstay_record::Timestamp;

use super::caller::Caller;
use super::refusal::{Checked, Refusal};

/// A long poll is answered after this time at the latest, empty if need be.
pub(crate) const MAX_POLL: Duration = Duration::from_secs(20);
/// How long a delivered message stays invisible when the consumer does not say.
pub(crate) const DEFAULT_INVISIBLE: Duration = Duration::from_secs(60);
const MIN_RECEIVE_INVISIBLE: Duration = Duration::from_secs(10);
const MAX_INVISIBLE: Duration = Duration::from_secs(12 * 3600);
/// A poll that has to be answered sooner than this is refused.
const SHORTEST_POLL: Duration = Duration::from_millis(50);
/// Taken from the deadline of a client that names no polling time: half of what it waits for other calls.
const RESERVE_WITHOUT_POLL_TIME: Duration = Duration::from_millis(1500);

/// How long messages of a receive call stay invisible.
///
/// # Errors
/// `ILLEGAL_INVISIBLE_TIME` outside of 10 s to 12 h.
pub(crate) fn receive_invisible(wire: Option<&prost_types::Duration>) -> Checked<Duration> {
    wire.map_or(Ok(DEFAULT_INVISIBLE), |wire| invisible(wire, MIN_RECEIVE_INVISIBLE))
}

/// How long a message stays invisible from now on; zero gives it back at once.
///
/// # Errors
/// `ILLEGAL_INVISIBLE_TIME` outside of 0 to 12 h or when absent.
pub(crate) fn change_invisible(wire: Option<&prost_types::Duration>) -> Checked<Duration> {
    let wire =
        wire.ok_or_else(|| Refusal::new(Code::IllegalInvisibleTime, "invisible_duration is missing"))?;
    invisible(wire, Duration::ZERO)
}

fn invisible(wire: &prost_types::Duration, min: Duration) -> Checked<Duration> {
    Duration::try_from(*wire).ok().filter(|time| (min..=MAX_INVISIBLE).contains(time)).ok_or_else(|| {
        let text = format!(
            "invisible_duration {}.{:09} s is not within {} s to {} s",
            wire.seconds,
            wire.nanos.unsigned_abs(),
            min.as_secs(),
            MAX_INVISIBLE.as_secs()
        );
        Refusal::new(Code::IllegalInvisibleTime, text)
    })
}

/// Until when a receive call may wait for messages. A client's shorter time is kept to.
///
/// # Errors
/// `ILLEGAL_POLLING_TIME` when the time is negative or the deadline too near.
pub(crate) fn poll_until(caller: &Caller, wire: Option<&prost_types::Duration>) -> Checked<Instant> {
    let asked = match wire {
        None => None,
        Some(wire) => Some(
            Duration::try_from(*wire)
                .map_err(|_| Refusal::new(Code::IllegalPollingTime, "long_polling_timeout is negative"))?,
        ),
    };
    let longest = caller.received + MAX_POLL;
    let Some(deadline) = caller.poll_deadline() else {
        return Ok(asked.map_or(longest, |asked| longest.min(caller.received + asked.min(MAX_POLL))));
    };
    if deadline < caller.received + SHORTEST_POLL {
        return Err(Refusal::new(
            Code::IllegalPollingTime,
            format!("the deadline of the call is nearer than {} ms", SHORTEST_POLL.as_millis()),
        ));
    }
    let wanted = match asked {
        Some(asked) => caller.received + asked.min(MAX_POLL),
        None => {
            deadline.checked_sub(RESERVE_WITHOUT_POLL_TIME).unwrap_or(caller.received).max(caller.received)
        }
    };
    Ok(wanted.min(longest).min(deadline))
}

pub(crate) fn wire_duration(duration: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        nanos: duration.subsec_nanos() as i32,
    }
}

pub(crate) fn wire_timestamp(at: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: i64::try_from(at.0 / 1000).unwrap_or(i64::MAX),
        nanos: (at.0 % 1000) as i32 * 1_000_000,
    }
}

/// Milliseconds since 1970; what is before that becomes zero.
pub(crate) fn timestamp(wire: &prost_types::Timestamp) -> Timestamp {
    let seconds = u64::try_from(wire.seconds).unwrap_or(0);
    let millis = u64::try_from(wire.nanos / 1_000_000).unwrap_or(0);
    Timestamp(seconds.saturating_mul(1000).saturating_add(millis))
}

/// As [`timestamp`], but never before the instant that is meant.
pub(crate) fn timestamp_up(wire: &prost_types::Timestamp) -> Timestamp {
    let part = u64::from(wire.nanos % 1_000_000 > 0);
    Timestamp(timestamp(wire).0.saturating_add(part))
}

#[cfg(test)]
mod tests {
    use tonic::metadata::MetadataMap;

    use super::*;
    use crate::client_api::caller::Origin;

    fn wire(seconds: i64, nanos: i32) -> Option<prost_types::Duration> {
        Some(prost_types::Duration { seconds, nanos })
    }

    #[test]
    fn invisible_times_have_bounds() {
        let twelve_hours = 12 * 3600;
        for (value, expected) in [
            (wire(10, 0), Some(10)),
            (wire(twelve_hours, 0), Some(12 * 3600)),
            (None, Some(60)),
            (wire(9, 999_999_999), None),
            (wire(twelve_hours, 1), None),
            (wire(-1, 0), None),
            (wire(0, 0), None),
        ] {
            let outcome = receive_invisible(value.as_ref());
            assert_eq!(outcome.as_ref().ok().map(Duration::as_secs), expected, "{value:?}");
            if let Err(refusal) = outcome {
                assert_eq!(refusal.code, Code::IllegalInvisibleTime);
                assert!(refusal.message.contains("invisible_duration"), "{refusal}");
            }
        }
        for (value, expected) in [
            (wire(0, 0), Some(0)),
            (wire(twelve_hours, 0), Some(12 * 3600)),
            (wire(twelve_hours, 1), None),
            (wire(0, -1), None),
            (None, None),
        ] {
            let outcome = change_invisible(value.as_ref());
            assert_eq!(outcome.as_ref().ok().map(Duration::as_secs), expected, "{value:?}");
            assert!(
                outcome.is_ok() || outcome.is_err_and(|refusal| refusal.code == Code::IllegalInvisibleTime)
            );
        }
    }

    #[test]
    fn polls_end_before_the_deadline_and_within_twenty_seconds() {
        for (timeout, asked, expected_ms) in [
            (None, None, Some(20_000)),
            (None, wire(7, 0), Some(7_000)),
            (None, wire(100, 0), Some(20_000)),
            (None, wire(0, 0), Some(0)),
            (None, wire(-1, 0), None),
            (Some("23S"), None, Some(20_000)),
            (Some("8S"), None, Some(6_350)),
            (Some("8S"), wire(5, 0), Some(5_000)),
            (Some("8S"), wire(20, 0), Some(7_850)),
            (Some("40S"), None, Some(20_000)),
            (Some("1S"), None, Some(0)),
            (Some("50m"), None, None),
        ] {
            let mut metadata = MetadataMap::new();
            if let Some(timeout) = timeout {
                metadata.insert("grpc-timeout", timeout.parse().unwrap());
            }
            let caller = Caller::new(metadata, Origin::Client);
            let outcome = poll_until(&caller, asked.as_ref());
            let waited = outcome.as_ref().ok().map(|until| (*until - caller.received).as_millis());
            assert_eq!(waited, expected_ms, "{timeout:?} {asked:?}");
            assert!(
                outcome.is_ok() || outcome.is_err_and(|refusal| refusal.code == Code::IllegalPollingTime)
            );
        }
    }

    #[test]
    fn timestamps_keep_milliseconds() {
        let at = Timestamp(1_700_000_000_123);
        assert_eq!(timestamp(&wire_timestamp(at)), at);
        assert_eq!(timestamp(&prost_types::Timestamp { seconds: -5, nanos: -1 }), Timestamp(0));
    }
}
