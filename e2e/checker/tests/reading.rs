//! History files as the client programs write them.

use std::time::Duration;

use mainstay_checker::{
    Filter, History, Kind, Moment, Order, Outcome, Position, ReadError, Role, Settling, Verdict,
};

const PRODUCER: &str = r#"{"event":"start","ts":1,"wall":5,"client":"p","boot":"b","language":"python","version":"5.1.2","topic":"orders"}
{"event":"invoke","ts":2,"wall":5,"client":"p","op":"send","call":1,"session":"s0","id":"p-0","checksum":"aa","tag":"even"}
{"event":"invoke","ts":3,"wall":5,"client":"p","op":"send","call":2,"session":"s1","id":"p-1","checksum":"bb"}
{"event":"complete","ts":4,"wall":5,"client":"p","op":"send","call":2,"outcome":"unknown","code":50402,"error":"late","tries":3}
{"event":"complete","ts":9007199254740993,"wall":5,"client":"p","op":"send","call":1,"outcome":"ok","message_id":"01AB","offset":7,"tries":1}
"#;

const CONSUMER: &str = r#"{"event":"start","ts":1,"wall":5,"client":"c","boot":"b","topic":"orders","group":"g","filter":"a || b"}
{"event":"invoke","ts":2,"wall":5,"client":"c","op":"receive","call":1,"session":"r0"}
{"event":"message","ts":3,"wall":5,"client":"c","call":1,"id":"p-0","checksum":"aa","message_id":"01AB","queue":"orders-0/3","offset":7,"attempt":2,"invisible_ms":30000,"corrupted":false}
{"event":"complete","ts":3,"wall":5,"client":"c","op":"receive","call":1,"outcome":"ok","count":1}
{"event":"invoke","ts":4,"wall":5,"client":"c","op":"ack","call":2,"id":"p-0","message_id":"01AB","queue":"orders-0/3","offset":7,"attempt":2}
{"event":"complete","ts":6,"wall":5,"client":"c","op":"ack","call":2,"outcome":"fail","error":"expired"}
{"event":"end","ts":9,"wall":5,"client":"c","reason":"idle","received":1}
"#;

fn parse(text: &str) -> Result<History, ReadError> {
    History::parse("test", text)
}

#[test]
fn a_producer_is_read() {
    let history = parse(PRODUCER).expect("well formed");
    assert_eq!(history.client.role, Role::Producer);
    let [first, second] = history.sends.as_slice() else { panic!("{history:?}") };
    assert_eq!(first.call.completed, Some(Moment(9_007_199_254_740_993)));
    assert_eq!(first.outcome.ok().and_then(|receipt| receipt.offset), Some(7));
    assert_eq!(first.tag.as_deref(), Some("even"));
    assert_eq!(second.outcome, Outcome::Unknown("late".to_owned()));
    assert_eq!(second.tries, Some(3));
}

#[test]
fn a_consumer_is_read() {
    let history = parse(CONSUMER).expect("well formed");
    let filter = Filter::Tags(vec!["a".to_owned(), "b".to_owned()]);
    let role = Role::Consumer { group: "g".to_owned(), filter, order: Order::Concurrent, max_attempts: None };
    assert_eq!(history.client.role, role);
    let [delivery] = history.deliveries.as_slice() else { panic!("{history:?}") };
    assert_eq!(delivery.position, Position { queue: Some("orders-0/3".to_owned()), offset: 7 });
    assert_eq!((delivery.attempt, delivery.invisible), (2, Some(Duration::from_secs(30))));
    assert_eq!(delivery.receive, Some(0));
    assert_eq!(history.acks[0].outcome, Outcome::Failed("expired".to_owned()));
    assert_eq!(history.drained, Some(Moment(9)));
}

#[test]
fn the_kinds_of_messages_are_read() {
    let text = r#"{"event":"start","ts":1,"wall":5,"client":"p","boot":"b","topic":"orders"}
{"event":"invoke","ts":5000000,"wall":1700000000005,"op":"send","call":1,"id":"p-0","checksum":"aa","message_group":"g1"}
{"event":"invoke","ts":5000000,"wall":1700000000005,"op":"send","call":2,"id":"p-1","checksum":"aa","deliver_at":1700000001005}
{"event":"invoke","ts":5000000,"wall":1700000000005,"op":"send","call":3,"id":"p-2","checksum":"aa","transaction":true}
{"event":"complete","ts":6000000,"wall":5,"op":"send","call":3,"outcome":"ok","message_id":"01AB"}
{"event":"invoke","ts":7000000,"wall":5,"op":"decide","call":4,"id":"p-2","verdict":"rollback"}
{"event":"complete","ts":8000000,"wall":5,"op":"decide","call":4,"outcome":"ok"}
{"event":"invoke","ts":7000000,"wall":5,"op":"recall","call":5,"id":"p-1"}
{"event":"complete","ts":8000000,"wall":5,"op":"recall","call":5,"outcome":"fail","error":"delivered"}
"#;
    let history = parse(text).expect("well formed");
    let kinds: Vec<&Kind> = history.sends.iter().map(|send| &send.kind).collect();
    let group = Kind::Fifo { message_group: "g1".to_owned() };
    let delay = Kind::Delay { deliver_at: Moment(1_005_000_000) };
    assert_eq!(kinds, [&group, &delay, &Kind::Transaction]);
    let [decision] = history.decisions.as_slice() else { panic!("{history:?}") };
    assert_eq!((decision.verdict, &decision.outcome), (Verdict::Rollback, &Outcome::Ok(())));
    assert_eq!(history.recalls[0].outcome, Outcome::Failed("delivered".to_owned()));
    let both = text.replacen(r#""message_group":"g1""#, r#""message_group":"g1","transaction":true"#, 1);
    let error = parse(&both).expect_err("it cannot be both").to_string();
    assert_eq!(error, "test: line 2: a send of several kinds");
}

#[test]
fn an_ordered_consumer_that_forwards_and_changes_is_read() {
    let text = r#"{"event":"start","ts":1,"wall":5,"client":"c","boot":"b","topic":"orders","group":"g","order":"fifo","max_attempts":3}
{"event":"invoke","ts":4,"wall":5,"op":"forward","call":1,"id":"p-0","queue":"q","offset":7,"attempt":2}
{"event":"complete","ts":6,"wall":5,"op":"forward","call":1,"outcome":"ok"}
{"event":"invoke","ts":4,"wall":5,"op":"change","call":2,"id":"p-0","queue":"q","offset":7,"attempt":2,"invisible_ms":40}
{"event":"complete","ts":6,"wall":5,"op":"change","call":2,"outcome":"unknown"}
"#;
    let history = parse(text).expect("well formed");
    let Role::Consumer { order, max_attempts, .. } = history.client.role else { panic!("a producer") };
    assert_eq!((order, max_attempts), (Order::Fifo, Some(3)));
    assert_eq!((history.acks[0].how, &history.acks[0].outcome), (Settling::Forward, &Outcome::Ok(())));
    assert_eq!(history.changes[0].invisible, Duration::from_millis(40));
    assert!(matches!(history.changes[0].outcome, Outcome::Unknown(_)));
}

#[test]
fn a_killed_client_leaves_unknown_calls_and_half_a_line() {
    let cut = PRODUCER.len() - 20;
    let history = parse(&PRODUCER[..cut]).expect("the last line may be torn");
    assert!(matches!(history.sends[0].outcome, Outcome::Unknown(_)));
    assert_eq!(history.sends[0].call.completed, None);
}

#[test]
fn damage_elsewhere_is_an_error_that_names_the_line() {
    let damaged = PRODUCER.replacen(r#""call":2,"session""#, r#""call":,"session""#, 1);
    let error = parse(&damaged).expect_err("line 3 is no JSON").to_string();
    assert!(error.starts_with("test: line 3: "), "{error}");
    let unknown =
        PRODUCER.replacen(r#""op":"send","call":1,"outcome""#, r#""op":"send","call":8,"outcome""#, 1);
    let error = parse(&unknown).expect_err("call 8 never began").to_string();
    assert_eq!(error, "test: line 5: the unknown call 8 ends");
    assert!(matches!(parse(""), Err(ReadError::Empty { .. })));
}

#[test]
fn a_missing_file_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("absent.jsonl");
    let error = History::read(&path).expect_err("there is none").to_string();
    assert!(error.contains("absent.jsonl"), "{error}");
}
