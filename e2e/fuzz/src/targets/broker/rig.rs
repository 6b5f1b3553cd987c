//! A broker by itself in this process, with its disk in memory, called over its real ports. It lives for many inputs.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use bytes::{Buf, BufMut, Bytes};
use mainstay_broker::config::{Config, Listen};
use mainstay_broker::{Broker, Ports};
use mainstay_storage::MemFileSystem;
use tokio::runtime::Runtime;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::MetadataMap;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

/// Bound of everything that waits for a state.
const PATIENCE: Duration = Duration::from_secs(20);
/// A broker that was given so many inputs makes room for a new one, so that the memory does not fill.
const INPUTS: u32 = 4000;
const THREAD: &str = "fuzzed-broker";

/// Panics on the threads of brokers; tokio would keep them to itself.
static PANICS: AtomicU64 = AtomicU64::new(0);

pub(super) struct Rig {
    broker: Broker,
    pub(super) client: Channel,
    pub(super) internal: Channel,
    inputs: u32,
    /// Ends last.
    runtime: Runtime,
}

impl Rig {
    fn start(change: fn(&mut Config)) -> Self {
        count_panics();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name(THREAD)
            .enable_all()
            .build()
            .expect("a runtime");
        let any: SocketAddr = ([127, 0, 0, 1], 0).into();
        let mut config =
            Config::single(PathBuf::from("/data"), Listen { client: any, internal: any, http: any });
        config.storage.segment_bytes = 4 << 20;
        config.topics.queues = 2;
        change(&mut config);
        let (broker, client, internal) = runtime.block_on(async {
            let ports = Ports::bind(&config).await.expect("ports");
            let addresses = ports.addresses().expect("addresses");
            let fs = Arc::new(MemFileSystem::new(1));
            let broker = Broker::start_on(config, ports, fs).await.expect("started");
            let to = |address| {
                Endpoint::from_shared(format!("http://{address}")).expect("an address").connect_lazy()
            };
            (broker, to(addresses.client), to(addresses.internal))
        });
        let rig = Self { runtime, broker, client, internal, inputs: 0 };
        assert!(rig.serves(PATIENCE), "it does not serve");
        rig
    }

    /// The one of `slot`, or a new one.
    pub(super) fn of(slot: &mut Option<Self>, change: fn(&mut Config)) -> &mut Self {
        if slot.as_ref().is_some_and(|rig| rig.inputs >= INPUTS) {
            *slot = None;
        }
        let rig = slot.get_or_insert_with(|| Self::start(change));
        rig.inputs += 1;
        rig
    }

    pub(super) fn run<T>(&self, work: impl Future<Output = T>) -> T {
        let bounded = async { tokio::time::timeout(PATIENCE, work).await };
        self.runtime.block_on(bounded).expect("an answer in time")
    }

    /// Whether it serves before so much time has passed.
    pub(super) fn serves(&self, within: Duration) -> bool {
        let mut views = self.broker.group().watch();
        let serving =
            async { tokio::time::timeout(within, views.wait_for(|view| view.serving)).await.is_ok() };
        self.runtime.block_on(serving)
    }

    /// Nothing in it has panicked, and it has not given up.
    pub(super) fn is_sound(&self) {
        let ended = self.run(async { tokio::time::timeout(Duration::ZERO, self.broker.failed()).await.ok() });
        assert!(ended.is_none(), "the broker gave up: {ended:?}");
        assert_eq!(PANICS.load(Ordering::SeqCst), 0, "something in a broker panicked");
    }
}

fn count_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            // Threads of tests have the names of tests, and libFuzzer's is the main one.
            let own = std::thread::current().name().is_some_and(|name| name == "main" || name.contains("::"));
            if !own {
                PANICS.fetch_add(1, Ordering::SeqCst);
            }
            before(panic);
        }));
    });
}

/// What a call came to.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) messages: Vec<Bytes>,
    /// `None` when all went well.
    pub(super) error: Option<Status>,
}

/// Calls with these messages and takes all of the answer.
///
/// # Panics
/// When the call is not answered by the other side itself.
pub(super) async fn call(
    channel: &Channel,
    path: &str,
    messages: Vec<Bytes>,
    metadata: MetadataMap,
    timeout: Duration,
) -> Answer {
    let mut answer = Answer { messages: Vec::new(), error: None };
    if let Err(error) = converse(channel, path, messages, metadata, timeout, &mut answer.messages).await {
        let source = std::error::Error::source(&error);
        assert!(source.is_none() || is_timeout(&error), "{path}: no answer: {error:?}");
        answer.error = Some(error);
    }
    answer
}

fn is_timeout(error: &Status) -> bool {
    matches!(error.code(), tonic::Code::Cancelled | tonic::Code::DeadlineExceeded)
}

async fn converse(
    channel: &Channel,
    path: &str,
    messages: Vec<Bytes>,
    metadata: MetadataMap,
    timeout: Duration,
    taken: &mut Vec<Bytes>,
) -> Result<(), Status> {
    let mut grpc = Grpc::new(channel.clone());
    grpc.ready().await.map_err(|error| Status::from_error(error.into()))?;
    let mut request = Request::new(tokio_stream::iter(messages));
    *request.metadata_mut() = metadata;
    request.set_timeout(timeout);
    let path: PathAndQuery = path.parse().expect("a path");
    let mut stream = grpc.streaming(request, path, Raw).await?.into_inner();
    while let Some(message) = stream.message().await? {
        taken.push(message);
    }
    Ok(())
}

pub(super) fn now() -> prost_types::Timestamp {
    SystemTime::now().into()
}

/// Messages as the bytes they are.
#[derive(Debug, Clone, Copy)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, input: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(input.copy_to_bytes(input.remaining())))
    }
}
