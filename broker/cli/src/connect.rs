//! Which broker is talked to and how: addresses, the shared secret, a user's credentials, errors in words.

use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use anyhow::{Context, anyhow, bail};
use clap::Args;
use mainstay_proto::control::admin_client::AdminClient;
use mainstay_proto::rocketmq::messaging_service_client::MessagingServiceClient;
use mainstay_proto::signature;
use prost_types::Timestamp;
use tonic::metadata::MetadataValue;
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Connection")]
pub(crate) struct Target {
    /// Client address of a broker.
    #[arg(long, global = true, env = "MAINSTAY_ENDPOINT", default_value = "127.0.0.1:8081")]
    endpoint: String,
    /// Internal address of a broker, for everything but messages.
    #[arg(long, global = true, env = "MAINSTAY_ADMIN_ENDPOINT", default_value = "127.0.0.1:8082")]
    admin_endpoint: String,
    /// File with the shared secret of the internal port; `dev` brokers need none.
    #[arg(long, global = true, env = "MAINSTAY_SECRET_FILE")]
    secret_file: Option<PathBuf>,
    /// User that sends and receives messages, where brokers need credentials.
    #[arg(long, global = true, env = "MAINSTAY_ACCESS_KEY")]
    access_key: Option<String>,
    /// File with that user's secret key.
    #[arg(long, global = true, env = "MAINSTAY_SECRET_KEY_FILE")]
    secret_key_file: Option<PathBuf>,
}

/// What calls on the client port are signed with.
#[derive(Clone)]
struct Credentials {
    access_key: String,
    secret_key: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("access_key", &self.access_key).finish_non_exhaustive()
    }
}

/// Puts headers on every call: fixed ones, and the signature of its time.
#[derive(Debug, Clone)]
pub(crate) struct Headers {
    fixed: Vec<(&'static str, MetadataValue<tonic::metadata::Ascii>)>,
    credentials: Option<Credentials>,
}

impl Interceptor for Headers {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        for (key, value) in &self.fixed {
            request.metadata_mut().insert(*key, value.clone());
        }
        if let Some(Credentials { access_key, secret_key }) = &self.credentials {
            let date = Timestamp::from(SystemTime::now()).to_string();
            let signature = signature::sign(access_key, secret_key, &date);
            let text = |text: String| {
                text.parse().map_err(|_| Status::invalid_argument("--access-key is not printable text"))
            };
            request.metadata_mut().insert(signature::AUTHORIZATION_HEADER, text(signature)?);
            request.metadata_mut().insert(signature::DATE_HEADER, text(date)?);
        }
        Ok(request)
    }
}

pub(crate) type Admin = AdminClient<InterceptedService<Channel, Headers>>;
pub(crate) type Messaging = MessagingServiceClient<InterceptedService<Channel, Headers>>;

impl Target {
    pub(crate) async fn admin(&self) -> anyhow::Result<Admin> {
        let mut headers = Vec::new();
        if let Some(path) = &self.secret_file {
            let secret = std::fs::read_to_string(path)
                .with_context(|| format!("cannot read --secret-file {}", path.display()))?;
            let value = format!("Bearer {}", secret.trim());
            headers.push(("authorization", value.parse().context("--secret-file is not printable text")?));
        }
        let channel = connect("--admin-endpoint", &self.admin_endpoint).await?;
        Ok(AdminClient::with_interceptor(channel, Headers { fixed: headers, credentials: None }))
    }

    fn credentials(&self) -> anyhow::Result<Option<Credentials>> {
        let (access_key, path) = match (&self.access_key, &self.secret_key_file) {
            (Some(access_key), Some(path)) => (access_key, path),
            (None, None) => return Ok(None),
            _ => bail!("--access-key and --secret-key-file are given together or not at all"),
        };
        let secret = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read --secret-key-file {}", path.display()))?;
        Ok(Some(Credentials { access_key: access_key.clone(), secret_key: secret.trim().to_owned() }))
    }

    pub(crate) async fn messaging(&self) -> anyhow::Result<Messaging> {
        let client_id = format!("mainstay-cli@{}@{:08x}", std::process::id(), rand::random::<u32>());
        let headers = vec![
            ("x-mq-client-id", client_id.parse().context("client id")?),
            ("x-mq-language", MetadataValue::from_static("RUST")),
            ("x-mq-client-version", MetadataValue::from_static(env!("CARGO_PKG_VERSION"))),
        ];
        let channel = connect("--endpoint", &self.endpoint).await?;
        Ok(MessagingServiceClient::with_interceptor(
            channel,
            Headers { fixed: headers, credentials: self.credentials()? },
        )
        .max_decoding_message_size(160 * 1024 * 1024))
    }
}

async fn connect(flag: &str, address: &str) -> anyhow::Result<Channel> {
    Endpoint::from_shared(format!("http://{address}"))
        .map_err(|error| anyhow!("{flag} '{address}' is not host:port: {error}"))?
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .connect()
        .await
        .with_context(|| format!("cannot connect to {flag} {address}"))
}

/// A gRPC error as one line for people.
pub(crate) fn refused(status: &Status) -> anyhow::Error {
    anyhow!("{} ({})", status.message(), status.code())
}
