//! Groups whose leader dies: who is made leader, and when.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::eventually;
use crate::world::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sync_group_is_elected_followed_and_failed_over() {
    let (api, mut brokers) = replicas_with_pods(2).await;
    api.put(CLUSTER, cluster(sync_spec()));
    let running = Running::start(&api, brokers.port);

    eventually("the first leader", || brokers.leader().filter(|leader| *leader == (0, 2))).await;
    eventually("labels", || (role(&api, "orders-0-0") == ("leader".into(), "true".into())).then_some(()))
        .await;
    eventually("labels", || (role(&api, "orders-0-1") == ("follower".into(), "false".into())).then_some(()))
        .await;
    eventually("a cluster that is ready", || {
        condition(&api.get(CLUSTER)?, "Ready").filter(|(status, ..)| status == "True")
    })
    .await;
    let status = api.get(CLUSTER).expect("there")["status"].clone();
    assert_eq!(status["brokers"], "3/3");
    assert_eq!(status["leaders"], "orders-0-0");
    assert_eq!(status["selector"], "mainstay.dev/cluster=orders");

    brokers.set_last_index(2, 11);
    let killed = Instant::now();
    brokers.kill(0);
    api.remove(&pod_path("orders-0-0"));
    let leader = eventually("another leader", || brokers.leader()).await;
    assert_eq!(leader, (2, 3), "the most advanced replica in a new epoch");
    eventually("labels", || (role(&api, "orders-0-2") == ("leader".into(), "true".into())).then_some(()))
        .await;
    let took = killed.elapsed();
    assert!(took < Duration::from_secs(4), "{took:?}");
    eventually("the other follower to be taken off the service", || {
        (role(&api, "orders-0-1") == ("follower".into(), "false".into())).then_some(())
    })
    .await;
    let group = eventually("the record of it", || {
        api.get(GROUP).filter(|group| group["status"]["lastFailover"]["to"] == "orders-0-2")
    })
    .await;
    assert_eq!(group["status"]["order"]["epoch"], 3);
    assert_eq!(group["status"]["lastFailover"]["from"], "orders-0-0");
    assert_eq!(brokers.orders(), [(0, 2), (2, 3)], "one order for each leader");
    running.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_async_leader_is_vouched_for_and_its_heir_waits_for_the_lease_to_end() {
    let (api, mut brokers) = replicas_with_pods(3).await;
    api.put(CLUSTER, cluster(json!({ "replicas": 3, "replication": { "mode": "Async" } })));
    let running = Running::start(&api, brokers.port);
    eventually("a lease", || brokers.grants().contains(&(0, 2)).then_some(())).await;
    let last_grant = || brokers.grants().len();
    let before = last_grant();
    eventually("renewals", || (last_grant() >= before + 3).then_some(())).await;
    let killed = Instant::now();
    brokers.kill(0);
    api.remove(&pod_path("orders-0-0"));
    let (_, epoch) = eventually("an heir", || brokers.leader()).await;
    assert_eq!(epoch, 3);
    let took = killed.elapsed();
    assert!(took >= Duration::from_millis(2300), "promoted after {took:?}, while the lease may have run");
    assert!(took < Duration::from_secs(5), "{took:?}");
    running.end().await;
}
