//! The real processes together: registry, agent, Blender in its sandbox, Prometheus.
//!
//! Each test starts its own network on free ports in a folder of its own, and stops it however the test ends.

mod bad_input;
mod collector;
mod dashboards;
mod documents;
mod fencing;
mod hand;
mod interruptions;
mod machine_faults;
mod main_path;
mod monitoring;
mod network;
mod prometheus;
mod rename;
mod rightly_empty;
mod scenes;
mod traces;
mod update;
