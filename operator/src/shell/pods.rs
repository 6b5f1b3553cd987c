//! The brokers' pods of a namespace, as a watch has them, and a nudge to whoever looks after them when one changes.
//!
//! A cache: good enough to know where to ask and what to label. Whatever could hurt is checked against the API server.

use std::{collections::BTreeMap, time::Duration};

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, ResourceExt,
    runtime::{
        WatchStreamExt,
        reflector::{self, ObjectRef, Store},
        watcher,
    },
};
use tokio::sync::broadcast;
use tracing::warn;

use crate::names;

/// Namespace and name of a group.
pub type GroupKey = (String, String);

/// The cached pods.
#[derive(Clone)]
pub struct Pods {
    store: Store<Pod>,
    nudges: broadcast::Sender<GroupKey>,
}

impl std::fmt::Debug for Pods {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pods").field("cached", &self.store.len()).finish_non_exhaustive()
    }
}

impl Pods {
    /// Starts to watch; the returned future runs the watch and never ends by itself.
    pub fn watch(api: Api<Pod>) -> (Self, impl Future<Output = ()> + Send) {
        let (store, writer) = reflector::store();
        let (nudges, _) = broadcast::channel(256);
        let labels = format!("{}={}", names::MANAGED_BY_LABEL, names::FIELD_MANAGER);
        let stream = watcher(api, watcher::Config::default().labels(&labels))
            .default_backoff()
            .modify(|pod| pod.managed_fields_mut().clear());
        let sender = nudges.clone();
        let run = reflector::reflector(writer, stream)
            .touched_objects()
            .inspect_err(|error| warn!(%error, "pods cannot be watched"))
            .for_each(move |pod| {
                if let Some(key) = pod.ok().as_ref().and_then(key) {
                    // Nobody listens while no group is looked after.
                    let _ = sender.send(key);
                }
                std::future::ready(())
            });
        (Self { store, nudges }, run)
    }

    pub fn get(&self, namespace: &str, name: &str) -> Option<std::sync::Arc<Pod>> {
        self.store.get(&ObjectRef::new(name).within(namespace))
    }

    pub fn nudges(&self) -> broadcast::Receiver<GroupKey> {
        self.nudges.subscribe()
    }

    /// Waits until the first list is there.
    pub async fn ready(&self) {
        while tokio::time::timeout(Duration::from_secs(30), self.store.wait_until_ready()).await.is_err() {
            warn!("pods have not been listed yet");
        }
    }
}

fn key(pod: &Pod) -> Option<GroupKey> {
    let labels: &BTreeMap<String, String> = pod.metadata.labels.as_ref()?;
    let cluster = labels.get(names::CLUSTER_LABEL)?;
    let group = labels.get(names::GROUP_LABEL)?;
    Some((pod.namespace()?, format!("{cluster}-{group}")))
}
