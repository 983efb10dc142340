//! `pictor-agent doctor`: looks at everything a worker needs and says what to do about what is missing.

use std::{fs, path::Path};

use pictor_protocol::LeaseRequest;
use serde::Serialize;
use uuid::Uuid;

use crate::{
    blender::{Sandbox, detect, sandbox},
    collectors::nvml,
    config::{Config, ConfigError, DeviceChoice},
    readiness,
    registry::{CallError, Registry},
};

/// Leases are counted from when a call is sent, so a wrong clock costs no money, but it blurs every graph.
const CLOCK_SKEW_SECONDS_MAX: f64 = 5.0;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Ok,
    Warn,
    Fail,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    status: Status,
    found: String,
    /// What to do about it.
    advice: Option<String>,
}

impl Check {
    fn ok(name: &'static str, found: impl Into<String>) -> Check {
        Check { name, status: Status::Ok, found: found.into(), advice: None }
    }

    fn warn(name: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Check {
        Check { name, status: Status::Warn, found: found.into(), advice: Some(advice.into()) }
    }

    fn fail(name: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Check {
        Check { name, status: Status::Fail, found: found.into(), advice: Some(advice.into()) }
    }
}

#[derive(Serialize)]
struct Report {
    healthy: bool,
    checks: Vec<Check>,
}

/// Prints what it found; false if anything keeps this worker from earning.
pub async fn examine(config: Result<Config, ConfigError>, json: bool) -> anyhow::Result<bool> {
    let checks = match config {
        Ok(config) => examine_machine(&config).await,
        Err(error) => {
            let advice =
                "correct the file, or import the worker's config file again; then the rest can be checked";
            vec![Check::fail("config", error.to_string(), advice)]
        }
    };
    let healthy = checks.iter().all(|check| check.status != Status::Fail);
    let report = Report { healthy, checks };
    if json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print(&report);
    }
    Ok(healthy)
}

fn print(report: &Report) {
    for Check { name, status, found, advice } in &report.checks {
        let word = match status {
            Status::Ok => "ok",
            Status::Warn => "warn",
            Status::Fail => "FAIL",
        };
        println!("{word:4}  {name:9}  {found}");
        if let Some(advice) = advice {
            println!("{:17}to do: {advice}", "");
        }
    }
}

async fn examine_machine(config: &Config) -> Vec<Check> {
    let identity = &config.identity.0;
    let whose =
        format!("{}: worker {} ({})", config.path.display(), identity.worker_name, identity.worker_id);
    let mut checks = vec![Check::ok("config", whose), data(&config.data), disk(&config.data)];
    checks.push(blender(config).await);
    checks.push(isolation(config).await);
    checks.push(gpu(config).await);
    match Registry::new(identity) {
        Ok(registry) => checks.extend(line(&registry).await),
        Err(error) => {
            checks.push(Check::fail("registry", error.to_string(), "import the worker's config file again"));
        }
    }
    checks
}

fn data(folder: &Path) -> Check {
    let written = fs::create_dir_all(folder).and_then(|()| tempfile::tempfile_in(folder).map(drop));
    match written {
        Ok(()) => Check::ok("data", format!("{} can be written", folder.display())),
        Err(error) => Check::fail(
            "data",
            format!("{} cannot be written: {error}", folder.display()),
            "choose another folder with --data, or run as a user who may write there",
        ),
    }
}

fn disk(folder: &Path) -> Check {
    match (readiness::disk_shortage(folder), readiness::disk_free_bytes(folder)) {
        (Some(_), free) => Check::fail(
            "disk",
            format!("{} MB free", free.unwrap_or(0) >> 20),
            "make room, or choose another disk with --data",
        ),
        (None, Some(free)) => Check::ok("disk", format!("{} GB free", free >> 30)),
        (None, None) => Check::warn("disk", "free space is not known", "see the check of the data folder"),
    }
}

async fn blender(config: &Config) -> Check {
    let detection = detect(&config.places).await;
    match readiness::choose(&config.places, &detection) {
        Ok(found) => Check::ok("blender", format!("Blender {} ({})", found.version, found.path.display())),
        Err(reason) => Check::fail(
            "blender",
            reason,
            "install Blender 3.4 or newer, or name one with --blender or `path` under [blender]",
        ),
    }
}

async fn isolation(config: &Config) -> Check {
    match Sandbox::probe(config.sandbox.clone()).await {
        Ok(found) if found.mode() == sandbox::Mode::Off => Check::warn(
            "sandbox",
            "it is off: strangers' scenes run with this user's rights",
            "write `mode = \"bubblewrap\"` under [sandbox], unless something else isolates this machine",
        ),
        Ok(_) => Check::ok("sandbox", "bubblewrap holds: a program was run in it"),
        Err(error) => {
            let advice = "do what the message says; until then this machine takes no tasks";
            Check::fail("sandbox", error.to_string(), advice)
        }
    }
}

async fn gpu(config: &Config) -> Check {
    let library = config.metrics.nvml_library.clone();
    let measured = tokio::task::spawn_blocking(move || nvml::measure_once(library)).await;
    let found = match measured {
        Ok(Ok(gpus)) if !gpus.is_empty() => {
            let names = gpus.iter().map(|gpu| gpu.name.clone().unwrap_or_else(|| gpu.uuid.clone()));
            let driver = gpus.iter().find_map(|gpu| gpu.driver_version.clone()).unwrap_or_default();
            let names = names.collect::<Vec<_>>().join(", ");
            return Check::ok("gpu", format!("{names}, driver {driver}"));
        }
        Ok(Ok(_)) => "NVML shows no GPU".to_owned(),
        Ok(Err(error)) => format!("{error:#}"),
        Err(error) => error.to_string(),
    };
    let advice = "install the NVIDIA driver to render on a GPU";
    match config.device {
        DeviceChoice::Gpu => Check::fail("gpu", found, advice),
        DeviceChoice::Cpu => Check::ok("gpu", "not used: `device = \"cpu\"`"),
        DeviceChoice::Auto => Check::warn("gpu", format!("{found}; tasks render on the CPU"), advice),
    }
}

/// Reachable, clock, token.
async fn line(registry: &Registry) -> Vec<Check> {
    let url = registry.url();
    let skew = match registry.clock_skew().await {
        Ok(skew) => skew,
        Err(error) => {
            let advice = "is the address right (`registry` in the config file), is the network up, is the registry running?";
            return vec![Check::fail("registry", format!("{url} cannot be reached: {error}"), advice)];
        }
    };
    let mut checks = vec![Check::ok("registry", format!("{url} answers"))];
    checks.push(match skew {
        Some(skew) if skew.abs() > CLOCK_SKEW_SECONDS_MAX => Check::warn(
            "clock",
            format!("this machine is {:.0} s {}", skew.abs(), if skew > 0.0 { "ahead" } else { "behind" }),
            "let the system set its clock: `timedatectl set-ntp true`",
        ),
        Some(_) => Check::ok("clock", "as the registry's"),
        None => Check::warn("clock", "the registry tells no time", "nothing, if the clock is right"),
    });
    // Asks for no slot, so it gets no task.
    let ask =
        LeaseRequest { ask_id: Uuid::now_v7().simple().to_string(), slots: Vec::new(), wait_seconds: 0 };
    checks.push(match registry.leases(&ask).await {
        // That it asked for nothing can be refused only once it is known who asks.
        Ok(_) | Err(CallError::Refused { .. } | CallError::LeaseLost(_)) => {
            Check::ok("token", "the registry accepts it")
        }
        Err(CallError::Retry { reason, .. }) => Check::fail(
            "token",
            format!("the registry did not say: {reason}"),
            "try again when the registry is well",
        ),
        Err(error @ (CallError::Unauthorized(_) | CallError::DuplicateWorker(_))) => Check::fail(
            "token",
            error.to_string(),
            "download the worker's config file and import it on the one machine that should have it",
        ),
    });
    checks
}
