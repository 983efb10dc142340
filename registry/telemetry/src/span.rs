//! What is done to spans of `tracing` beyond what its macros do.

use std::fmt::Display;

use opentelemetry::trace::{Status, TraceContextExt, TraceId};
use tracing::{Instrument, Span};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::registry::{LookupSpan, Registry};

use crate::export;
use crate::traceparent::TraceParent;

/// The trace that a span's lines of the log name when no collector is configured.
pub(crate) struct Followed(pub(crate) TraceId);

/// Puts a span below another one, perhaps of another process. Before it is entered for the first time.
pub fn follow(span: &Span, parent: TraceParent) {
    if export::is_exporting() {
        // Fails only for a span that nobody sees.
        let _ = span.set_parent(parent.context());
        return;
    }
    span.with_subscriber(|(id, dispatch)| {
        let found = dispatch.downcast_ref::<Registry>().and_then(|registry| registry.span(id));
        if let Some(found) = found {
            found.extensions_mut().replace(Followed(parent.trace));
        }
    });
}

/// Where a span stands in its trace, to be told to others; `None` when no collector is configured.
pub fn of(span: &Span) -> Option<TraceParent> {
    if !export::is_exporting() {
        return None;
    }
    TraceParent::of_context(span.context().span().span_context())
}

/// What is only known once a span has begun.
pub fn attribute(span: &Span, key: &'static str, value: &impl Display) {
    if export::is_exporting() {
        span.set_attribute(key, value.to_string());
    }
}

/// Marks a span as failed.
pub fn failed(span: &Span, error: &dyn Display) {
    if export::is_exporting() {
        span.set_status(Status::error(error.to_string()));
    }
}

/// Does work within a span that fails with it.
pub async fn within<T, E: Display>(span: Span, work: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    let done = work.instrument(span.clone()).await;
    done.inspect_err(|error| failed(&span, error))
}
