//! How the other broker groups come by the metadata: the leader of each watches the metadata group and puts what is new
//! into its own log, so that its followers know it too and it survives the metadata group's absence.
//!
//! One change is on its way at a time; what changes meanwhile goes with the next. Only the changes are written, and once:
//! those that another record had already made begin with a version that is not there any more, and do nothing.

use std::time::{Duration, Instant};

use mainstay_messaging::{Command, MetadataChanges, Outcome};
use mainstay_proto::control::WatchMetadataRequest;
use mainstay_record::GroupId;
use tonic::Request;

use super::convert;
use crate::cluster::{Cluster, clients};
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
    let mut troubles = Troubles::default();
    loop {
        if !view.borrow_and_update().is_leader() {
            if view.changed().await.is_err() {
                return;
            }
            continue;
        }
        let outcome = bring_up_to_date(&group, &cluster).await;
        let failed = outcome.is_err();
        troubles.note(config.group, outcome.err());
        if failed {
            cluster.forget_leader(GroupId::METADATA);
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Tells of what keeps the metadata from being followed, once for as long as it stays the same.
#[derive(Debug, Default)]
struct Troubles {
    told: Option<String>,
}

impl Troubles {
    /// True when that was new, and told.
    fn note(&mut self, group: GroupId, problem: Option<String>) -> bool {
        if self.told == problem {
            return false;
        }
        match &problem {
            Some(problem) => {
                tracing::warn!(%group, %problem, "does not follow the metadata: new topics, groups and users are unknown here");
            }
            None => tracing::info!(%group, "follows the metadata again"),
        }
        self.told = problem;
        true
    }
}

async fn bring_up_to_date(group: &GroupHandle, cluster: &Cluster) -> Result<(), String> {
    let leader = cluster.leader(GroupId::METADATA).await.ok_or("the metadata group has no leader")?;
    let known = group.metadata();
    let after_version = known.version.0;
    let mut request = Request::new(WatchMetadataRequest { after_version, wait_ms: WATCH.as_millis() as u64 });
    request.set_timeout(WATCH * 2);
    let answer = clients::admin(leader).watch_metadata(request).await;
    let answer = answer.map_err(|status| status.message().to_owned())?.into_inner();
    if answer.version <= after_version {
        return Ok(());
    }
    let metadata = convert::metadata(&answer).map_err(|status| status.message().to_owned())?;
    tracing::info!(version = answer.version, "newer metadata from the metadata group");
    let command = Command::ChangeMetadata(MetadataChanges::between(&known, &metadata));
    match group.propose(command, Instant::now() + PROPOSE_TIMEOUT).await {
        // What a leader before this one had proposed may have done it already.
        Ok(Outcome::Synced { applied: false }) if group.metadata().version.0 < answer.version => {
            Err("it does not go with what is known here".to_owned())
        }
        Ok(_) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trouble_is_told_once_until_it_changes_or_ends() {
        let mut troubles = Troubles::default();
        let told: Vec<bool> = [None, Some("a"), Some("a"), Some("b"), None, None, Some("b")]
            .map(|problem| troubles.note(GroupId(1), problem.map(str::to_owned)))
            .into();
        assert_eq!(told, [false, true, false, true, true, false, true]);
    }
}
