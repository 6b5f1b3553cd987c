//! Certificates of the client port are replaced while it serves: new connections get the new one, open ones live on.

#![allow(clippy::unwrap_used)]

mod client;
mod server;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use client::{Client, message};
use hyper_util::rt::TokioIo;
use mainstay_broker::config::TlsFiles;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::Endpoint;
use tower::service_fn;

/// Bound of everything that waits for a state.
const PATIENCE: Duration = Duration::from_secs(20);

/// Writes another pair and gives back its certificate.
fn replace(folder: &Path) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(folder.join("tls.crt"), made.cert.pem()).unwrap();
    std::fs::write(folder.join("tls.key"), made.signing_key.serialize_pem()).unwrap();
    made.cert.der().clone()
}

/// A connection that trusts this certificate and no other.
async fn connect(port: u16, trusted: &CertificateDer<'static>) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost").unwrap(), stream).await
}

/// A client on one connection, which is never made anew.
async fn client_on(stream: TlsStream<TcpStream>) -> Client {
    let stream = Arc::new(std::sync::Mutex::new(Some(TokioIo::new(stream))));
    let endpoint = Endpoint::from_static("http://localhost");
    let channel = endpoint.connect_with_connector(service_fn(move |_| {
        let taken = stream.lock().unwrap().take();
        async move { taken.ok_or_else(|| std::io::Error::other("the connection was lost")) }
    }));
    Client::over(channel.await.unwrap())
}

async fn until_served(port: u16, certificate: &CertificateDer<'static>) {
    let deadline = Instant::now() + PATIENCE;
    while let Err(error) = connect(port, certificate).await {
        assert!(Instant::now() < deadline, "{error}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_certificate_is_served_without_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let first = replace(folder.path());
    let files =
        TlsFiles { cert_file: folder.path().join("tls.crt"), key_file: folder.path().join("tls.key") };
    let server = server::start_with(|config| config.tls = Some(files)).await;
    let port = server.client_port();
    let client = client_on(connect(port, &first).await.unwrap()).await;
    client.send_ok(vec![message("t", "with the first", "x")]).await;

    let second = replace(folder.path());
    until_served(port, &second).await;
    assert!(connect(port, &first).await.is_err(), "the first one is served no more");
    client.send_ok(vec![message("t", "on the old connection", "x")]).await;
    server.stop().await;
}
