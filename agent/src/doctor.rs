//! `pictor-agent doctor`: looks at everything a worker needs and says what to do about what is missing.

use std::{
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context;
use pictor_blender::{Sandbox, detect};
use pictor_measure::nvml;
use pictor_protocol::{Check, LeaseRequest};
use serde::Serialize;
use uuid::Uuid;

use crate::{
    config::{Config, ConfigError, RunFlags},
    devices::{self, DeviceChoice},
    health::{Finding, Report, Status, findings},
    readiness::{self, Tools},
    registry::{CallError, Registry},
    server::MetricsAccess,
    test_render::{self, Figures},
};

const AGENT_TIMEOUT: Duration = Duration::from_secs(2);

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
            examine_machine(&config, |finding| checks.push(finding)).await;
            if render {
                renders = render_all(&config).await;
            }
            checks
        }
        Err(error) => {
            let advice =
                "correct the file, or import the worker's config file again; then the rest can be checked";
            vec![Finding::fail(Check::Config, error.to_string(), advice)]
        }
    };
    let healthy = checks.iter().all(|finding| finding.status != Status::Fail)
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
            Status::Ok => "ok",
            Status::Warn => "warn",
            Status::Fail => "FAIL",
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
async fn render_all(config: &Config) -> Vec<Render> {
    let folder = config.data.join("test-render");
    let tools = match tools(config).await {
        Ok(tools) => tools,
        Err(reason) => return vec![Render { slot: 0, figures: None, frame: None, error: Some(reason) }],
    };
    let mut renders = Vec::new();
    let devices =
        devices::find(config.device, config.metrics.measured.nvml_library.clone(), &config.data).await;
    for (slot, device) in (0..).zip(devices) {
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

/// What a task would be rendered with; what keeps it is among the findings already.
async fn tools(config: &Config) -> Result<Tools, String> {
    let blender = readiness::choose(&config.places, &detect(&config.places).await)?;
    let sandbox = Sandbox::probe(config.sandbox.clone()).await.map_err(|error| error.to_string())?;
    Ok(Tools { blender, sandbox })
}

/// Looks at everything, and says each thing when it is found.
pub async fn examine_machine(config: &Config, mut found: impl FnMut(Finding)) {
    let identity = &config.identity.0;
    let whose =
        format!("{}: worker {} ({})", config.path.display(), identity.worker_name, identity.worker_id);
    found(Finding::ok(Check::Config, whose));
    found(data(&config.data));
    found(findings::disk(&config.data));
    found(blender(config).await);
    found(isolation(config).await);
    if config.device == DeviceChoice::Cpu {
        found(Finding::ok(Check::Gpus, "not used: `device = \"cpu\"`"));
    } else {
        found(gpus(config).await);
        watched(config).await.into_iter().for_each(&mut found);
    }
    match Registry::new(identity) {
        Ok(registry) => line(&registry).await.into_iter().for_each(found),
        Err(error) => {
            found(Finding::fail(Check::Registry, error.to_string(), "import the worker's config file again"));
        }
    }
}

fn data(folder: &Path) -> Finding {
    let written = fs::create_dir_all(folder).and_then(|()| tempfile::tempfile_in(folder).map(drop));
    match written {
        Ok(()) => Finding::ok(Check::Data, format!("{} can be written", folder.display())),
        Err(error) => Finding::fail(
            Check::Data,
            format!("{} cannot be written: {error}", folder.display()),
            "choose another folder with --data, or run as a user who may write there",
        ),
    }
}

async fn blender(config: &Config) -> Finding {
    let detection = detect(&config.places).await;
    let chosen = readiness::choose(&config.places, &detection);
    findings::blender(chosen.as_ref().map_err(String::as_str))
}

async fn isolation(config: &Config) -> Finding {
    let probed = Sandbox::probe(config.sandbox.clone()).await.map_err(|error| error.to_string());
    findings::sandbox(probed.as_ref().map_err(String::as_str))
}

async fn gpus(config: &Config) -> Finding {
    let library = config.metrics.measured.nvml_library.clone();
    let measured = tokio::task::spawn_blocking(move || nvml::measure_once(library)).await;
    let (visible, reason) = match measured {
        Ok(Ok(gpus)) => (gpus, "NVML shows no GPU".to_owned()),
        Ok(Err(error)) => (Vec::new(), format!("{error:#}")),
        Err(error) => (Vec::new(), error.to_string()),
    };
    let missing = nvml::missing(&config.data, &visible);
    if !missing.is_empty() {
        return findings::gpus(visible.len(), &missing, &[]);
    }
    if !visible.is_empty() {
        let names = visible.iter().map(|gpu| gpu.name.clone().unwrap_or_else(|| gpu.uuid.clone()));
        let driver = visible.iter().find_map(|gpu| gpu.driver_version.clone()).unwrap_or_default();
        let names = names.collect::<Vec<_>>().join(", ");
        return Finding::ok(Check::Gpus, format!("{names}, driver {driver}"));
    }
    let advice = "install the NVIDIA driver to render on a GPU";
    match config.device {
        DeviceChoice::Gpu => Finding::fail(Check::Gpus, reason, advice),
        DeviceChoice::Auto | DeviceChoice::Cpu => {
            Finding::warn(Check::Gpus, format!("{reason}; tasks render on the CPU"), advice)
        }
    }
}

/// What only a running agent knows: it has watched the GPUs and its tasks.
async fn watched(config: &Config) -> Vec<Finding> {
    let mut listen = config.listen;
    if listen.ip().is_unspecified() {
        listen.set_ip(Ipv4Addr::LOCALHOST.into());
    }
    let asked = async {
        let client = reqwest::Client::builder().no_proxy().timeout(AGENT_TIMEOUT).build()?;
        let mut call = client.get(format!("http://{listen}/health"));
        if let MetricsAccess::Bearer(token) = &config.metrics_access {
            call = call.bearer_auth(token);
        }
        call.send().await?.error_for_status()?.json::<Report>().await
    };
    let report = asked.await.ok().filter(|report| report.worker_id == config.identity.0.worker_id);
    let Some(report) = report else {
        return vec![Finding::warn(
            Check::GpuXid,
            format!("not looked at: this worker's agent does not answer at {listen}"),
            "start it: only a running agent sees errors, throttling and unused GPUs as they happen",
        )];
    };
    let only = [Check::GpuFallback, Check::GpuThrottling, Check::GpuXid];
    report.findings.into_iter().filter(|finding| only.contains(&finding.check)).collect()
}

/// Reachable, clock, token.
async fn line(registry: &Registry) -> Vec<Finding> {
    let url = registry.url();
    let skew = match registry.clock_skew().await {
        Ok(skew) => skew,
        Err(error) => {
            let advice = "is the address right (`registry` in the config file), is the network up, is the registry running?";
            return vec![Finding::fail(Check::Registry, format!("{url} cannot be reached: {error}"), advice)];
        }
    };
    let mut checks = vec![Finding::ok(Check::Registry, format!("{url} answers"))];
    checks.push(findings::clock(skew));
    // Asks for no slot, so it gets no task.
    let ask =
        LeaseRequest { ask_id: Uuid::now_v7().simple().to_string(), slots: Vec::new(), wait_seconds: 0 };
    checks.push(match registry.leases(&ask).await {
        // That it asked for nothing can be refused only once it is known who asks.
        Ok(_) | Err(CallError::Refused { .. } | CallError::LeaseLost(_)) => {
            Finding::ok(Check::Token, "the registry accepts it")
        }
        Err(CallError::Retry { reason, .. }) => Finding::fail(
            Check::Token,
            format!("the registry did not say: {reason}"),
            "try again when the registry is well",
        ),
        Err(error @ (CallError::Unauthorized(_) | CallError::DuplicateWorker(_))) => Finding::fail(
            Check::Token,
            error.to_string(),
            "download the worker's config file and import it on the one machine that should have it",
        ),
    });
    checks
}
