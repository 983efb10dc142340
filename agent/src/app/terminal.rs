//! `pictor-agent status`: the Rendering page in text, for machines without a screen.

use std::{
    fmt::Write as _,
    io::{IsTerminal, Write as _, stdout},
    path::Path,
    time::Duration,
};

use anyhow::{Context, bail};

use super::{
    link::{self, Link},
    status::{Slot, Status},
};
use crate::config::{self, RunFlags};

const TIMEOUT: Duration = Duration::from_secs(5);
const WATCH_EVERY: Duration = Duration::from_secs(1);
const BAR_WIDTH: usize = 30;
/// Clears the screen and goes to its first corner.
const CLEAR: &str = "\u{1b}[H\u{1b}[2J";

#[derive(Debug, clap::Args)]
pub struct Flags {
    #[command(flatten)]
    pub run: RunFlags,
    /// Show it again every second, until Ctrl-C
    #[arg(long, env = "PICTOR_WATCH")]
    pub watch: bool,
    /// As JSON, for programs
    #[arg(long, env = "PICTOR_JSON")]
    pub json: bool,
}

/// Prints what the running agent does, once or until Ctrl-C.
pub async fn show(flags: Flags) -> anyhow::Result<()> {
    let Flags { run, watch, json } = flags;
    let data = config::data_of(&run)?;
    let client = link::client(TIMEOUT)?;
    let mut tick = tokio::time::interval(WATCH_EVERY);
    loop {
        tick.tick().await;
        // Looked up each time: the agent may have been started anew.
        let (link, status) = match ask(&client, &data).await {
            Ok(answer) => answer,
            Err(error) if watch => {
                println!("{error:#}");
                continue;
            }
            Err(error) => return Err(error),
        };
        let text =
            if json { format!("{}\n", serde_json::to_string(&status)?) } else { screen(&status, &link) };
        if watch && !json && stdout().is_terminal() {
            print!("{CLEAR}");
        }
        print!("{text}");
        stdout().flush()?;
        if !watch {
            return Ok(());
        }
    }
}

async fn ask(client: &reqwest::Client, data: &Path) -> anyhow::Result<(Link, Status)> {
    let mut failed = None;
    // One that was killed leaves its link.
    for link in Link::candidates(data) {
        match link.status(client).await {
            Ok(Some(status)) => return Ok((link, status)),
            other => failed = Some((link, other.err())),
        }
    }
    match failed {
        Some((link, None)) => {
            bail!(
                "the agent at {} waits for its config file: pictor-agent app opens the page that asks for it",
                link.address
            )
        }
        Some((link, Some(error))) => Err(error)
            .with_context(|| format!("no agent answers at {}: start it with pictor-agent run", link.address)),
        None => bail!(
            "no agent runs with the data folder {}, or this user may not see its link. Start it: pictor-agent run. \
             A service's is seen by root and by members of its group",
            data.display()
        ),
    }
}

fn screen(status: &Status, link: &Link) -> String {
    let mut text = String::new();
    let mut line = |words: std::fmt::Arguments<'_>| {
        // Into a string nothing fails.
        let _ = writeln!(text, "{words}");
    };
    line(format_args!(
        "{} ({}), pictor-agent {}",
        status.worker_name, status.worker_id, status.agent_version
    ));
    line(format_args!("{:10} {}", status.status, status.reasons.join(" ")));
    line(format_args!("registry   {} {}", status.registry, status.connection));
    line(format_args!(
        "earned     {}, {} points; wallet {}",
        status.earnings(),
        status.points(),
        status.wallet_address.as_deref().unwrap_or("none yet")
    ));
    line(format_args!("CPU        {}, memory {}", status.cpu(), status.memory()));
    for finding in &status.findings {
        let advice = finding.advice.as_deref().unwrap_or_default();
        line(format_args!("! {}: {}. To do: {advice}", finding.check.title(), finding.found));
    }
    for slot in &status.slots {
        line(format_args!(""));
        for words in of_slot(slot) {
            line(format_args!("{words}"));
        }
    }
    line(format_args!("\nWorker app: http://{}/ (pictor-agent app opens it, with its key)", link.address));
    text
}

fn of_slot(slot: &Slot) -> Vec<String> {
    let mut lines = vec![format!("slot {}     {}", slot.slot, slot.device)];
    if let Some(gpu) = &slot.gpu {
        lines.push(format!("  GPU      {}, {}", gpu.utilization(), gpu.readings()));
    }
    match &slot.task {
        Some(task) => {
            lines.push(format!("  job      {}", task.job_id));
            lines.push(format!("  task     {}, frames {}", task.task_id, task.frames));
            lines.push(format!("  [{}] {}", bar(task.progress_ratio), task.done()));
            lines.push(format!(
                "  elapsed {}, remaining {}, estimated completion {}",
                task.elapsed(),
                task.remaining(),
                task.completes()
            ));
        }
        None => lines.push(format!("  {}  {}", slot.status, slot.reasons.join(" "))),
    }
    lines
}

fn bar(ratio: f64) -> String {
    // The ratio lies between 0 and 1.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
    let full = ((ratio * BAR_WIDTH as f64) as usize).min(BAR_WIDTH);
    format!("{}{}", "#".repeat(full), "-".repeat(BAR_WIDTH - full))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_as_long_at_every_ratio() {
        for (ratio, text) in [(0.0, "-".repeat(30)), (1.0, "#".repeat(30)), (2.0, "#".repeat(30))] {
            assert_eq!(bar(ratio), text);
        }
        assert_eq!(bar(0.5), format!("{}{}", "#".repeat(15), "-".repeat(15)));
    }
}
