//! Looks after one broker group: look, decide, act, and again, as often as the core asks for and whenever a pod changes.
//! Lives off the group's own record, so a cluster whose new spec is refused keeps its elections.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::{
    Api, ResourceExt,
    core::{ApiResource, DynamicObject, GroupVersionKind},
};
use mainstay_crds::BrokerGroup;
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::{
    Context,
    broker::Brokers,
    execute::{Hands, kind},
    observe::{self, Revision},
    pods::{GroupKey, Pods},
};
use crate::{
    decide::{action::Action, decide, memory::Memory, observed::Observed},
    names,
};

/// How old the group's record and the wanted revision may get.
const REFRESH: Duration = Duration::from_secs(5);
/// Pause after something that is needed could not be read.
const RETRY: Duration = Duration::from_secs(1);
/// Shortest time between two rounds, so that a burst of pod changes is one look.
const BREATH: Duration = Duration::from_millis(30);

/// What the last round saw, for the cluster's status.
#[derive(Clone, Debug)]
pub struct Seen {
    pub observed: Observed,
    /// The StatefulSet's generation that the pods were compared with.
    pub workload: Option<i64>,
}

/// Absent before the first round.
pub type View = Option<Seen>;

/// Looks after the group until it is gone or `stop` is called.
pub async fn run(
    context: Context,
    key: GroupKey,
    pods: Pods,
    view: watch::Sender<View>,
    stop: CancellationToken,
) {
    let work = async {
        let mut agent = Agent::start(&context, key, pods).await;
        agent.rounds(&view).await;
    };
    tokio::select! {
        () = work => {}
        () = stop.cancelled() => {}
    }
}

struct Agent<'a> {
    context: &'a Context,
    key: GroupKey,
    groups: Api<BrokerGroup>,
    pod_api: Api<Pod>,
    stateful_sets: Api<DynamicObject>,
    pods: Pods,
    brokers: Brokers,
    record: BrokerGroup,
    revision: Option<Revision>,
    refreshed: Instant,
    memory: Memory,
}

impl<'a> Agent<'a> {
    async fn start(context: &'a Context, key: GroupKey, pods: Pods) -> Self {
        let namespace = &key.0;
        let groups: Api<BrokerGroup> = Api::namespaced(context.client.clone(), namespace);
        let secrets: Api<Secret> = Api::namespaced(context.client.clone(), namespace);
        let sets = ApiResource::from_gvk_with_plural(
            &GroupVersionKind::gvk("apps", "v1", "StatefulSet"),
            "statefulsets",
        );
        pods.ready().await;
        let (record, brokers) = loop {
            match Self::needs(context, &groups, &secrets, &key.1).await {
                Ok(needs) => break needs,
                Err(problem) => warn!(group = key.1, problem, "the group cannot be looked after yet"),
            }
            tokio::time::sleep(RETRY).await;
        };
        info!(namespace, group = key.1, "looking after the group");
        Self {
            pod_api: Api::namespaced(context.client.clone(), namespace),
            stateful_sets: Api::namespaced_with(context.client.clone(), namespace, &sets),
            memory: Memory::new(context.clock.now()),
            refreshed: Instant::now() - REFRESH,
            revision: None,
            context,
            key,
            groups,
            pods,
            brokers,
            record,
        }
    }

    async fn needs(
        context: &Context,
        groups: &Api<BrokerGroup>,
        secrets: &Api<Secret>,
        name: &str,
    ) -> Result<(BrokerGroup, Brokers), String> {
        let record = groups.get(name).await.map_err(|error| error.to_string())?;
        let secret = names::secret(&record.spec.cluster);
        let data = secrets.get(&secret).await.map_err(|error| error.to_string())?.data.unwrap_or_default();
        let token = data
            .get(names::TOKEN_KEY)
            .ok_or_else(|| format!("secret {secret} has no key {}", names::TOKEN_KEY))?;
        let token = std::str::from_utf8(&token.0).map_err(|_| format!("secret {secret} holds no text"))?;
        let brokers = Brokers::new(token.trim(), context.settings.control_port);
        let brokers = brokers.map_err(|_| format!("secret {secret} holds a token that cannot be sent"))?;
        Ok((record, brokers))
    }

    async fn rounds(&mut self, view: &watch::Sender<View>) {
        let mut nudges = self.pods.nudges();
        loop {
            let started = Instant::now();
            // A template that is new to Kubernetes as well has its revision soon.
            let old = if self.revision.is_some() { REFRESH } else { RETRY };
            if started.duration_since(self.refreshed) >= old && !self.refresh().await {
                return;
            }
            let next = self.round(view).await;
            self.context.metrics.rounds.inc();
            self.context.metrics.round_seconds.observe(started.elapsed().as_secs_f64());
            tokio::time::sleep(BREATH).await;
            let deadline = started + next;
            loop {
                match tokio::time::timeout_at(deadline, nudges.recv()).await {
                    Ok(Ok(key)) if key == self.key => break,
                    Ok(Ok(_)) => {}
                    // Nudges were missed: it may have been ours.
                    Ok(Err(tokio::sync::broadcast::error::RecvError::Lagged(_))) => break,
                    Ok(Err(tokio::sync::broadcast::error::RecvError::Closed)) => {
                        tokio::time::sleep_until(deadline).await;
                        break;
                    }
                    Err(_) => break,
                }
            }
        }
    }

    /// Reads the record and the wanted revision again; false when the group is gone.
    async fn refresh(&mut self) -> bool {
        let read = tokio::time::timeout(RETRY, async {
            let record = self.groups.get_opt(&self.key.1).await?;
            let revision = observe::revision(&self.stateful_sets, &self.key.1).await?;
            Ok::<_, kube::Error>((record, revision))
        });
        match read.await {
            Ok(Ok((Some(record), revision))) => {
                self.record = record;
                self.revision = revision;
                self.refreshed = Instant::now();
            }
            Ok(Ok((None, _))) => {
                info!(namespace = self.key.0, group = self.key.1, "the group is gone");
                return false;
            }
            // Brokers are looked after with the API server down as well.
            Ok(Err(error)) => warn!(group = self.key.1, %error, "the group's record cannot be read"),
            Err(_) => warn!(group = self.key.1, "the group's record cannot be read in time"),
        }
        true
    }

    /// Looks, decides and acts once; returns when to look again.
    async fn round(&mut self, view: &watch::Sender<View>) -> Duration {
        let context = self.context;
        let mut observed = observe::look(
            &self.record,
            &self.key.0,
            &self.pods,
            &self.brokers,
            self.revision.as_ref().map(|revision| revision.name.as_str()),
            context.clock,
        )
        .await;
        let decision = decide(&observed, &self.memory, context.clock.now());
        self.memory = decision.memory;
        let hands = Hands {
            context,
            namespace: &self.key.0,
            groups: &self.groups,
            pod_api: &self.pod_api,
            stateful_sets: &self.stateful_sets,
            pods: &self.pods,
            brokers: &self.brokers,
        };
        for action in urgent_first(decision.actions) {
            let kind = kind(&action);
            debug!(group = self.record.name_any(), ?action, "acting");
            match hands.act(action, &mut self.record, &mut self.memory).await {
                Ok(()) => context.metrics.count(kind, "done"),
                Err(error) => {
                    context.metrics.count(kind, "failed");
                    warn!(group = self.key.1, action = kind, %error, "not done");
                }
            }
        }
        observed.recorded = self.record.status.clone().unwrap_or_default();
        let workload = self.revision.as_ref().and_then(|revision| revision.generation);
        view.send_replace(Some(Seen { observed, workload }));
        decision.next
    }
}

/// What brokers wait for goes before what is written for people.
fn urgent_first(mut actions: Vec<Action>) -> Vec<Action> {
    actions.sort_by_key(|action| match action {
        Action::GrantLease { .. } => 0,
        Action::Order { .. } => 1,
        Action::Label { .. } => 2,
        Action::StepDown { .. }
        | Action::ChangeMembership { .. }
        | Action::NameMembership { .. }
        | Action::AdoptMembership { .. }
        | Action::DeletePod { .. } => 3,
        Action::Publish(_) => 4,
        Action::Event { .. } => 5,
    });
    actions
}
