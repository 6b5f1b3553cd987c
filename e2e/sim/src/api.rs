//! The simulated API server: the group's object with its resource version, the operators' lease, and the pods.

use std::time::Duration;

use mainstay_crds::BrokerGroupStatus;
use mainstay_operator::candidacy::Seen;
use mainstay_operator::decide::observed::Pod;

/// What an operator asks.
#[derive(Debug, Clone)]
pub(crate) enum ApiRequest {
    ReadGroup,
    /// Replaces the status if the group still has this version.
    WriteGroup {
        version: u64,
        status: Box<BrokerGroupStatus>,
    },
    ReadLease,
    /// Takes or renews the lease if it still has this version; `None` where none was seen.
    WriteLease {
        version: Option<String>,
        holder: String,
    },
    DeletePod {
        member: usize,
        uid: String,
    },
    Label {
        member: usize,
        uid: String,
        role: Option<&'static str>,
        routable: bool,
    },
}

/// What it is told.
#[derive(Debug, Clone)]
pub(crate) enum ApiReply {
    Group { version: u64, status: Box<BrokerGroupStatus> },
    Lease(Option<Seen>),
    Done,
    Conflict,
}

#[derive(Debug)]
pub(crate) struct Api {
    version: u64,
    status: BrokerGroupStatus,
    lease: Option<(String, u64)>,
    pub(crate) pods: Vec<Pod>,
    lease_duration: Duration,
    uids: u64,
    /// Answers nothing.
    pub(crate) down: bool,
}

impl Api {
    pub(crate) fn new(members: usize, lease_duration: Duration) -> Self {
        let mut api = Self {
            version: 1,
            status: BrokerGroupStatus::default(),
            lease: None,
            pods: Vec::new(),
            lease_duration,
            uids: 0,
            down: false,
        };
        for _ in 0..members {
            let pod = api.new_pod();
            api.pods.push(pod);
        }
        api
    }

    fn new_pod(&mut self) -> Pod {
        self.uids += 1;
        Pod {
            uid: format!("uid-{}", self.uids),
            ready: true,
            deleting: false,
            outdated: false,
            role_label: None,
            routable: true,
        }
    }

    /// The pod is replaced by one that is as it should be.
    pub(crate) fn replace_pod(&mut self, member: usize) {
        let pod = self.new_pod();
        self.pods[member] = pod;
    }

    pub(crate) fn handle(&mut self, request: ApiRequest) -> ApiReply {
        match request {
            ApiRequest::ReadGroup => self.group(),
            ApiRequest::WriteGroup { version, status } if version == self.version => {
                self.version += 1;
                self.status = *status;
                self.group()
            }
            ApiRequest::ReadLease => ApiReply::Lease(self.lease.as_ref().map(|(holder, version)| Seen {
                holder: Some(holder.clone()),
                version: version.to_string(),
                duration: self.lease_duration,
            })),
            ApiRequest::WriteLease { version, holder }
                if version == self.lease.as_ref().map(|(_, version)| version.to_string()) =>
            {
                let next = self.lease.as_ref().map_or(1, |(_, version)| version + 1);
                self.lease = Some((holder, next));
                ApiReply::Done
            }
            ApiRequest::WriteGroup { .. } | ApiRequest::WriteLease { .. } => ApiReply::Conflict,
            ApiRequest::DeletePod { member, uid } => match self.pods.get_mut(member) {
                Some(pod) if pod.uid == uid => {
                    pod.deleting = true;
                    ApiReply::Done
                }
                _ => ApiReply::Conflict,
            },
            ApiRequest::Label { member, uid, role, routable } => match self.pods.get_mut(member) {
                Some(pod) if pod.uid == uid => {
                    pod.routable = routable;
                    pod.role_label = role.map(str::to_owned).or(pod.role_label.take());
                    ApiReply::Done
                }
                _ => ApiReply::Conflict,
            },
        }
    }

    fn group(&self) -> ApiReply {
        ApiReply::Group { version: self.version, status: Box::new(self.status.clone()) }
    }
}
