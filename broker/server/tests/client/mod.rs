//! A client for tests of the client API: one call of each kind, with the least that makes it valid.
#![allow(dead_code, clippy::unwrap_used)]

use std::time::Duration;

use bytes::Bytes;
use mainstay_proto::rocketmq::messaging_service_client::MessagingServiceClient;
use mainstay_proto::rocketmq::receive_message_response::Content;
use mainstay_proto::rocketmq::*;
use tonic::Request;
use tonic::transport::{Channel, Endpoint};

pub(crate) const CLIENT_ID: &str = "test@1";

#[derive(Debug, Clone)]
pub(crate) struct Client {
    pub(crate) grpc: MessagingServiceClient<Channel>,
    pub(crate) id: String,
    /// Access key and secret key that calls are signed with.
    pub(crate) credentials: Option<(String, String)>,
}

/// What a receive call streamed, taken apart.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) status: Status,
    pub(crate) messages: Vec<Message>,
}

impl Client {
    pub(crate) fn plain(port: u16) -> Self {
        let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{port}")).unwrap();
        Self::over(endpoint.connect_lazy())
    }

    pub(crate) fn over(channel: Channel) -> Self {
        let grpc = MessagingServiceClient::new(channel)
            .max_decoding_message_size(16 << 20)
            .max_encoding_message_size(256 << 20);
        Self { grpc, id: CLIENT_ID.to_owned(), credentials: None }
    }

    /// The same connection under another client id.
    pub(crate) fn named(&self, id: &str) -> Self {
        Self { id: id.to_owned(), ..self.clone() }
    }

    /// The same connection, whose calls are signed from now on.
    pub(crate) fn signed(&self, access_key: &str, secret_key: &str) -> Self {
        Self { credentials: Some((access_key.to_owned(), secret_key.to_owned())), ..self.clone() }
    }

    pub(crate) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert("x-mq-client-id", self.id.parse().unwrap());
        request.metadata_mut().insert("x-mq-language", "RUST".parse().unwrap());
        request.metadata_mut().insert("x-mq-client-version", "6.0.0".parse().unwrap());
        if let Some((access_key, secret_key)) = &self.credentials {
            let date = prost_types::Timestamp::from(std::time::SystemTime::now()).to_string();
            sign(&mut request, access_key, secret_key, &date);
        }
        request.set_timeout(Duration::from_secs(10));
        request
    }

    pub(crate) async fn send(&self, messages: Vec<Message>) -> SendMessageResponse {
        let request = self.request(SendMessageRequest { messages });
        self.grpc.clone().send_message(request).await.unwrap().into_inner()
    }

    /// Sends and insists on success.
    pub(crate) async fn send_ok(&self, messages: Vec<Message>) -> SendMessageResponse {
        let answer = self.send(messages).await;
        assert_eq!(code(&answer.status), Code::Ok, "{answer:?}");
        answer
    }

    pub(crate) async fn receive(&self, request: ReceiveMessageRequest) -> Received {
        let mut request = self.request(request);
        request.set_timeout(Duration::from_secs(25));
        let mut stream = self.grpc.clone().receive_message(request).await.unwrap().into_inner();
        let first = stream.message().await.unwrap().unwrap().content.unwrap();
        let Content::Status(status) = first else { panic!("the stream begins with {first:?}") };
        let mut messages = Vec::new();
        loop {
            match stream.message().await.unwrap().unwrap().content.unwrap() {
                Content::Message(message) => messages.push(message),
                Content::DeliveryTimestamp(_) => break,
                Content::Status(status) => panic!("a second status: {status:?}"),
            }
        }
        assert!(stream.message().await.unwrap().is_none(), "the delivery timestamp comes last");
        Received { status, messages }
    }

    pub(crate) async fn acknowledge(&self, group: &str, topic: &str, handles: &[&str]) -> AckMessageResponse {
        let entry = |handle: &&str| AckMessageEntry {
            message_id: "id".to_owned(),
            receipt_handle: (*handle).to_owned(),
            lite_topic: None,
        };
        let request = self.request(AckMessageRequest {
            group: Some(resource(group)),
            topic: Some(resource(topic)),
            entries: handles.iter().map(entry).collect(),
        });
        self.grpc.clone().ack_message(request).await.unwrap().into_inner()
    }

    pub(crate) async fn change(
        &self,
        group: &str,
        topic: &str,
        handle: &str,
        invisible: Duration,
    ) -> ChangeInvisibleDurationResponse {
        let request = self.request(ChangeInvisibleDurationRequest {
            group: Some(resource(group)),
            topic: Some(resource(topic)),
            receipt_handle: handle.to_owned(),
            invisible_duration: Some(invisible.try_into().unwrap()),
            message_id: "id".to_owned(),
            ..ChangeInvisibleDurationRequest::default()
        });
        self.grpc.clone().change_invisible_duration(request).await.unwrap().into_inner()
    }

    pub(crate) async fn route(&self, topic: &str) -> QueryRouteResponse {
        let endpoints = Endpoints {
            scheme: AddressScheme::IPv4 as i32,
            addresses: vec![Address { host: "127.0.0.1".to_owned(), port: 4711 }],
        };
        let request =
            self.request(QueryRouteRequest { topic: Some(resource(topic)), endpoints: Some(endpoints) });
        self.grpc.clone().query_route(request).await.unwrap().into_inner()
    }
}

/// Signs a call as of `date`.
pub(crate) fn sign<T>(request: &mut Request<T>, access_key: &str, secret_key: &str, date: &str) {
    let header = mainstay_proto::signature::sign(access_key, secret_key, date);
    request.metadata_mut().insert("authorization", header.parse().unwrap());
    request.metadata_mut().insert("x-mq-date-time", date.parse().unwrap());
}

pub(crate) fn resource(name: &str) -> Resource {
    Resource { resource_namespace: String::new(), name: name.to_owned() }
}

pub(crate) fn message(topic: &str, id: &str, body: impl Into<Bytes>) -> Message {
    Message {
        topic: Some(resource(topic)),
        system_properties: Some(SystemProperties {
            message_id: id.to_owned(),
            body_encoding: Encoding::Identity as i32,
            message_type: MessageType::Normal as i32,
            born_host: "tester".to_owned(),
            ..SystemProperties::default()
        }),
        body: body.into(),
        ..Message::default()
    }
}

pub(crate) fn tagged(topic: &str, id: &str, tag: &str) -> Message {
    let mut message = message(topic, id, "body");
    message.system_properties.as_mut().unwrap().tag = Some(tag.to_owned());
    message
}

/// Up to 32 messages of any tag, invisible for 30 s, after a poll of `wait`.
pub(crate) fn polling(group: &str, topic: &str, wait: Duration) -> ReceiveMessageRequest {
    ReceiveMessageRequest {
        group: Some(resource(group)),
        message_queue: Some(MessageQueue { topic: Some(resource(topic)), id: -1, ..MessageQueue::default() }),
        filter_expression: Some(FilterExpression {
            r#type: FilterType::Tag as i32,
            expression: "*".to_owned(),
        }),
        batch_size: 32,
        invisible_duration: Some(Duration::from_secs(30).try_into().unwrap()),
        auto_renew: false,
        long_polling_timeout: Some(wait.try_into().unwrap()),
        attempt_id: None,
    }
}

pub(crate) fn code(status: &Option<Status>) -> Code {
    status.as_ref().unwrap().code()
}

pub(crate) fn ids(messages: &[Message]) -> Vec<String> {
    let mut ids: Vec<_> = messages
        .iter()
        .map(|message| message.system_properties.as_ref().unwrap().message_id.clone())
        .collect();
    ids.sort();
    ids
}

pub(crate) fn handle(message: &Message) -> &str {
    message.system_properties.as_ref().unwrap().receipt_handle()
}
