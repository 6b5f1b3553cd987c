//! The port for clients: gRPC over TLS and over plaintext on one address, told apart by a connection's first byte.
//!
//! A connection that says nothing, or fails its handshake, costs its own task only: accepting goes on.

mod certificate;
mod connection;
mod tls;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::Server;
use tracing::{debug, warn};

use self::certificate::Certificate;
use crate::spans;

pub(crate) use connection::Life;
pub use connection::{Connection, PeerInfo};
pub use tls::{TlsError, TlsSource};

/// First byte of a TLS record that opens a handshake.
const TLS_HANDSHAKE: u8 = 0x16;
/// Until a new connection has sent its first byte and ended its handshake.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
/// Connections that wait for the server to take them.
const ACCEPTED_AHEAD: usize = 64;
/// Pause after an error of accept, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Time for open calls to end once the broker stops.
const DRAIN_TIME: Duration = Duration::from_secs(5);

const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;
/// Calls that clients gave up before they were looked at. When a broker was held up, all calls of a connection are given up
/// at once; the library's default of 20 would take that for an attack and close the connection.
pub(crate) const MAX_RESET_STREAMS: usize = 4096;
const MAX_STREAMS: u32 = 4096;
const MAX_FRAME: u32 = 256 << 10;
const KEEPALIVE: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(15);
/// A connection that does not carry any more is closed within this time: an answer on its way, silence, and a ping that is
/// not answered. What was written before that on one that is open has arrived.
pub(crate) const DEAD_WITHIN: Duration =
    Duration::from_secs(KEEPALIVE.as_secs() + 2 * KEEPALIVE_TIMEOUT.as_secs());

/// The client port, bound.
pub struct ClientPort {
    listener: TcpListener,
    certificate: Arc<Certificate>,
    open: Arc<AtomicUsize>,
}

impl fmt::Debug for ClientPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientPort").field("listener", &self.listener).finish_non_exhaustive()
    }
}

/// Why the client port could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error("cannot listen for clients on {address}: {error}")]
    Bind { address: SocketAddr, error: io::Error },
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl ClientPort {
    /// Binds `address` and reads or makes the certificate.
    pub async fn bind(address: SocketAddr, tls: &TlsSource) -> Result<Self, ListenError> {
        let certificate = Arc::new(Certificate::load(tls)?);
        let listener =
            TcpListener::bind(address).await.map_err(|error| ListenError::Bind { address, error })?;
        Ok(Self { listener, certificate, open: Arc::default() })
    }

    /// # Errors
    /// When the system does not tell.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// How many clients are connected, kept up to date.
    pub(crate) fn open_connections(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.open)
    }

    /// Serves until `stop`; open calls get a while to end.
    ///
    /// # Errors
    /// When the HTTP server fails as a whole.
    pub async fn serve(self, routes: Routes, stop: CancellationToken) -> Result<(), tonic::transport::Error> {
        let (connections, incoming) = mpsc::channel(ACCEPTED_AHEAD);
        tokio::spawn(Arc::clone(&self.certificate).keep_up(stop.clone()));
        let accepting = tokio::spawn(accept(self, connections, stop.clone()));
        let server = Server::builder()
            .trace_fn(spans::of_call)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_concurrent_streams(MAX_STREAMS)
            .max_frame_size(MAX_FRAME)
            .http2_max_pending_accept_reset_streams(Some(MAX_RESET_STREAMS))
            .http2_keepalive_interval(Some(KEEPALIVE))
            .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
            .add_routes(routes);
        let stopping = stop.clone();
        let serving = server.serve_with_incoming_shutdown(ReceiverStream::new(incoming), async move {
            stop.cancelled().await
        });
        tokio::pin!(serving);
        let outcome = tokio::select! {
            outcome = &mut serving => outcome,
            () = drained(stopping) => {
                warn!("calls were still open {} s after the stop", DRAIN_TIME.as_secs());
                Ok(())
            }
        };
        accepting.abort();
        outcome
    }
}

async fn drained(stop: CancellationToken) {
    stop.cancelled().await;
    tokio::time::sleep(DRAIN_TIME).await;
}

async fn accept(
    port: ClientPort,
    connections: mpsc::Sender<io::Result<Connection>>,
    stop: CancellationToken,
) {
    loop {
        let accepted = tokio::select! {
            accepted = port.listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                let (tls, counted) = (port.certificate.acceptor(), port.open_connections());
                tokio::spawn(open(stream, peer, tls, counted, connections.clone()));
            }
            Err(error) => {
                warn!(%error, "cannot accept a client");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Brings one connection to where HTTP/2 begins.
async fn open(
    stream: TcpStream,
    peer: SocketAddr,
    tls: TlsAcceptor,
    counted: Arc<AtomicUsize>,
    connections: mpsc::Sender<io::Result<Connection>>,
) {
    match timeout(HANDSHAKE_TIME, handshake(stream, peer, tls)).await {
        Ok(Ok(Some(connection))) => drop(connections.send(Ok(connection.counted(&counted))).await),
        Ok(Ok(None)) => {}
        Ok(Err(error)) => debug!(%peer, %error, "client failed its handshake"),
        Err(_) => debug!(%peer, "client sent no complete handshake in time"),
    }
}

/// `None` for a connection that was closed without a byte, as port probes do.
async fn handshake(stream: TcpStream, peer: SocketAddr, tls: TlsAcceptor) -> io::Result<Option<Connection>> {
    stream.set_nodelay(true)?;
    let mut first = [0; 1];
    if stream.peek(&mut first).await? == 0 {
        return Ok(None);
    }
    Ok(Some(if first[0] == TLS_HANDSHAKE {
        Connection::tls(tls.accept(stream).await?, peer)
    } else {
        Connection::plain(stream, peer)
    }))
}
