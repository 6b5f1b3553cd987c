//! What people see of messages of every kind: sent, kept for later, undecided, given up and sent again.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod server;

use serde_json::Value;
use server::Server;

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_listed_shown_and_sent_again_once() {
    let server = Server::start().await;
    server.line("topic create orders --type fifo --queues 2").await;
    server.line("group create billing --order fifo --max-attempts 1 --retry-delays 1s,5s").await;
    for body in ["one", "two"] {
        server.line(&format!("message send orders {body} --message-group of-{body} --key k-{body}")).await;
    }
    // Their only delivery is not acknowledged, and so the next receive finds them at their end.
    let mut listed = Value::Null;
    for _ in 0..20 {
        server
            .line("message receive orders --group billing --count 2 --no-ack --invisible 10 --wait 2")
            .await;
        listed = server.line("dlq list").await;
        if listed[0]["messages"] == 2 {
            break;
        }
    }
    assert_eq!(listed.as_array().unwrap().len(), 1, "{listed}");
    assert_eq!(
        (&listed[0]["consumer_group"], &listed[0]["messages"], &listed[0]["not_resent"]),
        (&"billing".into(), &2.into(), &2.into())
    );
    let shown = server.line("dlq show billing").await;
    let mut bodies: Vec<_> = shown.as_array().unwrap().iter().map(|row| row["body"].to_string()).collect();
    bodies.sort();
    assert_eq!(bodies, ["\"one\"", "\"two\""]);
    assert_eq!(shown[0]["topic"], "orders");
    assert!(shown[0]["message_group"].as_str().unwrap().starts_with("of-"), "{shown}");
    let kept = server.refused(&["group", "delete", "billing"]).await;
    assert!(kept.contains("2 dead letters"), "{kept}");
    let resent = server.line("dlq resend billing --limit 1").await;
    assert_eq!((&resent["described"]["resent"], &resent["described"]["refused"]), (&1.into(), &0.into()));
    assert_ne!(resent["rows"][0]["message_id"], resent["rows"][0]["original_message_id"]);
    let rest = server.line("dlq resend billing").await;
    assert_eq!(rest["described"]["resent"], 1);
    let none = server.line("dlq resend billing").await;
    assert_eq!(none["described"]["resent"], 0, "what was sent again is settled");
    let listed = server.line("dlq list billing").await;
    assert_eq!((&listed[0]["messages"], &listed[0]["not_resent"]), (&2.into(), &0.into()));
    let again = server.line("message receive orders --group fresh --count 4 --wait 5").await;
    let bodies: Vec<_> = again.as_array().unwrap().iter().map(|row| row["body"].clone()).collect();
    assert_eq!(bodies.len(), 4, "two as first sent, two sent again: {again}");
    server.line("group delete billing").await;
    let refused = server.refused(&["dlq", "list", "nobody"]).await;
    assert!(refused.contains("nobody"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_tell_their_order_and_policy_and_can_be_put_back_to_a_time() {
    let server = Server::start().await;
    server.line("group create slow --retry-exponential 5s,2h,2 --max-attempts 5").await;
    let described = server.line("group describe slow").await;
    assert_eq!(described["described"]["retry"], "exponential 5s,2h,2");
    assert_eq!(described["described"]["order"], "concurrent");
    let refused = server.refused(&["group", "create", "bad", "--retry-exponential", "5s,1s,2"]).await;
    assert!(refused.contains("retry"), "{refused}");
    server.line("message send t before").await;
    assert_eq!(server.line("message receive t --group slow").await[0]["body"], "before");
    server.line("group reset slow --topic t --to 2020-01-01T00:00:00Z").await;
    assert_eq!(server.line("message receive t --group slow").await[0]["body"], "before");
    server.line("group reset slow --topic t --to 2100-01-01T00:00:00Z").await;
    server.line("message send t after").await;
    assert_eq!(server.line("message receive t --group slow").await[0]["body"], "after");
    let refused = server.refused(&["group", "reset", "slow", "--topic", "t", "--to", "soon"]).await;
    assert!(refused.contains("2026-01-01"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_every_kind_can_be_sent_by_hand() {
    let server = Server::start().await;
    server.line("topic create later --type delay --queues 2").await;
    server.line("topic create ranks --type priority --queues 4").await;
    let sent = server.line("message send later soon --delay 1s").await;
    assert!(sent[0]["recall_handle"].as_str().is_some_and(|handle| !handle.is_empty()), "{sent}");
    server.line("message send later never --delay 1h").await;
    for (body, priority) in [("low", "0"), ("high", "3")] {
        server.line(&format!("message send ranks {body} --priority {priority}")).await;
    }
    let ranks = server.line("message receive ranks --group g --count 2").await;
    assert_eq!((&ranks[0]["body"], &ranks[1]["body"]), (&"high".into(), &"low".into()));
    let later = server.line("message receive later --group g --wait 10").await;
    assert_eq!(later[0]["body"], "soon");
    assert_eq!(server.line("transaction list later").await, Value::Array(Vec::new()));
    let wrong = server.refused(&["message", "send", "later", "x"]).await;
    assert!(wrong.contains("CONFLICT"), "{wrong}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receive_waits_as_long_as_it_is_told_and_without_waiting_takes_what_is_there() {
    let server = Server::start().await;
    server.line("topic create orders --queues 2").await;
    server.line("message send orders body --count 40").await;
    let taken = server.line("message receive orders --group billing --count 50 --wait 0").await;
    assert_eq!(taken.as_array().unwrap().len(), 40, "{taken}");
    let start = std::time::Instant::now();
    let none = server.line("message receive orders --group billing --wait 1").await;
    assert_eq!(none, Value::Array(Vec::new()));
    let waited = start.elapsed();
    let second = std::time::Duration::from_secs(1);
    assert!((second..4 * second).contains(&waited), "{waited:?}");
    server.line("topic create later --type delay").await;
    let sent = server.line("message send later body --delay 2d").await;
    assert!(sent[0]["recall_handle"].is_string(), "{sent}");
}
