//! Watches the `BrokerCluster`s of one scope, a namespace or all of them, and keeps a keeper for each.

use std::collections::BTreeMap;

use futures::StreamExt;
use kube::{
    Api, CustomResourceExt, ResourceExt,
    core::DynamicObject,
    runtime::{
        WatchStreamExt,
        watcher::{self, Event, watcher},
    },
};
use mainstay_crds::BrokerCluster;
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{info, warn};

use super::{Context, cluster, pods::Pods};

struct Keeper {
    uid: Option<String>,
    object: watch::Sender<DynamicObject>,
    stop: CancellationToken,
}

type Key = (String, String);

/// Looks after every cluster in `namespace`, or in all of them, until `stop` is called; then waits for everybody to stop.
pub async fn run(context: Context, namespace: Option<String>, stop: CancellationToken) {
    let tasks = TaskTracker::new();
    let (pods, watching) = Pods::watch(match &namespace {
        Some(namespace) => Api::namespaced(context.client.clone(), namespace),
        None => Api::all(context.client.clone()),
    });
    // Read as they are: one that today's types cannot hold must not hide the others.
    let resource = BrokerCluster::api_resource();
    let api: Api<DynamicObject> = match &namespace {
        Some(namespace) => Api::namespaced_with(context.client.clone(), namespace, &resource),
        None => Api::all_with(context.client.clone(), &resource),
    };
    let mut supervisor = Supervisor {
        context,
        pods,
        stop: stop.child_token(),
        tasks,
        keepers: BTreeMap::new(),
        listed: Vec::new(),
    };
    let watching_clusters = async {
        let mut stream = watcher(api, watcher::Config::default()).default_backoff().boxed();
        while let Some(event) = stream.next().await {
            match event {
                Ok(event) => supervisor.take_note(event),
                Err(error) => warn!(%error, "BrokerClusters cannot be watched"),
            }
        }
    };
    tokio::select! {
        () = watching => {}
        () = watching_clusters => {}
        () = stop.cancelled() => {}
    }
    supervisor.stop.cancel();
    supervisor.tasks.close();
    supervisor.tasks.wait().await;
}

struct Supervisor {
    context: Context,
    pods: Pods,
    stop: CancellationToken,
    tasks: TaskTracker,
    keepers: BTreeMap<Key, Keeper>,
    listed: Vec<Key>,
}

impl Supervisor {
    fn take_note(&mut self, event: Event<DynamicObject>) {
        match event {
            Event::Init => self.listed.clear(),
            Event::InitApply(object) => {
                self.listed.push(key(&object));
                self.keep(object);
            }
            Event::InitDone => {
                let gone: Vec<Key> =
                    self.keepers.keys().filter(|key| !self.listed.contains(key)).cloned().collect();
                for key in gone {
                    self.let_go(&key);
                }
            }
            Event::Apply(object) => self.keep(object),
            Event::Delete(object) => self.let_go(&key(&object)),
        }
        self.context.metrics.clusters.set(i64::try_from(self.keepers.len()).unwrap_or(i64::MAX));
    }

    fn keep(&mut self, object: DynamicObject) {
        let key = key(&object);
        let replaced = self.keepers.get(&key).is_some_and(|keeper| keeper.uid != object.uid());
        if replaced || object.metadata.deletion_timestamp.is_some() {
            self.let_go(&key);
        }
        if object.metadata.deletion_timestamp.is_some() {
            return;
        }
        if let Some(keeper) = self.keepers.get(&key) {
            keeper.object.send_replace(object);
            return;
        }
        info!(namespace = key.0, cluster = key.1, "looking after the cluster");
        let uid = object.uid();
        let (sender, receiver) = watch::channel(object);
        let stop = self.stop.child_token();
        self.tasks.spawn(cluster::run(self.context.clone(), receiver, self.pods.clone(), stop.clone()));
        self.keepers.insert(key, Keeper { uid, object: sender, stop });
    }

    fn let_go(&mut self, key: &Key) {
        if let Some(keeper) = self.keepers.remove(key) {
            info!(namespace = key.0, cluster = key.1, "the cluster is gone");
            keeper.stop.cancel();
        }
    }
}

fn key(object: &DynamicObject) -> Key {
    (object.namespace().unwrap_or_default(), object.name_any())
}
