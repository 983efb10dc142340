//! A place in a trace, as it goes over the wire: the `traceparent` of W3C Trace Context.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use opentelemetry::Context;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use pictor_protocol::{AttemptId, TaskId};

use crate::export;
use crate::ids;

/// A span of some process, and whether its trace is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceParent {
    pub(crate) trace: TraceId,
    pub(crate) span: SpanId,
    pub(crate) flags: TraceFlags,
}

/// Why a text is no `traceparent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no traceparent of W3C Trace Context")]
pub struct NotTraceParent;

impl TraceParent {
    /// The header's name.
    pub const HEADER: &str = "traceparent";

    /// The span of a lease, the same each time: its trace is its task's, and both ids say so themselves.
    pub fn of_lease(task: TaskId, attempt: AttemptId) -> TraceParent {
        let trace = ids::trace_of(task);
        let flags = TraceFlags::default().with_sampled(export::samples(trace));
        TraceParent { trace, span: ids::span_of(attempt), flags }
    }

    pub(crate) fn of_context(context: &SpanContext) -> Option<TraceParent> {
        context.is_valid().then(|| TraceParent {
            trace: context.trace_id(),
            span: context.span_id(),
            flags: context.trace_flags(),
        })
    }

    pub(crate) fn context(self) -> Context {
        let span = SpanContext::new(self.trace, self.span, self.flags, true, TraceState::default());
        Context::new().with_remote_span_context(span)
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{}-{:02x}", self.trace, self.span, self.flags & TraceFlags::SAMPLED)
    }
}

impl FromStr for TraceParent {
    type Err = NotTraceParent;

    fn from_str(text: &str) -> Result<TraceParent, NotTraceParent> {
        let carrier = HashMap::from([(TraceParent::HEADER.to_owned(), text.to_owned())]);
        let context = TraceContextPropagator::new().extract_with_context(&Context::new(), &carrier);
        TraceParent::of_context(context.span().span_context()).ok_or(NotTraceParent)
    }
}

#[cfg(test)]
mod tests {
    use pictor_protocol::{AttemptId, TaskId};

    use super::TraceParent;

    #[test]
    fn the_text_form_round_trips_and_nothing_else_is_read() {
        let text = "00-019a0000000070008000000000000001-8000000000000002-01";
        assert_eq!(text.parse::<TraceParent>().unwrap().to_string(), text);
        for refused in [
            "",
            "00-019a0000000070008000000000000001-8000000000000002",
            "00-00000000000000000000000000000000-8000000000000002-01",
            "00-019a0000000070008000000000000001-0000000000000000-01",
            "ff-019a0000000070008000000000000001-8000000000000002-01",
        ] {
            assert!(refused.parse::<TraceParent>().is_err(), "{refused}");
        }
    }

    #[test]
    fn a_lease_is_in_the_trace_that_its_task_names() {
        let task: TaskId = "tsk_019a0000000070008000000000000001".parse().unwrap();
        let attempt: AttemptId = "att_019a0000000170009000000000000002".parse().unwrap();
        let lease = TraceParent::of_lease(task, attempt).to_string();
        // Nothing is exported in this test, so the trace is not kept.
        assert_eq!(lease, "00-019a0000000070008000000000000001-9000000000000002-00");
    }
}
