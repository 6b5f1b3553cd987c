//! Connections to every broker, and what a call's end says.
//!
//! A client asks one broker until a call there goes wrong, then the next: every broker of a group takes every call.

use std::error::Error;
use std::time::Duration;

use mainstay_proto::rocketmq::messaging_service_client::MessagingServiceClient;
use mainstay_proto::rocketmq::{Code, Resource, Status as WireStatus};
use tonic::transport::{Channel, Endpoint};
use tonic::{ConnectError, Request, Status};

use super::history::Ended;
use crate::broker::{CLIENT_PORT, ROUTE_HOST};
use crate::network::{Place, address};

pub(crate) type Client = MessagingServiceClient<Channel>;

/// What a broker gets to answer a call that need not wait for anything.
pub(crate) const ANSWER: Duration = Duration::from_secs(3);

/// One connection to each broker.
#[derive(Debug, Clone)]
pub(crate) struct Brokers {
    clients: Vec<Client>,
    id: String,
}

impl Brokers {
    pub(crate) fn new(brokers: &[usize], id: &str) -> anyhow::Result<Self> {
        let client = |broker: &usize| {
            let uri = format!("http://{}:{CLIENT_PORT}", address(Place::Broker(*broker)));
            let endpoint = Endpoint::from_shared(uri)?
                .connect_timeout(Duration::from_secs(1))
                .http2_keep_alive_interval(Duration::from_secs(2))
                .keep_alive_timeout(Duration::from_secs(2))
                .tcp_nodelay(true);
            Ok::<_, anyhow::Error>(MessagingServiceClient::new(endpoint.connect_lazy()))
        };
        Ok(Self { clients: brokers.iter().map(client).collect::<Result<_, _>>()?, id: id.to_owned() })
    }

    pub(crate) fn client(&self, number: usize) -> Client {
        self.clients[number % self.clients.len()].clone()
    }

    pub(crate) fn request<T>(&self, message: T, timeout: Duration) -> Request<T> {
        let mut request = Request::new(message);
        if let Ok(id) = self.id.parse() {
            request.metadata_mut().insert("x-mq-client-id", id);
        }
        request.set_timeout(timeout);
        request
    }
}

pub(crate) fn resource(name: &str) -> Resource {
    Resource { resource_namespace: String::new(), name: name.to_owned() }
}

/// Whether a route names the brokers that this client knows the addresses of.
pub(crate) fn names_the_group(host: &str) -> bool {
    host == ROUTE_HOST
}

/// What a status in an answer says. Whatever may have happened although no success is reported says so.
pub(crate) fn answered(status: &WireStatus) -> Ended {
    if status.code() == Code::Ok {
        return Ended::Ok;
    }
    let text = format!("{:?}: {}", status.code(), status.message);
    if status.message.contains("outcome unknown") { Ended::Unknown(text) } else { Ended::Failed(text) }
}

/// What the end of a call without an answer says: nothing, unless the request never left.
pub(crate) fn broken(status: &Status) -> Ended {
    let mut source = status.source();
    while let Some(error) = source {
        if error.is::<ConnectError>() {
            return Ended::Failed(format!("no connection: {error}"));
        }
        source = error.source();
    }
    Ended::Unknown(status.to_string())
}

pub(crate) fn late() -> Ended {
    Ended::Unknown("no answer in time".to_owned())
}
