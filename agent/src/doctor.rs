//! `pictor-agent doctor`: looks at everything a worker needs and says what to do about what is missing.

use std::{fs, path::PathBuf};

use anyhow::Context;
use pictor_measure::nvml;
use serde::Serialize;

use crate::{
    config::{Config, ConfigError, RunFlags},
    finding::{Finding, Grade},
    findings,
    probe::{Inventory, Look},
    test_render::{self, Figures},
};

#[derive(Debug, clap::Args)]
pub struct Flags {
    #[command(flatten)]
    pub run: RunFlags,
    /// The result as JSON, for programs
    #[arg(long, env = "PICTOR_JSON")]
    pub json: bool,
    /// Expect the GPUs that are there now, and no longer those that were taken out
    #[arg(long, env = "PICTOR_ACCEPT_GPUS")]
    pub accept_gpus: bool,
    /// Render a frame on every slot, in the sandbox, and say how long it took and on what
    #[arg(long, env = "PICTOR_RENDER")]
    pub render: bool,
}

#[derive(Serialize)]
struct Examination {
    healthy: bool,
    checks: Vec<Finding>,
    /// One for each slot, when they were asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    renders: Vec<Render>,
}

/// What a test render on one slot came to.
#[derive(Serialize)]
struct Render {
    slot: u32,
    #[serde(flatten)]
    figures: Option<Figures>,
    frame: Option<PathBuf>,
    error: Option<String>,
}

/// Prints what it found; false if anything keeps this worker from earning. With `accept_gpus`, the GPUs that are
/// there now are those expected from now on.
pub async fn examine(
    config: Result<Config, ConfigError>,
    json: bool,
    accept_gpus: bool,
    render: bool,
) -> anyhow::Result<bool> {
    if let Ok(config) = &config
        && accept_gpus
    {
        nvml::forget(&config.data).context("the GPUs cannot be accepted")?;
    }
    let mut renders = Vec::new();
    let checks = match config {
        Ok(config) => {
            let mut checks = Vec::new();
            let (look, gpus) = config.probe().everything(|fact| checks.extend(findings::of(fact))).await;
            if render {
                renders = render_all(&config, look, &gpus).await;
            }
            checks
        }
        Err(error) => vec![findings::no_config(&error)],
    };
    let healthy = checks.iter().all(|finding| !finding.is_failure())
        && renders.iter().all(|render| render.error.is_none());
    let report = Examination { healthy, checks, renders };
    if json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print(&report);
    }
    Ok(healthy)
}

fn print(report: &Examination) {
    for Finding { check, status, found, advice } in &report.checks {
        let word = match status {
            Grade::Ok => "ok",
            Grade::Warn => "warn",
            Grade::Fail => "FAIL",
        };
        println!("{word:4}  {:14}  {found}", check.as_str());
        if let Some(advice) = advice {
            println!("{:22}to do: {advice}", "");
        }
    }
    for render in &report.renders {
        let word = if render.error.is_none() { "ok" } else { "FAIL" };
        println!("{word:4}  {:14}  {}", format!("render slot {}", render.slot), said(render));
    }
}

fn said(render: &Render) -> String {
    let Some(figures) = &render.figures else { return render.error.clone().unwrap_or_default() };
    let device = figures.device.as_deref().unwrap_or("an unknown device");
    let memory = figures.peak_memory_bytes.map_or_else(
        || "memory not measured".to_owned(),
        |bytes| format!("{} MB of memory at its peak", bytes >> 20),
    );
    let frame = render.frame.as_ref().map(|path| format!(": {}", path.display())).unwrap_or_default();
    format!(
        "{:.1} s on {device} by Blender {}, {memory}, loaded in {:.1} s{frame}",
        figures.render_seconds, figures.blender, figures.load_seconds
    )
}

/// A test render on every slot, one after another.
async fn render_all(config: &Config, look: Look, gpus: &Inventory) -> Vec<Render> {
    let folder = config.data.join("test-render");
    let Some(tools) = look.tools else {
        let error = findings::no_tools(&look.facts);
        return vec![Render { slot: 0, figures: None, frame: None, error }];
    };
    let mut renders = Vec::new();
    for (slot, device) in (0..).zip(gpus.devices()) {
        let rendered = test_render::render(&tools, device, slot, &config.limits, &folder).await;
        let kept = rendered.and_then(|(figures, png)| {
            let frame = folder.join(format!("slot-{slot}.png"));
            fs::write(&frame, png).with_context(|| format!("cannot write {}", frame.display()))?;
            Ok((figures, frame))
        });
        renders.push(match kept {
            Ok((figures, frame)) => Render { slot, figures: Some(figures), frame: Some(frame), error: None },
            Err(error) => Render { slot, figures: None, frame: None, error: Some(format!("{error:#}")) },
        });
    }
    renders
}
