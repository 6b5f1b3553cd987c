//! History files as the client programs write them.

use std::time::Duration;

use mainstay_checker::{Filter, History, Moment, Outcome, Position, ReadError, Role};

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
    assert_eq!(history.client.role, Role::Consumer { group: "g".to_owned(), filter });
    let [delivery] = history.deliveries.as_slice() else { panic!("{history:?}") };
    assert_eq!(delivery.position, Position { queue: Some("orders-0/3".to_owned()), offset: 7 });
    assert_eq!((delivery.attempt, delivery.invisible), (2, Some(Duration::from_secs(30))));
    assert_eq!(delivery.receive, Some(0));
    assert_eq!(history.acks[0].outcome, Outcome::Failed("expired".to_owned()));
    assert_eq!(history.drained, Some(Moment(9)));
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
