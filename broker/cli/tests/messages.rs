//! What people see of messages of every kind: sent, kept for later, undecided, given up and sent again.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use mainstay_broker::config::{Config, Listen};
use mainstay_broker::{Addresses, Broker, Ports};
use serde_json::Value;
use tempfile::TempDir;

struct Server {
    _broker: Broker,
    addresses: Addresses,
    _folder: TempDir,
}

impl Server {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let mut config =
            Config::single(folder.path().join("data"), Listen { client: any, internal: any, http: any });
        config.storage.segment_bytes = 16 << 20;
        let ports = Ports::bind(&config).await.unwrap();
        let addresses = ports.addresses().unwrap();
        let broker = Broker::start(config, ports).await.unwrap();
        let mut view = broker.group().watch();
        tokio::time::timeout(Duration::from_secs(20), view.wait_for(|view| view.serving))
            .await
            .expect("serves in time")
            .unwrap();
        Self { _broker: broker, addresses, _folder: folder }
    }

    /// What `mainstay` printed, or said on its way to failing.
    async fn cli(&self, arguments: &[&str]) -> Result<Value, String> {
        let (client, internal) = (self.addresses.client.to_string(), self.addresses.internal.to_string());
        let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let run = move || {
            let mut command = Command::new(env!("CARGO_BIN_EXE_mainstay"));
            command.args(["--output", "json", "--endpoint", &client, "--admin-endpoint", &internal]);
            command.args(arguments).output().unwrap()
        };
        let output = tokio::task::spawn_blocking(run).await.unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        if output.status.success() { Ok(serde_json::from_slice(&output.stdout).unwrap()) } else { Err(said) }
    }

    async fn ok(&self, line: &str) -> Value {
        let arguments: Vec<_> = line.split(' ').collect();
        self.cli(&arguments).await.unwrap_or_else(|said| panic!("{line}: {said}"))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_listed_shown_and_sent_again_once() {
    let server = Server::start().await;
    server.ok("topic create orders --type fifo --queues 2").await;
    server.ok("group create billing --order fifo --max-attempts 1 --retry-delays 1s,5s").await;
    for body in ["one", "two"] {
        server.ok(&format!("message send orders {body} --message-group of-{body} --key k-{body}")).await;
    }
    // Their only delivery is not acknowledged, and so the next receive finds them at their end.
    let mut listed = Value::Null;
    for _ in 0..20 {
        server.ok("message receive orders --group billing --count 2 --no-ack --invisible 10 --wait 2").await;
        listed = server.ok("dlq list").await;
        if listed[0]["messages"] == 2 {
            break;
        }
    }
    assert_eq!(listed.as_array().unwrap().len(), 1, "{listed}");
    assert_eq!(
        (&listed[0]["consumer_group"], &listed[0]["messages"], &listed[0]["not_resent"]),
        (&"billing".into(), &2.into(), &2.into())
    );
    let shown = server.ok("dlq show billing").await;
    let mut bodies: Vec<_> = shown.as_array().unwrap().iter().map(|row| row["body"].to_string()).collect();
    bodies.sort();
    assert_eq!(bodies, ["\"one\"", "\"two\""]);
    assert_eq!(shown[0]["topic"], "orders");
    assert!(shown[0]["message_group"].as_str().unwrap().starts_with("of-"), "{shown}");
    let resent = server.ok("dlq resend billing --limit 1").await;
    assert_eq!((&resent["described"]["resent"], &resent["described"]["refused"]), (&1.into(), &0.into()));
    assert_ne!(resent["rows"][0]["message_id"], resent["rows"][0]["original_message_id"]);
    let rest = server.ok("dlq resend billing").await;
    assert_eq!(rest["described"]["resent"], 1);
    let none = server.ok("dlq resend billing").await;
    assert_eq!(none["described"]["resent"], 0, "what was sent again is settled");
    let listed = server.ok("dlq list billing").await;
    assert_eq!((&listed[0]["messages"], &listed[0]["not_resent"]), (&2.into(), &0.into()));
    let again = server.ok("message receive orders --group fresh --count 4 --wait 5").await;
    let bodies: Vec<_> = again.as_array().unwrap().iter().map(|row| row["body"].clone()).collect();
    assert_eq!(bodies.len(), 4, "two as first sent, two sent again: {again}");
    let refused = server.cli(&["dlq", "list", "nobody"]).await.unwrap_err();
    assert!(refused.contains("nobody"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_tell_their_order_and_policy_and_can_be_put_back_to_a_time() {
    let server = Server::start().await;
    server.ok("group create slow --retry-exponential 5s,2h,2 --max-attempts 5").await;
    let described = server.ok("group describe slow").await;
    assert_eq!(described["described"]["retry"], "exponential 5s,2h,2");
    assert_eq!(described["described"]["order"], "concurrent");
    let refused =
        server.cli(&["group", "create", "bad", "--retry-exponential", "5s,1s,2"]).await.unwrap_err();
    assert!(refused.contains("retry"), "{refused}");
    server.ok("message send t before").await;
    assert_eq!(server.ok("message receive t --group slow").await[0]["body"], "before");
    server.ok("group reset slow --topic t --to 2020-01-01T00:00:00Z").await;
    assert_eq!(server.ok("message receive t --group slow").await[0]["body"], "before");
    server.ok("group reset slow --topic t --to 2100-01-01T00:00:00Z").await;
    server.ok("message send t after").await;
    assert_eq!(server.ok("message receive t --group slow").await[0]["body"], "after");
    let refused = server.cli(&["group", "reset", "slow", "--topic", "t", "--to", "soon"]).await.unwrap_err();
    assert!(refused.contains("2026-01-01"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_every_kind_can_be_sent_by_hand() {
    let server = Server::start().await;
    server.ok("topic create later --type delay --queues 2").await;
    server.ok("topic create ranks --type priority --queues 4").await;
    let sent = server.ok("message send later soon --delay 1s").await;
    assert!(sent[0]["recall_handle"].as_str().is_some_and(|handle| !handle.is_empty()), "{sent}");
    server.ok("message send later never --delay 1h").await;
    for (body, priority) in [("low", "0"), ("high", "3")] {
        server.ok(&format!("message send ranks {body} --priority {priority}")).await;
    }
    let ranks = server.ok("message receive ranks --group g --count 2").await;
    assert_eq!((&ranks[0]["body"], &ranks[1]["body"]), (&"high".into(), &"low".into()));
    let later = server.ok("message receive later --group g --wait 10").await;
    assert_eq!(later[0]["body"], "soon");
    assert_eq!(server.ok("transaction list later").await, Value::Array(Vec::new()));
    let wrong = server.cli(&["message", "send", "later", "x"]).await.unwrap_err();
    assert!(wrong.contains("CONFLICT"), "{wrong}");
}
