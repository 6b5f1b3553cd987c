//! Spans of a message's path through the broker: one for each call of a client, and within it the way through the log.
//!
//! They are of level debug, so that they cost next to nothing unless somebody asks for them: a log filter such as
//! `mainstay::path=debug`, or an OpenTelemetry collector (feature `opentelemetry`). A call continues the trace that its
//! `traceparent` header names; the traces of the messages in it (W3C trace context in their system properties) are
//! linked to it.

use tracing::{Span, debug_span};

/// What log filters call them.
pub const TARGET: &str = "mainstay::path";

/// The span of a call.
pub(crate) fn of_call(request: &::http::Request<()>) -> Span {
    let text = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or("");
    let name = request.uri().path().rsplit('/').next().unwrap_or_default();
    let client = text("x-mq-client-id");
    let span =
        debug_span!(target: TARGET, "call", otel.name = name, otel.kind = "server", rpc = name, client);
    export::set_parent(&span, text("traceparent"));
    span
}

/// The way of `commands` through the log, until they are applied.
pub(crate) fn of_proposal(commands: usize) -> Span {
    debug_span!(target: TARGET, "log", commands)
}

/// Links the trace that a message is part of to the present span.
pub(crate) fn link(trace_context: Option<&str>) {
    if let Some(context) = trace_context {
        export::link(&Span::current(), context);
    }
}

#[cfg(not(feature = "opentelemetry"))]
mod export {
    use tracing::Span;

    pub(super) const fn set_parent(_: &Span, _: &str) {}

    pub(super) const fn link(_: &Span, _: &str) {}
}

#[cfg(feature = "opentelemetry")]
mod export {
    use std::collections::HashMap;

    use opentelemetry::propagation::TextMapPropagator;
    use opentelemetry::trace::{SpanContext, TraceContextExt};
    use opentelemetry_sdk::propagation::TraceContextPropagator;
    use tracing::Span;
    use tracing_opentelemetry::OpenTelemetrySpanExt;

    fn context(traceparent: &str) -> opentelemetry::Context {
        let carrier = HashMap::from([("traceparent".to_owned(), traceparent.to_owned())]);
        TraceContextPropagator::new().extract_with_context(&opentelemetry::Context::new(), &carrier)
    }

    pub(super) fn set_parent(span: &Span, traceparent: &str) {
        if !span.is_disabled() && !traceparent.is_empty() {
            // Only a span without a collector refuses it.
            let _ = span.set_parent(context(traceparent));
        }
    }

    pub(super) fn link(span: &Span, traceparent: &str) {
        if span.is_disabled() {
            return;
        }
        let linked: SpanContext = context(traceparent).span().span_context().clone();
        if linked.is_valid() {
            span.add_link(linked);
        }
    }
}
