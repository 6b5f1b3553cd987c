//! The life of a message as the log tells it: by whom and when it was stored, delivered, put off, given up, acknowledged.

#![allow(clippy::unwrap_used)]

mod client;
mod server;

use std::time::Duration;

use client::{handle, message, polling};
use mainstay_proto::control::admin_client::AdminClient;
use mainstay_proto::control::{TraceMessageRequest, TracedMessage};
use tonic::transport::Endpoint;

const LONG: Duration = Duration::from_secs(15);

async fn trace(server: &server::Server, id: &str) -> Vec<TracedMessage> {
    let channel = Endpoint::new(format!("http://{}", server.internal())).unwrap().connect().await.unwrap();
    let mut admin = AdminClient::new(channel);
    let request = TraceMessageRequest { message_id: id.to_owned() };
    admin.trace_message(request).await.unwrap().into_inner().messages
}

fn told(message: &TracedMessage) -> Vec<(&str, &str, &str)> {
    let events = message.events.iter();
    events.map(|event| (event.what.as_str(), event.consumer_group.as_str(), event.by.as_str())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_leaves_a_trail_for_each_group_and_client() {
    let server = server::start().await;
    let (producer, one, two) =
        (server.client(), server.client().named("one@1"), server.client().named("two@2"));
    producer.send_ok(vec![message("orders", "0101", "body")]).await;
    producer.send_ok(vec![message("orders", "0102", "another")]).await;
    producer.send_ok(vec![message("orders", "0101", "body")]).await;

    let first = one.receive(polling("billing", "orders", LONG)).await.messages;
    let wanted = first.iter().find(|m| m.system_properties.as_ref().unwrap().message_id == "0101").unwrap();
    let changed = one.change("billing", "orders", handle(wanted), Duration::ZERO).await;
    assert_eq!(client::code(&changed.status), mainstay_proto::rocketmq::Code::Ok);
    let again = two.receive(polling("billing", "orders", LONG)).await.messages;
    one.acknowledge("billing", "orders", &[handle(wanted)]).await;
    two.acknowledge("billing", "orders", &[handle(&again[0])]).await;
    one.receive(polling("audit", "orders", LONG)).await;

    let traced = trace(&server, "0101").await;
    let [traced] = traced.as_slice() else { panic!("{traced:?}") };
    let expected = [
        ("STORED", "", ""),
        ("QUEUED", "", ""),
        ("SENT_AGAIN", "", ""),
        ("DELIVERED", "billing", "one@1"),
        ("PUT_OFF", "billing", "one@1"),
        ("DELIVERED", "billing", "two@2"),
        ("REFUSED", "billing", "one@1"),
        ("ACKNOWLEDGED", "billing", "two@2"),
        ("DELIVERED", "audit", "one@1"),
    ];
    assert_eq!(told(traced), expected);
    assert!(traced.events.is_sorted_by_key(|event| (event.at_ms, event.index)));
    assert_eq!(
        traced.events[6].detail,
        "acknowledgement: receipt handle was replaced by a later delivery or change"
    );
    assert!(traced.standing[0].contains("in flight to audit, attempt 1, until 20"), "{:?}", traced.standing);
    assert!(traced.standing[0].ends_with('Z'), "{:?}", traced.standing);
    assert!(traced.standing[1].contains("settled for billing"), "{:?}", traced.standing);
    assert_eq!(trace(&server, "nobody's").await, []);
    server.stop().await;
}
