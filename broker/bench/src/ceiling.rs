//! The network's own ceiling: a tonic server that answers `SendMessage` with the right shape and does nothing else.

use std::convert::Infallible;
use std::future::{Future, Ready, ready};
use std::pin::Pin;
use std::task::{Context, Poll};

use anyhow::Context as _;
use mainstay_proto::rocketmq::{Code, SendMessageRequest, SendMessageResponse, SendResultEntry, Status};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::transport::Server;
use tonic::{Request, Response};
use tonic_prost::ProstCodec;

#[derive(Debug, Clone)]
struct Ceiling;

impl NamedService for Ceiling {
    const NAME: &'static str = "apache.rocketmq.v2.MessagingService";
}

impl Service<http::Request<Body>> for Ceiling {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(async move { Ok(Grpc::new(ProstCodec::default()).unary(Answer, request).await) })
    }
}

struct Answer;

impl UnaryService<SendMessageRequest> for Answer {
    type Response = SendMessageResponse;
    type Future = Ready<Result<Response<SendMessageResponse>, tonic::Status>>;

    fn call(&mut self, request: Request<SendMessageRequest>) -> Self::Future {
        let status = Status { code: Code::Ok.into(), message: "OK".into() };
        let entries = request.into_inner().messages.into_iter().map(|message| SendResultEntry {
            status: Some(status.clone()),
            message_id: message.system_properties.map(|system| system.message_id).unwrap_or_default(),
            ..SendResultEntry::default()
        });
        let entries = entries.collect();
        ready(Ok(Response::new(SendMessageResponse { status: Some(status), entries })))
    }
}

/// Serves on a port of the system's choice and prints the address.
pub(crate) async fn serve() -> anyhow::Result<()> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.context("no port to listen on")?;
    println!("{}", listener.local_addr()?);
    Server::builder()
        .tcp_nodelay(true)
        .add_service(Ceiling)
        .serve_with_incoming(TcpListenerStream::new(listener))
        .await
        .context("the ceiling's server failed")
}
