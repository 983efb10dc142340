//! How the registry and the agent log, and how their spans make one trace.
//!
//! Logging is always set up; spans leave the process only when a collector is configured. Without one there is no
//! OpenTelemetry layer, no exporter and no thread, and everything here that is about spans does nothing.

mod export;
mod ids;
mod lines;
mod setting;
mod settings;
mod span;
mod task;
mod traceparent;

pub use export::{Service, Telemetry, is_exporting};
pub use setting::{BadSetting, LogFormat};
pub use settings::TelemetryArgs;
pub use span::{attribute, failed, follow, of, within};
pub use task::Moment;
pub use traceparent::TraceParent;
