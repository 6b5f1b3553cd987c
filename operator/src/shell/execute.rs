//! Carries out what the core has decided about a group. Whatever could hurt is preceded by an uncached read and done by
//! compare-and-swap or with a precondition.

use std::time::Duration;

use k8s_openapi::{api::core::v1::Pod, apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
use kube::{
    Api, Resource, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions},
    core::DynamicObject,
};
use mainstay_crds::{
    BrokerGroup, BrokerGroupStatus,
    group::{NamedMembership, Order, OrderKind},
};
use serde_json::json;
use tracing::{info, warn};

use super::{
    Context,
    broker::{Brokers, CallError, Validity},
    events,
    observe::{self, REVISION_LABEL},
    pods::Pods,
};
use crate::{
    decide::{action::Action, memory::Memory},
    names,
};

impl std::fmt::Debug for Hands<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hands").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}

/// How long a call to the API server may take.
const API: Duration = Duration::from_secs(2);

/// Why an act did not come about. None of it is fatal: the next round sees what is the case.
#[derive(Debug, thiserror::Error)]
pub enum ActError {
    #[error("the API server: {0}")]
    Kube(#[from] Box<kube::Error>),
    #[error("the API server did not answer in time")]
    Late,
    #[error("{0} has no address")]
    NoAddress(String),
    #[error("{member}: {error}")]
    Broker { member: String, error: CallError },
    #[error("order {on_record} is on record, not {expected}")]
    Superseded { on_record: i64, expected: u64 },
    #[error("membership {on_record} is on record: {named} comes too late")]
    NamedBefore { on_record: i64, named: i64 },
    #[error("{0} is no longer what it was")]
    Changed(String),
    #[error("this operator is not the active one any more")]
    Deposed,
}

/// The hands for one group.
pub struct Hands<'a> {
    pub context: &'a Context,
    pub namespace: &'a str,
    pub groups: &'a Api<BrokerGroup>,
    pub pod_api: &'a Api<Pod>,
    pub stateful_sets: &'a Api<DynamicObject>,
    pub pods: &'a Pods,
    pub brokers: &'a Brokers,
}

impl Hands<'_> {
    /// Carries out one action. `record` is brought up to date where it is written or found to be old.
    ///
    /// # Errors
    /// Why it did not come about.
    pub async fn act(
        &self,
        action: Action,
        record: &mut BrokerGroup,
        memory: &mut Memory,
    ) -> Result<(), ActError> {
        if !self.context.tenure.holds() {
            return Err(ActError::Deposed);
        }
        match action {
            Action::Order { epoch, supersedes, member, kind, as_of_clock_ms, valid, reason } => {
                let validity = Validity { as_of_clock_ms, valid };
                let order =
                    Order { epoch: signed(epoch), member, kind, reason, issued_at: Time(Timestamp::now()) };
                let outcome = self.order(order, supersedes, validity, record).await;
                if outcome.is_err() {
                    memory.order_refused(epoch);
                }
                outcome
            }
            Action::GrantLease { member, epoch, as_of_clock_ms, duration, .. } => {
                let ip = self.address(&member)?;
                let call = self.brokers.grant_lease(&ip, epoch, as_of_clock_ms, duration).await;
                call.map_err(|error| ActError::Broker { member, error })
            }
            Action::StepDown { member, to, timeout } => {
                info!(member, heir = %to, "asking the leader to hand over");
                let ip = self.address(&member)?;
                let call = self.brokers.step_down(&ip, to, timeout).await;
                call.map_err(|error| ActError::Broker { member, error })
            }
            Action::ChangeMembership { member, version, voters, reason } => {
                info!(member, ?voters, reason, "asking the leader to change the membership");
                let ip = self.address(&member)?;
                let call = self.brokers.change_membership(&ip, version, &voters).await;
                call.map_err(|error| ActError::Broker { member, error })
            }
            Action::NameMembership { version, voters, min_in_sync, reason } => {
                let node_ids = voters.iter().map(ToString::to_string).collect();
                let min_in_sync = i32::try_from(min_in_sync).unwrap_or(i32::MAX);
                let at = Time(Timestamp::now());
                let version = signed(version);
                self.name(NamedMembership { version, node_ids, min_in_sync, reason, at }, record).await
            }
            Action::AdoptMembership { member, version, voters, min_in_sync } => {
                info!(member, version, ?voters, min_in_sync, "telling of the membership on record");
                let ip = self.address(&member)?;
                let call = self.brokers.adopt_membership(&ip, version, &voters, min_in_sync).await;
                call.map_err(|error| ActError::Broker { member, error })
            }
            Action::DeletePod { member, uid } => self.delete(&member, uid, record).await,
            Action::Label { member, uid, role, routable } => self.label(&member, &uid, role, routable).await,
            Action::Publish(status) => self.publish(*status, record).await,
            Action::Event { warning, reason, note } => {
                self.tell(record, warning, reason, &note).await;
                Ok(())
            }
        }
    }

    fn address(&self, member: &str) -> Result<String, ActError> {
        self.pods
            .get(self.namespace, member)
            .and_then(|pod| observe::ip(&pod))
            .ok_or_else(|| ActError::NoAddress(member.to_owned()))
    }

    /// Puts the order on record by compare-and-swap; only then it is given.
    async fn order(
        &self,
        order: Order,
        supersedes: u64,
        validity: Validity,
        record: &mut BrokerGroup,
    ) -> Result<(), ActError> {
        *record = timely(self.groups.get(&record.name_any())).await?;
        let on_record =
            record.status.as_ref().and_then(|status| status.order.as_ref()).map_or(0, |order| order.epoch);
        if on_record != signed(supersedes) || on_record >= order.epoch {
            return Err(ActError::Superseded { on_record, expected: supersedes });
        }
        let mut wanted = record.clone();
        wanted.status.get_or_insert_with(BrokerGroupStatus::default).order = Some(order.clone());
        let name = record.name_any();
        *record = timely(self.groups.replace_status(&name, &PostParams::default(), &wanted)).await?;
        if !self.context.tenure.holds() {
            return Err(ActError::Deposed);
        }
        let ip = self.address(&order.member)?;
        let epoch = u64::try_from(order.epoch).unwrap_or(0);
        info!(group = name, member = order.member, epoch, kind = ?order.kind, reason = order.reason, "ordering an election");
        let given = match order.kind {
            OrderKind::Campaign => self.brokers.campaign(&ip, epoch, validity).await,
            OrderKind::Promote => self.brokers.promote(&ip, epoch, validity).await,
        };
        given.map_err(|error| ActError::Broker { member: order.member, error })
    }

    /// Puts the membership on record by compare-and-swap. Brokers are told what was read there, in a later round.
    async fn name(&self, named: NamedMembership, record: &mut BrokerGroup) -> Result<(), ActError> {
        *record = timely(self.groups.get(&record.name_any())).await?;
        let before = record.status.as_ref().and_then(|status| status.membership.as_ref());
        let on_record = before.map_or(0, |before| before.version);
        if on_record >= named.version {
            return Err(ActError::NamedBefore { on_record, named: named.version });
        }
        let name = record.name_any();
        info!(group = name, version = named.version, nodes = ?named.node_ids, reason = named.reason, "naming the membership");
        let mut wanted = record.clone();
        wanted.status.get_or_insert_with(BrokerGroupStatus::default).membership = Some(named);
        *record = timely(self.groups.replace_status(&name, &PostParams::default(), &wanted)).await?;
        Ok(())
    }

    /// Deletes a pod that is still the one that was meant and still not what it should be.
    async fn delete(&self, member: &str, uid: String, record: &BrokerGroup) -> Result<(), ActError> {
        let revision = match tokio::time::timeout(
            API,
            observe::revision(self.stateful_sets, &record.name_any()),
        )
        .await
        {
            Ok(revision) => revision.map_err(Box::new)?,
            Err(_) => return Err(ActError::Late),
        };
        let pod = timely(self.pod_api.get(member)).await?;
        let same = pod.uid().as_deref() == Some(&uid);
        let outdated = revision.is_some_and(|wanted| pod.labels().get(REVISION_LABEL) != Some(&wanted.name));
        if !same || !outdated {
            return Err(ActError::Changed(member.to_owned()));
        }
        info!(pod = member, "restarting, since it runs an old template");
        let unchanged = Preconditions { uid: Some(uid), resource_version: pod.resource_version() };
        let params = DeleteParams::default().preconditions(unchanged);
        timely(self.pod_api.delete(member, &params)).await.map(|_| ())
    }

    async fn label(
        &self,
        member: &str,
        uid: &str,
        role: Option<&str>,
        routable: bool,
    ) -> Result<(), ActError> {
        let mut labels = json!({ (names::ROUTABLE_LABEL): routable.to_string() });
        if let Some(role) = role {
            labels[names::ROLE_LABEL] = json!(role);
        }
        // The uid makes it a conflict when another pod has taken the name.
        let patch = json!({ "metadata": { "uid": uid, "labels": labels } });
        timely(self.pod_api.patch(member, &PatchParams::default(), &Patch::Merge(&patch))).await.map(|_| ())
    }

    async fn publish(&self, status: BrokerGroupStatus, record: &mut BrokerGroup) -> Result<(), ActError> {
        let name = record.name_any();
        let mut wanted = record.clone();
        let on_record = record.status.clone().unwrap_or_default();
        let (order, membership) = (on_record.order, on_record.membership);
        wanted.status = Some(BrokerGroupStatus { order, membership, ..status });
        match timely(self.groups.replace_status(&name, &PostParams::default(), &wanted)).await {
            Ok(written) => {
                *record = written;
                Ok(())
            }
            Err(error) => {
                if let Ok(fresh) = timely(self.groups.get(&name)).await {
                    *record = fresh;
                }
                Err(error)
            }
        }
    }

    /// About the group; what people should not miss also about the cluster.
    async fn tell(&self, record: &BrokerGroup, warning: bool, reason: &str, note: &str) {
        if reason == "FailedOver" {
            self.context.metrics.failovers.inc();
        }
        let identity = &self.context.settings.identity;
        let group = record.object_ref(&());
        let mut told = vec![group.clone()];
        let owner = record.owner_references().iter().find(|owner| owner.kind == "BrokerCluster");
        if let Some(owner) = owner.filter(|_| warning || reason == "LeaderElected") {
            let mut cluster = group;
            cluster.kind = Some(owner.kind.clone());
            cluster.name = Some(owner.name.clone());
            cluster.uid = Some(owner.uid.clone());
            cluster.resource_version = None;
            told.push(cluster);
        }
        for object in &told {
            let telling = events::tell(&self.context.client, identity, object, warning, reason, note);
            if tokio::time::timeout(API, telling).await.is_err() {
                warn!(reason, "the event could not be written in time");
            }
        }
    }
}

async fn timely<T>(call: impl Future<Output = Result<T, kube::Error>>) -> Result<T, ActError> {
    match tokio::time::timeout(API, call).await {
        Ok(answer) => answer.map_err(|error| ActError::Kube(Box::new(error))),
        Err(_) => Err(ActError::Late),
    }
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Name of an action in metrics and logs.
pub fn kind(action: &Action) -> &'static str {
    match action {
        Action::Order { .. } => "order",
        Action::GrantLease { .. } => "grant_lease",
        Action::StepDown { .. } => "step_down",
        Action::ChangeMembership { .. } => "change_membership",
        Action::NameMembership { .. } => "name_membership",
        Action::AdoptMembership { .. } => "adopt_membership",
        Action::DeletePod { .. } => "delete_pod",
        Action::Label { .. } => "label",
        Action::Publish(_) => "publish",
        Action::Event { .. } => "event",
    }
}
