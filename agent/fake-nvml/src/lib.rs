//! A `libnvidia-ml.so.1` for tests: it exports NVML's C functions and answers them from a script, a TOML file beside
//! the library named like it: `libnvidia-ml.so.1.toml`. The script is read again when it changes, so a running test
//! can make a GPU vanish, hang, count on, reset or raise an Xid error. [`script`] says what stands in it; whatever
//! does not stand there answers `NOT_SUPPORTED`.
//!
//! The agent loads it by `[metrics] nvml_library`. Tests make theirs with [`install::Fake`]; by hand, link or copy
//! `target/debug/deps/libfake_nvml.so` to a folder and write the script beside it.

mod device;
mod events;
mod given;
pub mod install;
mod library;
pub mod script;
mod sets;
mod system;
