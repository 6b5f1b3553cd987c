//! Three replicas of one broker group on this machine's one disk, with flush Sync: what replication costs.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::bail;
use mainstay_proto::control::control_client::ControlClient;
use mainstay_proto::control::{Role, StatusRequest};
use tonic::transport::Endpoint;

use crate::config::{Flush, Ports};
use crate::process::BrokerProcess;

const REPLICAS: usize = 3;
const ELECTION_TIMEOUT: Duration = Duration::from_secs(20);

/// A Raft group with a leader that serves.
#[derive(Debug)]
pub(crate) struct BrokerGroup {
    leader: String,
    _members: Vec<BrokerProcess>,
}

impl BrokerGroup {
    pub(crate) async fn start(program: &Path, directory: &Path) -> anyhow::Result<Self> {
        let ports = Ports::free(REPLICAS)?;
        let mut members = Vec::new();
        for own in 0..REPLICAS {
            members.push(BrokerProcess::spawn(program, directory, Flush::Sync, &ports, own)?);
        }
        let leader = wait_for_leader(&ports).await?;
        for member in &mut members {
            member.wait_ready().await?;
        }
        Ok(Self { leader: format!("127.0.0.1:{}", leader.client), _members: members })
    }

    /// Address of the leader's client port.
    pub(crate) fn leader(&self) -> &str {
        &self.leader
    }
}

async fn wait_for_leader(ports: &[Ports]) -> anyhow::Result<Ports> {
    let started = Instant::now();
    while started.elapsed() < ELECTION_TIMEOUT {
        for ports in ports {
            if leads(ports.internal).await {
                return Ok(*ports);
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    bail!("the replicas have elected no leader after {ELECTION_TIMEOUT:?}")
}

/// Whether the broker with this internal port leads and serves.
pub(crate) async fn leads(port: u16) -> bool {
    let ask = async {
        let channel = Endpoint::from_shared(format!("http://127.0.0.1:{port}")).ok()?.connect().await.ok()?;
        let status = ControlClient::new(channel).status(StatusRequest {}).await.ok()?.into_inner();
        Some(status.role() == Role::Leader && status.serving)
    };
    ask.await.unwrap_or(false)
}
