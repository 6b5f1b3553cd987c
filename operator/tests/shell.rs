//! The shell against an API server in memory and brokers on loopback addresses.

mod support;

use std::time::{Duration, Instant};

use k8s_openapi::api::{coordination::v1::Lease, core::v1::Pod};
use kube::{
    Api,
    core::{ApiResource, DynamicObject, GroupVersionKind},
};
use mainstay_crds::{BrokerGroup, group::OrderKind};
use mainstay_operator::{
    candidacy::Timing,
    decide::{
        action::Action,
        memory::Memory,
        observed::{Moment, NodeId},
    },
    shell::{
        Clock, Context,
        broker::Brokers,
        execute::{ActError, Hands},
        leadership::{Leadership, Tenure},
        pods::Pods,
        supervisor,
    },
};
use mainstay_proto::control::AdoptMembershipRequest;
use serde_json::{Value, json};
use support::{
    api::FakeApi,
    broker::{FakeGroup, ip},
    context, eventually,
};
use tokio_util::sync::CancellationToken;

const GROUP: &str = "/apis/mainstay.dev/v1alpha1/namespaces/default/brokergroups/orders-0";
const CLUSTER: &str = "/apis/mainstay.dev/v1alpha1/namespaces/default/brokerclusters/orders";
const SET: &str = "/apis/apps/v1/namespaces/default/statefulsets/orders-0";
const CONFIG: &str = "/api/v1/namespaces/default/configmaps/orders-0-config";
const SECRET: &str = "/api/v1/namespaces/default/secrets/orders-internal";

fn pod_path(name: &str) -> String {
    format!("/api/v1/namespaces/default/pods/{name}")
}

fn cluster(spec: Value) -> Value {
    json!({
        "apiVersion": "mainstay.dev/v1alpha1", "kind": "BrokerCluster",
        "metadata": { "name": "orders", "namespace": "default", "uid": "cluster-uid" },
        "spec": spec,
    })
}

fn sync_spec() -> Value {
    json!({ "replicas": 3, "replication": { "mode": "Sync" } })
}

/// The token is known beforehand, so that the fake brokers can check it.
fn put_secret(api: &FakeApi) {
    api.put(SECRET, json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {
            "name": "orders-internal", "namespace": "default",
            "ownerReferences": [{ "apiVersion": "mainstay.dev/v1alpha1", "kind": "BrokerCluster", "name": "orders", "uid": "cluster-uid" }],
        },
        "data": { "token": "c2VjcmV0" },
    }));
}

fn put_pod(api: &FakeApi, group: &FakeGroup, ordinal: usize) {
    let name = group.pod(ordinal);
    api.put(&pod_path(&name), json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": name, "namespace": "default", "labels": {
            "app.kubernetes.io/managed-by": "mainstay-operator", "mainstay.dev/cluster": "orders",
            "mainstay.dev/group": "0", "mainstay.dev/routable": "true",
        } },
        "spec": { "containers": [] },
        "status": { "podIP": ip(ordinal).to_string(), "conditions": [{ "type": "Ready", "status": "True" }] },
    }));
}

fn role(api: &FakeApi, name: &str) -> (String, String) {
    let labels = api.get(&pod_path(name)).map(|pod| pod["metadata"]["labels"].clone()).unwrap_or_default();
    let label = |key: &str| labels[key].as_str().unwrap_or("-").to_owned();
    (label("mainstay.dev/role"), label("mainstay.dev/routable"))
}

fn condition(object: &Value, type_: &str) -> Option<(String, String, String)> {
    let conditions = object["status"]["conditions"].as_array()?;
    let found = conditions.iter().find(|condition| condition["type"] == type_)?;
    let text = |key: &str| found[key].as_str().unwrap_or_default().to_owned();
    Some((text("status"), text("reason"), text("message")))
}

struct Running {
    api: FakeApi,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Running {
    fn start(api: &FakeApi, control_port: u16) -> Self {
        let stop = CancellationToken::new();
        let task = tokio::spawn(supervisor::run(context(api.client(), control_port), None, stop.clone()));
        Self { api: api.clone(), stop, task }
    }

    async fn end(self) {
        self.stop.cancel();
        tokio::time::timeout(Duration::from_secs(5), self.task)
            .await
            .expect("stops")
            .expect("without a panic");
        let _ = self.api;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sync_group_is_elected_followed_and_failed_over() {
    let api = FakeApi::new();
    let mut brokers = FakeGroup::start("orders-0", 3, 2, "secret").await;
    put_secret(&api);
    for ordinal in 0..3 {
        put_pod(&api, &brokers, ordinal);
    }
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
async fn what_has_converged_is_not_written_again() {
    let api = FakeApi::new();
    let brokers = FakeGroup::start("orders-0", 3, 2, "secret").await;
    put_secret(&api);
    for ordinal in 0..3 {
        put_pod(&api, &brokers, ordinal);
    }
    api.put(CLUSTER, cluster(sync_spec()));
    let running = Running::start(&api, brokers.port);
    eventually("a cluster that is ready", || {
        condition(&api.get(CLUSTER)?, "Ready").filter(|(status, ..)| status == "True")
    })
    .await;
    // Quiet is a state that can only be seen in time: two seconds without a write.
    eventually("quiet", {
        let mut since = Instant::now();
        let api = api.clone();
        move || {
            if !api.take_writes().is_empty() {
                since = Instant::now();
            }
            (since.elapsed() > Duration::from_secs(2)).then_some(())
        }
    })
    .await;
    let versions = |api: &FakeApi| {
        [GROUP, CLUSTER, SET, CONFIG]
            .map(|path| api.get(path).map(|o| o["metadata"]["resourceVersion"].clone()))
    };
    let before = versions(&api);
    running.end().await;
    // Another operator that takes over finds nothing to change either.
    let running = Running::start(&api, brokers.port);
    eventually("the second operator's applying", || {
        api.take_writes().iter().any(|(method, path)| method == "PATCH" && path == SET).then_some(())
    })
    .await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(versions(&api), before);
    assert_eq!(brokers.orders().len(), 1, "and calls no election");
    running.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_spec_is_told_and_running_brokers_are_left_alone() {
    let api = FakeApi::new();
    let mut brokers = FakeGroup::start("orders-0", 3, 2, "secret").await;
    put_secret(&api);
    for ordinal in 0..3 {
        put_pod(&api, &brokers, ordinal);
    }
    api.put(CLUSTER, cluster(sync_spec()));
    let running = Running::start(&api, brokers.port);
    eventually("the first leader", || brokers.leader()).await;
    let objects = |api: &FakeApi| [SET, CONFIG].map(|path| api.get(path));
    let before = objects(&api);

    let bad = [
        (
            json!({ "replicas": 3, "replication": { "mode": "Sync" }, "config": { "topics.qeues": 3 } }),
            "InvalidSpec",
            "spec.config[\"topics.qeues\"]",
        ),
        (
            json!({ "replicas": 3, "replication": { "mode": "Sync", "ackTimeout": "soon" } }),
            "InvalidSpec",
            "spec.replication.ackTimeout",
        ),
        (json!({ "replicas": "many", "replication": { "mode": "Sync" } }), "InvalidSpec", "spec.replicas"),
        (json!({ "replicas": 5, "replication": { "mode": "Sync" } }), "ImmutableField", "spec.replicas"),
        (
            json!({ "replicas": 3, "replication": { "mode": "Raft" } }),
            "ImmutableField",
            "spec.replication.mode",
        ),
    ];
    for (spec, reason, field) in bad {
        let mut object = api.get(CLUSTER).expect("there");
        object["spec"] = spec.clone();
        api.put(CLUSTER, object);
        let (_, _, message) = eventually(&format!("the refusal of {spec}"), || {
            let object = api.get(CLUSTER)?;
            let seen = object["status"]["observedGeneration"] == object["metadata"]["generation"];
            condition(&object, "Ready")
                .filter(|(_, found, message)| seen && found == reason && message.contains(field))
        })
        .await;
        assert!(message.starts_with(field), "{message}");
    }
    assert_eq!(objects(&api), before, "nothing was touched");
    let events = "/apis/events.k8s.io/v1/namespaces/default/events";
    let posted = api.take_writes().iter().filter(|(method, path)| method == "POST" && path == events).count();
    assert!(posted >= 5, "{posted} events");

    brokers.kill(0);
    api.remove(&pod_path("orders-0-0"));
    eventually("a failover in spite of the bad spec", || brokers.leader()).await;
    running.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_of_somebody_else_are_not_taken_over() {
    let api = FakeApi::new();
    let theirs = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": { "name": "orders", "namespace": "default" },
        "spec": { "selector": { "app": "theirs" } },
    });
    let path = "/api/v1/namespaces/default/services/orders";
    api.put(path, theirs);
    api.put(CLUSTER, cluster(sync_spec()));
    let running = Running::start(&api, 1);
    let (_, _, message) = eventually("the refusal", || {
        condition(&api.get(CLUSTER)?, "Ready").filter(|(_, reason, _)| reason == "NameTaken")
    })
    .await;
    assert!(message.contains("Service orders exists already"), "{message}");
    assert_eq!(api.get(path).expect("there")["spec"]["selector"], json!({ "app": "theirs" }));
    assert!(api.get(SET).is_none());
    running.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_async_leader_is_vouched_for_and_its_heir_waits_for_the_lease_to_end() {
    let api = FakeApi::new();
    let mut brokers = FakeGroup::start("orders-0", 3, 3, "secret").await;
    put_secret(&api);
    for ordinal in 0..3 {
        put_pod(&api, &brokers, ordinal);
    }
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

fn contender(api: &FakeApi, identity: &str) -> (Leadership, Tenure) {
    let tenure = Tenure::new(Clock::start());
    let timing = Timing {
        duration: Duration::from_secs(2),
        renew_within: Duration::from_millis(1200),
        retry: Duration::from_millis(100),
    };
    let leases: Api<Lease> = Api::namespaced(api.client(), "default");
    (Leadership::new(leases, "mainstay".to_owned(), identity.to_owned(), timing, tenure.clone()), tenure)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_operator_is_active_and_the_other_takes_over() {
    let api = FakeApi::new();
    let (mut first, first_tenure) = contender(&api, "first");
    let (mut second, second_tenure) = contender(&api, "second");
    first.acquire().await;
    assert!(first_tenure.holds());
    let keeping = tokio::spawn(async move {
        tokio::select! {
            () = first.keep() => panic!("lost without a reason"),
            () = tokio::time::sleep(Duration::from_secs(3)) => {}
        }
        first
    });
    let acquired = tokio::time::timeout(Duration::from_millis(2800), second.acquire()).await;
    assert!(acquired.is_err(), "a lease that is renewed is not taken");
    let mut first = keeping.await.expect("no panic");
    let released = Instant::now();
    first.release().await;
    assert!(!first_tenure.holds());
    tokio::time::timeout(Duration::from_secs(1), second.acquire())
        .await
        .expect("a released lease is taken at once");
    assert!(released.elapsed() < Duration::from_secs(1));

    // The second stops renewing: the first gets it back, and not before the second has stopped acting.
    tokio::time::timeout(Duration::from_secs(5), first.acquire())
        .await
        .expect("a lease that lapsed is taken");
    assert!(first_tenure.holds() && !second_tenure.holds());
    tokio::time::timeout(Duration::from_secs(3), second.keep()).await.expect("the loser notices");
}

/// What the hands for the group `orders-0` hold.
struct Desk {
    context: Context,
    groups: Api<BrokerGroup>,
    pod_api: Api<Pod>,
    stateful_sets: Api<DynamicObject>,
    pods: Pods,
    brokers: Brokers,
    watching: tokio::task::JoinHandle<()>,
}

impl Desk {
    async fn at(api: &FakeApi, control_port: u16) -> Self {
        let group = json!({
            "apiVersion": "mainstay.dev/v1alpha1", "kind": "BrokerGroup",
            "metadata": { "name": "orders-0", "namespace": "default" },
            "spec": { "cluster": "orders", "group": 0, "replicas": 3, "mode": "Sync", "failoverDelay": "0s" },
        });
        api.put(GROUP, group);
        let sets = ApiResource::from_gvk_with_plural(
            &GroupVersionKind::gvk("apps", "v1", "StatefulSet"),
            "statefulsets",
        );
        let pod_api: Api<Pod> = Api::namespaced(api.client(), "default");
        let (pods, watching) = Pods::watch(pod_api.clone());
        let watching = tokio::spawn(watching);
        pods.ready().await;
        Self {
            context: context(api.client(), control_port),
            groups: Api::namespaced(api.client(), "default"),
            pod_api,
            stateful_sets: Api::namespaced_with(api.client(), "default", &sets),
            pods,
            brokers: Brokers::new("secret", control_port).expect("can be sent"),
            watching,
        }
    }

    fn hands(&self) -> Hands<'_> {
        Hands {
            context: &self.context,
            namespace: "default",
            groups: &self.groups,
            pod_api: &self.pod_api,
            stateful_sets: &self.stateful_sets,
            pods: &self.pods,
            brokers: &self.brokers,
        }
    }

    async fn record(&self) -> BrokerGroup {
        self.groups.get("orders-0").await.expect("there")
    }

    /// Another operator is the active one from here on.
    fn depose(&mut self) {
        self.context.tenure = Tenure::new(Clock::start());
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        self.watching.abort();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_is_given_only_after_it_is_on_record() {
    let api = FakeApi::new();
    let brokers = FakeGroup::start("orders-0", 3, 2, "secret").await;
    put_pod(&api, &brokers, 1);
    let order = |epoch: u64, supersedes: u64| Action::Order {
        epoch,
        supersedes,
        member: "orders-0-1".to_owned(),
        kind: OrderKind::Campaign,
        as_of_clock_ms: 0,
        valid: Duration::from_secs(2),
        reason: "a test".to_owned(),
    };
    let mut desk = Desk::at(&api, brokers.port).await;
    let mut memory = Memory::new(Moment::default());
    let mut record = desk.record().await;
    let epoch_on_record = || api.get(GROUP).expect("there")["status"]["order"]["epoch"].clone();

    desk.hands().act(order(2, 0), &mut record, &mut memory).await.expect("nothing is in the way");
    assert_eq!((epoch_on_record(), brokers.orders()), (json!(2), vec![(1, 2)]));

    let stale = desk.hands().act(order(3, 0), &mut record, &mut memory).await;
    assert!(matches!(stale, Err(ActError::Superseded { on_record: 2, expected: 0 })), "{stale:?}");
    let repeated = desk.hands().act(order(2, 2), &mut record, &mut memory).await;
    assert!(matches!(repeated, Err(ActError::Superseded { .. })), "{repeated:?}");

    api.interfere(GROUP);
    let overtaken = desk.hands().act(order(3, 2), &mut record, &mut memory).await;
    assert!(matches!(overtaken, Err(ActError::Kube(_))), "{overtaken:?}");

    desk.depose();
    let late = desk.hands().act(order(3, 2), &mut record, &mut memory).await;
    assert!(matches!(late, Err(ActError::Deposed)), "{late:?}");
    assert_eq!((epoch_on_record(), brokers.orders()), (json!(2), vec![(1, 2)]), "none of them was given");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_version_of_a_membership_is_put_on_record_once_and_kept_there() {
    let api = FakeApi::new();
    let brokers = FakeGroup::start("orders-0", 3, 1, "secret").await;
    put_pod(&api, &brokers, 0);
    let name = |version: u64, last: u64| Action::NameMembership {
        version,
        voters: [1, 2, last].map(NodeId).to_vec(),
        min_in_sync: 3,
        reason: "a test".to_owned(),
    };
    let mut desk = Desk::at(&api, brokers.port).await;
    let mut memory = Memory::new(Moment::default());
    let mut record = desk.record().await;
    let on_record = || {
        let named = api.get(GROUP).expect("there")["status"]["membership"].clone();
        (named["version"].clone(), named["nodeIds"].clone(), named["minInSync"].clone())
    };
    let first = (json!(2), json!(["0000000000000001", "0000000000000002", "0000000000000009"]), json!(3));

    desk.hands().act(name(2, 9), &mut record, &mut memory).await.expect("nothing is in the way");
    assert_eq!(
        (on_record(), brokers.adopted()),
        (first.clone(), vec![]),
        "nobody is told in the same breath"
    );
    // An operator that read the object before that.
    let mut old = desk.record().await;
    old.status = None;
    for version in [1, 2] {
        let again = desk.hands().act(name(version, 8), &mut old.clone(), &mut memory).await;
        assert!(matches!(again, Err(ActError::NamedBefore { on_record: 2, .. })), "{again:?}");
    }
    api.interfere(GROUP);
    let overtaken = desk.hands().act(name(3, 8), &mut record, &mut memory).await;
    assert!(matches!(overtaken, Err(ActError::Kube(_))), "{overtaken:?}");
    let mut record = desk.record().await;
    let status = Action::Publish(Box::default());
    desk.hands().act(status, &mut record, &mut memory).await.expect("nothing is in the way");
    assert_eq!(on_record(), first, "a status that was made before leaves it alone");

    let voters = [1, 2, 9].map(NodeId).to_vec();
    let adopt =
        Action::AdoptMembership { member: "orders-0-0".to_owned(), version: 2, voters, min_in_sync: 3 };
    desk.hands().act(adopt.clone(), &mut record, &mut memory).await.expect("it answers");
    let told = AdoptMembershipRequest { version: 2, node_ids: vec![1, 2, 9], min_in_sync: Some(3) };
    assert_eq!(brokers.adopted(), [(0, told.clone())]);
    desk.depose();
    for action in [name(3, 8), adopt] {
        let late = desk.hands().act(action, &mut record, &mut memory).await;
        assert!(matches!(late, Err(ActError::Deposed)), "{late:?}");
    }
    assert_eq!((on_record(), brokers.adopted()), (first, vec![(0, told)]));
}
