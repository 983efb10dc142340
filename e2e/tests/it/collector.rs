//! A real OTLP/HTTP receiver, in this process.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::{Span, span::SpanKind, status::StatusCode as SpanStatus};
use prost::Message;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

const PROTOBUF: &str = "application/x-protobuf";

/// A span as it was received.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    pub(crate) service: String,
    pub(crate) name: String,
    pub(crate) kind: SpanKind,
    pub(crate) trace: String,
    pub(crate) id: String,
    /// Empty for the root.
    pub(crate) parent: String,
    pub(crate) has_failed: bool,
    pub(crate) seconds: f64,
    pub(crate) attributes: HashMap<String, String>,
    pub(crate) links: Vec<String>,
}

type Spans = Arc<Mutex<Vec<Received>>>;

pub(crate) struct Collector {
    pub(crate) url: String,
    spans: Spans,
    server: JoinHandle<()>,
}

impl Collector {
    pub(crate) async fn start() -> Collector {
        let spans = Spans::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("its address"));
        let routes = Router::new().route("/v1/traces", post(receive)).layer(DefaultBodyLimit::disable());
        let routes = routes.with_state(Arc::clone(&spans));
        let server = tokio::spawn(async move { axum::serve(listener, routes).await.expect("a server") });
        Collector { url, spans, server }
    }

    pub(crate) fn spans(&self) -> Vec<Received> {
        self.spans.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn trace(&self, trace: &str) -> Trace {
        Trace(self.spans().into_iter().filter(|span| span.trace == trace).collect())
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn receive(State(spans): State<Spans>, headers: HeaderMap, body: Bytes) -> Response {
    assert_eq!(headers.get(header::CONTENT_TYPE).expect("a content type"), PROTOBUF);
    let Ok(request) = ExportTraceServiceRequest::decode(body) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let mut spans = spans.lock().unwrap_or_else(PoisonError::into_inner);
    for of_resource in request.resource_spans {
        let resource = of_resource.resource.expect("a resource");
        let service = texts(resource.attributes).remove("service.name").expect("a service's name");
        let received = of_resource.scope_spans.into_iter().flat_map(|of_scope| of_scope.spans);
        spans.extend(received.map(|span| read(&service, span)));
    }
    ([(header::CONTENT_TYPE, PROTOBUF)], ExportTraceServiceResponse::default().encode_to_vec())
        .into_response()
}

fn read(service: &str, span: Span) -> Received {
    Received {
        service: service.to_owned(),
        kind: span.kind(),
        trace: hex(&span.trace_id),
        id: hex(&span.span_id),
        parent: hex(&span.parent_span_id),
        has_failed: span.status.as_ref().is_some_and(|status| status.code() == SpanStatus::Error),
        seconds: span.end_time_unix_nano.saturating_sub(span.start_time_unix_nano) as f64 / 1e9,
        links: span.links.iter().map(|link| hex(&link.span_id)).collect(),
        attributes: texts(span.attributes),
        name: span.name,
    }
}

fn texts(attributes: Vec<KeyValue>) -> HashMap<String, String> {
    let text = |attribute: KeyValue| {
        let text = match attribute.value?.value? {
            Value::StringValue(text) => text,
            Value::IntValue(number) => number.to_string(),
            other => format!("{other:?}"),
        };
        Some((attribute.key, text))
    };
    attributes.into_iter().filter_map(text).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What was received of one trace.
#[derive(Debug)]
pub(crate) struct Trace(Vec<Received>);

impl Trace {
    pub(crate) fn has(&self, name: &str, count: usize) -> bool {
        self.all(name).len() >= count
    }

    pub(crate) fn all(&self, name: &str) -> Vec<&Received> {
        self.0.iter().filter(|span| span.name == name).collect()
    }

    /// The only span of this name.
    #[track_caller]
    pub(crate) fn one(&self, name: &str) -> &Received {
        let found = self.all(name);
        assert_eq!(found.len(), 1, "{name}: {self}");
        found[0]
    }

    pub(crate) fn parent(&self, span: &Received) -> Option<&Received> {
        self.0.iter().find(|other| other.id == span.parent)
    }

    /// From the root down to this span, each with its service.
    pub(crate) fn path(&self, span: &Received) -> String {
        let name = format!("{}:{}", span.service.trim_start_matches("pictor-"), span.name);
        match self.parent(span) {
            Some(parent) => format!("{} > {name}", self.path(parent)),
            None => name,
        }
    }

    /// Every span of a request has the caller's span of the same request as its parent, over in the other process.
    #[track_caller]
    pub(crate) fn requests_are_below_their_calls(&self) {
        let served: Vec<_> = self.0.iter().filter(|span| span.kind == SpanKind::Server).collect();
        assert!(!served.is_empty(), "{self}");
        for span in served {
            let caller = self.parent(span).unwrap_or_else(|| panic!("{} has no parent: {self}", span.name));
            assert_eq!((caller.kind, &caller.name), (SpanKind::Client, &span.name), "{self}");
            assert_eq!((&*span.service, &*caller.service), ("pictor-registry", "pictor-agent"), "{self}");
        }
    }

    /// One root, every other span below one that was received, and no id twice.
    #[track_caller]
    pub(crate) fn is_one_tree(&self) {
        let roots: Vec<_> = self.0.iter().filter(|span| self.parent(span).is_none()).collect();
        assert!(roots.len() == 1 && roots[0].parent.is_empty(), "{self}");
        let ids: HashSet<_> = self.0.iter().map(|span| &span.id).collect();
        assert_eq!(ids.len(), self.0.len(), "{self}");
    }
}

impl std::fmt::Display for Trace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for span in &self.0 {
            let failed = if span.has_failed { " FAILED" } else { "" };
            writeln!(f, "\n{} ({:?}, {:.3} s{failed})", self.path(span), span.kind, span.seconds)?;
        }
        Ok(())
    }
}
