//! What the program tells while it runs: lines on stderr, and with feature `opentelemetry` spans to a collector.
//!
//! The collector is named by the environment as OpenTelemetry specifies: `OTEL_EXPORTER_OTLP_ENDPOINT`, such as
//! `http://collector:4317` (gRPC), `OTEL_SERVICE_NAME` (default `mainstay-broker`), and the other variables of its SDK.

use clap::ValueEnum;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

/// Held while the program runs; the last spans are sent when it is dropped.
#[derive(Debug)]
pub(crate) struct Logging {
    #[cfg(feature = "opentelemetry")]
    provider: Option<opentelemetry_sdk::trace::SdkTracerProvider>,
}

/// Needs a tokio runtime where spans are exported.
pub(crate) fn start(filter: &str, format: LogFormat) -> Logging {
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false);
    let lines = match format {
        LogFormat::Text => lines.with_ansi(false).boxed(),
        LogFormat::Json => lines.json().boxed(),
    };
    let registry = tracing_subscriber::registry().with(lines.with_filter(EnvFilter::new(filter)));
    #[cfg(feature = "opentelemetry")]
    {
        let provider = export::provider();
        registry.with(provider.as_ref().map(export::layer)).init();
        Logging { provider }
    }
    #[cfg(not(feature = "opentelemetry"))]
    {
        registry.init();
        Logging {}
    }
}

#[cfg(feature = "opentelemetry")]
impl Drop for Logging {
    fn drop(&mut self) {
        if let Some(provider) = self.provider.take()
            && let Err(error) = provider.shutdown()
        {
            eprintln!("the last spans were not exported: {error}");
        }
    }
}

#[cfg(feature = "opentelemetry")]
mod export {
    use opentelemetry::trace::TracerProvider;
    use opentelemetry_sdk::Resource;
    use opentelemetry_sdk::trace::SdkTracerProvider;
    use tracing::Subscriber;
    use tracing_subscriber::Layer;
    use tracing_subscriber::filter::{LevelFilter, Targets};
    use tracing_subscriber::registry::LookupSpan;

    const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];

    /// `None` where the environment names no collector.
    pub(super) fn provider() -> Option<SdkTracerProvider> {
        if !ENDPOINTS.iter().any(|name| std::env::var_os(name).is_some()) {
            return None;
        }
        let exporter = match opentelemetry_otlp::SpanExporter::builder().with_tonic().build() {
            Ok(exporter) => exporter,
            Err(error) => {
                eprintln!("spans are not exported: {error}");
                return None;
            }
        };
        let mut resource = Resource::builder();
        if std::env::var_os("OTEL_SERVICE_NAME").is_none() {
            resource = resource.with_service_name("mainstay-broker");
        }
        let provider = SdkTracerProvider::builder().with_batch_exporter(exporter);
        Some(provider.with_resource(resource.build()).build())
    }

    pub(super) fn layer<S>(provider: &SdkTracerProvider) -> impl Layer<S> + use<S>
    where
        S: Subscriber + for<'span> LookupSpan<'span>,
    {
        let path = Targets::new().with_target(mainstay_broker::SPAN_TARGET, LevelFilter::DEBUG);
        tracing_opentelemetry::layer().with_tracer(provider.tracer("mainstay-broker")).with_filter(path)
    }
}
