//! What the agent itself costs: part of the host's measurements.

use std::fs;

use anyhow::anyhow;
use pictor_family::families;
use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};

use super::exposition::{Families, float};

families! {
    pub FAMILIES:
    /// Processor time the agent itself has used.
    CPU = counter("pictor_agent_cpu_seconds_total", []);
    /// Memory the agent itself has in use.
    MEMORY = gauge("pictor_agent_resident_memory_bytes", []);
    /// Threads of the agent.
    THREADS = gauge("pictor_agent_threads", []);
    /// Files the agent has open.
    FILES = gauge("pictor_agent_open_files", []);
    /// When the agent was started.
    STARTED = gauge("pictor_agent_start_timestamp_seconds", []);
}

/// This process, measured again and again.
pub(super) struct AgentProcess {
    pid: Pid,
    system: System,
}

impl AgentProcess {
    pub(super) fn new() -> anyhow::Result<Self> {
        let pid = sysinfo::get_current_pid().map_err(|error| anyhow!("no process id: {error}"))?;
        Ok(Self { pid, system: System::new()? })
    }

    pub(super) fn measure(&mut self, families: &mut Families) {
        let what = ProcessRefreshKind::nothing().with_cpu().with_memory();
        self.system.refresh_processes_specifics(ProcessesToUpdate::Some(&[self.pid]), false, what);
        let Some(process) = self.system.process(self.pid) else { return };
        families.value(&CPU, Some(float(process.accumulated_cpu_time()) / 1_000.0));
        families.value(&MEMORY, Some(float(process.memory())));
        families.value(&THREADS, entries("/proc/self/task"));
        // One of them is the folder being read.
        families.value(&FILES, entries("/proc/self/fd").map(|count| count - 1.0));
        families.value(&STARTED, Some(float(process.start_time())));
    }
}

fn entries(folder: &str) -> Option<f64> {
    Some(float(u64::try_from(fs::read_dir(folder).ok()?.count()).ok()?))
}
