//! The other brokers of the cluster: how to reach the internal port of a member, and who leads a group.
//!
//! Everything a broker forwards goes to the leader's internal port (8082), which serves the client API as well.

mod channel;
pub(crate) mod clients;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use mainstay_proto::control::{Role, StatusRequest};
use mainstay_record::GroupId;
use parking_lot::Mutex;

use crate::config::Config;
use crate::group::GroupHandle;

pub(crate) use channel::connect;
pub use channel::{Bearer, PeerChannel};

/// How long a member may take to say whether it leads.
const STATUS_TIMEOUT: Duration = Duration::from_millis(500);

/// Shared by everything that talks to other brokers.
#[derive(Debug, Clone)]
pub struct Cluster {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: Arc<Config>,
    /// By member name; connected when first used.
    channels: BTreeMap<String, PeerChannel>,
    own: GroupHandle,
    /// Members that were last seen leading the other groups.
    leaders: Mutex<BTreeMap<GroupId, String>>,
}

impl Cluster {
    /// # Errors
    /// When an address of the configuration is no URI.
    pub fn new(config: Arc<Config>, own: GroupHandle) -> Result<Self, tonic::transport::Error> {
        let bearer = Bearer::new(config.secret.as_ref());
        let channels = config
            .groups
            .iter()
            .flat_map(|group| &group.members)
            .map(|member| Ok((member.name.clone(), channel::lazy(&member.address, bearer.clone())?)))
            .collect::<Result<_, _>>()?;
        Ok(Self { inner: Arc::new(Inner { config, channels, own, leaders: Mutex::default() }) })
    }

    /// The internal port of a member, by its name in the configuration.
    pub fn member(&self, name: &str) -> Option<PeerChannel> {
        self.inner.channels.get(name).cloned()
    }

    /// The internal port of the group's leader, or `None` while none is known. Never this broker itself: ask
    /// [`GroupHandle::view`] first.
    pub async fn leader(&self, group: GroupId) -> Option<PeerChannel> {
        let name = if group == self.inner.config.group {
            self.inner.own.view().leader?.member?
        } else {
            self.leader_elsewhere(group).await?
        };
        if name == self.inner.config.member { None } else { self.member(&name) }
    }

    /// To be called when a call to the leader of another group failed, so that the next one asks again.
    pub fn forget_leader(&self, group: GroupId) {
        self.inner.leaders.lock().remove(&group);
    }

    async fn leader_elsewhere(&self, group: GroupId) -> Option<String> {
        if let Some(known) = self.inner.leaders.lock().get(&group) {
            return Some(known.clone());
        }
        let members = &self.inner.config.broker_group(group)?.members;
        let asked = members.iter().filter_map(|member| {
            let channel = self.member(&member.name)?;
            Some(async move {
                let mut client = clients::control(channel);
                let answer = tokio::time::timeout(STATUS_TIMEOUT, client.status(StatusRequest {})).await;
                let status = answer.ok()?.ok()?.into_inner();
                let epoch = status.epoch.unwrap_or_default();
                (status.role() == Role::Leader)
                    .then(|| ((epoch.number, epoch.candidate), member.name.clone()))
            })
        });
        let found = futures::future::join_all(asked).await.into_iter().flatten().max()?.1;
        self.inner.leaders.lock().insert(group, found.clone());
        Some(found)
    }
}
