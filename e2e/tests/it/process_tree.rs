//! What runs below a process, as the kernel tells it.

use std::collections::HashSet;
use std::fs;

use rustix::process::{Pid, Signal, kill_process};

use crate::poll;

/// A process that was seen once. Its start time tells it from a later one with the same number.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) pid: i32,
    pub(crate) program: String,
    parent: i32,
    started: String,
}

impl Seen {
    fn read(pid: i32) -> Option<Seen> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (program, rest) = (stat.split_once('(')?.1).rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        // A zombie has ended; nobody below us may have collected it yet.
        if matches!(fields.first(), Some(&("Z" | "X"))) {
            return None;
        }
        Some(Seen {
            pid,
            program: program.to_owned(),
            parent: fields.get(1)?.parse().ok()?,
            started: (*fields.get(19)?).to_owned(),
        })
    }

    pub(crate) fn is_running(&self) -> bool {
        Seen::read(self.pid).is_some_and(|now| now.started == self.started)
    }

    pub(crate) fn is_blender(&self) -> bool {
        self.program.starts_with("blender")
    }

    pub(crate) fn kill(self) {
        if self.is_running()
            && let Some(pid) = Pid::from_raw(self.pid)
        {
            // It may end by itself meanwhile.
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

pub(crate) fn descendants(of: i32) -> Vec<Seen> {
    let entries = fs::read_dir("/proc").expect("/proc").flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let mut others: Vec<Seen> = pids.filter_map(Seen::read).collect();
    let mut family = HashSet::from([of]);
    let mut found = Vec::new();
    loop {
        let (below, rest): (Vec<Seen>, Vec<Seen>) =
            others.into_iter().partition(|process| family.contains(&process.parent));
        if below.is_empty() {
            return found;
        }
        family.extend(below.iter().map(|process| process.pid));
        found.extend(below);
        others = rest;
    }
}

/// Waits until none of these runs any more.
pub(crate) async fn all_gone(seen: &[Seen], seconds: u64) {
    poll::until_true(&format!("none of {seen:?} runs"), seconds, async || !seen.iter().any(Seen::is_running))
        .await;
}
