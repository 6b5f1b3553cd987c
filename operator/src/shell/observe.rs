//! One look at a group: its pods from the cache, its brokers' own words, its record as it was read or written last.

use std::{sync::Arc, time::Duration};

use futures::future::join_all;
use k8s_openapi::{api::core::v1::Pod as KubePod, jiff::Timestamp};
use kube::{Api, ResourceExt, core::DynamicObject};
use mainstay_crds::{BrokerGroup, cluster::Mode as SpecMode};
use tracing::debug;

use super::{
    Clock,
    broker::{Brokers, report},
    pods::Pods,
};
use crate::{
    decide::observed::{Member, Mode, Observed, Pod},
    names, plan,
};

/// Looks at the group that `record` describes.
pub async fn look(
    record: &BrokerGroup,
    namespace: &str,
    pods: &Pods,
    brokers: &Brokers,
    revision: Option<&str>,
    clock: Clock,
) -> Observed {
    let spec = &record.spec;
    let group = u32::try_from(spec.group).unwrap_or(0);
    let replicas = u32::try_from(spec.replicas).unwrap_or(0);
    let found: Vec<(String, Option<Arc<KubePod>>)> = (0..replicas)
        .map(|ordinal| names::pod(&spec.cluster, group, ordinal))
        .map(|name| {
            let pod = pods.get(namespace, &name);
            (name, pod)
        })
        .collect();
    let ips: Vec<String> = found.iter().filter_map(|(_, pod)| pod.as_deref().and_then(ip)).collect();
    brokers.retain(&ips);
    let asked = found.into_iter().map(|(name, pod)| async move {
        let answer = match pod.as_deref().and_then(ip) {
            Some(ip) => brokers.status(&ip).await.map_err(|error| error.to_string()),
            None => Err("has no address".to_owned()),
        };
        let received = clock.now();
        let report = match answer {
            // An address may have gone over to another broker.
            Ok(answer) if answer.member == name => Some(report(answer, received)),
            Ok(answer) => {
                debug!(pod = name, member = answer.member, "another member answers");
                None
            }
            Err(error) => {
                debug!(pod = name, error, "no answer");
                None
            }
        };
        let pod = pod.map(|pod| describe(&pod, revision));
        Member { name, pod, report }
    });
    Observed {
        mode: match spec.mode {
            SpecMode::None => Mode::None,
            SpecMode::Async => Mode::Async,
            SpecMode::Sync => {
                let min = spec.min_in_sync.unwrap_or(spec.replicas / 2 + 1);
                Mode::Sync { min_in_sync: u32::try_from(min).unwrap_or(replicas) }
            }
            SpecMode::Raft => Mode::Raft,
        },
        failover_delay: plan::duration::parse(&spec.failover_delay).unwrap_or(Duration::ZERO),
        members: join_all(asked).await,
        recorded: record.status.clone().unwrap_or_default(),
        generation: record.metadata.generation,
        wall: Timestamp::now(),
    }
}

/// The address of a pod that can be reached.
pub fn ip(pod: &KubePod) -> Option<String> {
    pod.status.as_ref()?.pod_ip.clone().filter(|ip| !ip.is_empty())
}

fn describe(pod: &KubePod, revision: Option<&str>) -> Pod {
    let ready = pod
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_ref())
        .is_some_and(|conditions| conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True"));
    let label = |key: &str| pod.labels().get(key).cloned();
    Pod {
        uid: pod.uid().unwrap_or_default(),
        ready,
        deleting: pod.metadata.deletion_timestamp.is_some(),
        outdated: revision.is_some_and(|revision| label(REVISION_LABEL).is_some_and(|own| own != revision)),
        role_label: label(names::ROLE_LABEL),
        routable: label(names::ROUTABLE_LABEL).as_deref() == Some("true"),
    }
}

/// Label by which the StatefulSet controller says which template a pod was made from.
pub const REVISION_LABEL: &str = "controller-revision-hash";

/// What pods should be made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revision {
    /// The StatefulSet's generation that it belongs to.
    pub generation: Option<i64>,
    pub name: String,
}

/// The revision that pods should have, read from the API server; absent while it is not known for the newest template.
///
/// # Errors
/// When it cannot be read.
pub async fn revision(
    stateful_sets: &Api<DynamicObject>,
    name: &str,
) -> Result<Option<Revision>, kube::Error> {
    let Some(set) = stateful_sets.get_opt(name).await? else { return Ok(None) };
    let status = &set.data["status"];
    let current =
        status["observedGeneration"].as_i64().is_some_and(|seen| Some(seen) == set.metadata.generation);
    let newest = status["updateRevision"].as_str().filter(|_| current);
    Ok(newest.map(|name| Revision { generation: set.metadata.generation, name: name.to_owned() }))
}
