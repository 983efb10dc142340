//! The exporter: spans in batches to an OTLP/HTTP collector, from a thread of its own.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use opentelemetry::trace::{SpanKind, TraceId, TracerProvider};
use opentelemetry::{Key, KeyValue};
use opentelemetry_otlp::{WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    Config, SamplingDecision, SdkTracer, SdkTracerProvider, ShouldSample, SpanData, SpanExporter,
};
use pictor_protocol::is_loopback;
use url::Url;

use crate::ids::{FairSampler, Ids};
use crate::setting::BadSetting;

/// How long the last spans may take to leave at the end.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(3);
const EXPORT_TIMEOUT: Duration = Duration::from_secs(10);
/// Another one may be named by OTEL_SERVICE_NAME.
const SERVICE_NAME: Key = Key::from_static_str("service.name");

/// Whose spans they are.
#[derive(Debug, Clone, Copy)]
pub struct Service {
    pub name: &'static str,
    pub version: &'static str,
}

/// What exporting needs, as long as the process lives.
pub(crate) struct Exporting {
    provider: SdkTracerProvider,
    pub(crate) tracer: SdkTracer,
    sampler: FairSampler,
}

static EXPORTING: OnceLock<Exporting> = OnceLock::new();

/// Whether spans go to a collector.
pub fn is_exporting() -> bool {
    exporting().is_some()
}

pub(crate) fn exporting() -> Option<&'static Exporting> {
    EXPORTING.get()
}

/// Whether a trace that begins with this id is kept.
pub(crate) fn samples(trace: TraceId) -> bool {
    exporting().is_some_and(|exporting| {
        let result = exporting.sampler.should_sample(None, trace, "", &SpanKind::Internal, &[], &[]);
        result.decision == SamplingDecision::RecordAndSample
    })
}

/// Set up telemetry, to be stopped at the end.
#[derive(Debug)]
#[must_use = "the last spans leave when it is stopped"]
pub struct Telemetry;

impl Telemetry {
    /// Sends the spans that wait, for a few seconds at most. Blocks: call it where blocking is allowed.
    pub fn stop(self) {
        let Some(exporting) = exporting() else { return };
        if let Err(error) = exporting.provider.shutdown_with_timeout(FLUSH_TIMEOUT) {
            tracing::debug!(%error, "the last spans were not sent");
        }
    }
}

pub(crate) fn start(collector: &Url, service: &Service) -> Result<&'static Exporting, BadSetting> {
    let refused = |cause: String| BadSetting(format!("traces cannot be sent to {collector}: {cause}"));
    let mut exporter =
        opentelemetry_otlp::SpanExporter::builder().with_http().with_endpoint(collector.as_str());
    if is_loopback(collector) {
        exporter = exporter.with_http_client(direct_client().map_err(&refused)?);
    }
    let exporter = exporter.build().map_err(|cause| refused(cause.to_string()))?;
    let sampler = FairSampler(Config::default().sampler);
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(Quiet {
            exporter,
            is_failing: AtomicBool::new(false),
            collector: collector.clone(),
        })
        .with_id_generator(Ids::default())
        .with_sampler(sampler.clone())
        .with_resource(resource(service))
        .build();
    let tracer = provider.tracer("pictor");
    Ok(EXPORTING.get_or_init(|| Exporting { provider, tracer, sampler }))
}

/// A client that no proxy of the environment comes between. Made on a thread of its own: it brings a runtime, which
/// must not be started within another.
fn direct_client() -> Result<reqwest::blocking::Client, String> {
    let make = || reqwest::blocking::Client::builder().no_proxy().timeout(EXPORT_TIMEOUT).build();
    match thread::spawn(make).join() {
        Ok(Ok(client)) => Ok(client),
        Ok(Err(cause)) => Err(cause.to_string()),
        Err(_) => Err("the HTTP client cannot be set up".to_owned()),
    }
}

/// What the environment says of this service, with our name unless it has another.
fn resource(service: &Service) -> Resource {
    let said = Resource::builder().build();
    let is_named = said.get(&SERVICE_NAME).is_some_and(|name| !name.as_str().starts_with("unknown_service"));
    let resource = Resource::builder().with_attribute(KeyValue::new("service.version", service.version));
    if is_named { resource } else { resource.with_service_name(service.name) }.build()
}

/// Says once that a collector cannot be reached, and once that it can again.
#[derive(Debug)]
struct Quiet<E> {
    exporter: E,
    is_failing: AtomicBool,
    collector: Url,
}

impl<E: SpanExporter> SpanExporter for Quiet<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let result = self.exporter.export(batch).await;
        let was_failing = self.is_failing.swap(result.is_err(), Ordering::Relaxed);
        match &result {
            Err(error) if !was_failing => tracing::warn!(
                "traces cannot be sent to {} ({error}); they are dropped until it answers, and nothing else suffers",
                self.collector
            ),
            Ok(()) if was_failing => tracing::info!("traces are sent to {} again", self.collector),
            _ => {}
        }
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}
