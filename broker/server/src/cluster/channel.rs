//! Connections to internal ports: lazy, kept alive, with the shared secret on every call.

use std::time::Duration;

use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use crate::config::Secret;

/// A connection to the internal port of another broker.
pub type PeerChannel = InterceptedService<Channel, Bearer>;

/// Puts the shared secret on every call.
#[derive(Debug, Clone)]
pub struct Bearer(Option<MetadataValue<Ascii>>);

impl Bearer {
    pub(crate) fn new(secret: Option<&Secret>) -> Self {
        // The configuration admits printable text only, which always is a header value.
        Self(secret.and_then(|secret| {
            let mut value: MetadataValue<Ascii> = format!("Bearer {}", secret.expose()).parse().ok()?;
            value.set_sensitive(true);
            Some(value)
        }))
    }
}

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(value) = &self.0 {
            request.metadata_mut().insert("authorization", value.clone());
        }
        Ok(request)
    }
}

/// A channel that connects when first used and again whenever it has to.
pub(crate) fn lazy(address: &str, bearer: Bearer) -> Result<PeerChannel, tonic::transport::Error> {
    Ok(InterceptedService::new(endpoint(address)?.connect_lazy(), bearer))
}

/// A channel of its own, connected.
pub(crate) async fn connect(address: &str, bearer: Bearer) -> Result<PeerChannel, tonic::transport::Error> {
    Ok(InterceptedService::new(endpoint(address)?.connect().await?, bearer))
}

fn endpoint(address: &str) -> Result<Endpoint, tonic::transport::Error> {
    Ok(Endpoint::from_shared(format!("http://{address}"))?
        .connect_timeout(Duration::from_secs(2))
        .tcp_nodelay(true)
        .initial_stream_window_size(4 << 20)
        .initial_connection_window_size(8 << 20)
        .http2_keep_alive_interval(Duration::from_secs(2))
        .keep_alive_timeout(Duration::from_secs(2))
        .keep_alive_while_idle(true))
}
