//! Messages on their way in and out: from the protocol's form to a record and back.
//!
//! Bodies are shared, never copied, and their bytes and encoding are never touched.

use std::fmt::Write;

use mainstay_messaging::{Delivery, MessageKind, Publish, QueueId, TopicKind, TopicName};
use mainstay_proto::rocketmq::{
    Code, Digest, DigestType, Encoding, Message, MessageType, Resource, SystemProperties,
};
use mainstay_record::Timestamp;
use md5::{Digest as _, Md5};

use super::refusal::{Checked, Refusal};
use super::times::{timestamp, wire_duration, wire_timestamp};

/// The type of a message, which its properties decide; what it declares counts for transactions only.
pub(crate) fn message_type(system: &SystemProperties) -> MessageType {
    if system.message_type == MessageType::Transaction as i32 {
        MessageType::Transaction
    } else if system.delivery_timestamp.is_some() {
        MessageType::Delay
    } else if system.message_group.is_some() {
        MessageType::Fifo
    } else if system.priority.is_some() {
        MessageType::Priority
    } else if system.lite_topic.is_some() {
        MessageType::Lite
    } else {
        MessageType::Normal
    }
}

/// The types of message that a topic takes.
pub(crate) const fn accepted_types(kind: TopicKind) -> &'static [MessageType] {
    match kind {
        TopicKind::Normal => &[MessageType::Normal],
        TopicKind::Fifo => &[MessageType::Fifo],
        TopicKind::Delay => &[MessageType::Delay],
        TopicKind::Transaction => &[MessageType::Transaction],
        TopicKind::Priority => &[MessageType::Priority],
        TopicKind::Mixed => {
            &[MessageType::Normal, MessageType::Fifo, MessageType::Delay, MessageType::Transaction]
        }
    }
}

/// Checks that a message of this type may go to a topic of this kind.
///
/// # Errors
/// `MESSAGE_PROPERTY_CONFLICT_WITH_TYPE` where the topic does not take it, `NOT_IMPLEMENTED` where nothing does yet.
pub(crate) fn check_type(kind: TopicKind, topic: &TopicName, found: MessageType) -> Checked<()> {
    let found_name = found.as_str_name();
    let unsupported =
        if found == MessageType::Normal { "" } else { "; messages of this type are not supported yet" };
    if !accepted_types(kind).contains(&found) {
        return Err(Refusal::new(
            Code::MessagePropertyConflictWithType,
            format!(
                "message type {found_name} does not go with topic '{topic}' of type {}{unsupported}",
                kind.as_str()
            ),
        ));
    }
    if found != MessageType::Normal {
        return Err(Refusal::not_supported_yet(&format!("message type {found_name}")));
    }
    Ok(())
}

/// The record of a checked message of type NORMAL.
pub(crate) fn publish(
    message: &Message,
    system: &SystemProperties,
    topic: &TopicName,
    queue: QueueId,
    now: Timestamp,
) -> Publish {
    let properties = &message.user_properties;
    Publish {
        topic: topic.clone(),
        queue,
        kind: MessageKind::Normal,
        tag: system.tag.clone(),
        message_id: system.message_id.clone(),
        keys: system.keys.clone(),
        properties: properties.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
        trace_context: system.trace_context.clone(),
        born_at: system.born_timestamp.as_ref().map_or(now, timestamp),
        born_host: system.born_host.clone(),
        encoding: match Encoding::try_from(system.body_encoding) {
            Ok(Encoding::Gzip) => mainstay_messaging::Encoding::Gzip,
            _ => mainstay_messaging::Encoding::Identity,
        },
        body: message.body.clone(),
    }
}

/// A stored message as its producer would send it again.
pub(crate) fn unsent(stored: Publish) -> Message {
    let topic = Resource { resource_namespace: String::new(), name: stored.topic.as_str().to_owned() };
    let (properties, body) = (stored.properties.clone(), stored.body.clone());
    Message {
        topic: Some(topic),
        user_properties: properties.into_iter().collect(),
        system_properties: Some(system_properties(stored)),
        body,
    }
}

/// What a consumer gets: the stored message and this delivery of it.
pub(crate) fn delivered(
    mut stored: Publish,
    delivery: &Delivery,
    topic: Resource,
    invisible: std::time::Duration,
    store_host: &str,
) -> Message {
    let (properties, body) = (std::mem::take(&mut stored.properties), stored.body.clone());
    let system = SystemProperties {
        body_digest: Some(body_digest(&body)),
        store_timestamp: Some(wire_timestamp(delivery.stored_at)),
        store_host: store_host.to_owned(),
        receipt_handle: Some(delivery.handle.to_string()),
        queue_id: i32::try_from(delivery.queue.0).unwrap_or(i32::MAX),
        queue_offset: Some(i64::try_from(delivery.offset.0).unwrap_or(i64::MAX)),
        invisible_duration: Some(wire_duration(invisible)),
        delivery_attempt: Some(i32::try_from(delivery.attempt).unwrap_or(i32::MAX).max(1)),
        ..system_properties(stored)
    };
    Message {
        topic: Some(topic),
        user_properties: properties.into_iter().collect(),
        system_properties: Some(system),
        body,
    }
}

/// The properties that come from the producer.
fn system_properties(stored: Publish) -> SystemProperties {
    let (message_type, message_group, deliver_at) = match stored.kind {
        MessageKind::Normal => (MessageType::Normal, None, None),
        MessageKind::Fifo { message_group } => (MessageType::Fifo, Some(message_group), None),
        MessageKind::Delay { deliver_at } => (MessageType::Delay, None, Some(deliver_at)),
        MessageKind::Transaction { .. } => (MessageType::Transaction, None, None),
        MessageKind::Priority { .. } => (MessageType::Priority, None, None),
    };
    SystemProperties {
        tag: stored.tag,
        keys: stored.keys,
        message_id: stored.message_id,
        body_encoding: match stored.encoding {
            mainstay_messaging::Encoding::Identity => Encoding::Identity as i32,
            mainstay_messaging::Encoding::Gzip => Encoding::Gzip as i32,
        },
        message_type: message_type as i32,
        born_timestamp: Some(wire_timestamp(stored.born_at)),
        born_host: stored.born_host,
        delivery_timestamp: deliver_at.map(wire_timestamp),
        message_group,
        trace_context: stored.trace_context,
        ..SystemProperties::default()
    }
}

/// MD5 in upper-case hex over the bytes as stored: what every official client checks alike.
fn body_digest(body: &[u8]) -> Digest {
    let hash = Md5::digest(body);
    let mut checksum = String::with_capacity(2 * hash.len());
    for byte in hash {
        // Writing to a String does not fail.
        let _ = write!(checksum, "{byte:02X}");
    }
    Digest { r#type: DigestType::Md5 as i32, checksum }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use mainstay_messaging::{QueueOffset, ReceiptHandle};
    use mainstay_record::{LogIndex, RecordId};

    use super::*;

    fn test_handle() -> ReceiptHandle {
        "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAABNyHQz".parse().unwrap()
    }

    #[test]
    fn digests_are_md5_in_upper_case_with_leading_zeros() {
        assert_eq!(body_digest(b"").checksum, "D41D8CD98F00B204E9800998ECF8427E");
        assert_eq!(body_digest(b"hello").checksum, "5D41402ABC4B2A76B9719D911017C592");
        // The hash begins with a zero digit.
        assert_eq!(body_digest(b"jk8ssl").checksum, "0000000018E6137AC2CAAB16074784A6");
        assert_eq!(body_digest(b"").r#type, DigestType::Md5 as i32);
    }

    #[test]
    fn the_type_follows_the_properties_in_order() {
        let stamp = Some(prost_types::Timestamp { seconds: 1, nanos: 0 });
        let base = SystemProperties::default();
        let fifo = SystemProperties { message_group: Some("g".to_owned()), ..base.clone() };
        let delay = SystemProperties { delivery_timestamp: stamp, ..fifo.clone() };
        let transaction = SystemProperties { message_type: MessageType::Transaction as i32, ..delay.clone() };
        let declared = SystemProperties { message_type: MessageType::Fifo as i32, ..base.clone() };
        for (system, expected) in [
            (&base, MessageType::Normal),
            (&declared, MessageType::Normal),
            (&fifo, MessageType::Fifo),
            (&delay, MessageType::Delay),
            (&transaction, MessageType::Transaction),
            (&SystemProperties { priority: Some(0), ..base.clone() }, MessageType::Priority),
            (&SystemProperties { lite_topic: Some("l".into()), ..base.clone() }, MessageType::Lite),
        ] {
            assert_eq!(message_type(system), expected);
        }
    }

    #[test]
    fn a_type_that_does_not_go_with_its_topic_conflicts_and_the_rest_is_not_implemented() {
        let topic = TopicName::new("orders").unwrap();
        let code = |kind, found| check_type(kind, &topic, found).err().map(|refusal| refusal.code);
        assert_eq!(code(TopicKind::Normal, MessageType::Normal), None);
        assert_eq!(code(TopicKind::Mixed, MessageType::Normal), None);
        for found in [
            MessageType::Fifo,
            MessageType::Delay,
            MessageType::Transaction,
            MessageType::Lite,
            MessageType::Priority,
        ] {
            assert_eq!(code(TopicKind::Normal, found), Some(Code::MessagePropertyConflictWithType));
            let words = check_type(TopicKind::Normal, &topic, found).unwrap_err().message;
            assert!(words.contains("not supported yet") && words.contains("orders"), "{words}");
        }
        assert_eq!(code(TopicKind::Fifo, MessageType::Normal), Some(Code::MessagePropertyConflictWithType));
        assert_eq!(code(TopicKind::Fifo, MessageType::Fifo), Some(Code::NotImplemented));
        assert_eq!(code(TopicKind::Mixed, MessageType::Delay), Some(Code::NotImplemented));
    }

    #[test]
    fn what_was_sent_is_what_is_delivered() {
        let system = SystemProperties {
            tag: Some("red".to_owned()),
            keys: vec!["k1".to_owned(), "k2".to_owned()],
            message_id: "01aB".to_owned(),
            body_encoding: Encoding::Gzip as i32,
            born_timestamp: Some(wire_timestamp(Timestamp(1_700_000_000_123))),
            born_host: "producer".to_owned(),
            trace_context: Some("trace".to_owned()),
            ..SystemProperties::default()
        };
        let resource = Resource { resource_namespace: String::new(), name: "orders".to_owned() };
        let body = Bytes::from(vec![7; 100]);
        let sent = Message {
            topic: Some(resource.clone()),
            user_properties: [("colour".to_owned(), "blue".to_owned())].into(),
            system_properties: Some(system.clone()),
            body: body.clone(),
        };
        let topic = TopicName::new("orders").unwrap();
        let stored = publish(&sent, &system, &topic, QueueId(3), Timestamp(5));
        assert_eq!(stored.body.as_ptr(), body.as_ptr(), "the body is shared");
        let delivery = Delivery {
            queue: QueueId(3),
            offset: QueueOffset(9),
            record: RecordId { index: LogIndex(1), slot: 0 },
            stored_at: Timestamp(1_700_000_000_456),
            attempt: 2,
            handle: test_handle(),
            expires_at: Timestamp(0),
        };
        let again = unsent(stored.clone());
        assert_eq!(again.body.as_ptr(), body.as_ptr(), "the body is shared");
        let system_again = again.system_properties.clone().unwrap();
        assert_eq!(publish(&again, &system_again, &topic, QueueId(3), Timestamp(6)), stored);
        let got = delivered(stored, &delivery, resource.clone(), Duration::from_secs(30), "store");
        assert_eq!(got.topic, Some(resource));
        assert_eq!(got.body.as_ptr(), body.as_ptr(), "the body is shared");
        assert_eq!(got.user_properties, sent.user_properties);
        let properties = got.system_properties.unwrap();
        assert_eq!(properties.tag, system.tag);
        assert_eq!(properties.keys, system.keys);
        assert_eq!(properties.message_id, system.message_id);
        assert_eq!(properties.body_encoding, system.body_encoding);
        assert_eq!(properties.born_timestamp, system.born_timestamp);
        assert_eq!(properties.born_host, system.born_host);
        assert_eq!(properties.trace_context, system.trace_context);
        assert_eq!(properties.store_timestamp, Some(wire_timestamp(Timestamp(1_700_000_000_456))));
        assert_eq!(properties.store_host, "store");
        assert_eq!(properties.message_type, MessageType::Normal as i32);
        assert_eq!((properties.queue_id, properties.queue_offset), (3, Some(9)));
        assert_eq!(properties.delivery_attempt, Some(2));
        assert_eq!(properties.receipt_handle, Some(test_handle().to_string()));
        assert_eq!(properties.invisible_duration, Some(wire_duration(Duration::from_secs(30))));
        assert_eq!(properties.body_digest, Some(body_digest(&body)));
    }
}
