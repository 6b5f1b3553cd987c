//! The Telemetry stream: settings in, merged settings out, and open for as long as the client wants.
//!
//! Response headers go out at once. A client may hold several streams; the end of one says nothing about the client.

use std::pin::pin;
use std::time::{Duration, Instant};

use mainstay_proto::rocketmq::settings::PubSub;
use mainstay_proto::rocketmq::telemetry_command::Command;
use mainstay_proto::rocketmq::{ClientType, Code, Settings, TelemetryCommand};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};
use tracing::{debug, warn};

use super::ClientApi;
use super::access::Permit;
use super::caller::Caller;
use super::clients::ClientKey;
use super::names::full_name;
use super::producers::{Commands, MayHear, StreamId};
use super::refusal::{Refusal, ok};
use super::settings::merge;

/// Commands on their way to one client.
const AHEAD: usize = 16;
/// How often it is asked whether the credentials that a stream was opened with still hold.
const ASKED_EVERY: Duration = Duration::from_secs(5);

pub(super) type TelemetryStream = ReceiverStream<Result<TelemetryCommand, Status>>;

/// Notes an open stream for as long as it exists.
struct OpenStream {
    api: ClientApi,
    client: ClientKey<'static>,
    id: StreamId,
}

impl OpenStream {
    fn new(api: ClientApi, client: ClientKey<'static>, permit: Option<Permit>, commands: Commands) -> Self {
        api.inner.clients.stream_opened(&client, Instant::now());
        let may_hear: MayHear = match permit {
            Some(permit) => Box::new(move |topic| permit.may_publish(topic)),
            None => Box::new(|_| true),
        };
        let id = api.inner.producers.opened(&client, commands, may_hear);
        Self { api, client, id }
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.api.inner.clients.stream_closed(&self.client);
        self.api.inner.producers.closed(&self.client, self.id);
    }
}

impl ClientApi {
    /// # Errors
    /// When the stream names no client.
    pub(super) fn telemetry(
        &self,
        caller: &Caller,
        commands: Streaming<TelemetryCommand>,
    ) -> Result<TelemetryStream, Refusal> {
        let client = caller.require_client()?.into_owned();
        let permit = caller.permit.clone();
        let (replies, stream) = mpsc::channel(AHEAD);
        let open = OpenStream::new(self.clone(), client, permit.clone(), replies.clone());
        tokio::spawn(converse(open, permit, commands, replies));
        Ok(ReceiverStream::new(stream))
    }

    fn settle(
        &self,
        client: &ClientKey<'_>,
        permit: Option<&Permit>,
        settings: Settings,
    ) -> Result<TelemetryCommand, Refusal> {
        if let Some(permit) = permit {
            permit.check(&settings)?;
        }
        let merged = merge(settings, &self.inner.filters, |group, subscriptions| {
            let topics = subscriptions.iter().filter_map(|subscription| subscription.topic.as_ref());
            self.inner.catalog.delivering(group, topics)
        })?;
        let kind = merged.client_type.and_then(|kind| ClientType::try_from(kind).ok());
        self.inner.clients.heard(client, kind.unwrap_or_default(), Instant::now());
        if let Some(PubSub::Publishing(publishing)) = &merged.pub_sub {
            for topic in &publishing.topics {
                self.inner.producers.publishes(client, &full_name(Some(topic)));
            }
        }
        Ok(TelemetryCommand { status: Some(ok()), command: Some(Command::Settings(merged)) })
    }
}

/// Until the credentials that a stream was opened with hold no more; for ever without access control.
async fn expiry(permit: Option<&Permit>) -> Refusal {
    let Some(permit) = permit else { return std::future::pending().await };
    loop {
        tokio::time::sleep(ASKED_EVERY).await;
        if let Err(refusal) = permit.holds() {
            return refusal;
        }
    }
}

fn status_of(refusal: &Refusal) -> Status {
    match refusal.code {
        Code::Unauthorized => Status::permission_denied(refusal.to_string()),
        _ => Status::invalid_argument(refusal.to_string()),
    }
}

/// Answers until the client ends its half, a setting is refused, its credentials hold no more, or the broker stops.
async fn converse(
    open: OpenStream,
    permit: Option<Permit>,
    mut commands: Streaming<TelemetryCommand>,
    replies: Commands,
) {
    let (api, client) = (&open.api, &open.client);
    let mut expiry = pin!(expiry(permit.as_ref()));
    loop {
        let command = tokio::select! {
            command = commands.message() => command,
            refusal = &mut expiry => {
                debug!(client = client.id(), %refusal, "telemetry stream ended");
                // A client that does not read learns it from the end alone.
                let _ = replies.try_send(Err(status_of(&refusal)));
                return;
            }
            () = api.inner.stop.cancelled() => return,
            () = replies.closed() => return,
        };
        let reply = match command {
            Ok(Some(TelemetryCommand { command: Some(Command::Settings(settings)), .. })) => {
                api.settle(client, permit.as_ref(), settings)
            }
            Ok(Some(_)) => continue,
            Ok(None) => return,
            Err(error) => {
                debug!(client = client.id(), %error, "telemetry stream broke");
                return;
            }
        };
        let refused = reply.is_err();
        let reply = reply.map_err(|refusal| {
            warn!(client = client.id(), %refusal, "settings refused");
            status_of(&refusal)
        });
        // A client that does not read must not keep its stream beyond its right to it.
        let sent = tokio::select! {
            sent = replies.send(reply) => sent.is_ok(),
            refusal = &mut expiry => {
                debug!(client = client.id(), %refusal, "telemetry stream ended, whose client does not read");
                false
            }
            () = api.inner.stop.cancelled() => false,
        };
        if !sent || refused {
            return;
        }
    }
}
