//! What clients do besides messages: routes, assignments, settings, heartbeats, and the port they come in by.

#![allow(clippy::unwrap_used)]

mod client;
mod server;

use std::sync::Arc;
use std::time::Duration;

use client::{Client, code, message, polling, resource};
use hyper_util::rt::TokioIo;
use mainstay_proto::rocketmq::telemetry_command::Command;
use mainstay_proto::rocketmq::*;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Endpoint;
use tower::service_fn;

#[tokio::test(flavor = "multi_thread")]
async fn a_route_names_every_queue_at_the_address_that_reached_the_broker() {
    let server = server::start().await;
    let route = server.client().route("t").await;
    assert_eq!(code(&route.status), Code::Ok);
    assert_eq!(
        route.message_queues.iter().map(|queue| queue.id).collect::<Vec<_>>(),
        [0, 1, 2, 3, 4, 5, 6, 7]
    );
    for queue in route.message_queues {
        let broker = queue.broker.unwrap();
        assert_eq!(broker.id, 0);
        let endpoints = broker.endpoints.unwrap();
        assert_eq!(endpoints.scheme(), AddressScheme::IPv4);
        assert_eq!(endpoints.addresses, [Address { host: "127.0.0.1".to_owned(), port: 4711 }]);
        assert_eq!(queue.permission, Permission::ReadWrite as i32);
        assert_eq!(queue.accept_message_types, [MessageType::Normal as i32]);
    }
    let client = server.client();
    let request = client.request(QueryAssignmentRequest {
        topic: Some(resource("t")),
        group: Some(resource("g")),
        endpoints: None,
    });
    let assigned = client.grpc.clone().query_assignment(request).await.unwrap().into_inner();
    assert_eq!(code(&assigned.status), Code::Ok);
    assert_eq!(assigned.assignments.len(), 1);
    assert_eq!(assigned.assignments[0].message_queue.as_ref().unwrap().id, -1);
    server.stop().await;
}

fn producer_settings(topic: &str) -> TelemetryCommand {
    let publishing = Publishing { topics: vec![resource(topic)], ..Publishing::default() };
    TelemetryCommand {
        status: None,
        command: Some(Command::Settings(Settings {
            client_type: Some(ClientType::Producer as i32),
            pub_sub: Some(settings::PubSub::Publishing(publishing)),
            ..Settings::default()
        })),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_may_hold_several_streams_each_answers_its_settings_and_stays_open() {
    let server = server::start().await;
    let client = server.client();
    let mut streams = Vec::new();
    for _ in 0..2 {
        let (commands, outgoing) = tokio::sync::mpsc::channel(4);
        let request = client.request(ReceiverStream::new(outgoing));
        // Nothing was sent yet: the headers have to come by themselves.
        let opening = client.grpc.clone();
        let opened = tokio::time::timeout(Duration::from_secs(5), async move {
            let mut opening = opening;
            opening.telemetry(request).await.unwrap().into_inner()
        });
        streams.push((commands, opened.await.expect("response headers at once")));
    }
    for _ in 0..2 {
        for (commands, incoming) in &mut streams {
            commands.send(producer_settings("t")).await.unwrap();
            let answer = incoming.message().await.unwrap().unwrap();
            assert_eq!(code(&answer.status), Code::Ok);
            let Some(Command::Settings(settings)) = answer.command else { panic!("{answer:?}") };
            let Some(settings::PubSub::Publishing(publishing)) = settings.pub_sub else {
                panic!("no publishing")
            };
            assert_eq!(publishing.max_body_size, 4_194_304);
        }
    }
    let (commands, mut incoming) = streams.pop().unwrap();
    drop(commands);
    assert!(incoming.message().await.unwrap().is_none(), "a stream that the client ends is ended");
    let (commands, mut incoming) = streams.pop().unwrap();
    commands.send(producer_settings("no good")).await.unwrap();
    let refused = incoming.message().await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::InvalidArgument);
    assert!(refused.message().contains("topic 'no good'"), "{refused:?}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_stream_does_not_keep_the_broker_from_stopping() {
    let server = server::start().await;
    let client = server.client();
    let (_commands, outgoing) = tokio::sync::mpsc::channel(4);
    let request = client.request(ReceiverStream::new(outgoing));
    let mut incoming = client.grpc.clone().telemetry(request).await.unwrap().into_inner();
    let poll = tokio::spawn({
        let client = client.clone();
        async move {
            let request = client.request(polling("g", "t", Duration::from_secs(20)));
            drop(client.grpc.clone().receive_message(request).await);
        }
    });
    server.until_polls_wait(1).await;
    tokio::time::timeout(Duration::from_secs(10), server.stop()).await.expect("stops in time");
    tokio::time::timeout(Duration::from_secs(10), incoming.message()).await.expect("the stream ends").ok();
    tokio::time::timeout(Duration::from_secs(10), poll).await.expect("the poll ends").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn heartbeats_and_terminations_are_answered_without_settings() {
    let server = server::start().await;
    let client = server.client();
    for kind in [ClientType::Producer, ClientType::PushConsumer, ClientType::SimpleConsumer] {
        let beat = client.request(HeartbeatRequest { group: Some(resource("g")), client_type: kind as i32 });
        let beat = client.grpc.clone().heartbeat(beat).await.unwrap().into_inner();
        assert_eq!(code(&beat.status), Code::Ok);
    }
    let odd = client.request(HeartbeatRequest { group: None, client_type: 77 });
    let odd = client.grpc.clone().heartbeat(odd).await.unwrap().into_inner();
    assert_eq!(code(&odd.status), Code::UnrecognizedClientType);
    for _ in 0..2 {
        let end = client.request(NotifyClientTerminationRequest { group: None });
        let end = client.grpc.clone().notify_client_termination(end).await.unwrap().into_inner();
        assert_eq!(code(&end.status), Code::Ok, "an unknown client may end too");
    }
    server.stop().await;
}

/// The clients whose default is TLS look at no certificate.
#[derive(Debug)]
struct TrustAnything;

impl ServerCertVerifier for TrustAnything {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}

async fn over_tls(port: u16) -> Client {
    let mut config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(TrustAnything))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let connect = service_fn(move |_| {
        let connector = connector.clone();
        async move {
            let stream = TcpStream::connect(("127.0.0.1", port)).await?;
            let stream = connector.connect(ServerName::try_from("localhost").unwrap(), stream).await?;
            assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
            Ok::<_, std::io::Error>(TokioIo::new(stream))
        }
    });
    let channel = Endpoint::from_static("http://localhost").connect_with_connector(connect).await.unwrap();
    Client::over(channel)
}

#[tokio::test(flavor = "multi_thread")]
async fn one_port_takes_tls_and_plaintext_and_survives_what_is_neither() {
    let server = server::start().await;
    let port = server.client_port();
    let silent = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let mut garbage = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    garbage.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut broken = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    broken.write_all(&[0x16, 0xff, 0xff, 0, 5, 1, 2, 3, 4, 5]).await.unwrap();

    let plain = Client::plain(port);
    let tls = over_tls(port).await;
    plain.send_ok(vec![message("t", "1", vec![1; 1 << 20])]).await;
    tls.send_ok(vec![message("t", "2", vec![2; 1 << 20])]).await;
    let mut found = Vec::new();
    while found.len() < 2 {
        let received = tls.receive(polling("g", "t", Duration::from_secs(15))).await;
        assert_eq!(received.status.code(), Code::Ok);
        found.extend(received.messages);
    }
    assert!(found.iter().all(|message| message.body.len() == 1 << 20));

    let mut answer = Vec::new();
    let closed = tokio::time::timeout(Duration::from_secs(20), broken.read_to_end(&mut answer)).await;
    assert!(closed.is_ok(), "a broken handshake is closed");
    drop(silent);
    server.stop().await;
}
