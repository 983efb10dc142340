//! One setting: what it can be, and that it cannot work.

use clap::ValueEnum;

/// How a line of the log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Json,
    Pretty,
}

/// A setting that was understood and cannot work.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct BadSetting(pub(crate) String);
