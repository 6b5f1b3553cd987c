//! Deliveries on their way to the client.
//!
//! What the transport took up to the time stamp behind the messages is the client's, which may read no further. Of a stream
//! that is dropped or breaks before, the client keeps nothing, as its call failed: everything is given back, and delivered
//! again soon.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant, SystemTime};

use futures::Stream;
use mainstay_messaging::{Delivery, GroupName, ReceiptHandle, TopicName};
use mainstay_proto::rocketmq::receive_message_response::Content;
use mainstay_proto::rocketmq::{Message, ReceiveMessageResponse, Status};
use tokio::runtime::Handle;
use tonic::Streaming;

use super::ClientApi;
use super::leases::{Act, Due, Holder};
use super::refusal::ok;
use crate::group::GroupHandle;

/// For reading which messages are in the rest of a stream that nobody wants any more.
const REST_TIME: Duration = Duration::from_secs(2);

/// What a broker whose client receives knows about that.
#[derive(Clone)]
pub(super) struct Edge {
    pub(super) api: ClientApi,
    pub(super) holder: Arc<Holder>,
    pub(super) leases: KeepsLeases,
}

/// Whether the broker renews the leases of what it hands over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeepsLeases {
    Yes,
    No,
}

impl Edge {
    fn grant(&self, handles: impl Iterator<Item = ReceiptHandle>) {
        if self.leases == KeepsLeases::Yes {
            self.api.inner.leases.grant(&self.holder, handles, Instant::now());
        }
    }

    /// What became of these handles, less those that are settled.
    fn withdrawn(&self, mut handles: Vec<ReceiptHandle>) -> Vec<ReceiptHandle> {
        if self.leases == KeepsLeases::Yes {
            let ended = |handle| self.api.inner.leases.end(&self.holder.client, handle);
            handles = handles.into_iter().filter_map(ended).collect();
        }
        handles
    }
}

/// Hands over what was delivered on this broker.
pub(super) struct HandOver {
    status: Option<Status>,
    messages: std::vec::IntoIter<(ReceiptHandle, Message)>,
    stage: Stage,
    edge: Option<Edge>,
    group: GroupHandle,
    /// Whose deliveries they are.
    subscription: (GroupName, TopicName),
    /// All that is given back if the stream does not come to its end.
    handles: Vec<ReceiptHandle>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Under,
    /// All is with the transport, the time stamp too.
    Timestamped,
}

impl HandOver {
    pub(super) fn new(
        group: GroupHandle,
        name: GroupName,
        topic: TopicName,
        deliveries: &[Delivery],
    ) -> Self {
        Self {
            status: Some(ok()),
            messages: Vec::new().into_iter(),
            stage: Stage::Under,
            edge: None,
            group,
            subscription: (name, topic),
            handles: deliveries.iter().map(|delivery| delivery.handle).collect(),
        }
    }

    /// With the deliveries' messages. Those without one are given back.
    pub(super) fn with(mut self, messages: Vec<(ReceiptHandle, Message)>) -> Self {
        let read = |handle: &ReceiptHandle| messages.iter().any(|(other, _)| other == handle);
        let (read, unread): (Vec<_>, Vec<_>) = std::mem::take(&mut self.handles).into_iter().partition(read);
        self.handles = read;
        self.give_back(unread);
        self.messages = messages.into_iter();
        self
    }

    pub(super) fn with_status(mut self, status: Status) -> Self {
        self.status = Some(status);
        self
    }

    pub(super) fn is_empty(&self) -> bool {
        self.handles.is_empty()
    }

    /// To a client of this broker.
    pub(super) fn at(mut self, edge: Edge) -> Self {
        if !self.is_empty() {
            edge.grant(self.handles.iter().copied());
        }
        self.edge = Some(edge);
        self
    }

    fn give_back(&self, handles: Vec<ReceiptHandle>) {
        if !handles.is_empty() {
            let (group, topic) = self.subscription.clone();
            self.group.give_back(group, topic, handles);
        }
    }
}

impl Stream for HandOver {
    type Item = Result<ReceiveMessageResponse, tonic::Status>;

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let content = if let Some(status) = this.status.take() {
            Content::Status(status)
        } else if let Some((_, message)) = this.messages.next() {
            Content::Message(message)
        } else if this.stage == Stage::Under {
            this.stage = Stage::Timestamped;
            Content::DeliveryTimestamp(SystemTime::now().into())
        } else {
            return Poll::Ready(None);
        };
        Poll::Ready(Some(Ok(ReceiveMessageResponse { content: Some(content) })))
    }
}

impl Drop for HandOver {
    fn drop(&mut self) {
        if self.stage == Stage::Under {
            let handles = std::mem::take(&mut self.handles);
            let handles = match &self.edge {
                Some(edge) => edge.withdrawn(handles),
                None => handles,
            };
            self.give_back(handles);
        }
    }
}

/// Passes on to a client of this broker what another delivers.
pub(super) struct Relay {
    /// Until its end.
    source: Option<Streaming<ReceiveMessageResponse>>,
    edge: Edge,
    passed: Vec<ReceiptHandle>,
    /// The time stamp behind the messages has been passed on.
    is_whole: bool,
}

impl Relay {
    pub(super) const fn new(source: Streaming<ReceiveMessageResponse>, edge: Edge) -> Self {
        Self { source: Some(source), edge, passed: Vec::new(), is_whole: false }
    }
}

impl Stream for Relay {
    type Item = Result<ReceiveMessageResponse, tonic::Status>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let Some(source) = &mut this.source else { return Poll::Ready(None) };
        let item = ready!(Pin::new(source).poll_next(context));
        match &item {
            None => this.source = None,
            Some(Ok(response)) => {
                this.is_whole |= matches!(response.content, Some(Content::DeliveryTimestamp(_)));
                if let Some(handle) = handle_in(response) {
                    this.passed.push(handle);
                    this.edge.grant(std::iter::once(handle));
                }
            }
            Some(Err(_)) => {}
        }
        Poll::Ready(item)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let Some(source) = self.source.take().filter(|_| !self.is_whole) else { return };
        let handles = self.edge.withdrawn(std::mem::take(&mut self.passed));
        // Without a runtime, the broker is about to be gone itself.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(release(self.edge.clone(), handles, source));
        }
    }
}

/// Has `handles` and what is in the rest of the stream delivered again. What cannot be read any more, the broker that
/// delivers it gives back by itself, or its invisible time does where all of it was on the way already.
async fn release(edge: Edge, mut handles: Vec<ReceiptHandle>, mut rest: Streaming<ReceiveMessageResponse>) {
    let reading = async {
        while let Ok(Some(response)) = rest.message().await {
            handles.extend(handle_in(&response));
        }
    };
    let _ = tokio::time::timeout(REST_TIME, reading).await;
    let due = |given| Due { holder: Arc::clone(&edge.holder), given, current: given, act: Act::Release };
    edge.api.attend(handles.into_iter().map(due).collect()).await;
}

fn handle_in(response: &ReceiveMessageResponse) -> Option<ReceiptHandle> {
    let Some(Content::Message(message)) = &response.content else { return None };
    message.system_properties.as_ref()?.receipt_handle.as_ref()?.parse().ok()
}
