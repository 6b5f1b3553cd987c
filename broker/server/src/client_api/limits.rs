//! What a message may look like: bounds of body, properties, tag, keys and message group.
//!
//! Each bound answers with its own code and a sentence that names the field.

use mainstay_proto::rocketmq::{Code, Encoding, Message, SystemProperties};

use super::refusal::{Checked, Refusal};

/// Bytes of one body, as received.
pub(crate) const MAX_BODY_BYTES: usize = 4 * 1024 * 1024;
/// Bytes of one call: 32 of the largest bodies and what goes with them.
pub(crate) const MAX_CALL_BYTES: usize = 130 * 1024 * 1024;
pub(crate) const MAX_MESSAGES_PER_SEND: usize = 1024;
const MAX_PROPERTIES: usize = 128;
/// Bytes of property names and values, tag and keys together.
const MAX_PROPERTY_BYTES: usize = 16 * 1024;
const MAX_MESSAGE_GROUP_BYTES: usize = 63;
const MAX_MESSAGE_ID_BYTES: usize = 256;
const MAX_ATTEMPT_ID_BYTES: usize = 256;
const MAX_TEXT_BYTES: usize = 1024;
/// Longest time until an undecided transaction may be asked for, in seconds.
const MAX_RECOVERY_SECONDS: i64 = 3600;

/// Names the broker or another of the protocol's servers keeps for itself, sorted.
const RESERVED_PROPERTIES: [&str; 47] = [
    "1ST_POP_TIME",
    "ARRIVE_TIME",
    "BORN_TIMESTAMP",
    "BUYER_ID",
    "CLUSTER",
    "CONSUME_START_TIME",
    "CORRECTION_FLAG",
    "CORRELATION_ID",
    "DELAY",
    "DUP_INFO",
    "EXTEND_UNIQ_INFO",
    "INNER_MULTI_QUEUE_OFFSET",
    "INSTANCE_ID",
    "KEYS",
    "MAX_OFFSET",
    "MAX_RECONSUME_TIMES",
    "MIN_OFFSET",
    "MQ2_FLAG",
    "MSG_REGION",
    "MSG_TYPE",
    "ORIGIN_MESSAGE_ID",
    "PGROUP",
    "POP_CK",
    "POP_CK_OFFSET",
    "PUSH_REPLY_TIME",
    "REAL_QID",
    "REAL_TOPIC",
    "RECONSUME_TIME",
    "REPLY_TO_CLIENT",
    "RETRY_TOPIC",
    "TAGS",
    "TIMER_DELAY_LEVEL",
    "TIMER_DELAY_MS",
    "TIMER_DELAY_SEC",
    "TIMER_DELIVER_MS",
    "TIMER_DEL_UNIQKEY",
    "TIMER_DEQUEUE_MS",
    "TIMER_ENQUEUE_MS",
    "TIMER_OUT_MS",
    "TIMER_ROLL_TIMES",
    "TRACE_ON",
    "TRANSFER_FLAG",
    "TRAN_MSG",
    "TRAN_PREPARED_QUEUE_OFFSET",
    "TTL",
    "UNIQ_KEY",
    "WAIT",
];
const RESERVED_PREFIX: &str = "__";
/// Double underscores are common in user properties too, so only these of the reserved ones are refused.
const RESERVED_UNDERSCORED: [&str; 3] = ["__BORNHOST", "__SHARDINGKEY", "__transactionId__"];

/// Checks everything about a message that does not depend on its topic.
///
/// # Errors
/// The code of the first bound that is broken.
pub(crate) fn check(message: &Message) -> Checked<&SystemProperties> {
    let system = message
        .system_properties
        .as_ref()
        .ok_or_else(|| Refusal::new(Code::BadRequest, "system_properties are missing"))?;
    check_id(&system.message_id)?;
    check_body(message.body.len())?;
    if Encoding::try_from(system.body_encoding).is_err() {
        let text = format!("body_encoding is {}, which is none", system.body_encoding);
        return Err(Refusal::new(Code::BadRequest, text));
    }
    let mut bytes = 0;
    if let Some(tag) = &system.tag {
        check_tag(tag)?;
        bytes += tag.len();
    }
    for key in &system.keys {
        plain(key).map_err(|why| Refusal::new(Code::IllegalMessageKey, format!("message key {why}")))?;
        bytes += key.len();
    }
    check_properties(message, bytes)?;
    if let Some(group) = &system.message_group {
        check_message_group(group)?;
    }
    for (field, text) in
        [("born_host", Some(&system.born_host)), ("trace_context", system.trace_context.as_ref())]
    {
        if text.is_some_and(|text| text.len() > MAX_TEXT_BYTES) {
            return Err(Refusal::new(
                Code::MessagePropertiesTooLarge,
                format!("{field} is longer than {MAX_TEXT_BYTES} bytes"),
            ));
        }
    }
    let recovery = system.orphaned_transaction_recovery_duration.as_ref();
    if recovery.is_some_and(|duration| !(0..=MAX_RECOVERY_SECONDS).contains(&duration.seconds)) {
        return Err(Refusal::new(
            Code::BadRequest,
            format!("orphaned_transaction_recovery_duration is not within 0 to {MAX_RECOVERY_SECONDS} s"),
        ));
    }
    Ok(system)
}

/// The id by which a receive is known again when it is repeated.
pub(super) fn check_attempt(id: Option<&str>) -> Checked<()> {
    match id {
        Some(id) if id.len() > MAX_ATTEMPT_ID_BYTES => {
            let text =
                format!("attempt_id has {} bytes, at most {MAX_ATTEMPT_ID_BYTES} are allowed", id.len());
            Err(Refusal::new(Code::BadRequest, text))
        }
        _ => Ok(()),
    }
}

fn check_id(id: &str) -> Checked<()> {
    let refuse = |why: String| Err(Refusal::new(Code::IllegalMessageId, format!("message_id {why}")));
    if id.len() > MAX_MESSAGE_ID_BYTES {
        return refuse(format!("has {} bytes, at most {MAX_MESSAGE_ID_BYTES} are allowed", id.len()));
    }
    plain(id).or_else(refuse)
}

fn check_body(length: usize) -> Checked<()> {
    if length == 0 {
        return Err(Refusal::new(Code::MessageBodyEmpty, "message body is empty"));
    }
    if length > MAX_BODY_BYTES {
        return Err(Refusal::new(
            Code::MessageBodyTooLarge,
            format!("message body has {length} bytes, at most {MAX_BODY_BYTES} are allowed"),
        ));
    }
    Ok(())
}

fn check_tag(tag: &str) -> Checked<()> {
    let refuse = |why: &str| Err(Refusal::new(Code::IllegalMessageTag, format!("message tag {why}")));
    if tag.contains('|') {
        return refuse("contains '|'");
    }
    plain(tag).or_else(|why| refuse(&why))
}

fn check_message_group(group: &str) -> Checked<()> {
    let refuse = |why: &str| Err(Refusal::new(Code::IllegalMessageGroup, format!("message_group {why}")));
    if group.len() > MAX_MESSAGE_GROUP_BYTES {
        return refuse(&format!("has {} bytes, at most {MAX_MESSAGE_GROUP_BYTES} are allowed", group.len()));
    }
    plain(group).or_else(|why| refuse(&why))
}

fn check_properties(message: &Message, other_bytes: usize) -> Checked<()> {
    let properties = &message.user_properties;
    if properties.len() > MAX_PROPERTIES {
        return Err(Refusal::new(
            Code::MessagePropertiesTooLarge,
            format!("user_properties has {} entries, at most {MAX_PROPERTIES} are allowed", properties.len()),
        ));
    }
    let mut bytes = other_bytes;
    for (name, value) in properties {
        check_property(name, value)
            .map_err(|why| Refusal::new(Code::IllegalMessagePropertyKey, format!("user property {why}")))?;
        bytes += name.len() + value.len();
    }
    if bytes > MAX_PROPERTY_BYTES {
        return Err(Refusal::new(
            Code::MessagePropertiesTooLarge,
            format!(
                "user_properties, tag and keys have {bytes} bytes together, at most {MAX_PROPERTY_BYTES} are allowed"
            ),
        ));
    }
    Ok(())
}

fn check_property(name: &str, value: &str) -> Result<(), String> {
    plain(name).map_err(|why| format!("key {why}"))?;
    let reserved = if name.starts_with(RESERVED_PREFIX) {
        RESERVED_UNDERSCORED.contains(&name)
    } else {
        RESERVED_PROPERTIES.binary_search(&name).is_ok()
    };
    if reserved {
        return Err(format!("key '{name}' is reserved"));
    }
    if value.chars().any(char::is_control) {
        return Err(format!("'{name}' has a value with control characters"));
    }
    Ok(())
}

/// Neither blank nor with control characters.
fn plain(text: &str) -> Result<(), String> {
    if text.trim().is_empty() {
        return Err("is blank".to_owned());
    }
    if text.chars().any(char::is_control) {
        return Err(format!("'{}' has control characters", text.escape_debug()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use prost_types::Duration;

    use super::*;

    fn message(change: impl FnOnce(&mut Message, &mut SystemProperties)) -> Message {
        let mut system = SystemProperties { message_id: "01A".to_owned(), ..SystemProperties::default() };
        let mut message = Message { body: Bytes::from_static(b"x"), ..Message::default() };
        change(&mut message, &mut system);
        message.system_properties = Some(system);
        message
    }

    fn body(length: usize) -> Message {
        message(|message, _| message.body = Bytes::from(vec![0; length]))
    }

    fn property(name: &str, value: &str) -> Message {
        message(|message, _| {
            message.user_properties.insert(name.to_owned(), value.to_owned());
        })
    }

    fn properties(count: usize) -> Message {
        message(|message, _| {
            message.user_properties = (0..count).map(|i| (format!("p{i}"), "v".to_owned())).collect();
        })
    }

    fn tag(tag: &str) -> Message {
        message(|_, system| system.tag = Some(tag.to_owned()))
    }

    fn key(key: &str) -> Message {
        message(|_, system| system.keys = vec!["fine".to_owned(), key.to_owned()])
    }

    fn message_group(group: &str) -> Message {
        message(|_, system| system.message_group = Some(group.to_owned()))
    }

    /// 16 KiB less `spare` of properties, tag and keys.
    fn filled(spare: usize) -> Message {
        message(|message, system| {
            system.tag = Some("t".repeat(100));
            system.keys = vec!["k".repeat(100)];
            message.user_properties.insert("n".repeat(84), "v".repeat(MAX_PROPERTY_BYTES - 284 - spare));
        })
    }

    fn recovery(seconds: i64) -> Message {
        message(|_, system| {
            system.orphaned_transaction_recovery_duration = Some(Duration { seconds, nanos: 0 });
        })
    }

    #[test]
    fn a_body_is_in_an_encoding_that_there_is() {
        let encoded = |encoding: i32| message(|_, system| system.body_encoding = encoding);
        for known in [Encoding::Unspecified, Encoding::Identity, Encoding::Gzip] {
            assert!(check(&encoded(known as i32)).is_ok(), "{known:?}");
        }
        for unknown in [-1, 3, 9] {
            let refusal = check(&encoded(unknown)).unwrap_err();
            assert_eq!(refusal.code, Code::BadRequest);
            assert!(refusal.message.starts_with("body_encoding "), "{}", refusal.message);
        }
    }

    #[test]
    fn every_limit_has_its_code_and_names_its_field() {
        use Code::{
            BadRequest, IllegalMessageGroup, IllegalMessageId, IllegalMessageKey, IllegalMessagePropertyKey,
            IllegalMessageTag, MessageBodyEmpty, MessageBodyTooLarge, MessagePropertiesTooLarge,
        };
        let row = |message: Message, expected: Option<(Code, &'static str)>| (message, expected);
        let rows = [
            row(body(1), None),
            row(body(4_194_304), None),
            row(body(4_194_305), Some((MessageBodyTooLarge, "body"))),
            row(body(0), Some((MessageBodyEmpty, "body"))),
            row(message(|_, system| system.message_id.clear()), Some((IllegalMessageId, "message_id"))),
            row(message(|_, system| system.message_id = " ".into()), Some((IllegalMessageId, "message_id"))),
            row(
                message(|_, system| system.message_id = "a\u{7f}".into()),
                Some((IllegalMessageId, "message_id")),
            ),
            row(
                message(|_, system| system.message_id = "a".repeat(257)),
                Some((IllegalMessageId, "message_id")),
            ),
            row(properties(128), None),
            row(properties(129), Some((MessagePropertiesTooLarge, "user_properties"))),
            row(filled(0), None),
            row(property("ü", &"v".repeat(16_382)), None),
            row(property("ü", &"v".repeat(16_383)), Some((MessagePropertiesTooLarge, "user_properties"))),
            row(property("KEYS", "v"), Some((IllegalMessagePropertyKey, "KEYS"))),
            row(property("TAGS", "v"), Some((IllegalMessagePropertyKey, "TAGS"))),
            row(property("DELAY", "v"), Some((IllegalMessagePropertyKey, "DELAY"))),
            row(property("UNIQ_KEY", "v"), Some((IllegalMessagePropertyKey, "UNIQ_KEY"))),
            row(property("__BORNHOST", "v"), Some((IllegalMessagePropertyKey, "__BORNHOST"))),
            row(property("__mine", "v"), None),
            row(property("", "v"), Some((IllegalMessagePropertyKey, "key"))),
            row(property("a\nb", "v"), Some((IllegalMessagePropertyKey, "a\\nb"))),
            row(property("name", "a\u{0}b"), Some((IllegalMessagePropertyKey, "name"))),
            row(tag("red"), None),
            row(tag("  "), Some((IllegalMessageTag, "tag"))),
            row(tag("a|b"), Some((IllegalMessageTag, "tag"))),
            row(tag("a\tb"), Some((IllegalMessageTag, "tag"))),
            row(key("order 1"), None),
            row(key(""), Some((IllegalMessageKey, "key"))),
            row(key("a\u{85}"), Some((IllegalMessageKey, "key"))),
            row(message_group(&"g".repeat(63)), None),
            row(message_group(&"g".repeat(64)), Some((IllegalMessageGroup, "message_group"))),
            row(message_group(&"ü".repeat(32)), Some((IllegalMessageGroup, "message_group"))),
            row(message_group(" "), Some((IllegalMessageGroup, "message_group"))),
            row(message_group("a\u{1}"), Some((IllegalMessageGroup, "message_group"))),
            row(recovery(3600), None),
            row(recovery(3601), Some((BadRequest, "orphaned_transaction_recovery_duration"))),
            row(recovery(-1), Some((BadRequest, "orphaned_transaction_recovery_duration"))),
            row(
                message(|_, system| system.trace_context = Some("t".repeat(1025))),
                Some((MessagePropertiesTooLarge, "trace_context")),
            ),
            row(
                message(|_, system| system.born_host = "h".repeat(1025)),
                Some((MessagePropertiesTooLarge, "born_host")),
            ),
            row(
                Message { body: Bytes::from_static(b"x"), ..Message::default() },
                Some((BadRequest, "system_properties")),
            ),
        ];
        for (index, (message, expected)) in rows.iter().enumerate() {
            match (check(message), expected) {
                (Ok(_), None) => {}
                (Err(refusal), Some((code, field))) => {
                    assert_eq!(refusal.code, *code, "row {index}");
                    assert!(refusal.message.contains(field), "row {index}: {refusal}");
                }
                (outcome, expected) => panic!("row {index}: {:?} instead of {expected:?}", outcome.err()),
            }
        }
    }

    #[test]
    fn reserved_names_are_sorted() {
        assert!(RESERVED_PROPERTIES.is_sorted());
    }
}
