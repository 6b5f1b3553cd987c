//! What could hurt is put on record before it is done, and not done by an operator that is not the active one.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api,
    core::{ApiResource, DynamicObject, GroupVersionKind},
};
use mainstay_crds::{BrokerGroup, group::OrderKind};
use mainstay_operator::{
    decide::{
        action::Action,
        memory::Memory,
        observed::{Moment, NodeId},
    },
    shell::{
        Clock, Context,
        broker::Brokers,
        execute::{ActError, Hands},
        leadership::Tenure,
        pods::Pods,
    },
};
use mainstay_proto::control::AdoptMembershipRequest;
use serde_json::json;

use crate::support::{api::FakeApi, broker::FakeGroup, context};
use crate::world::*;

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
