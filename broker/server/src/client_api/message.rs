//! Messages on their way in and out: from the protocol's form to a record and back.
//!
//! Bodies are shared, never copied, and their bytes and encoding are never touched.

use std::fmt::Write;
use std::time::Duration;

use mainstay_messaging::{Delivery, MessageKind, Publish, QueueId, QueueOffset, TopicKind, TopicName};
use mainstay_proto::rocketmq::{
    Code, DeadLetterQueue, Digest, DigestType, Encoding, Message, MessageType, Resource, SystemProperties,
};
use mainstay_record::Timestamp;
use md5::{Digest as _, Md5};

use super::names::full_name;
use super::refusal::{Checked, Refusal};
use super::times::{timestamp, timestamp_up, wire_duration, wire_timestamp};
use crate::group::Stored;

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
/// `MESSAGE_PROPERTY_CONFLICT_WITH_TYPE` where the topic does not take it, `UNSUPPORTED` where no topic does.
pub(crate) fn check_type(kind: TopicKind, topic: &TopicName, found: MessageType) -> Checked<()> {
    if found == MessageType::Lite {
        return Err(Refusal::new(
            Code::Unsupported,
            "lite_topic: messages of type LITE are not supported by this broker",
        ));
    }
    if accepted_types(kind).contains(&found) {
        return Ok(());
    }
    Err(Refusal::new(
        Code::MessagePropertyConflictWithType,
        format!(
            "message type {} does not go with topic '{topic}' of type {}",
            found.as_str_name(),
            kind.as_str()
        ),
    ))
}

/// What sort of message it is, with what belongs to that sort.
///
/// # Errors
/// `ILLEGAL_DELIVERY_TIME` for one that is to be delivered more than `max_delay` after `now`, `BAD_REQUEST` for a negative
/// priority, `MESSAGE_PROPERTY_CONFLICT_WITH_TYPE` for properties of two sorts.
pub(crate) fn message_kind(
    system: &SystemProperties,
    now: Timestamp,
    max_delay: Duration,
) -> Checked<MessageKind> {
    let found = message_type(system);
    check_alone(system, found)?;
    Ok(match found {
        MessageType::Fifo => {
            MessageKind::Fifo { message_group: system.message_group.clone().unwrap_or_default() }
        }
        MessageType::Delay => {
            let deliver_at = system.delivery_timestamp.as_ref().map_or(now, timestamp_up);
            let ahead = deliver_at.0.saturating_sub(now.0);
            if u128::from(ahead) > max_delay.as_millis() {
                let text = format!(
                    "delivery_timestamp is {ahead} ms ahead, at most {} ms are allowed",
                    max_delay.as_millis()
                );
                return Err(Refusal::new(Code::IllegalDeliveryTime, text));
            }
            MessageKind::Delay { deliver_at }
        }
        MessageType::Transaction => {
            let asked = system.orphaned_transaction_recovery_duration;
            let asked = asked.and_then(|wait| Duration::try_from(wait).ok()).filter(|wait| !wait.is_zero());
            MessageKind::Transaction { check_after_ms: asked.map(|wait| wait.as_millis() as u64) }
        }
        MessageType::Priority => {
            let priority = system.priority.unwrap_or_default();
            let priority = u32::try_from(priority).map_err(|_| {
                Refusal::new(Code::BadRequest, format!("priority is {priority}, it must not be negative"))
            })?;
            MessageKind::Priority { priority }
        }
        MessageType::Normal | MessageType::Lite | MessageType::Unspecified => MessageKind::Normal,
    })
}

/// A property that the message's type does not have would be lost without a word.
fn check_alone(system: &SystemProperties, found: MessageType) -> Checked<()> {
    let others = [
        ("message_group", MessageType::Fifo, system.message_group.is_some()),
        ("delivery_timestamp", MessageType::Delay, system.delivery_timestamp.is_some()),
        ("priority", MessageType::Priority, system.priority.is_some()),
        ("lite_topic", MessageType::Lite, system.lite_topic.is_some()),
    ];
    match others.iter().find(|(_, kind, given)| *given && *kind != found) {
        None => Ok(()),
        Some((field, ..)) => Err(Refusal::new(
            Code::MessagePropertyConflictWithType,
            format!("{field} does not go with a message of type {}", found.as_str_name()),
        )),
    }
}

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
    fn a_type_goes_with_its_topic_and_mixed_ones_take_all_but_priorities() {
        let topic = TopicName::new("orders").unwrap();
        let code = |kind, found| check_type(kind, &topic, found).err().map(|refusal| refusal.code);
        let pairs = [
            (TopicKind::Normal, MessageType::Normal),
            (TopicKind::Fifo, MessageType::Fifo),
            (TopicKind::Delay, MessageType::Delay),
            (TopicKind::Transaction, MessageType::Transaction),
            (TopicKind::Priority, MessageType::Priority),
        ];
        for (kind, own) in pairs {
            for (_, found) in pairs {
                let expected = (own != found).then_some(Code::MessagePropertyConflictWithType);
                assert_eq!(code(kind, found), expected, "{kind:?} {found:?}");
            }
            assert_eq!(code(kind, MessageType::Lite), Some(Code::Unsupported));
            let conflict = Some(Code::MessagePropertyConflictWithType);
            let mixed = if own == MessageType::Priority { conflict } else { None };
            assert_eq!(code(TopicKind::Mixed, own), mixed);
        }
        let words = check_type(TopicKind::Normal, &topic, MessageType::Fifo).unwrap_err().message;
        assert!(words.contains("FIFO") && words.contains("orders") && words.contains("NORMAL"), "{words}");
    }

    #[test]
    fn what_belongs_to_a_kind_is_kept_and_checked() {
        let now = Timestamp(1_000_000);
        let kind = |system: &SystemProperties| message_kind(system, now, Duration::from_secs(10));
        let at = |seconds, nanos| SystemProperties {
            delivery_timestamp: Some(prost_types::Timestamp { seconds, nanos }),
            ..SystemProperties::default()
        };
        assert_eq!(kind(&at(1010, 0)), Ok(MessageKind::Delay { deliver_at: Timestamp(1_010_000) }));
        let late = kind(&at(1010, 1)).unwrap_err();
        assert_eq!(late.code, Code::IllegalDeliveryTime);
        assert!(late.message.contains("delivery_timestamp"), "{late}");
        assert_eq!(kind(&at(1, 0)), Ok(MessageKind::Delay { deliver_at: Timestamp(1000) }), "past is fine");
        assert_eq!(
            kind(&at(1001, 1)),
            Ok(MessageKind::Delay { deliver_at: Timestamp(1_001_001) }),
            "never early"
        );
        let half = |wait| SystemProperties {
            message_type: MessageType::Transaction as i32,
            orphaned_transaction_recovery_duration: wait,
            ..SystemProperties::default()
        };
        let check = |wait| match kind(&half(wait)) {
            Ok(MessageKind::Transaction { check_after_ms }) => check_after_ms,
            other => panic!("{other:?}"),
        };
        assert_eq!(check(None), None);
        assert_eq!(check(Some(prost_types::Duration { seconds: 0, nanos: 0 })), None);
        assert_eq!(check(Some(prost_types::Duration { seconds: 2, nanos: 500_000_000 })), Some(2500));
        let priority =
            |priority| SystemProperties { priority: Some(priority), ..SystemProperties::default() };
        assert_eq!(kind(&priority(3)), Ok(MessageKind::Priority { priority: 3 }));
        assert_eq!(kind(&priority(-1)).unwrap_err().code, Code::BadRequest);
        for (system, field) in [
            (SystemProperties { message_group: Some("g".into()), ..at(1, 0) }, "message_group"),
            (SystemProperties { message_group: Some("g".into()), ..half(None) }, "message_group"),
            (SystemProperties { priority: Some(1), ..half(None) }, "priority"),
            (SystemProperties { delivery_timestamp: at(1, 0).delivery_timestamp, ..half(None) }, "delivery"),
        ] {
            let refusal = kind(&system).unwrap_err();
            assert_eq!(refusal.code, Code::MessagePropertyConflictWithType);
            assert!(refusal.message.contains(field), "{refusal}");
        }
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
