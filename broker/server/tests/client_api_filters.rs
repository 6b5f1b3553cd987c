//! Filters in SQL: what a consumer gets, what it never gets, and what it is told about an expression that is none.

#![allow(clippy::unwrap_used)]

mod client;
mod server;

use std::time::{Duration, Instant};

use client::{Client, code, handle, ids, message, polling, resource, tagged};
use mainstay_proto::rocketmq::settings::PubSub;
use mainstay_proto::rocketmq::*;

const SHORT: Duration = Duration::from_millis(100);
const LONG: Duration = Duration::from_secs(15);

fn with(id: &str, properties: &[(&str, &str)]) -> Message {
    let mut message = message("t", id, "body");
    for (name, value) in properties {
        message.user_properties.insert((*name).to_owned(), (*value).to_owned());
    }
    message
}

fn sql(text: &str) -> Option<FilterExpression> {
    Some(FilterExpression { r#type: FilterType::Sql as i32, expression: text.to_owned() })
}

fn asking(group: &str, text: &str, wait: Duration) -> ReceiveMessageRequest {
    ReceiveMessageRequest { filter_expression: sql(text), ..polling(group, "t", wait) }
}

/// Receives and acknowledges until nothing comes any more.
async fn all(client: &Client, request: ReceiveMessageRequest) -> Vec<String> {
    let mut found = Vec::new();
    loop {
        let received = client.receive(request.clone()).await;
        if received.messages.is_empty() {
            assert_eq!(received.status.code(), Code::MessageNotFound);
            found.sort();
            return found;
        }
        let group = &request.group.as_ref().unwrap().name;
        let handles: Vec<_> = received.messages.iter().map(handle).collect();
        assert_eq!(code(&client.acknowledge(group, "t", &handles).await.status), Code::Ok);
        found.extend(ids(&received.messages));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn properties_tag_and_keys_select_and_the_rest_is_passed_over() {
    let server = server::start().await;
    let client = server.client();
    for (id, price, region) in
        [("1", "9", "eu"), ("2", "10", "us"), ("3", "100", "eu"), ("4", "none", "eu"), ("5", "10.5", "asia")]
    {
        client.send_ok(vec![with(id, &[("price", price), ("region", region)])]).await;
    }
    let mut keyed = tagged("t", "6", "red");
    keyed.system_properties.as_mut().unwrap().keys = vec!["k1".to_owned(), "k2".to_owned()];
    client.send_ok(vec![keyed]).await;
    for (n, (text, expected)) in [
        ("price > 9.5", &["2", "3", "5"][..]),
        ("price BETWEEN 10 AND 100 AND region IN ('eu', 'us')", &["2", "3"]),
        ("region LIKE '%u%' AND NOT price = 9", &["2", "3"]),
        ("price IS NULL", &["6"]),
        ("TAGS = 'red' AND KEYS = 'k1 k2' AND KEYS CONTAINS 'k2'", &["6"]),
        ("TAGS IS NULL OR KEYS IS NULL", &["1", "2", "3", "4", "5"]),
        ("TRUE", &["1", "2", "3", "4", "5", "6"]),
        ("FALSE", &[]),
    ]
    .into_iter()
    .enumerate()
    {
        let group = format!("g{n}");
        assert_eq!(all(&client, asking(&group, text, SHORT)).await, expected, "{text}");
        let rest = client.receive(polling(&group, "t", SHORT)).await;
        assert_eq!(rest.status.code(), Code::MessageNotFound, "{text}: what is refused is settled");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_consumer_of_a_group_uses_its_own_filter() {
    let server = server::start().await;
    let client = server.client();
    let send = async |ids: std::ops::Range<u32>| {
        for id in ids {
            client.send_ok(vec![with(&format!("{id:02}"), &[("n", &id.to_string())])]).await;
        }
    };
    send(0..4).await;
    assert_eq!(all(&client, asking("g", "n >= 2", SHORT)).await, ["02", "03"]);
    send(4..8).await;
    let all_of_it = polling("g", "t", SHORT);
    assert_eq!(
        all(&client, all_of_it).await,
        ["04", "05", "06", "07"],
        "the others were settled by the first"
    );
    send(8..10).await;
    let held = client.receive(polling("g", "t", LONG)).await;
    let mut handles: Vec<_> = held.messages.iter().map(handle).collect();
    while handles.len() < 2 {
        let more = client.receive(polling("g", "t", LONG)).await;
        handles.extend(more.messages.iter().map(handle).map(|handle| &*handle.to_owned().leak()));
    }
    for held in handles {
        client.change("g", "t", held, Duration::ZERO).await;
    }
    assert_eq!(all(&client, asking("g", "n = 9", SHORT)).await, ["09"], "what comes back is judged anew");
    assert!(client.receive(polling("g", "t", SHORT)).await.messages.is_empty());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_poll_is_woken_by_what_matches_only() {
    let server = server::start().await;
    let client = server.client();
    client.receive(asking("g", "wanted", SHORT)).await;
    for round in 0..3 {
        let poll = tokio::spawn({
            let client = client.clone();
            async move { client.receive(asking("g", "wanted", LONG)).await }
        });
        server.until_polls_wait(1).await;
        for n in 0..5 {
            client.send_ok(vec![with(&format!("{round}-{n}"), &[("wanted", "false")])]).await;
        }
        assert!(!poll.is_finished());
        let sent = Instant::now();
        let id = format!("{round}-x");
        client.send_ok(vec![with(&id, &[("wanted", "true")])]).await;
        let received = poll.await.unwrap();
        assert_eq!(ids(&received.messages), [id]);
        assert!(sent.elapsed() < Duration::from_secs(5), "{:?}", sent.elapsed());
        client.acknowledge("g", "t", &[handle(&received.messages[0])]).await;
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rare_message_is_found_behind_many_others_in_one_poll() {
    let server = server::start().await;
    let client = server.client();
    for start in (0..3000).step_by(100) {
        let batch = (start..start + 100).map(|n| with(&n.to_string(), &[("n", &n.to_string())]));
        client.send_ok(batch.collect()).await;
    }
    let received = client.receive(asking("g", "n IN ('2987')", LONG)).await;
    assert_eq!(ids(&received.messages), ["2987"]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn consumers_with_the_same_filter_share_the_messages() {
    const MESSAGES: usize = 400;
    let server = server::start().await;
    let client = server.client();
    client.receive(asking("g", "TRUE", SHORT)).await;
    let consumers: Vec<_> = (0..4)
        .map(|n| {
            let client = client.named(&format!("consumer@{n}"));
            tokio::spawn(
                async move { all(&client, asking("g", "half = 'left'", Duration::from_secs(2))).await },
            )
        })
        .collect();
    for start in (0..MESSAGES).step_by(20) {
        let half = |n: usize| if n.is_multiple_of(2) { "left" } else { "right" };
        let batch = (start..start + 20).map(|n| with(&format!("{n:03}"), &[("half", half(n))]));
        client.send_ok(batch.collect()).await;
    }
    let mut found = Vec::new();
    for consumer in consumers {
        found.extend(consumer.await.unwrap());
    }
    found.sort();
    let expected: Vec<_> = (0..MESSAGES).step_by(2).map(|n| format!("{n:03}")).collect();
    assert_eq!(found, expected, "each once, by whomever");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expression_that_is_none_is_refused_with_its_place() {
    let server = server::start().await;
    let client = server.client();
    for (text, place) in
        [("price >", "at character 8"), ("price = 'x", "at character 9"), ("", "at character 1")]
    {
        let refused = client.receive(asking("g", text, SHORT)).await;
        assert_eq!(refused.status.code(), Code::IllegalFilterExpression, "{text}");
        assert!(refused.status.message.contains(place), "{}", refused.status.message);
    }
    let subscribe = async |text: &str| {
        let entry = SubscriptionEntry { topic: Some(resource("t")), expression: sql(text) };
        let settings = Settings {
            client_type: Some(ClientType::PushConsumer as i32),
            pub_sub: Some(PubSub::Subscription(Subscription {
                group: Some(resource("g")),
                subscriptions: vec![entry],
                ..Subscription::default()
            })),
            ..Settings::default()
        };
        let command = telemetry_command::Command::Settings(settings);
        let command = TelemetryCommand { status: None, command: Some(command) };
        let commands = client.request(tokio_stream::once(command));
        let mut answers = client.grpc.clone().telemetry(commands).await.unwrap().into_inner();
        answers.message().await
    };
    let refused = subscribe("price >").await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::InvalidArgument);
    assert!(refused.message().contains("IllegalFilterExpression"), "{refused}");
    assert!(refused.message().contains("at character 8"), "{refused}");
    let accepted = subscribe("price > 5").await.unwrap().unwrap();
    assert_eq!(code(&accepted.status), Code::Ok);
    server.stop().await;
}

fn asking_tags(group: &str, tags: &str, wait: Duration) -> ReceiveMessageRequest {
    let expression = FilterExpression { r#type: FilterType::Tag as i32, expression: tags.to_owned() };
    ReceiveMessageRequest { filter_expression: Some(expression), ..polling(group, "t", wait) }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_tags_refuse_is_settled_though_nothing_matches() {
    let server = server::start().await;
    let client = server.client();
    let lag = async || {
        let progress = server.group().query(|state| state.progress("g", "t"));
        progress.await.unwrap().map(|queues| queues.iter().map(|queue| queue.lag).sum::<u64>())
    };
    for n in 0..20 {
        client.send_ok(vec![tagged("t", &format!("early-{n}"), "common")]).await;
    }
    let none = client.receive(asking_tags("g", "rare", SHORT)).await;
    assert_eq!(none.status.code(), Code::MessageNotFound);
    assert_eq!(lag().await, Some(0), "what it found when it came");
    let poll = tokio::spawn({
        let client = client.clone();
        async move { client.receive(asking_tags("g", "rare", LONG)).await }
    });
    server.until_polls_wait(1).await;
    for n in 0..20 {
        client.send_ok(vec![tagged("t", &format!("late-{n}"), "common")]).await;
    }
    let deadline = Instant::now() + LONG / 2;
    while lag().await != Some(0) {
        assert!(Instant::now() < deadline, "what came while it waited is not settled: {:?}", lag().await);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(!poll.is_finished(), "it goes on waiting");
    client.send_ok(vec![tagged("t", "wanted", "rare")]).await;
    assert_eq!(ids(&poll.await.unwrap().messages), ["wanted"]);
    let rest = client.receive(polling("g", "t", SHORT)).await;
    assert!(rest.messages.is_empty(), "another filter gets nothing of it: {:?}", ids(&rest.messages));
    server.stop().await;
}
