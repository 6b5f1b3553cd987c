//! What is done for clients between their calls: leases renewed for consumers that live, released for those gone.

use std::time::{Duration, Instant};

use futures::StreamExt;
use mainstay_proto::rocketmq::{AckMessageRequest, ChangeInvisibleDurationRequest, Code};
use tokio::time::MissedTickBehavior;
use tracing::debug;

use super::ClientApi;
use super::acknowledge::PutOff;
use super::caller::Caller;
use super::leases::{Act, Due, Holder, LEASE};
use crate::forward::Failure;

const PERIOD: Duration = Duration::from_secs(5);
/// When the messages of a consumer that is gone are delivered again.
const RELEASED_AFTER: Duration = Duration::from_secs(1);
/// Renewals under way at once; the driver puts them into few batches.
const AT_ONCE: usize = 256;

impl ClientApi {
    /// Runs until the broker stops.
    pub(super) async fn look_after_clients(self) {
        let mut ticks = tokio::time::interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = self.inner.stop.cancelled() => return,
            }
            let now = Instant::now();
            self.inner.clients.forget_silent(now);
            let due = self.inner.leases.due(now, |client| self.inner.clients.alive(client, now));
            self.attend(due).await;
        }
    }

    /// Renews or releases each of `due`.
    pub(super) async fn attend(&self, due: Vec<Due>) {
        futures::stream::iter(due).for_each_concurrent(AT_ONCE, |due| self.attend_one(due)).await;
    }

    async fn attend_one(&self, due: Due) {
        let caller = Caller::on_behalf_of(due.holder.client.id());
        let act = match due.act {
            Act::Renew if !may_hold(&due.holder) => {
                self.inner.leases.end(&due.holder.client, due.given);
                Act::Release
            }
            act => act,
        };
        let invisible = match act {
            Act::Renew => LEASE,
            Act::Release => RELEASED_AFTER,
        };
        let request = ChangeInvisibleDurationRequest {
            group: Some(due.holder.group.clone()),
            topic: Some(due.holder.topic.clone()),
            ..ChangeInvisibleDurationRequest::default()
        };
        match self.change_at_leader(&caller, &request, due.current, PutOff::For(invisible)).await {
            Ok(changed) if act == Act::Renew => {
                self.inner.leases.renewed(&due.holder.client, due.given, changed, Instant::now());
            }
            Ok(_) => {}
            Err(Failure::Refused(refusal)) if refusal.code == Code::InvalidReceiptHandle => {
                self.inner.leases.end(&due.holder.client, due.given);
            }
            // Tried again at the next period, as long as the lease lasts.
            Err(failure) => debug!(?failure, client = due.holder.client.id(), "cannot change a lease"),
        }
    }
}

/// Whether the user, as it is by now, may consume what it holds.
fn may_hold(holder: &Holder) -> bool {
    let consumed = AckMessageRequest {
        group: Some(holder.group.clone()),
        topic: Some(holder.topic.clone()),
        entries: Vec::new(),
    };
    holder.permit.as_ref().is_none_or(|permit| permit.check(&consumed).is_ok())
}
