//! What brokers say about themselves on their internal port.

use std::time::Duration;

use anyhow::{Context, ensure};
use mainstay_proto::control::admin_client::AdminClient;
use mainstay_proto::control::control_client::ControlClient;
use mainstay_proto::control::{
    CreateTopicRequest, Role, StatusRequest, StatusResponse, StepDownRequest, Topic, TopicType,
};
use tonic::Request;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};

use crate::broker::{INTERNAL_PORT, SECRET};
use crate::network::{Place, address};

const ANSWER: Duration = Duration::from_millis(700);

const HANDOVER: Duration = Duration::from_secs(10);

/// Connections to every broker's control service.
#[derive(Debug, Clone)]
pub(crate) struct Control {
    channels: Vec<Channel>,
    token: MetadataValue<Ascii>,
}

impl Control {
    pub(crate) fn new(brokers: usize) -> anyhow::Result<Self> {
        let channel = |broker| {
            let uri = format!("http://{}:{INTERNAL_PORT}", address(Place::Broker(broker)));
            let endpoint = Endpoint::from_shared(uri)?
                .connect_timeout(Duration::from_millis(500))
                .http2_keep_alive_interval(Duration::from_secs(1))
                .keep_alive_timeout(Duration::from_secs(1))
                .tcp_nodelay(true);
            Ok::<_, anyhow::Error>(endpoint.connect_lazy())
        };
        let channels = (0..brokers).map(channel).collect::<Result<_, _>>()?;
        Ok(Self { channels, token: format!("Bearer {SECRET}").parse()? })
    }

    /// What this broker says, if it answers in time.
    pub(crate) async fn status(&self, broker: usize) -> Option<StatusResponse> {
        let mut client = ControlClient::new(self.channels[broker].clone());
        let answer = tokio::time::timeout(ANSWER, client.status(self.request(StatusRequest {}))).await;
        Some(answer.ok()?.ok()?.into_inner())
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert("authorization", self.token.clone());
        request
    }

    /// Makes a topic for delayed messages.
    pub(crate) async fn create_delay_topic(&self, leader: usize, name: &str) -> anyhow::Result<()> {
        let topic = Topic { name: name.to_owned(), r#type: TopicType::Delay.into(), queues: 4, revision: 0 };
        let request = self.request(CreateTopicRequest { topic: Some(topic) });
        let mut client = AdminClient::new(self.channels[leader].clone());
        client.create_topic(request).await.with_context(|| format!("create topic {name}"))?;
        Ok(())
    }

    /// Has one broker hand leadership over to another.
    pub(crate) async fn hand_over(&self, from: usize, to: usize) -> anyhow::Result<()> {
        let to = self.status(to).await.context("the next leader does not answer")?.node_id;
        let timeout_ms = HANDOVER.as_millis() as u64;
        let request = self.request(StepDownRequest { to_node_id: Some(to), timeout_ms });
        let mut client = ControlClient::new(self.channels[from].clone());
        let answer = client.step_down(request).await?.into_inner();
        ensure!(answer.accepted, "leadership is not handed over: {}", answer.reason);
        Ok(())
    }

    /// What every broker says, in the order of their numbers.
    pub(crate) async fn all(&self) -> Vec<Option<StatusResponse>> {
        futures::future::join_all((0..self.channels.len()).map(|broker| self.status(broker))).await
    }
}

/// The broker of the newest epoch that leads and takes messages.
pub(crate) fn leader(statuses: &[Option<StatusResponse>]) -> Option<usize> {
    let leads = |status: &StatusResponse| status.role() == Role::Leader && status.serving && status.writable;
    statuses
        .iter()
        .enumerate()
        .filter_map(|(number, status)| Some((number, status.as_ref().filter(|status| leads(status))?)))
        .max_by_key(|(_, status)| status.epoch.as_ref().map(|epoch| (epoch.number, epoch.candidate)))
        .map(|(number, _)| number)
}

/// Why the brokers do not hold the same yet; `None` when they do.
pub(crate) fn difference(statuses: &[Option<StatusResponse>]) -> Option<String> {
    let mut told: Vec<&StatusResponse> = Vec::new();
    for (number, status) in statuses.iter().enumerate() {
        match status {
            Some(status) => told.push(status),
            None => return Some(format!("broker {number} does not answer")),
        }
    }
    let place = |status: &StatusResponse| {
        let epoch = status.last_epoch.as_ref().map(|epoch| (epoch.number, epoch.candidate));
        (epoch, status.last_index, status.persisted_index, status.commit_index, status.applied_index)
    };
    let same = told.windows(2).all(|pair| place(pair[0]) == place(pair[1]));
    let whole = told.iter().all(|status| {
        status.persisted_index == status.last_index
            && status.commit_index == status.last_index
            && status.applied_index == status.last_index
    });
    if same && whole && leader(statuses).is_some() {
        return None;
    }
    Some(told.iter().map(|status| describe(status)).collect::<Vec<_>>().join("; "))
}

/// One line about a broker.
pub(crate) fn describe(status: &StatusResponse) -> String {
    let epoch = status.epoch.as_ref().map_or(0, |epoch| epoch.number);
    let mut text = format!(
        "{} {:?} epoch {epoch} last {} persisted {} commit {} applied {}",
        status.member,
        status.role(),
        status.last_index,
        status.persisted_index,
        status.commit_index,
        status.applied_index
    );
    if !status.problem.is_empty() {
        text.push_str(&format!(" ({})", status.problem));
    }
    text
}
