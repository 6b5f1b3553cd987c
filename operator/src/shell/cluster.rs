//! Looks after one `BrokerCluster`: checks the spec, applies its objects, keeps an agent for each of its groups, and tells
//! how it stands. A spec that is refused changes nothing: its groups live on as they are on record.

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::jiff::Timestamp;
use kube::{
    Api, CustomResourceExt, ResourceExt,
    api::{ListParams, PostParams},
    core::DynamicObject,
};
use mainstay_crds::{BrokerCluster, BrokerClusterStatus, BrokerGroup, condition::reason};
use serde_json::Value;
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{info, warn};

use super::{
    Context, agent,
    apply::{self, ApplyError, Workloads},
    cluster_status::{self, GroupView, Refusal},
    configurations, events,
    pods::Pods,
    secrets,
};
use crate::{
    names,
    plan::{FieldError, Identity, Plan, read_spec},
};

/// How often everything is applied again, whatever anybody did to it.
const RESYNC: Duration = Duration::from_secs(60);
/// How soon it is tried again after it failed.
const RETRY: Duration = Duration::from_secs(3);
/// How long the groups have to be seen for the first time before it is said that they cannot be.
const FIRST_LOOK: Duration = Duration::from_secs(10);
/// How often the status is looked over.
const TICK: Duration = Duration::from_millis(500);

/// Looks after the cluster, whose newest version is in `object`, until `stop` is called.
pub async fn run(
    context: Context,
    object: watch::Receiver<DynamicObject>,
    pods: Pods,
    stop: CancellationToken,
) {
    let mut keeper = Keeper::new(&context, object, pods, stop.child_token());
    tokio::select! {
        () = keeper.work() => {}
        () = stop.cancelled() => {}
    }
    keeper.agents.close();
    keeper.agents.wait().await;
}

struct Agent {
    record: BrokerGroup,
    view: watch::Receiver<agent::View>,
    stop: CancellationToken,
}

/// What was applied last.
struct Accepted {
    administrator_secret: Option<String>,
    workloads: Workloads,
}

struct Keeper<'a> {
    context: &'a Context,
    object: watch::Receiver<DynamicObject>,
    pods: Pods,
    stop: CancellationToken,
    agents: TaskTracker,
    groups: BTreeMap<i32, Agent>,
    applied: Option<(Option<i64>, Instant)>,
    accepted: Option<Accepted>,
    refusal: Option<Refusal>,
    started: Instant,
    /// The generation and refusal that people have been told about.
    told: Option<(Option<i64>, String)>,
}

impl<'a> Keeper<'a> {
    fn new(
        context: &'a Context,
        object: watch::Receiver<DynamicObject>,
        pods: Pods,
        stop: CancellationToken,
    ) -> Self {
        Self {
            context,
            object,
            pods,
            stop,
            agents: TaskTracker::new(),
            groups: BTreeMap::new(),
            applied: None,
            accepted: None,
            refusal: None,
            started: Instant::now(),
            told: None,
        }
    }

    async fn work(&mut self) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut due = Instant::now();
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                changed = self.object.changed() => if changed.is_err() { return },
            }
            if !self.context.tenure.holds() {
                continue;
            }
            let object = self.object.borrow().clone();
            let generation = object.metadata.generation;
            let now = Instant::now();
            if now >= due || self.applied.is_none_or(|(applied, _)| applied != generation) {
                self.refusal = self.bring_about(&object).await;
                let fine = self.refusal.is_none();
                due = now + if fine { RESYNC } else { RETRY };
                self.applied = Some((generation, now));
                self.tell_refusal(&object).await;
            }
            self.publish(&object).await;
        }
    }

    /// Applies the spec if it can be accepted, and looks after whatever groups there are either way.
    async fn bring_about(&mut self, object: &DynamicObject) -> Option<Refusal> {
        let refusal = match self.accept(object).await {
            Ok(accepted) => {
                self.accepted = Some(accepted);
                None
            }
            Err(refusal) => Some(refusal),
        };
        if let Err(error) = self.find_groups(object).await {
            warn!(cluster = object.name_any(), %error, "the cluster's groups cannot be listed");
        }
        refusal
    }

    async fn accept(&self, object: &DynamicObject) -> Result<Accepted, Refusal> {
        let identity = Identity {
            name: object.name_any(),
            namespace: object.namespace().unwrap_or_default(),
            uid: object.uid().unwrap_or_default(),
        };
        let null = Value::Null;
        let spec = read_spec(object.data.get("spec").unwrap_or(&null)).map_err(|errors| invalid(&errors))?;
        let plan = Plan::new(identity, spec).map_err(|errors| invalid(&errors))?;
        let existing = self.owned_groups(object).await.map_err(|error| Refusal {
            reason: reason::APPLY_FAILED,
            message: format!("the cluster's groups cannot be listed: {error}"),
        })?;
        let specs: Vec<_> = existing.into_iter().map(|group| group.spec).collect();
        let forbidden = plan.forbidden_changes(&specs);
        if !forbidden.is_empty() {
            return Err(Refusal { reason: reason::IMMUTABLE_FIELD, message: join(&forbidden) });
        }
        self.apply(object, &plan).await.map_err(|error| {
            warn!(cluster = plan.identity.name, %error, "not applied");
            let reason = match error {
                ApplyError::Taken { .. } => reason::NAME_TAKEN,
                ApplyError::Secret(_) => reason::SECRET_UNUSABLE,
                _ => reason::APPLY_FAILED,
            };
            Refusal { reason, message: error.to_string() }
        })
    }

    async fn apply(&self, object: &DynamicObject, plan: &Plan) -> Result<Accepted, ApplyError> {
        let (client, settings) = (&self.context.client, &self.context.settings);
        if let Some(made) = secrets::provide(client, plan).await? {
            let note = format!("Secret {made} holds the administrator's credentials: username and password");
            self.tell(object, false, reason::ADMINISTRATOR_CREATED, &note).await;
        }
        let workloads = apply::apply(client, plan, &settings.domain, &settings.broker_image).await?;
        if let Err(error) = configurations::clear_up(self.context, plan).await {
            warn!(cluster = plan.identity.name, %error, "old configurations are not cleared up");
        }
        let administrator = plan.administrator_secret();
        let administrator_secret = administrator.map(|secret| secret.name().to_owned());
        Ok(Accepted { administrator_secret, workloads })
    }

    async fn owned_groups(&self, object: &DynamicObject) -> Result<Vec<BrokerGroup>, kube::Error> {
        let namespace = object.namespace().unwrap_or_default();
        let api: Api<BrokerGroup> = Api::namespaced(self.context.client.clone(), &namespace);
        let selector = names::cluster_selector(&object.name_any());
        let mut groups = api.list(&ListParams::default().labels(&selector)).await?.items;
        let uid = object.uid().unwrap_or_default();
        groups.retain(|group| group.owner_references().iter().any(|owner| owner.uid == uid));
        groups.sort_by_key(|group| group.spec.group);
        Ok(groups)
    }

    /// Starts an agent for every group that has none.
    async fn find_groups(&mut self, object: &DynamicObject) -> Result<(), kube::Error> {
        let found = self.owned_groups(object).await?;
        self.groups.retain(|id, agent| {
            let stays =
                found.iter().any(|group| group.spec.group == *id && group.uid() == agent.record.uid());
            if !stays {
                agent.stop.cancel();
            }
            stays
        });
        for record in found {
            let id = record.spec.group;
            if let Some(agent) = self.groups.get_mut(&id) {
                agent.record = record;
                continue;
            }
            let (sender, view) = watch::channel(None);
            let stop = self.stop.child_token();
            let key = (record.namespace().unwrap_or_default(), record.name_any());
            self.agents.spawn(agent::run(self.context.clone(), key, self.pods.clone(), sender, stop.clone()));
            self.groups.insert(id, Agent { record, view, stop });
        }
        Ok(())
    }

    async fn tell_refusal(&mut self, object: &DynamicObject) {
        let Some(refusal) = &self.refusal else {
            self.told = None;
            return;
        };
        let telling = (object.metadata.generation, refusal.message.clone());
        if self.told.as_ref() == Some(&telling) {
            return;
        }
        self.tell(object, true, refusal.reason, &refusal.message).await;
        self.told = Some(telling);
    }

    async fn tell(&self, object: &DynamicObject, warning: bool, reason: &str, note: &str) {
        let resource = BrokerCluster::api_resource();
        let regarding = kube::Resource::object_ref(object, &resource);
        let identity = &self.context.settings.identity;
        events::tell(&self.context.client, identity, &regarding, warning, reason, note).await;
    }

    /// Generation of the group's StatefulSet as it was applied last.
    fn applied_to(&self, group: i32) -> Option<i64> {
        let group = u32::try_from(group).ok()?;
        *self.accepted.as_ref()?.workloads.get(&group)?
    }

    async fn publish(&self, object: &DynamicObject) {
        // What was written before stands until there is something better to say.
        let blind = self.groups.values().any(|agent| agent.view.borrow().is_none());
        if blind && self.started.elapsed() < FIRST_LOOK {
            return;
        }
        let views: Vec<GroupView> = self
            .groups
            .iter()
            .map(|(id, agent)| {
                let seen = agent.view.borrow().clone();
                GroupView {
                    id: *id,
                    name: agent.record.name_any(),
                    mode: agent.record.spec.mode,
                    replicas: agent.record.spec.replicas,
                    uncompared: self.applied_to(*id) > seen.as_ref().and_then(|seen| seen.workload),
                    observed: seen.map(|seen| seen.observed),
                }
            })
            .collect();
        let recorded: BrokerClusterStatus = object
            .data
            .get("status")
            .and_then(|status| serde_json::from_value(status.clone()).ok())
            .unwrap_or_default();
        let administrator_secret = match &self.accepted {
            Some(accepted) => accepted.administrator_secret.clone(),
            None => recorded.administrator_secret.clone(),
        };
        let status = cluster_status::status(
            &object.name_any(),
            object.metadata.generation,
            &views,
            self.refusal.as_ref(),
            administrator_secret,
            &recorded,
            Timestamp::now(),
        );
        if status == recorded {
            return;
        }
        let Ok(status) = serde_json::to_value(status) else { return };
        let mut wanted = object.clone();
        wanted.data["status"] = status;
        let namespace = object.namespace().unwrap_or_default();
        let resource = BrokerCluster::api_resource();
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.context.client.clone(), &namespace, &resource);
        match api.replace_status(&object.name_any(), &PostParams::default(), &wanted).await {
            Ok(_) => info!(cluster = object.name_any(), "status written"),
            // The watch brings the newer version, and with it the next try.
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(error) => warn!(cluster = object.name_any(), %error, "the status cannot be written"),
        }
    }
}

fn invalid(errors: &[FieldError]) -> Refusal {
    Refusal { reason: reason::INVALID_SPEC, message: join(errors) }
}

fn join(errors: &[FieldError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
