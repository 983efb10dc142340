//! GPUs and machine in, the text that Prometheus scrapes out.

pub mod agent_process;
pub mod exposition;
pub mod host;
pub mod nvml;
pub mod sampler;
pub mod settings;
