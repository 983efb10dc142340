//! The line to the registry, as the last heartbeat found it. The heartbeat writes it, many read it.

use pictor_protocol::WorkerName;

/// Where the line to the registry stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Line {
    /// Not yet tried.
    #[default]
    Starting,
    Up,
    Down,
    /// The registry does not want this worker, or not this machine as it.
    Refused,
}

/// The line, and when a heartbeat last came through.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Connection {
    pub line: Line,
    /// Unix time.
    pub last_success_seconds: Option<f64>,
    /// Whether the registry was told that this worker accepts tasks: asked before, it would let the asker wait.
    pub accepts_told: bool,
    /// How far this machine's clock is ahead of the registry's.
    pub skew_seconds: Option<f64>,
    /// As the registry last said.
    pub worker_name: Option<WorkerName>,
    /// Why the registry refuses this worker, when it does.
    pub refusal: Option<String>,
}

impl Connection {
    pub fn is_up(&self) -> bool {
        self.line == Line::Up
    }
}
