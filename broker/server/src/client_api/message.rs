//! Messages on their way in and out: from the protocol's form to a record and back.
//!
//! Bodies are shared, never copied, and their bytes and encoding are never touched.

use std::fmt::Write;
use std::time::Duration;

use mainstay_messaging::{Delivery, MessageKind, Publish, QueueId, QueueOffset, TopicName};
use mainstay_proto::rocketmq::{
    DeadLetterQueue, Digest, DigestType, Encoding, Message, MessageType, Resource, SystemProperties,
};
use mainstay_record::Timestamp;
use md5::{Digest as _, Md5};

use super::names::full_name;
use super::times::{timestamp, wire_duration, wire_timestamp};
use crate::group::Stored;

/// The record of a checked message.
pub(crate) fn publish(
    message: &Message,
    system: &SystemProperties,
    topic: &TopicName,
    queue: QueueId,
    kind: MessageKind,
    now: Timestamp,
) -> Publish {
    let properties = &message.user_properties;
    Publish {
        topic: topic.clone(),
        queue,
        kind,
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

/// Whether a record is the message of a delivery from `topic`. After a forced promotion another record may stand where the
/// message was.
pub(crate) fn is_delivered(stored: &Stored, delivery: &Delivery, topic: &TopicName) -> bool {
    let Stored { publish, stored_at } = stored;
    // Dead letters keep the record of the message that they were.
    let of_topic = if topic.is_derived() {
        !publish.topic.is_derived()
    } else {
        publish.topic == *topic && publish.queue == delivery.queue
    };
    let in_time = match publish.kind {
        MessageKind::Normal | MessageKind::Fifo { .. } | MessageKind::Priority { .. }
            if !topic.is_derived() =>
        {
            *stored_at == delivery.stored_at
        }
        _ => *stored_at <= delivery.stored_at,
    };
    of_topic && in_time
}

/// What a consumer of `topic` gets: the stored message and this delivery of it.
pub(crate) fn delivered(
    stored: Publish,
    delivery: &Delivery,
    topic: Resource,
    invisible: Duration,
    store_host: &str,
) -> Message {
    let place = (delivery.queue, delivery.offset);
    let stored = Stored { publish: stored, stored_at: delivery.stored_at };
    let mut message = shown(stored, topic, place, store_host);
    if let Some(system) = &mut message.system_properties {
        system.receipt_handle = Some(delivery.handle.to_string());
        system.invisible_duration = Some(wire_duration(invisible));
        system.delivery_attempt = Some(i32::try_from(delivery.attempt).unwrap_or(i32::MAX).max(1));
    }
    message
}

/// A stored message at its place in `topic`, for somebody who does not have to acknowledge it.
pub(crate) fn shown(
    stored: Stored,
    topic: Resource,
    (queue, offset): (QueueId, QueueOffset),
    store_host: &str,
) -> Message {
    let Stored { publish: mut stored, stored_at } = stored;
    let moved = full_name(Some(&topic)) != stored.topic.as_str();
    let origin = moved.then(|| DeadLetterQueue {
        topic: stored.topic.as_str().to_owned(),
        message_id: stored.message_id.clone(),
    });
    let (properties, body) = (std::mem::take(&mut stored.properties), stored.body.clone());
    let system = SystemProperties {
        body_digest: Some(body_digest(&body)),
        store_timestamp: Some(wire_timestamp(stored_at)),
        store_host: store_host.to_owned(),
        queue_id: i32::try_from(queue.0).unwrap_or(i32::MAX),
        queue_offset: Some(i64::try_from(offset.0).unwrap_or(i64::MAX)),
        delivery_attempt: Some(1),
        dead_letter_queue: origin,
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
    let mut system = SystemProperties {
        tag: stored.tag,
        keys: stored.keys,
        message_id: stored.message_id,
        body_encoding: match stored.encoding {
            mainstay_messaging::Encoding::Identity => Encoding::Identity as i32,
            mainstay_messaging::Encoding::Gzip => Encoding::Gzip as i32,
        },
        born_timestamp: Some(wire_timestamp(stored.born_at)),
        born_host: stored.born_host,
        trace_context: stored.trace_context,
        ..SystemProperties::default()
    };
    let kind = match stored.kind {
        MessageKind::Normal => MessageType::Normal,
        MessageKind::Fifo { message_group } => {
            system.message_group = Some(message_group);
            MessageType::Fifo
        }
        MessageKind::Delay { deliver_at } => {
            system.delivery_timestamp = Some(wire_timestamp(deliver_at));
            MessageType::Delay
        }
        MessageKind::Transaction { check_after_ms } => {
            let wait = check_after_ms.map(|ms| wire_duration(Duration::from_millis(ms)));
            system.orphaned_transaction_recovery_duration = wait;
            MessageType::Transaction
        }
        MessageKind::Priority { priority } => {
            system.priority = Some(i32::try_from(priority).unwrap_or(i32::MAX));
            MessageType::Priority
        }
    };
    system.message_type = kind as i32;
    system
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
    use bytes::Bytes;
    use mainstay_messaging::ReceiptHandle;
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
    fn only_the_record_of_the_message_stands_for_a_delivery() {
        let topic = TopicName::new("orders").unwrap();
        let letters = TopicName::dead_letters_of(&mainstay_messaging::GroupName::new("g").unwrap());
        let delivery = Delivery {
            queue: QueueId(3),
            offset: QueueOffset(9),
            record: RecordId { index: LogIndex(1), slot: 0 },
            stored_at: Timestamp(100),
            attempt: 2,
            handle: test_handle(),
            expires_at: Timestamp(0),
        };
        let system = SystemProperties { message_id: "1".to_owned(), ..SystemProperties::default() };
        let stored = |topic: &TopicName, queue, kind, at| Stored {
            publish: publish(&Message::default(), &system, topic, QueueId(queue), kind, Timestamp(5)),
            stored_at: Timestamp(at),
        };
        let delay = MessageKind::Delay { deliver_at: Timestamp(90) };
        let other = TopicName::new("others").unwrap();
        for (stored, topic, expected) in [
            (stored(&topic, 3, MessageKind::Normal, 100), &topic, true),
            (stored(&topic, 3, MessageKind::Normal, 99), &topic, false),
            (stored(&topic, 2, MessageKind::Normal, 100), &topic, false),
            (stored(&other, 3, MessageKind::Normal, 100), &topic, false),
            (stored(&topic, 3, delay.clone(), 50), &topic, true),
            (stored(&topic, 3, delay, 101), &topic, false),
            (stored(&topic, 2, MessageKind::Normal, 50), &letters, true),
            (stored(&topic, 2, MessageKind::Normal, 101), &letters, false),
            (stored(&letters, 3, MessageKind::Normal, 100), &letters, false),
        ] {
            assert_eq!(is_delivered(&stored, &delivery, topic), expected, "{stored:?} {topic}");
        }
        let letter = stored(&topic, 2, MessageKind::Normal, 50).publish;
        let resource = Resource { resource_namespace: String::new(), name: "%DLQ%g".to_owned() };
        let got = delivered(letter, &delivery, resource, Duration::from_secs(30), "store");
        let origin = got.system_properties.unwrap().dead_letter_queue.unwrap();
        assert_eq!((origin.topic.as_str(), origin.message_id.as_str()), ("orders", "1"));
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
        let stored = publish(&sent, &system, &topic, QueueId(3), MessageKind::Normal, Timestamp(5));
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
        assert_eq!(
            publish(&again, &system_again, &topic, QueueId(3), MessageKind::Normal, Timestamp(6)),
            stored
        );
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
