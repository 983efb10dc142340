//! What runs below a process, as the kernel tells it.

use std::collections::HashSet;
use std::fs;

use rustix::process::{Pid, Signal, kill_process};

use crate::poll::{SOON, within};

/// A process that was seen once. Its start time tells it from a later one with the same number.
#[derive(Debug, Clone)]
pub struct Seen {
    pub pid: i32,
    pub program: String,
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

    pub fn is_running(&self) -> bool {
        Seen::read(self.pid).is_some_and(|now| now.started == self.started)
    }

    pub fn is_blender(&self) -> bool {
        self.program.starts_with("blender")
    }

    pub fn kill(self) {
        if self.is_running()
            && let Some(pid) = Pid::from_raw(self.pid)
        {
            // It may end by itself meanwhile.
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

pub fn descendants(of: i32) -> Vec<Seen> {
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

/// None of these runs any more, and soon: what was left to itself would end by itself, too.
pub async fn all_gone(seen: &[Seen]) {
    let none_runs = async || (!seen.iter().any(Seen::is_running)).then_some(());
    within(SOON, &format!("none of {seen:?} runs"), none_runs).await;
}
