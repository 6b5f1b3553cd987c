//! The internal port (8082): replication, control, administration and forwarded client calls, behind the shared secret.

use subtle::ConstantTimeEq;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::service::interceptor::InterceptorLayer;
use tonic::service::{Interceptor, Routes};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Status};

use crate::config::Secret;
use crate::listen::MAX_RESET_STREAMS;
use crate::spans;

const STREAM_WINDOW: u32 = 8 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;
const MAX_FRAME: u32 = 1 << 20;
/// Another broker passes all its clients' calls on over one connection, long polls among them: they must not keep
/// others waiting.
const MAX_STREAMS: u32 = 1 << 20;

/// Lets calls pass that carry the secret; all of them where there is none, which is on loopback addresses only.
#[derive(Debug, Clone)]
pub(crate) struct Authenticate(Option<Secret>);

impl Authenticate {
    pub(crate) fn new(secret: Option<Secret>) -> Self {
        Self(secret)
    }
}

impl Interceptor for Authenticate {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        let Some(secret) = &self.0 else { return Ok(request) };
        let shown = request.metadata().get("authorization").and_then(|value| value.to_str().ok());
        let Some(shown) = shown.and_then(|value| value.strip_prefix("Bearer ")) else {
            return Err(Status::unauthenticated(
                "the internal port needs the shared secret: Bearer token missing",
            ));
        };
        if bool::from(shown.as_bytes().ct_eq(secret.expose().as_bytes())) {
            Ok(request)
        } else {
            Err(Status::unauthenticated("the shared secret is wrong"))
        }
    }
}

/// Serves until `stop`.
pub(crate) async fn serve(
    listener: TcpListener,
    routes: Routes,
    authenticate: Authenticate,
    stop: CancellationToken,
) -> Result<(), tonic::transport::Error> {
    Server::builder()
        .trace_fn(spans::of_call)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(MAX_FRAME)
        .max_concurrent_streams(MAX_STREAMS)
        .http2_max_pending_accept_reset_streams(Some(MAX_RESET_STREAMS))
        .layer(InterceptorLayer::new(authenticate))
        .add_routes(routes)
        .serve_with_incoming_shutdown(incoming(listener), stop.cancelled_owned())
        .await
}

/// Connections that hold nothing back: else the end of an answer waits up to 40 ms for the other side to confirm its
/// beginning.
fn incoming(listener: TcpListener) -> TcpIncoming {
    TcpIncoming::from(listener).with_nodelay(Some(true))
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpStream;
    use tokio_stream::StreamExt as _;

    use super::*;

    #[tokio::test]
    async fn answers_are_not_held_back() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut incoming = incoming(listener);
        let (_connected, accepted) = tokio::join!(TcpStream::connect(address), incoming.next());
        assert!(accepted.unwrap().unwrap().nodelay().unwrap());
    }

    fn code(secret: Option<&str>, header: Option<&str>) -> Option<tonic::Code> {
        let mut request = Request::new(());
        if let Some(header) = header {
            request.metadata_mut().insert("authorization", header.parse().unwrap());
        }
        let mut authenticate = Authenticate::new(secret.map(Secret::new));
        authenticate.call(request).err().map(|status| status.code())
    }

    #[test]
    fn only_the_right_secret_passes() {
        let refused = Some(tonic::Code::Unauthenticated);
        assert_eq!(code(Some("s3cret"), Some("Bearer s3cret")), None);
        assert_eq!(code(Some("s3cret"), Some("Bearer s3cre")), refused);
        assert_eq!(code(Some("s3cret"), Some("Bearer s3cretx")), refused);
        assert_eq!(code(Some("s3cret"), Some("Basic s3cret")), refused);
        assert_eq!(code(Some("s3cret"), None), refused);
        assert_eq!(code(None, None), None);
    }
}
