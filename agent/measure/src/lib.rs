//! GPUs and machine in, Prometheus' text out: an exporter without a farm.
//!
//! A [`exposition::Collector`] measures one thing; the [`Sampler`] gives each a thread of its own and keeps what they found
//! ready as bytes. [`nvml`] and [`host`] are here; whoever has more to tell brings collectors of his own.

pub mod agent_process;
pub mod exposition;
pub mod host;
pub mod nvml;
pub mod sampler;
pub mod settings;

pub use sampler::{Sampler, Threads};
pub use settings::Settings;
