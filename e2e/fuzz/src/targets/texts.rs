//! Texts that clients, people and configuration bring: handles, names, filters, headers, grants.

use std::borrow::Cow;
use std::fmt::{Debug, Display};
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mainstay_broker::fuzzing;
use mainstay_messaging::sql::{Expression, Properties, SqlError, SqlProblem};
use mainstay_messaging::{
    Command, Grant, GroupName, Outcome, Place, RecallHandle, ReceiptHandle, Rights, State, TopicName,
    TransactionId, UserName, UserSecret,
};
use mainstay_proto::signature::{Shown, sign};
use mainstay_record::{GroupId, LogIndex, NodeId, RecordId, Timestamp};

use crate::{Input, Script, seal};

fn text(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

/// What was read is written so that it reads the same.
fn round_trip<T: FromStr + Display + PartialEq + Debug>(text: &str) -> Option<T>
where
    T::Err: Display,
{
    match text.parse::<T>() {
        Ok(value) => {
            let again = value.to_string();
            assert_eq!(again.parse::<T>().ok().as_ref(), Some(&value), "{text}");
            Some(value)
        }
        Err(error) => {
            let _ = error.to_string();
            None
        }
    }
}

/// Text, or the fields of a handle, whose checksum is then made.
pub(super) fn handles(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let checked = input.byte() & 1 == 1;
    let text = match checked {
        true => handle(input.rest()),
        false => text(input.rest()).into_owned(),
    };
    let receipt = round_trip::<ReceiptHandle>(&text).map(|handle| handle.to_string());
    let transaction = round_trip::<TransactionId>(&text).map(|id| id.to_string());
    let recall = round_trip::<RecallHandle>(&text).map(|handle| handle.to_string());
    let read: Vec<String> = [receipt, transaction, recall].into_iter().flatten().collect();
    assert!(read.len() <= 1, "one handle stands for two things");
    assert!(read.iter().all(|again| *again == text), "two texts stand for one handle");
}

fn handle(fields: &[u8]) -> String {
    let crc = seal::crc32c(&[fields]).to_le_bytes();
    URL_SAFE_NO_PAD.encode([fields, &crc[..]].concat())
}

pub(super) fn handles_seeds() -> Vec<Vec<u8>> {
    let mut texts = Vec::new();
    let mut state = State::new(GroupId(0), 1);
    let mut now = Timestamp(1_000_000);
    for (at, (pause, bytes)) in super::messaging::story().iter().enumerate() {
        now = now.plus_millis(u64::from(*pause));
        let record = RecordId { index: LogIndex(1 + at as u64), slot: 0 };
        let command = Command::decode(&bytes.clone()).expect("a good record");
        match state.apply(record, now, &command) {
            Outcome::Received { deliveries, .. } => {
                texts.extend(deliveries.iter().take(1).map(|delivery| delivery.handle.to_string()));
            }
            Outcome::Published { place: Place::Timer(handle), .. } => texts.push(handle.to_string()),
            Outcome::Published { place: Place::Half(id), .. } => texts.push(id.to_string()),
            _ => {}
        }
    }
    assert!(texts.len() > 3, "no handles of each kind");
    let mut seeds: Vec<Vec<u8>> =
        texts.iter().map(|text| Script::new().byte(0).raw(text.as_bytes()).done()).collect();
    for text in &texts {
        let binary = URL_SAFE_NO_PAD.decode(text).expect("it was encoded");
        seeds.push(Script::new().byte(1).raw(&binary[..binary.len() - 4]).done());
    }
    seeds
}

pub(super) fn names(bytes: &[u8]) {
    let text = text(bytes);
    round_trip::<TopicName>(&text);
    round_trip::<GroupName>(&text);
    round_trip::<UserName>(&text);
    round_trip::<NodeId>(&text);
    if let Ok(secret) = UserSecret::new(&text) {
        assert_eq!(secret.expose(), text);
        // What is shown is the same for all, whatever they are.
        let other = UserSecret::new("another-secret").expect("a secret");
        assert_eq!(format!("{secret:?}"), format!("{other:?}"));
    }
}

pub(super) fn names_seeds() -> Vec<Vec<u8>> {
    seeds_of(&[
        "orders",
        "%DLQ%billing",
        "%RETRY%x",
        "TBW102",
        "a%b-_9",
        "000000000000001f",
        "s3cret-s3cret",
        "@.-",
    ])
}

pub(super) fn grants(bytes: &[u8]) {
    let text = text(bytes);
    let grants: Vec<Grant> = text.lines().filter_map(round_trip).collect();
    if let Ok(rights) = Rights::granted(grants.clone()) {
        let Rights::Granted(kept) = &rights else { panic!("grants made an administrator") };
        assert_eq!(Rights::granted(kept.clone()).as_ref(), Ok(&rights));
        for grant in &grants {
            assert!(kept.iter().any(|kept| kept.on == grant.on));
        }
    }
}

pub(super) fn grants_seeds() -> Vec<Vec<u8>> {
    seeds_of(&[
        "publish:topic:orders-*\nsubscribe:topic:orders-*\npublish,subscribe,manage:group:*",
        "manage, publish:topic:t",
        "publish:topic:%DLQ%g",
        "publish:topic:a*b\n:topic:t",
    ])
}

pub(super) fn authorization(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let date = input.chunk();
    let (header, date) = (text(input.rest()), text(&date).into_owned());
    fuzzing::client_date(&date);
    fuzzing::timeout(&date);
    match Shown::parse(&header) {
        Ok(shown) => {
            let _ = shown.is_by("s3cret-s3cret", date.as_bytes());
            assert!(header.contains(shown.access_key));
            let key = shown.access_key.trim();
            let again = sign(key, "other-secret", &date);
            let same = Shown::parse(&again).is_ok_and(|again| again.access_key == key);
            assert!(same, "{header}");
        }
        Err(error) => drop(error.to_string()),
    }
}

pub(super) fn authorization_seeds() -> Vec<Vec<u8>> {
    let dates = ["20231227T194619Z", "2023-12-27T21:46:19.5+02:00", "2999999u", "99999999H", ""];
    let mut headers = vec![sign("ak", "s3cret-s3cret", dates[0]), String::new()];
    headers.push(headers[0].replace("ak", "a.b@c/eu/RMQ").to_lowercase());
    let both = dates.iter().flat_map(|date| headers.iter().map(move |header| (date, header)));
    both.map(|(date, header)| Script::new().chunk(date.as_bytes()).raw(header.as_bytes()).done()).collect()
}

pub(super) fn tags(bytes: &[u8]) {
    let Some(tags) = fuzzing::tags(&text(bytes)) else { return };
    assert!(tags.is_sorted() && tags.iter().all(|tag| !tag.is_empty() && !tag.contains("||")));
    if tags.as_slice() != ["*"] {
        assert_eq!(fuzzing::tags(&tags.join("||")), Some(tags));
    }
}

pub(super) fn tags_seeds() -> Vec<Vec<u8>> {
    seeds_of(&["*", "", "a", " b || a||b ", "* || a", "a|b", "||", "é || ü"])
}

/// Properties before the first line's end, as name, value, name and so on with spaces between; then the expression.
pub(super) fn sql(bytes: &[u8]) {
    let text = text(bytes);
    let (properties, expression) = text.split_once('\n').unwrap_or(("", &text));
    let properties = Words(properties.split(' ').collect());
    match Expression::parse(expression) {
        Ok(parsed) => {
            let matches = parsed.matches(&properties);
            match Expression::parse(&format!(" (\t{expression}\n) ")) {
                Ok(other) => assert_eq!(other.matches(&properties), matches, "{expression}"),
                Err(SqlError {
                    problem: SqlProblem::TooLong { .. } | SqlProblem::TooDeep { .. }, ..
                }) => {}
                Err(error) => panic!("in parentheses: {error}: {expression}"),
            }
            if let Ok(not) = Expression::parse(&format!("NOT (\n{expression}\n)")) {
                assert!(!(matches && not.matches(&properties)), "{expression} and its contrary");
            }
            for name in properties.0.iter().step_by(2) {
                let _ = parsed.names(name);
            }
        }
        Err(error) => {
            assert!((1..=expression.chars().count() + 1).contains(&error.column), "{error}: {expression}");
        }
    }
}

struct Words<'a>(Vec<&'a str>);

impl Properties for Words<'_> {
    fn property(&self, name: &str) -> Option<&str> {
        self.0.chunks_exact(2).find(|pair| pair[0] == name).map(|pair| pair[1])
    }
}

pub(super) fn sql_seeds() -> Vec<Vec<u8>> {
    seeds_of(&[
        "a 1 b two\na = 1 AND b <> 'two' OR NOT (c IS NULL)",
        "a 1.5\na BETWEEN -1 AND 2.5e3 AND a NOT IN ('x', 'y''z')",
        "name long\nname LIKE 'l_n%' ESCAPE '!' AND name CONTAINS 'o' AND name NOT STARTSWITH 'x'",
        "a true\na = TRUE AND a AND NOT a -- comment\n/* more */ OR a >= 9223372036854775807L",
        "a 0 a9$_ x\n((((a9$_ ENDSWITH 'x')))) AND a != -0.0 AND 'b' < a",
        "\na is not null",
    ])
}

fn seeds_of(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}
