//! One client connection, encrypted or not, as the HTTP server sees it.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

/// A connection past its handshake.
#[derive(Debug)]
pub struct Connection {
    transport: Transport,
    peer: SocketAddr,
    alive: Arc<()>,
    _open: Option<OpenConnection>,
}

/// Tells whether one connection is still open.
#[derive(Debug, Clone)]
pub(crate) struct Life(Weak<()>);

impl Life {
    pub(crate) fn is_open(&self) -> bool {
        self.0.strong_count() > 0
    }

    /// The life of a connection that ends when the second is dropped.
    #[cfg(test)]
    pub(crate) fn for_test() -> (Self, Arc<()>) {
        let alive = Arc::new(());
        (Self(Arc::downgrade(&alive)), alive)
    }
}

/// Counts a connection for as long as it is held.
#[derive(Debug)]
struct OpenConnection(Arc<AtomicUsize>);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[derive(Debug)]
enum Transport {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Where a call came from; found among the extensions of its request.
#[derive(Debug, Clone)]
pub struct PeerInfo {
    pub address: SocketAddr,
    pub tls: bool,
    connection: Life,
}

impl PeerInfo {
    pub(crate) fn connection(&self) -> Life {
        self.connection.clone()
    }
}

impl Connection {
    pub(super) fn plain(stream: TcpStream, peer: SocketAddr) -> Self {
        Self { transport: Transport::Plain(stream), peer, alive: Arc::default(), _open: None }
    }

    pub(super) fn tls(stream: TlsStream<TcpStream>, peer: SocketAddr) -> Self {
        Self { transport: Transport::Tls(Box::new(stream)), peer, alive: Arc::default(), _open: None }
    }

    /// The connection, counted until it is closed.
    pub(super) fn counted(self, open: &Arc<AtomicUsize>) -> Self {
        open.fetch_add(1, Ordering::Relaxed);
        Self { _open: Some(OpenConnection(Arc::clone(open))), ..self }
    }
}

impl Connected for Connection {
    type ConnectInfo = PeerInfo;

    fn connect_info(&self) -> PeerInfo {
        PeerInfo {
            address: self.peer,
            tls: matches!(self.transport, Transport::Tls(_)),
            connection: Life(Arc::downgrade(&self.alive)),
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.get_mut().transport {
            Transport::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Transport::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().transport {
            Transport::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Transport::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().transport {
            Transport::Plain(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Transport::Tls(stream) => Pin::new(stream).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.transport {
            Transport::Plain(stream) => stream.is_write_vectored(),
            Transport::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().transport {
            Transport::Plain(stream) => Pin::new(stream).poll_flush(context),
            Transport::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().transport {
            Transport::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Transport::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
