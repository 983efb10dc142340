//! One line of the log, for people or for programs, with the trace that it belongs to.

use std::fmt;

use opentelemetry::Context;
use opentelemetry::trace::{SpanId, TraceContextExt, TraceId};
use serde::Serialize;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_log::NormalizeEvent;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::setting::LogFormat;
use crate::span::Followed;

/// Writes events as lines.
pub(crate) struct Lines {
    format: LogFormat,
}

impl Lines {
    pub(crate) fn new(format: LogFormat) -> Lines {
        Lines { format }
    }
}

/// Where a line stands. The trace of a task is known without a collector too, the span is not.
struct Place {
    trace: TraceId,
    span: Option<SpanId>,
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        // What comes from the `log` crate keeps its origin in fields.
        let normalized = event.normalized_metadata();
        let metadata = normalized.as_ref().unwrap_or_else(|| event.metadata());
        let place = place(context);
        match self.format {
            LogFormat::Pretty => {
                SystemTime.format_time(&mut writer)?;
                write_level(&mut writer, *metadata.level())?;
                write!(writer, "{}: ", metadata.target())?;
                context.format_fields(writer.by_ref(), event)?;
                if let Some(Place { trace, span }) = place {
                    write!(writer, " trace_id={trace}")?;
                    if let Some(span) = span {
                        write!(writer, " span_id={span}")?;
                    }
                }
                writeln!(writer)
            }
            LogFormat::Json => {
                let mut timestamp = String::new();
                SystemTime.format_time(&mut Writer::new(&mut timestamp))?;
                let mut fields = Fields::default();
                event.record(&mut fields);
                let line = Line {
                    timestamp,
                    level: metadata.level().as_str(),
                    target: metadata.target(),
                    message: fields.message,
                    fields: fields.others,
                    trace_id: place.as_ref().map(|place| place.trace.to_string()),
                    span_id: place.and_then(|place| place.span).map(|span| span.to_string()),
                };
                writeln!(writer, "{}", serde_json::to_string(&line).map_err(|_| fmt::Error)?)
            }
        }
    }
}

fn place<S, N>(context: &FmtContext<'_, S, N>) -> Option<Place>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    // Entering a span makes it the current one for OpenTelemetry too.
    let current = Context::current();
    let current = current.span();
    let exported = current.span_context();
    if exported.is_valid() {
        return Some(Place { trace: exported.trace_id(), span: Some(exported.span_id()) });
    }
    let mut spans = context.event_scope()?;
    spans.find_map(|span| {
        let trace = span.extensions().get::<Followed>().map(|followed| followed.0)?;
        Some(Place { trace, span: None })
    })
}

fn write_level(writer: &mut Writer<'_>, level: Level) -> fmt::Result {
    let colour = match level {
        Level::ERROR => 31,
        Level::WARN => 33,
        Level::INFO => 32,
        Level::DEBUG => 34,
        Level::TRACE => 35,
    };
    if writer.has_ansi_escapes() {
        write!(writer, " \x1b[{colour}m{level:>5}\x1b[0m ")
    } else {
        write!(writer, " {level:>5} ")
    }
}

/// A line as programs read it.
#[derive(Serialize)]
struct Line<'a> {
    timestamp: String,
    level: &'a str,
    target: &'a str,
    message: String,
    #[serde(skip_serializing_if = "Map::is_empty")]
    fields: Map<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    span_id: Option<String>,
}

/// What an event says, numbers and flags as such.
#[derive(Default)]
struct Fields {
    message: String,
    others: Map<String, Value>,
}

impl Fields {
    fn add(&mut self, field: &Field, value: Value) {
        if !field.name().starts_with("log.") {
            self.others.insert(field.name().to_owned(), value);
        }
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            value.clone_into(&mut self.message);
        } else {
            self.add(field, value.into());
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    use serde_json::Value;
    use tracing::info_span;
    use tracing_subscriber::layer::SubscriberExt;

    use super::{Lines, LogFormat};
    use crate::follow;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn written(format: LogFormat, log: impl FnOnce()) -> String {
        let written = Written::default();
        let writer = written.clone();
        let layer = tracing_subscriber::fmt::layer()
            .event_format(Lines::new(format))
            .with_ansi(false)
            .with_writer(move || writer.clone());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), log);
        String::from_utf8(written.0.lock().unwrap().clone()).unwrap()
    }

    fn within_a_task() {
        let span = info_span!("task");
        follow(&span, "00-019a0000000070008000000000000001-8000000000000002-01".parse().unwrap());
        span.in_scope(|| {
            info_span!("frame rendered")
                .in_scope(|| tracing::warn!(frame = 7, cause = "a \"lamp\"", "it failed"));
        });
    }

    #[test]
    fn a_line_of_json_has_its_fields_and_its_trace() {
        let text = written(LogFormat::Json, within_a_task);
        let line: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["level"], "WARN");
        assert_eq!(line["message"], "it failed");
        assert_eq!(line["fields"]["frame"], 7);
        assert_eq!(line["fields"]["cause"], "a \"lamp\"");
        assert_eq!(line["trace_id"], "019a0000000070008000000000000001");
        assert!(line["target"].as_str().unwrap().starts_with("pictor_telemetry"));
        assert!(line["timestamp"].as_str().unwrap().ends_with('Z'));
        let outside = written(LogFormat::Json, || tracing::info!("hello"));
        let outside: Value = serde_json::from_str(&outside).unwrap();
        assert!(outside.get("trace_id").is_none() && outside.get("fields").is_none(), "{outside}");
    }

    #[test]
    fn a_pretty_line_ends_with_its_trace() {
        let text = written(LogFormat::Pretty, within_a_task);
        assert!(text.contains(" WARN pictor_telemetry::lines::tests: it failed frame=7"), "{text}");
        assert!(text.ends_with(" trace_id=019a0000000070008000000000000001\n"), "{text}");
        assert!(!written(LogFormat::Pretty, || tracing::info!("hello")).contains("trace_id"));
    }
}
