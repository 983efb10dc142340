//! What logging and tracing can be told: flags over environment. The SDK reads its other `OTEL_…` variables itself.

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::{env, fs};

use clap::Args;
use tracing::level_filters::LevelFilter;
use tracing::{Level, Metadata};
use tracing_appender::rolling::{RollingFileAppender, Rotation};
use tracing_subscriber::filter::{EnvFilter, FilterExt, filter_fn};
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};
use url::Url;

use crate::export::{self, Service, Telemetry};
use crate::lines::Lines;
use crate::setting::{BadSetting, LogFormat};

/// The crates whose spans are exported, and whose spans tell lines their trace, begin with this.
const OURS: &str = "pictor_";
/// One a day.
const LOG_FILES_MAX: usize = 7;

/// What a program logs, and where it sends its traces.
#[derive(Debug, Clone, Args)]
pub struct TelemetryArgs {
    /// What to log: error, warn, info, debug, or by module, such as info,pictor_agent::outbox=debug
    #[arg(long, global = true, env = "PICTOR_LOG", default_value = "info", value_name = "FILTER")]
    log: String,

    /// How to write the log: for people, or one JSON object a line
    #[arg(
        long,
        global = true,
        env = "PICTOR_LOG_FORMAT",
        value_enum,
        default_value = "pretty",
        value_name = "FORMAT"
    )]
    log_format: LogFormat,

    /// Write the log into files in this folder, one a day, those of a week kept, and not to standard error
    #[arg(long, global = true, env = "PICTOR_LOG_DIR", value_name = "DIR")]
    log_dir: Option<PathBuf>,

    /// Send traces to this OTLP/HTTP collector, such as http://127.0.0.1:4318; other OTEL_… variables count too
    #[arg(long, global = true, env = "OTEL_EXPORTER_OTLP_ENDPOINT", value_name = "URL")]
    otlp_endpoint: Option<String>,

    /// The same for traces alone, and the whole address
    #[arg(long, global = true, env = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", value_name = "URL", hide = true)]
    otlp_traces_endpoint: Option<String>,
}

impl TelemetryArgs {
    /// Sets up logging alone, and starts no thread.
    ///
    /// # Errors
    /// When the filter cannot be read.
    pub fn log(&self) -> Result<(), BadSetting> {
        self.install(None)
    }

    /// Sets up logging, and tracing if a collector is configured. TLS must be set up already.
    ///
    /// # Errors
    /// When a setting cannot work. A collector that does not answer is no error.
    pub fn start(&self, service: &Service) -> Result<Telemetry, BadSetting> {
        let exporting = self.collector()?.map(|url| export::start(&url, service)).transpose()?;
        self.install(exporting)?;
        Ok(Telemetry)
    }

    fn install(&self, exporting: Option<&'static export::Exporting>) -> Result<(), BadSetting> {
        let wanted = EnvFilter::try_new(&self.log)
            .map_err(|cause| BadSetting(format!("--log {}: {cause}", self.log)))?;
        // Spans count at any level of logging: lines take their trace from them.
        let spans = filter_fn(|metadata| metadata.is_span() && is_ours(metadata));
        let is_for_terminal =
            self.log_format == LogFormat::Pretty && self.log_dir.is_none() && io::stderr().is_terminal();
        let lines = fmt::layer()
            .event_format(Lines::new(self.log_format))
            .with_writer(self.writer()?)
            .with_ansi(is_for_terminal)
            .with_filter(wanted.or(spans.with_max_level_hint(LevelFilter::INFO)));
        let exported = exporting.map(|exporting| {
            tracing_opentelemetry::layer()
                .with_tracer(exporting.tracer.clone())
                .with_location(false)
                .with_threads(false)
                .with_target(false)
                .with_tracked_inactivity(false)
                .with_filter(filter_fn(is_ours).with_max_level_hint(LevelFilter::INFO))
        });
        tracing_subscriber::registry().with(lines).with(exported).init();
        Ok(())
    }

    fn writer(&self) -> Result<BoxMakeWriter, BadSetting> {
        let Some(folder) = &self.log_dir else { return Ok(BoxMakeWriter::new(io::stderr)) };
        let refused = |cause: String| BadSetting(format!("--log-dir {}: {cause}", folder.display()));
        fs::create_dir_all(folder).map_err(|cause| refused(cause.to_string()))?;
        let name = env::current_exe().ok().and_then(|program| Some(program.file_stem()?.to_owned()));
        let files = RollingFileAppender::builder()
            .rotation(Rotation::DAILY)
            .filename_prefix(name.unwrap_or_default().to_string_lossy())
            .filename_suffix("log")
            .max_log_files(LOG_FILES_MAX)
            .build(folder);
        Ok(BoxMakeWriter::new(files.map_err(|cause| refused(cause.to_string()))?))
    }

    /// Where traces go; an empty variable is none.
    fn collector(&self) -> Result<Option<Url>, BadSetting> {
        let given = |text: &Option<String>| text.clone().filter(|text| !text.trim().is_empty());
        let (text, is_whole) = match (given(&self.otlp_traces_endpoint), given(&self.otlp_endpoint)) {
            (Some(text), _) => (text, true),
            (None, Some(text)) => (text, false),
            (None, None) => return Ok(None),
        };
        let refused = |cause: String| BadSetting(format!("--otlp-endpoint {text}: {cause}"));
        let mut url = Url::parse(text.trim()).map_err(|cause| refused(cause.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(refused("write http://HOST:PORT or https://HOST".to_owned()));
        }
        if !is_whole && let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(["v1", "traces"]);
        }
        Ok(Some(url))
    }
}

fn is_ours(metadata: &Metadata<'_>) -> bool {
    *metadata.level() <= Level::INFO && metadata.target().starts_with(OURS)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::TelemetryArgs;

    #[derive(Parser)]
    struct Flags {
        #[command(flatten)]
        telemetry: TelemetryArgs,
    }

    #[test]
    fn the_traces_path_is_added_to_a_base_alone() {
        let of = |flags: &[&str]| {
            // Flags win over whatever the environment of this test says.
            let none = ["--otlp-endpoint=", "--otlp-traces-endpoint="];
            let missing = none.into_iter().filter(|none| !flags.iter().any(|flag| flag.starts_with(none)));
            let all: Vec<&str> = ["test"].into_iter().chain(missing).chain(flags.iter().copied()).collect();
            Flags::parse_from(all).telemetry.collector()
        };
        let url = |flags: &[&str]| of(flags).unwrap().map(String::from);
        assert_eq!(url(&[]), None);
        for base in ["http://localhost:4318", "http://localhost:4318/"] {
            let flag = format!("--otlp-endpoint={base}");
            assert_eq!(url(&[&flag]).unwrap(), "http://localhost:4318/v1/traces");
        }
        let whole = ["--otlp-endpoint=http://other", "--otlp-traces-endpoint=https://traces.example/api"];
        assert_eq!(url(&whole).unwrap(), "https://traces.example/api");
        for refused in ["--otlp-endpoint=localhost:4318", "--otlp-endpoint=what"] {
            assert!(of(&[refused]).unwrap_err().to_string().contains("--otlp-endpoint"), "{refused}");
        }
    }
}
