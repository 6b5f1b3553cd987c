//! One `BrokerCluster` in a namespace of its own, and the hands that scenarios lay on it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use mainstay_checker::Moment;
use mainstay_clusters::until;
use serde::Deserialize;
use serde_json::Value;

use crate::sigkill;
use crate::world::World;

/// A broker as the brokers themselves describe it (`mainstay cluster status`).
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Broker {
    pub(crate) group: u32,
    pub(crate) member: String,
    pub(crate) role: String,
    pub(crate) epoch: u64,
    pub(crate) serving: bool,
    pub(crate) quarantined_records: u64,
    pub(crate) problem: String,
}

/// A member of a group, or a broker that waits to be one (`mainstay member list`).
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Member {
    /// Absent for a node that no broker is any more.
    pub(crate) member: Option<String>,
    pub(crate) node_id: Option<String>,
    pub(crate) part: String,
    pub(crate) leads: bool,
    pub(crate) changing: bool,
}

/// Who leads a group, and on which node it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leader {
    pub pod: String,
    pub node: String,
    pub epoch: u64,
}

/// A user of the client port.
#[derive(Debug, Clone)]
pub struct Credentials {
    access_key: String,
    /// File with the secret key.
    secret_key: PathBuf,
}

impl Credentials {
    /// As options of a test client.
    pub(crate) fn options(&self) -> Result<[String; 2]> {
        let secret_key = fs::read_to_string(&self.secret_key)?;
        Ok([format!("--access-key={}", self.access_key), format!("--secret-key={secret_key}")])
    }

    /// For the program `mainstay`.
    fn hand_to(&self, command: &mut Command) {
        command
            .env("MAINSTAY_ACCESS_KEY", &self.access_key)
            .env("MAINSTAY_SECRET_KEY_FILE", &self.secret_key);
    }
}

/// A `BrokerCluster` and its namespace; both go with [`Deployment::remove`].
#[derive(Debug)]
pub struct Deployment<'w> {
    world: &'w World,
    namespace: String,
    name: String,
    brokers: Vec<String>,
    secret: PathBuf,
}

impl<'w> Deployment<'w> {
    /// Applies the manifest of a `BrokerCluster` in a fresh namespace and waits until it is ready; says how long
    /// that took.
    pub fn apply(
        world: &'w World,
        namespace: &str,
        manifest: &str,
        deadline: Duration,
    ) -> Result<(Self, Duration)> {
        let cluster = world.cluster();
        cluster.kubectl(&["create", "namespace", namespace])?;
        let label = "pod-security.kubernetes.io/enforce=restricted";
        cluster.kubectl(&["label", "namespace", namespace, label])?;
        let manifest_file = world.results().join(format!("{namespace}.yaml"));
        fs::write(&manifest_file, manifest)?;
        let path = manifest_file.to_str().context("the results' path is not text")?;
        cluster.kubectl(&["--namespace", namespace, "apply", "--filename", path])?;
        let mut deployment = Self {
            world,
            namespace: namespace.to_owned(),
            name: String::new(),
            brokers: Vec::new(),
            secret: world.results().join(format!("{namespace}.secret")),
        };
        let object = deployment.get("brokercluster")?;
        let object = object["items"].get(0).context("the manifest has no BrokerCluster")?;
        deployment.name = text(&object["metadata"]["name"]);
        let number = |field: &str, or: u64| object["spec"][field].as_u64().unwrap_or(or);
        for group in 0..number("groups", 1) {
            for ordinal in 0..number("replicas", 3) {
                deployment.brokers.push(format!("{}-{group}-{ordinal}", deployment.name));
            }
        }
        let took = deployment.wait_ready(deadline)?;
        deployment.save_secret()?;
        Ok((deployment, took))
    }

    /// Address that clients are given.
    pub fn endpoint(&self) -> String {
        format!("{}.{}.svc.cluster.local:8081", self.name, self.namespace)
    }

    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    pub fn world(&self) -> &'w World {
        self.world
    }

    /// Waits for the condition `Ready` of the object as it is now.
    pub fn wait_ready(&self, deadline: Duration) -> Result<Duration> {
        until(&format!("BrokerCluster {} to be ready", self.name), deadline, || {
            let object = self.get(&format!("brokercluster/{}", self.name))?;
            let observed = object["status"]["observedGeneration"].as_u64();
            if observed != object["metadata"]["generation"].as_u64() {
                return Ok(Some("the operator has not seen it yet".into()));
            }
            let condition = condition(&object, "Ready");
            Ok((text(&condition["status"]) != "True")
                .then(|| format!("{}: {}", text(&condition["reason"]), text(&condition["message"]))))
        })
    }

    /// Address of one broker's client port, whoever leads.
    pub(crate) fn address_of(&self, pod: &str) -> Result<String> {
        let pod = self.get(&format!("pod/{pod}"))?;
        Ok(format!("{}:8081", text(&pod["status"]["podIP"])))
    }

    /// A hosts file in which every name that routes give is the broker at this address.
    pub(crate) fn only_broker(&self, address: &str) -> String {
        let ip = address.split(':').next().unwrap_or_default();
        format!("127.0.0.1 localhost\n{ip} {}-0-brokers.{}.svc.cluster.local\n", self.name, self.namespace)
    }

    /// Runs the `mainstay` program against the first broker that answers, the last ones first: scenarios break the
    /// first leader more often.
    pub fn mainstay(&self, arguments: &[&str]) -> Result<String> {
        self.mainstay_as(None, arguments)
    }

    /// The same, messages being sent and received as this user.
    pub(crate) fn mainstay_as(&self, user: Option<&Credentials>, arguments: &[&str]) -> Result<String> {
        let mut failures = Vec::new();
        for broker in self.brokers.iter().rev() {
            let host = format!("{broker}.{}-peers.{}.svc.cluster.local", self.name, self.namespace);
            let mut command = self.world.cluster().client_command(self.world.cli().as_os_str())?;
            command
                .env("MAINSTAY_ENDPOINT", self.endpoint())
                .env("MAINSTAY_ADMIN_ENDPOINT", format!("{host}:8082"))
                .env("MAINSTAY_SECRET_FILE", &self.secret)
                .args(arguments);
            if let Some(user) = user {
                user.hand_to(&mut command);
            }
            match mainstay_clusters::output(&mut command) {
                Ok(printed) => return Ok(printed),
                Err(error) => failures.push(format!("{broker}: {error:#}")),
            }
        }
        bail!("no broker of {} did `mainstay {}`: {}", self.name, arguments.join(" "), failures.join("; "))
    }

    pub fn create_topic(&self, topic: &str, queues: u32) -> Result<()> {
        self.mainstay(&["topic", "create", topic, "--queues", &queues.to_string()]).map(drop)
    }

    pub(crate) fn brokers(&self) -> Result<Vec<Broker>> {
        let printed = self.mainstay(&["cluster", "status", "--output", "json"])?;
        serde_json::from_str(&printed).context("understand `mainstay cluster status --output json`")
    }

    pub(crate) fn members(&self) -> Result<Vec<Member>> {
        let printed = self.mainstay(&["member", "list", "--output", "json"])?;
        serde_json::from_str(&printed).context("understand `mainstay member list --output json`")
    }

    /// The serving leader of a group, as the brokers say.
    pub fn leader(&self, group: u32) -> Result<Leader> {
        let brokers = self.brokers()?;
        let leading = brokers
            .iter()
            .filter(|broker| broker.group == group && broker.role == "leader" && broker.serving)
            .max_by_key(|broker| broker.epoch)
            .with_context(|| format!("group {group} has no serving leader: {brokers:?}"))?;
        let pod = self.get(&format!("pod/{}", leading.member))?;
        Ok(Leader { pod: leading.member.clone(), node: text(&pod["spec"]["nodeName"]), epoch: leading.epoch })
    }

    /// Waits for a leader that is not `old`.
    pub fn wait_new_leader(&self, group: u32, old: &Leader, deadline: Duration) -> Result<Leader> {
        let mut found = None;
        until(&format!("another leader than {}", old.pod), deadline, || match self.leader(group) {
            Ok(leader) if leader.pod != old.pod || leader.epoch > old.epoch => {
                found = Some(leader);
                Ok(None)
            }
            Ok(leader) => Ok(Some(format!("{} leads", leader.pod))),
            Err(error) => Ok(Some(format!("{error:#}"))),
        })?;
        found.context("no leader")
    }

    /// Kills a broker with SIGKILL and deletes its pod without grace, so that it comes back as another pod. Returns the
    /// moment of the kill.
    pub fn kill(&self, pod: &str) -> Result<Moment> {
        let object = self.get(&format!("pod/{pod}"))?;
        let killed = sigkill::kill(&text(&object["metadata"]["uid"]), "mainstay-broker")?;
        let arguments = ["delete", "pod", pod, "--grace-period=0", "--force", "--wait=false"];
        self.world
            .cluster()
            .kubectl(&[&["--namespace", self.namespace.as_str()][..], &arguments].concat())?;
        Ok(killed)
    }

    /// Kills a broker and takes its volume away: the StatefulSet gives the next pod of this name another one. The claim
    /// goes when no pod uses it any more, and until then no pod is made.
    pub(crate) fn lose_volume(&self, pod: &str) -> Result<Moment> {
        let claim = format!("pvc/data-{pod}");
        let before = text(&self.get(&claim)?["metadata"]["uid"]);
        let arguments = ["delete", &claim, "--wait=false"];
        self.world
            .cluster()
            .kubectl(&[&["--namespace", self.namespace.as_str()][..], &arguments].concat())?;
        let killed = self.kill(pod)?;
        until(&format!("another volume for {pod}"), Duration::from_secs(60), || {
            Ok(match self.get(&claim) {
                Ok(now) if text(&now["metadata"]["uid"]) == before => Some("the old claim is there".into()),
                Ok(_) => None,
                Err(error) => Some(format!("{error:#}")),
            })
        })?;
        Ok(killed)
    }

    /// Waits until the pod is another node than `old`, and this one a member in its place.
    pub(crate) fn wait_replaced(&self, pod: &str, old: &str, deadline: Duration) -> Result<Duration> {
        until(&format!("another node in the place of {pod}"), deadline, || {
            let members = match self.members() {
                Ok(members) => members,
                Err(error) => return Ok(Some(format!("{error:#}"))),
            };
            let is = |member: &&Member| member.member.as_deref() == Some(pod);
            let counts = |member: &Member| member.part == "voter" && !member.changing;
            let replaced = members
                .iter()
                .filter(is)
                .any(|member| counts(member) && member.node_id.as_deref().is_some_and(|node| node != old));
            let gone = members.iter().all(|m| m.node_id.as_deref() != Some(old) || !counts(m));
            Ok((!replaced || !gone).then(|| format!("{members:?}")))
        })
    }

    /// Waits until every broker of the deployment takes part again: one leader a group, the rest its followers.
    pub fn wait_whole(&self, deadline: Duration) -> Result<Duration> {
        until("every broker to take part", deadline, || {
            Ok(match self.brokers() {
                Ok(brokers) => self.astray(&brokers),
                Err(error) => Some(format!("{error:#}")),
            })
        })
    }

    /// What keeps these brokers from being whole. A former leader that has not heard of its successor still calls itself
    /// one, in an older epoch.
    fn astray(&self, brokers: &[Broker]) -> Option<String> {
        if brokers.len() != self.brokers.len() {
            return Some(format!("{} brokers are known", brokers.len()));
        }
        brokers.iter().find_map(|broker| {
            let group = || brokers.iter().filter(|other| other.group == broker.group);
            let leaders = group().filter(|other| other.role == "leader").count();
            let together = group().all(|other| other.epoch == broker.epoch);
            let takes_part =
                matches!(broker.role.as_str(), "leader" | "follower") && broker.problem.is_empty();
            (leaders != 1 || !together || !takes_part).then(|| {
                format!("{} is {} in epoch {} {}", broker.member, broker.role, broker.epoch, broker.problem)
            })
        })
    }

    /// Reasons and notes of the events in the namespace.
    pub(crate) fn events(&self) -> Result<Vec<(String, String)>> {
        let events = self.get("events")?;
        let items = events["items"].as_array().cloned().unwrap_or_default();
        Ok(items.iter().map(|event| (text(&event["reason"]), text(&event["message"]))).collect())
    }

    /// An object, or a list of them, as JSON.
    pub(crate) fn get(&self, what: &str) -> Result<Value> {
        let printed = self.world.cluster().kubectl(&[
            "--namespace",
            &self.namespace,
            "get",
            what,
            "--output",
            "json",
        ])?;
        serde_json::from_str(&printed).with_context(|| format!("understand `kubectl get {what}`"))
    }

    /// Deletes the namespace with everything in it, and makes its volumes available again.
    pub fn remove(self) -> Result<()> {
        let cluster = self.world.cluster();
        cluster.kubectl(&["delete", "namespace", &self.namespace, "--timeout=120s"])?;
        cluster.recycle_volumes()
    }

    /// The administrator whose Secret the status names.
    pub(crate) fn administrator(&self) -> Result<Credentials> {
        let object = self.get(&format!("brokercluster/{}", self.name))?;
        let secret = text(&object["status"]["administratorSecret"]);
        ensure!(!secret.is_empty(), "the status names no Secret: {}", object["status"]);
        let access_key = self.secret_entry(&secret, "username")?;
        let file = self.world.results().join(format!("{}.administrator", self.namespace));
        save(&file, &self.secret_entry(&secret, "password")?)?;
        Ok(Credentials { access_key, secret_key: file })
    }

    fn save_secret(&self) -> Result<()> {
        save(&self.secret, &self.secret_entry(&format!("{}-internal", self.name), "token")?)
    }

    fn secret_entry(&self, secret: &str, key: &str) -> Result<String> {
        let template = format!("go-template={{{{index .data \"{key}\" | base64decode}}}}");
        let arguments = ["get", "secret", secret, "--output", &template];
        let printed = self
            .world
            .cluster()
            .kubectl(&[&["--namespace", self.namespace.as_str()][..], &arguments].concat())?;
        ensure!(!printed.is_empty(), "the secret {secret} has no {key}");
        Ok(printed)
    }
}

/// For the user that clients run as; of a throw-away cluster.
fn save(file: &Path, secret: &str) -> Result<()> {
    fs::write(file, secret)?;
    fs::set_permissions(file, fs::Permissions::from_mode(0o644))?;
    Ok(())
}

/// A condition of an object's status; `Null` when it is not there.
pub(crate) fn condition(object: &Value, kind: &str) -> Value {
    let conditions = object["status"]["conditions"].as_array();
    conditions.and_then(|all| all.iter().find(|one| one["type"] == kind)).cloned().unwrap_or(Value::Null)
}

pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
