//! What a push consumer holds stays with it for as long as it lives and can have it, and no longer.

#![allow(clippy::unwrap_used)]

mod client;
mod server;

use std::time::{Duration, Instant};

use client::{code, handle, ids, message, polling};
use mainstay_proto::rocketmq::*;

const LONG: Duration = Duration::from_secs(15);
/// Twice the period in which the broker looks after its clients.
const LOOKED_AFTER: Duration = Duration::from_secs(10);

/// As a push consumer asks: the broker keeps the leases.
fn pushed(group: &str, topic: &str) -> ReceiveMessageRequest {
    ReceiveMessageRequest { auto_renew: true, invisible_duration: None, ..polling(group, topic, LONG) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_consumer_that_is_only_heard_by_its_receive_keeps_its_message_and_is_one() {
    let server = server::start().await;
    let (fresh, other) = (server.client().named("fresh"), server.client().named("other"));
    other.send_ok(vec![message("t", "m", "x")]).await;
    let held = fresh.receive(pushed("g", "t")).await;
    assert_eq!(ids(&held.messages), ["m"]);
    let none = other.receive(polling("g", "t", LOOKED_AFTER)).await;
    assert_eq!(none.status.code(), Code::MessageNotFound, "{none:?}");

    // A push consumer's failure has to wait as its group says, at least a second, although it asks for nothing.
    let failed = Instant::now();
    let changed = fresh.change("g", "t", handle(&held.messages[0]), Duration::ZERO).await;
    assert_eq!(code(&changed.status), Code::Ok, "the handle is as good as ever: {changed:?}");
    let again = fresh.receive(pushed("g", "t")).await;
    assert_eq!(ids(&again.messages), ["m"]);
    assert_eq!(again.messages[0].system_properties.as_ref().unwrap().delivery_attempt, Some(2));
    assert!(failed.elapsed() >= Duration::from_millis(900), "{:?}", failed.elapsed());
    let acknowledged = fresh.acknowledge("g", "t", &[handle(&again.messages[0])]).await;
    assert_eq!(code(&acknowledged.status), Code::Ok, "{acknowledged:?}");
    server.stop().await;
}
