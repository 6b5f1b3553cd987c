//! Who comes first: within message groups, and by priority.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_message_group_comes_in_order_across_queues_and_redelivery() {
    let (server, client) = with_topic(TopicKind::Fifo, 8).await;
    for number in 0..30 {
        let group = ["red", "green", "blue"][number % 3];
        client.send_ok(vec![fifo("t", &format!("{group}-{:02}", number / 3), group)]).await;
    }
    // The group is made by its first receive, in the order of its topic.
    let mut got: Vec<String> = Vec::new();
    let mut failed = false;
    while got.len() < 30 {
        let request = ReceiveMessageRequest { batch_size: 4, ..polling("g", "t", LONG) };
        let received = client.receive(request).await;
        assert!(!received.messages.is_empty(), "stuck after {got:?}");
        let first = system(&received.messages[0]);
        if !failed && first.message_id == "green-03" {
            failed = true;
            let changed = client.change("g", "t", handle(&received.messages[0]), Duration::ZERO).await;
            assert_eq!(code(&changed.status), Code::Ok);
            for message in &received.messages[1..] {
                client.change("g", "t", handle(message), Duration::ZERO).await;
            }
            continue;
        }
        for message in &received.messages {
            assert_eq!(system(message).message_type, MessageType::Fifo as i32);
            got.push(system(message).message_id.clone());
            client.acknowledge("g", "t", &[handle(message)]).await;
        }
    }
    for group in ["red", "green", "blue"] {
        let of_group: Vec<_> = got.iter().filter(|id| id.starts_with(group)).cloned().collect();
        let expected: Vec<_> = (0..10).map(|number| format!("{group}-{number:02}")).collect();
        assert_eq!(of_group, expected);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_head_keeps_its_message_group_back_and_no_other() {
    let (server, client) = with_topic(TopicKind::Fifo, 1).await;
    for id in ["a1", "a2", "b1"] {
        client.send_ok(vec![fifo("t", id, &id[..1])]).await;
    }
    let one = || ReceiveMessageRequest { batch_size: 1, ..polling("g", "t", SHORT) };
    let first = client.receive(one()).await.messages;
    assert_eq!(in_order(&first), ["a1"]);
    let second = client.receive(one()).await.messages;
    assert_eq!(in_order(&second), ["b1"], "another message group of the same queue goes on");
    assert_eq!(client.receive(one()).await.status.code(), Code::MessageNotFound, "a2 waits for a1");
    assert_eq!(bury(&client, "g", "t", handle(&first[0])).await, Code::Ok);
    let third = client.receive(one()).await.messages;
    assert_eq!(in_order(&third), ["a2"], "a dead letter is settled");
    assert_eq!(system(&third[0]).message_group.as_deref(), Some("a"));
    assert_eq!(bury(&client, "g", "t", handle(&first[0])).await, Code::Ok, "again is fine");
    let letters = client.receive(polling("undertaker", "%DLQ%g", LONG)).await.messages;
    assert_eq!(in_order(&letters), ["a1"]);
    let origin = system(&letters[0]).dead_letter_queue.clone().unwrap();
    assert_eq!((origin.topic.as_str(), origin.message_id.as_str()), ("t", "a1"));
    assert_eq!(letters[0].body, "a1".as_bytes());
    assert_eq!(letters[0].topic, Some(resource("%DLQ%g")));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receive_that_is_repeated_gets_the_same_messages_again() {
    let (server, client) = with_topic(TopicKind::Fifo, 1).await;
    for id in ["a1", "a2", "b1"] {
        client.send_ok(vec![fifo("t", id, &id[..1])]).await;
    }
    let attempt = |id: &str| ReceiveMessageRequest {
        attempt_id: Some(id.to_owned()),
        batch_size: 1,
        ..polling("g", "t", LONG)
    };
    let first = client.receive(attempt("one")).await.messages;
    let again = client.receive(attempt("one")).await.messages;
    assert_eq!((in_order(&first), in_order(&again)), (vec!["a1"], vec!["a1"]));
    assert_eq!(system(&again[0]).delivery_attempt, Some(1), "it is the same delivery");
    let other = client.receive(attempt("two")).await.messages;
    assert_eq!(in_order(&other), ["b1"]);
    assert_eq!(code(&client.acknowledge("g", "t", &[handle(&again[0])]).await.status), Code::Ok);
    assert_eq!(
        in_order(&client.receive(attempt("one")).await.messages),
        ["a2"],
        "settled ones do not come again"
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn higher_priorities_come_first() {
    let (server, client) = with_topic(TopicKind::Priority, 3).await;
    for (id, priority) in [("low", 0), ("middle", 1), ("high", 2), ("highest", 99)] {
        let message = with(message("t", id, "x"), |system| system.priority = Some(priority));
        client.send_ok(vec![message]).await;
    }
    let got = client.receive(polling("g", "t", LONG)).await.messages;
    assert_eq!(in_order(&got), ["high", "highest", "middle", "low"]);
    assert_eq!(system(&got[1]).priority, Some(99));
    assert_eq!(system(&got[1]).message_type, MessageType::Priority as i32);
    server.stop().await;
}
