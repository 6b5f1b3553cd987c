//! What consumers are told of their group, and readers that keep their place by themselves.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn settings_tell_a_consumer_how_its_group_is_served() {
    let (server, client) = with_topic(TopicKind::Fifo, 2).await;
    server.create_topic("plain", 2).await;
    for (topic, group, fifo) in [("t", "of-fifo", true), ("plain", "of-plain", false)] {
        let entry = SubscriptionEntry { topic: Some(resource(topic)), ..SubscriptionEntry::default() };
        let subscription = Subscription {
            group: Some(resource(group)),
            subscriptions: vec![entry],
            ..Subscription::default()
        };
        let settings = Settings {
            client_type: Some(ClientType::PushConsumer as i32),
            pub_sub: Some(settings::PubSub::Subscription(subscription)),
            ..Settings::default()
        };
        let (commands, outgoing) = tokio::sync::mpsc::channel(1);
        let request = client.request(tokio_stream::wrappers::ReceiverStream::new(outgoing));
        let mut incoming = client.grpc.clone().telemetry(request).await.unwrap().into_inner();
        let command = Some(telemetry_command::Command::Settings(settings));
        commands.send(TelemetryCommand { command, status: None }).await.unwrap();
        let answer = incoming.message().await.unwrap().unwrap();
        let Some(telemetry_command::Command::Settings(merged)) = answer.command else { panic!("{group}") };
        let Some(settings::PubSub::Subscription(subscription)) = merged.pub_sub else { panic!("{group}") };
        assert_eq!(subscription.fifo, Some(fifo), "before its first receive has made the group");
        assert_eq!(merged.backoff_policy.unwrap().max_attempts, 17);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_see_everything_and_take_nothing_away() {
    let server = server::start().await;
    server.create_topic("t", 1).await;
    let client = server.client();
    let before = prost_types::Timestamp::from(SystemTime::now());
    for number in 0..5 {
        let tag = if number % 2 == 0 { "even" } else { "odd" };
        client.send_ok(vec![client::tagged("t", &format!("m{number}"), tag)]).await;
    }
    let queue = MessageQueue { topic: Some(resource("t")), ..MessageQueue::default() };
    let pull = async |offset: i64, tags: &str, wait: Duration| {
        let request = client.request(PullMessageRequest {
            group: Some(resource("reader")),
            message_queue: Some(queue.clone()),
            offset,
            batch_size: 2,
            filter_expression: Some(FilterExpression {
                r#type: FilterType::Tag as i32,
                expression: tags.to_owned(),
            }),
            long_polling_timeout: Some(wait.try_into().unwrap()),
        });
        let mut stream = client.grpc.clone().pull_message(request).await.unwrap().into_inner();
        let (mut status, mut ids, mut next) = (None, Vec::new(), None);
        while let Some(part) = stream.message().await.unwrap() {
            match part.content.unwrap() {
                pull_message_response::Content::Status(told) => status = Some(told.code()),
                pull_message_response::Content::Message(message) => {
                    assert!(system(&message).body_digest.is_some());
                    ids.push(system(&message).message_id.clone());
                }
                pull_message_response::Content::NextOffset(offset) => next = Some(offset),
            }
        }
        (status.unwrap(), ids, next.unwrap())
    };
    let found =
        |ids: &[&str], next| (Code::Ok, ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>(), next);
    assert_eq!(pull(0, "*", SHORT).await, found(&["m0", "m1"], 2));
    assert_eq!(pull(2, "*", SHORT).await, found(&["m2", "m3"], 4));
    assert_eq!(pull(0, "odd", SHORT).await, found(&["m1", "m3"], 4));
    assert_eq!(
        pull(4, "odd", SHORT).await,
        (Code::MessageNotFound, vec![], 5),
        "what is not wanted is passed"
    );
    let waiting = pull(5, "*", LONG);
    let sending = async {
        // Behind the pull on the same connection: it has come in, and has had time to look and find nothing.
        for _ in 0..50 {
            assert_eq!(code(&client.route("t").await.status), Code::Ok);
        }
        client.send_ok(vec![message("t", "m5", "x")]).await;
    };
    let (waited, ()) = tokio::join!(biased; waiting, sending);
    assert_eq!(waited, found(&["m5"], 6));
    let offset = async |policy: QueryOffsetPolicy, timestamp| {
        let request = client.request(QueryOffsetRequest {
            message_queue: Some(queue.clone()),
            query_offset_policy: policy as i32,
            timestamp,
        });
        let answer = client.grpc.clone().query_offset(request).await.unwrap().into_inner();
        assert_eq!(code(&answer.status), Code::Ok);
        answer.offset
    };
    assert_eq!(offset(QueryOffsetPolicy::Beginning, None).await, 0);
    assert_eq!(offset(QueryOffsetPolicy::End, None).await, 6);
    assert_eq!(offset(QueryOffsetPolicy::Timestamp, Some(before)).await, 0);
    let update = client.request(UpdateOffsetRequest {
        group: Some(resource("reader")),
        message_queue: Some(queue.clone()),
        offset: 4,
    });
    assert_eq!(code(&client.grpc.clone().update_offset(update).await.unwrap().into_inner().status), Code::Ok);
    let get = client
        .request(GetOffsetRequest { group: Some(resource("reader")), message_queue: Some(queue.clone()) });
    assert_eq!(client.grpc.clone().get_offset(get).await.unwrap().into_inner().offset, 4);
    let rest = client.receive(polling("reader", "t", SHORT)).await.messages;
    assert_eq!(in_order(&rest), ["m4", "m5"], "the place that was set is the group's own");
    server.stop().await;
}
