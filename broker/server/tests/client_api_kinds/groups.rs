//! Two broker groups: each call finds the one that it is about.

use super::*;

/// A receive from all queues of one of the two broker groups.
fn from(broker: &str, topic: &str, wait: Duration) -> ReceiveMessageRequest {
    let mut request = polling("g", topic, wait);
    let queue = request.message_queue.as_mut().unwrap();
    queue.broker = Some(Broker { name: broker.to_owned(), ..Broker::default() });
    request
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_group_has_one_home_whichever_broker_group_is_called() {
    let servers = server::start_pair().await;
    servers[0].create_topic_of(TopicKind::Fifo, "t", 4).await;
    let clients = [servers[0].client(), servers[1].client()];
    let groups: Vec<String> = (0..12).map(|number| format!("group-{number}")).collect();
    // One call for all message groups, through one broker, then through the other.
    for round in 0..4 {
        let message = |group: &String| fifo("t", &format!("{group}/{round}"), group);
        let sent = clients[round % 2].send_ok(groups.iter().map(message).collect()).await;
        let ids: Vec<_> = sent.entries.iter().map(|entry| entry.message_id.clone()).collect();
        let expected: Vec<_> = groups.iter().map(|group| format!("{group}/{round}")).collect();
        assert_eq!(ids, expected, "one result for each, in their order");
    }
    let mut homes = std::collections::BTreeMap::new();
    let mut got: Vec<String> = Vec::new();
    for broker in ["pair-0", "pair-1"] {
        loop {
            let wait = if got.is_empty() { LONG } else { SHORT };
            let messages = clients[0].receive(from(broker, "t", wait)).await.messages;
            if messages.is_empty() {
                break;
            }
            for message in &messages {
                let group = system(message).message_group.clone().unwrap();
                assert_eq!(*homes.entry(group).or_insert(broker), broker, "a message group has one home");
                got.push(system(message).message_id.clone());
                clients[1].acknowledge("g", "t", &[handle(message)]).await;
            }
        }
    }
    for group in &groups {
        let of_group: Vec<_> = got.iter().filter(|id| id.starts_with(&format!("{group}/"))).collect();
        assert_eq!(of_group.len(), 4, "{group}: {of_group:?}");
        assert!(of_group.is_sorted(), "{group}: {of_group:?}");
    }
    let used: std::collections::BTreeSet<_> = homes.values().collect();
    assert_eq!(used.len(), 2, "message groups are spread over the broker groups: {homes:?}");
    for server in servers {
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn decisions_and_recalls_find_the_broker_group_that_they_are_about() {
    let servers = server::start_pair().await;
    servers[0].create_topic_of(TopicKind::Transaction, "half", 4).await;
    servers[0].create_topic_of(TopicKind::Delay, "delay", 4).await;
    let clients = [servers[0].client(), servers[1].client()];
    for (here, there) in [(0, 1), (1, 0)] {
        let sent = clients[here].send_ok(vec![half("half", &format!("h{here}"))]).await;
        let transaction = sent.entries[0].transaction_id.clone();
        let ended = end(&clients[there], "half", &transaction, TransactionResolution::Commit).await;
        assert_eq!(ended.0, Code::Ok, "{}", ended.1);
        let at = SystemTime::now() + Duration::from_secs(600);
        let sent = clients[here].send_ok(vec![delayed("delay", &format!("d{here}"), at)]).await;
        let answer = recall(&clients[there], "delay", &sent.entries[0].recall_handle).await;
        assert_eq!((code(&answer.status), answer.message_id), (Code::Ok, format!("d{here}")));
        let broker = format!("pair-{here}");
        let got = clients[there].receive(from(&broker, "half", LONG)).await.messages;
        assert_eq!(in_order(&got), [format!("h{here}")]);
        assert_eq!(bury(&clients[there], "g", "half", handle(&got[0])).await, Code::Ok);
        let letters = clients[there].receive(from(&broker, "%DLQ%g", LONG)).await.messages;
        assert_eq!(in_order(&letters), [format!("h{here}")]);
    }
    for server in servers {
        server.stop().await;
    }
}
