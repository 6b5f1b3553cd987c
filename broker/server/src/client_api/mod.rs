//! The client API of Apache RocketMQ 5: what the official clients call.
//!
//! - [`service`] is the gRPC surface; every call lives from its request alone, no matter what was called before.
//! - `guard` stands before it on the client port, `access` tells it who may do what.
//! - `send`, `receive`, `acknowledge`, `dead_letter`, `transaction`, `recall`, `telemetry`: the calls; `route`, `settings`: answers built from configuration.
//! - `handover`: deliveries on their way to the client, and back when they do not get there.
//! - `limits`, `names`, `times`, `filter`, `kind`, `message`: the protocol's forms and bounds.
//! - `refusal`, `outcome`: the protocol's codes. `catalog`: topics and consumer groups by name.
//! - `clients`, `leases`, `upkeep`: what is known about clients, for renewing their leases.
//! - `producers`, `checks`: asking producers what became of their half messages.

mod access;
mod acknowledge;
pub(crate) mod caller;
mod catalog;
mod checks;
mod clients;
mod commands;
mod dead_letter;
mod filter;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod guard;
mod handover;
mod kind;
mod leases;
pub(crate) mod limits;
mod message;
mod names;
mod offsets;
pub(crate) mod outcome;
pub(crate) mod producers;
mod pull;
mod recall;
mod receive;
pub(crate) mod refusal;
pub(crate) mod resend;
mod rotation;
mod route;
mod send;
mod service;
mod settings;
mod telemetry;
mod times;
mod transaction;
mod upkeep;

use std::fmt;
use std::sync::Arc;

use mainstay_proto::rocketmq::messaging_service_server::MessagingServiceServer;
use tokio_util::sync::CancellationToken;

use self::access::Access;
use self::caller::Origin;
use self::catalog::Catalog;
use self::clients::Clients;
use self::filter::Filters;
pub use self::guard::GuardedService;
use self::leases::Leases;
use self::limits::MAX_CALL_BYTES;
use self::producers::Producers;
use self::rotation::Rotation;
pub use self::service::ClientService;
use crate::cluster::Cluster;
use crate::config::Config;
use crate::forward::Forwarder;
use crate::group::GroupHandle;

/// Everything the calls of clients share.
#[derive(Clone)]
pub struct ClientApi {
    inner: Arc<Inner>,
}

struct Inner {
    config: Arc<Config>,
    group: GroupHandle,
    cluster: Cluster,
    catalog: Catalog,
    forwarder: Forwarder,
    clients: Clients,
    leases: Leases,
    producers: Producers,
    rotation: Rotation,
    filters: Filters,
    store_host: String,
    stop: CancellationToken,
}

impl fmt::Debug for ClientApi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientApi").field("member", &self.inner.config.member).finish_non_exhaustive()
    }
}

impl ClientApi {
    /// Starts looking after clients until `stop`, at which open streams end as well. Needs a tokio runtime.
    pub fn start(config: Arc<Config>, group: GroupHandle, cluster: Cluster, stop: CancellationToken) -> Self {
        if let Some(admin) = config.auth.as_ref().and_then(|auth| auth.admin.clone()) {
            tokio::spawn(admin.keep_up(stop.clone()));
        }
        let api = Self {
            inner: Arc::new(Inner {
                catalog: Catalog::new(Arc::clone(&config), group.clone(), cluster.clone()),
                forwarder: Forwarder::new(Arc::clone(&config), group.clone(), cluster.clone(), stop.clone()),
                cluster,
                clients: Clients::default(),
                leases: Leases::default(),
                producers: Producers::default(),
                rotation: Rotation::default(),
                filters: Filters::default(),
                store_host: config.own_group().address.clone(),
                group,
                config,
                stop,
            }),
        };
        tokio::spawn(api.clone().look_after_clients());
        tokio::spawn(api.clone().look_after_transactions());
        api
    }

    /// For the client port.
    pub fn for_clients(&self) -> MessagingServiceServer<GuardedService> {
        let auth = self.inner.config.auth.clone();
        let access = auth.map(|auth| Arc::new(Access::new(auth, self.inner.group.clone())));
        let service = ClientService::new(self.clone(), Origin::Client);
        limited(MessagingServiceServer::new(GuardedService::new(service, access)))
    }

    /// For the internal port, where other brokers pass on the calls of their clients. Calls have to be authenticated
    /// before they get here.
    pub fn for_brokers(&self) -> MessagingServiceServer<ClientService> {
        limited(MessagingServiceServer::new(ClientService::new(self.clone(), Origin::Broker)))
    }
}

fn limited<S>(server: MessagingServiceServer<S>) -> MessagingServiceServer<S> {
    server.max_decoding_message_size(MAX_CALL_BYTES).max_encoding_message_size(MAX_CALL_BYTES)
}
