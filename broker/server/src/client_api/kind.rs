//! What sort of message it is that a producer sends, and which topics take it.
//!
//! The properties decide, not what the message says it is; properties of two sorts do not go together.

use std::time::Duration;

use mainstay_messaging::{MessageKind, TopicKind, TopicName};
use mainstay_proto::rocketmq::{Code, MessageType, SystemProperties};
use mainstay_record::Timestamp;

use super::refusal::{Checked, Refusal};
use super::times::timestamp_up;

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

#[cfg(test)]
mod tests {
    use super::*;

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
}
