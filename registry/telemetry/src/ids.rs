//! The ids of a task's trace follow from the ids of the task and its attempts, so that nothing has to be stored for
//! restarts, retries and other replicas to go on with the same trace.

use std::cell::Cell;

use opentelemetry::trace::{Link, SpanId, SpanKind, TraceId};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator, SamplingResult, ShouldSample};
use pictor_protocol::{AttemptId, TaskId};

/// A task's id without its prefix is its trace.
pub(crate) fn trace_of(task: TaskId) -> TraceId {
    TraceId::from(task.as_u128())
}

/// The first span of a task's trace.
pub(crate) fn root_of(task: TaskId) -> SpanId {
    SpanId::from(low(task.as_u128()))
}

/// The span of an attempt's lease.
pub(crate) fn span_of(attempt: AttemptId) -> SpanId {
    SpanId::from(low(attempt.as_u128()))
}

/// The random half of a UUIDv7, which is never zero.
fn low(id: u128) -> u64 {
    id as u64
}

thread_local! {
    static NEXT: Cell<Option<(TraceId, SpanId)>> = const { Cell::new(None) };
}

/// Random ids, but for a span that is made within [`Ids::given`].
#[derive(Debug, Default)]
pub(crate) struct Ids(RandomIdGenerator);

impl Ids {
    /// Makes one span on this thread, which gets these ids.
    pub(crate) fn given<T>(trace: TraceId, span: SpanId, make: impl FnOnce() -> T) -> T {
        NEXT.set(Some((trace, span)));
        let made = make();
        NEXT.set(None);
        made
    }
}

impl IdGenerator for Ids {
    fn new_trace_id(&self) -> TraceId {
        NEXT.get().map_or_else(|| self.0.new_trace_id(), |(trace, _)| trace)
    }

    fn new_span_id(&self) -> SpanId {
        NEXT.get().map_or_else(|| self.0.new_span_id(), |(_, span)| span)
    }
}

/// The configured sampler, fair to traces named by a UUID: ratios are taken of the trace id's lower half, whose two
/// highest bits are the same in every UUID.
#[derive(Debug, Clone)]
pub(crate) struct FairSampler(pub(crate) Box<dyn ShouldSample>);

impl ShouldSample for FairSampler {
    fn should_sample(
        &self,
        parent_context: Option<&Context>,
        trace_id: TraceId,
        name: &str,
        span_kind: &SpanKind,
        attributes: &[KeyValue],
        links: &[Link],
    ) -> SamplingResult {
        let spread = TraceId::from(u128::from_be_bytes(trace_id.to_bytes()) << 2);
        self.0.should_sample(parent_context, spread, name, span_kind, attributes, links)
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::SpanKind;
    use opentelemetry_sdk::trace::{Sampler, SamplingDecision, ShouldSample};
    use pictor_protocol::TaskId;

    use super::{FairSampler, trace_of};

    #[test]
    fn a_ratio_of_tasks_is_kept() {
        let sampler = FairSampler(Box::new(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(0.25)))));
        let is_kept = |number: u64| {
            // Multiplied by an odd number near the golden ratio, neighbours lie far apart.
            let spread = number.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes();
            let mut random = [0; 10];
            random[2..].copy_from_slice(&spread);
            let trace = trace_of(TaskId::from_parts(number, random));
            let result = sampler.should_sample(None, trace, "", &SpanKind::Internal, &[], &[]);
            result.decision == SamplingDecision::RecordAndSample
        };
        let kept = (0..1_000).filter(|number| is_kept(*number)).count();
        assert!((200..300).contains(&kept), "{kept} of 1,000");
    }
}
