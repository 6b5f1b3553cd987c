//! How the other broker groups come by the metadata: the leader of each watches the metadata group and puts every newer
//! version into its own log, so that its followers know it too and it survives the metadata group's absence.

use std::time::{Duration, Instant};

use mainstay_messaging::{Command, SyncMetadata};
use mainstay_proto::control::WatchMetadataRequest;
use mainstay_proto::control::admin_client::AdminClient;
use mainstay_record::GroupId;
use tonic::Request;

use super::convert;
use crate::cluster::Cluster;
use crate::config::Config;
use crate::group::GroupHandle;

/// How long one watch lasts; a lost connection is noticed by then at the latest.
const WATCH: Duration = Duration::from_secs(5);
/// Pause after a failed attempt.
const PAUSE: Duration = Duration::from_millis(50);
const PROPOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Runs as long as the broker does; returns at once in the metadata group, which follows nobody.
pub(crate) async fn follow_metadata(config: std::sync::Arc<Config>, group: GroupHandle, cluster: Cluster) {
    if config.group == GroupId::METADATA {
        return;
    }
    let mut view = group.watch();
    loop {
        if !view.borrow_and_update().is_leader() {
            if view.changed().await.is_err() {
                return;
            }
            continue;
        }
        if let Err(problem) = bring_up_to_date(&group, &cluster).await {
            tracing::debug!(%problem, "metadata is not followed for now");
            cluster.forget_leader(GroupId::METADATA);
            tokio::time::sleep(PAUSE).await;
        }
    }
}

async fn bring_up_to_date(group: &GroupHandle, cluster: &Cluster) -> Result<(), String> {
    let leader = cluster.leader(GroupId::METADATA).await.ok_or("the metadata group has no leader")?;
    let after_version = group.metadata().version.0;
    let mut request = Request::new(WatchMetadataRequest { after_version, wait_ms: WATCH.as_millis() as u64 });
    request.set_timeout(WATCH * 2);
    let answer = AdminClient::new(leader).watch_metadata(request).await;
    let answer = answer.map_err(|status| status.message().to_owned())?.into_inner();
    if answer.version <= after_version {
        return Ok(());
    }
    let metadata = convert::metadata(&answer).map_err(|status| status.message().to_owned())?;
    tracing::info!(version = answer.version, "newer metadata from the metadata group");
    let command = Command::SyncMetadata(SyncMetadata { metadata });
    group
        .propose(command, Instant::now() + PROPOSE_TIMEOUT)
        .await
        .map(drop)
        .map_err(|error| error.to_string())
}
