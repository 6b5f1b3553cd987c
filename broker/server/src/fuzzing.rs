//! The broker's own decoders, for the fuzz targets: each takes any bytes and panics when what it made of them does not
//! come back the same once it is encoded. `None` where they are nothing.

use bytes::Bytes;
use mainstay_consensus::Message;
use mainstay_proto::replication::{Envelope, RefillBatches, RefillBegin};
use mainstay_proto::rocketmq::{FilterExpression, FilterType};
use mainstay_record::{NodeId, Timestamp};
use prost::Message as _;

use crate::{client_api, group, replication};

/// What the sender of a message says it is o'clock.
const SHOWN: Timestamp = Timestamp(1_000_000);

/// A message of another replica, as it arrives.
pub fn envelope(bytes: Bytes) -> Option<(NodeId, Message)> {
    let decode = |bytes: Bytes| replication::decode(Envelope::decode(bytes).ok()?).ok();
    let (from, message) = decode(bytes)?;
    let again = decode(replication::encode(from, from, SHOWN, message.clone()).encode_to_vec().into());
    assert_eq!(again.as_ref(), Some(&(from, message.clone())));
    Some((from, message))
}

/// The bytes of such a message.
pub fn envelope_of(from: NodeId, to: NodeId, message: Message) -> Vec<u8> {
    replication::encode(from, to, SHOWN, message).encode_to_vec()
}

/// The beginning of a refill.
pub fn refill_begin(bytes: Bytes) -> Option<()> {
    let offer = replication::decode_offer(RefillBegin::decode(bytes).ok()?).ok()?;
    let again = replication::decode_offer(replication::encode_offer(offer.from, &offer)).ok();
    assert_eq!(format!("{again:?}"), format!("{:?}", Some(offer)));
    Some(())
}

/// Batches of a refill.
pub fn refill_batches(bytes: Bytes) -> Option<()> {
    let bytes = RefillBatches::decode(bytes).ok()?.batches;
    let batches = replication::decode_batches(&bytes).ok()?;
    assert!(batches.iter().map(mainstay_record::Batch::bytes).eq(&bytes));
    Some(())
}

/// The value of the file that says that a refill is under way.
pub fn refill_marker(bytes: Bytes) -> Option<()> {
    group::fuzzing::marker(bytes)
}

/// The value of the file that says whose a data folder is.
pub fn identity(bytes: &[u8]) -> Option<()> {
    group::fuzzing::identity(bytes)
}

/// The date that a client signs, in seconds since 1970.
pub fn client_date(text: &str) -> Option<i64> {
    client_api::fuzzing::date(text)
}

/// The tags of a filter; empty for all of them.
pub fn tags(text: &str) -> Option<Vec<String>> {
    let expression = FilterExpression { r#type: FilterType::Tag as i32, expression: text.to_owned() };
    client_api::fuzzing::tags(&expression)
}

/// How long a client waits, by its `grpc-timeout`.
pub fn timeout(text: &str) -> Option<std::time::Duration> {
    client_api::fuzzing::timeout(text)
}
