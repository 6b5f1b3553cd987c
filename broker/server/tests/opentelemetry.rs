//! Spans of a message's path reach an OpenTelemetry collector: the program, told by the environment where that is.

#![allow(clippy::unwrap_used)]

mod client;

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use client::{Client, message, polling};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::trace::v1::Span;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

const PATIENCE: Duration = Duration::from_secs(30);
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

struct Collector {
    spans: mpsc::UnboundedSender<Span>,
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let scopes = request.into_inner().resource_spans.into_iter().flat_map(|spans| spans.scope_spans);
        for span in scopes.flat_map(|scope| scope.spans) {
            let _ = self.spans.send(span);
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The program says on its first line where clients connect.
async fn start(collector: SocketAddr, data: &std::path::Path) -> (Program, u16) {
    let any = "127.0.0.1:0";
    let mut child = Command::new(env!("CARGO_BIN_EXE_mainstay-broker"))
        .args(["dev", "--listen", any, "--internal", any, "--http", any, "--data"])
        .arg(data)
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{collector}"))
        .env("OTEL_BSP_SCHEDULE_DELAY", "50")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let stdout = child.stdout.take().unwrap();
    let program = Program(child);
    let first = tokio::task::spawn_blocking(move || BufReader::new(stdout).lines().next().unwrap().unwrap());
    let line = tokio::time::timeout(PATIENCE, first).await.unwrap().unwrap();
    let port = line.split("127.0.0.1:").nth(1).unwrap();
    (program, port.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_and_its_way_through_the_log_are_spans_of_the_callers_trace() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, mut spans) = mpsc::unbounded_channel();
    let service = TraceServiceServer::new(Collector { spans: sender });
    tokio::spawn(
        Server::builder().add_service(service).serve_with_incoming(TcpListenerStream::new(listener)),
    );
    let data = tempfile::tempdir().unwrap();
    let (_program, port) = start(address, data.path()).await;

    let client = Client::plain(port);
    let mut sent = message("orders", "0101", "body");
    sent.system_properties.as_mut().unwrap().trace_context = Some(format!("00-{TRACE}-{PARENT}-01"));
    let mut request = client.request(mainstay_proto::rocketmq::SendMessageRequest { messages: vec![sent] });
    request.metadata_mut().insert("traceparent", format!("00-{TRACE}-{PARENT}-01").parse().unwrap());
    client.grpc.clone().send_message(request).await.unwrap();
    let received = client.receive(polling("billing", "orders", Duration::from_secs(10))).await;
    let kept = received.messages[0].system_properties.as_ref().unwrap().trace_context.clone();
    assert_eq!(kept, Some(format!("00-{TRACE}-{PARENT}-01")), "kept on the message");

    let mut found: HashMap<String, Span> = HashMap::new();
    let deadline = Instant::now() + PATIENCE;
    while !(found.contains_key("SendMessage")
        && found.contains_key("log")
        && found.contains_key("ReceiveMessage"))
    {
        let left = deadline.saturating_duration_since(Instant::now());
        let span = tokio::time::timeout(left, spans.recv()).await.expect("spans in time").unwrap();
        let in_trace = hex(&span.trace_id) == TRACE;
        if in_trace || span.name == "ReceiveMessage" {
            found.insert(span.name.clone(), span);
        }
    }
    let (send, log) = (&found["SendMessage"], &found["log"]);
    assert_eq!((hex(&send.trace_id), hex(&send.parent_span_id)), (TRACE.to_owned(), PARENT.to_owned()));
    assert_eq!(send.links.iter().map(|link| hex(&link.trace_id)).collect::<Vec<_>>(), [TRACE]);
    assert_eq!(log.parent_span_id, send.span_id);
    assert!(log.end_time_unix_nano >= log.start_time_unix_nano);
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
