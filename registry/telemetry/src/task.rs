//! The registry's own spans of a task's trace, told once they are over and written to the database.

use std::time::{Duration, SystemTime};

use opentelemetry::trace::{Span, SpanBuilder, Status, TraceContextExt, Tracer};
use opentelemetry::{Context, KeyValue, Value};
use opentelemetry_sdk::trace::SdkTracer;
use pictor_protocol::{AttemptId, TaskId};

use crate::export;
use crate::ids::{self, Ids};
use crate::traceparent::TraceParent;

/// Something that befell an attempt, from when it began until now.
#[derive(Debug, Clone)]
pub struct Moment {
    task: TaskId,
    attempt: AttemptId,
    began: SystemTime,
    attributes: Vec<KeyValue>,
    error: Option<String>,
}

impl Moment {
    /// `None` when no collector is configured: nothing needs to be gathered then.
    pub fn of(task: TaskId, attempt: AttemptId, took: Duration) -> Option<Moment> {
        let ids = [("pictor.task.id", task.to_string()), ("pictor.attempt.id", attempt.to_string())];
        export::is_exporting().then(|| Moment {
            task,
            attempt,
            began: SystemTime::now().checked_sub(took).unwrap_or(SystemTime::UNIX_EPOCH),
            attributes: ids.into_iter().map(|(key, value)| KeyValue::new(key, value)).collect(),
            error: None,
        })
    }

    #[must_use]
    pub fn with(mut self, key: &'static str, value: impl Into<Value>) -> Moment {
        self.attributes.push(KeyValue::new(key, value));
        self
    }

    #[must_use]
    pub fn failed(mut self, error: impl Into<String>) -> Moment {
        self.error = Some(error.into());
        self
    }

    /// The root of the trace: the task has waited from its submission until this first lease.
    pub fn submitted(&self) {
        let Some(exporting) = export::exporting() else { return };
        let made = SystemTime::UNIX_EPOCH + Duration::from_millis(self.task.unix_millis());
        let builder = SpanBuilder::from_name("task submitted").with_start_time(made.min(self.began));
        let builder = builder.with_attributes(self.attributes.clone());
        let (trace, span) = (ids::trace_of(self.task), ids::root_of(self.task));
        Ids::given(trace, span, || exporting.tracer.build_with_context(builder, &Context::new()))
            .end_with_timestamp(self.began);
    }

    /// The lease itself, which everything that its holder does is below; linked to the asking that it answers.
    pub fn leased(self) {
        let Some(exporting) = export::exporting() else { return };
        let lease = TraceParent::of_lease(self.task, self.attempt);
        let root = TraceParent { span: ids::root_of(self.task), ..lease };
        let asking = Context::current().span().span_context().clone();
        let record = |tracer: &SdkTracer| {
            let mut span = tracer.build_with_context(self.builder("task leased"), &root.context());
            if asking.is_valid() {
                span.add_link(asking, Vec::new());
            }
            span
        };
        Ids::given(lease.trace, lease.span, || record(&exporting.tracer)).end();
    }

    /// Anything later: below the request that brought it if that belongs to the task, else below the lease.
    pub fn record(self, name: &'static str) {
        let Some(exporting) = export::exporting() else { return };
        let lease = TraceParent::of_lease(self.task, self.attempt);
        let current = Context::current();
        let is_ours = current.span().span_context().trace_id() == lease.trace;
        let parent = if is_ours { current } else { lease.context() };
        let mut span = exporting.tracer.build_with_context(self.builder(name), &parent);
        if let Some(error) = self.error {
            span.set_status(Status::error(error));
        }
        span.end();
    }

    fn builder(&self, name: &'static str) -> SpanBuilder {
        SpanBuilder::from_name(name).with_start_time(self.began).with_attributes(self.attributes.clone())
    }
}
