//! What the agent finds wrong with its machine, and what it does about it; what its machine costs.

use std::fs;

use fake_nvml::install::Fake;
use pictor_processes::until;
use pictor_protocol::{Check, ReasonCode, ReportedSlot, SlotStatus};
use tempfile::TempDir;

use super::{
    agent::{Agent, config_text, run_to_end},
    registry::Registry,
};

struct Machine {
    agent: Agent,
    fake: Fake,
    registry: Registry,
    config: String,
    folder: TempDir,
}

impl Machine {
    async fn start(profile: &str, more: &str) -> Machine {
        let folder = tempfile::tempdir().unwrap();
        let script = format!("{}/tests/data/nvml/{profile}.toml", env!("CARGO_MANIFEST_DIR"));
        let fake = Fake::install(folder.path(), &fs::read_to_string(script).unwrap());
        let registry = Registry::start().await;
        let config = format!(
            "{}[metrics]\nnvml_library = \"{}\"\ngpu_interval_seconds = 0.1\n{more}",
            config_text(&registry.url()),
            fake.library.display()
        );
        let agent = Agent::start(folder.path(), &config).await;
        Machine { agent, fake, registry, config, folder }
    }

    async fn wait_for(&self, series: &str, value: f64) {
        let what = format!("{series} to be {value}");
        until(&what, async || self.agent.metric(series).await.filter(|now| *now == value)).await;
    }

    /// What doctor says, as JSON, of a check.
    fn doctor(&self, name: &str, arguments: &[&str]) -> serde_json::Value {
        let folder = self.folder.path();
        let (config, data) = (folder.join("worker.toml"), folder.join("data"));
        let (config, data) = (config.display().to_string(), data.display().to_string());
        let listen = self.agent.address.to_string();
        let whole = ["doctor", "--json", "--config", &config, "--data", &data, "--listen", &listen];
        let (_, stdout, stderr) = run_to_end(folder, &[&whole, arguments].concat());
        let report: serde_json::Value = serde_json::from_str(&stdout).expect(&stderr);
        let check = report["checks"].as_array().unwrap().iter().find(|check| check["name"] == name);
        check.unwrap_or_else(|| panic!("no check {name} in {stdout}")).clone()
    }
}

#[tokio::test]
async fn a_fatal_xid_holds_its_slot_and_the_registry_hears_why() {
    let mut machine = Machine::start("server-8", "").await;
    machine.wait_for("pictor_health{check=\"gpu_xid\"}", 1.0).await;
    // An application's own fault is counted and nothing more.
    let uuid = machine.fake.uuid(3);
    let counted = format!("pictor_gpu_xid_errors_total{{uuid=\"{uuid}\",gpu=\"3\",xid=\"31\"}}");
    // One that comes before anybody listens is not heard, so it comes again.
    let mut xids = Vec::new();
    until("an error to be counted", async || {
        xids.push(31);
        machine.fake.set(3, "xids", xids.clone());
        machine.agent.metric(&counted).await
    })
    .await;
    assert_eq!(machine.agent.metric("pictor_slots{status=\"draining\"}").await, Some(0.0));

    xids.push(79);
    machine.fake.set(3, "xids", xids);
    machine.wait_for("pictor_health{check=\"gpu_xid\"}", 0.0).await;
    machine.wait_for("pictor_slots{status=\"draining\"}", 1.0).await;
    let beat = until("a heartbeat that says it", async || {
        let books = machine.registry.books();
        let is_held = |slot: &ReportedSlot| slot.status == SlotStatus::Draining;
        let last = books.beats.last()?;
        (!last.health.is_empty() && last.slots.iter().any(is_held)).then(|| last.clone())
    })
    .await;
    let held: Vec<_> = beat.slots.iter().filter(|slot| slot.status == SlotStatus::Draining).collect();
    assert!(held.len() == 1 && held[0].gpu_uuid.as_deref() == Some(uuid.as_str()), "{:?}", beat.slots);
    let reason = &held[0].reasons[0];
    assert_eq!((reason.code, reason.check), (ReasonCode::Health, Some(Check::GpuXid)));
    assert!(reason.detail.as_ref().is_some_and(|found| found.contains("Xid 79")), "{reason:?}");
    assert!(beat.health.iter().any(|finding| finding.check == "gpu_xid" && finding.advice.contains("reset")));
    let said = machine.doctor("gpu_xid", &[]);
    assert!(said["status"] == "fail" && said["found"].as_str().unwrap().contains("Xid 79"), "{said}");
}

#[tokio::test]
async fn a_lost_gpu_is_a_finding_until_it_is_accepted() {
    let mut machine = Machine::start("server-8", "").await;
    machine.wait_for("pictor_gpus_visible", 8.0).await;
    machine.fake.set(2, "state", "lost");
    machine.wait_for("pictor_health{check=\"gpus\"}", 0.0).await;
    machine.wait_for("pictor_slots{status=\"draining\"}", 1.0).await;
    let said = machine.doctor("gpus", &[]);
    assert!(said["status"] == "fail" && said["advice"].as_str().unwrap().contains("--accept-gpus"), "{said}");
    let said = machine.doctor("gpus", &["--accept-gpus"]);
    assert_eq!(said["status"], "ok", "{said}");
    machine.wait_for("pictor_health{check=\"gpus\"}", 1.0).await;
    machine.wait_for("pictor_gpus_expected", 7.0).await;
}

#[tokio::test]
async fn a_driver_that_is_late_makes_no_cpu_worker() {
    let mut machine = Machine::start("geforce", "").await;
    machine.wait_for("pictor_gpus_visible", 1.0).await;
    machine.agent.kill().await;
    let errors = toml::Table::from_iter([("nvmlInit_v2".to_owned(), "DRIVER_NOT_LOADED".into())]);
    machine.fake.change(|script| drop(script.insert("errors".to_owned(), errors.into())));
    machine.agent = Agent::start(machine.folder.path(), &machine.config).await;
    machine.wait_for("pictor_health{check=\"gpus\"}", 0.0).await;
    machine.wait_for("pictor_slots{status=\"draining\"}", 1.0).await;
    let uuid = machine.fake.uuid(0);
    machine.wait_for(&format!("pictor_gpu_busy_seconds_total{{uuid=\"{uuid}\",gpu=\"0\"}}"), 0.0).await;
}

#[tokio::test]
async fn electricity_is_counted_at_its_price_across_restarts() {
    let economics = "[economics]\ncurrency = \"USD\"\nprice_per_kwh = 0.36\nexchange_rate = 1.1\n\
                     rate_at = \"2026-11-01\"\namortisation_per_hour = 0.05\n";
    let mut machine = Machine::start("server-8", economics).await;
    let energy = |text: &str, component: &str| {
        value(text, &format!("pictor_energy_joules_total{{component=\"{component}\""))
    };
    // It goes on counting, so that it does not matter when the agent first looks.
    let mut counter_millijoules = 5_000_000_000_000_i64;
    let before = until("energy of GPUs", async || {
        counter_millijoules += 3_600_000;
        machine.fake.set(0, "energy_millijoules", counter_millijoules);
        let text = machine.agent.get("/metrics/earnings").await;
        energy(&text, "gpu").filter(|joules| *joules >= 3_600.0).map(|_| text)
    })
    .await;
    let joules = energy(&before, "gpu").unwrap() + energy(&before, "host").unwrap();
    let cost = value(&before, "pictor_electricity_cost_total{currency=\"USD\"").unwrap();
    assert!((cost - joules / 3.6e6 * 0.36).abs() < 1e-9, "{cost} for {joules} J");
    assert_eq!(
        value(&before, "pictor_electricity_idle_cost_total{currency=\"USD\""),
        Some(cost),
        "nothing ran"
    );
    machine.wait_for("pictor_exchange_rate{from=\"EUR\",to=\"USD\"}", 1.1).await;

    // What was shown is not taken back, however the agent ended.
    machine.agent.kill().await;
    machine.agent = Agent::start(machine.folder.path(), &machine.config).await;
    let after = until("costs of the new start", async || {
        value(&machine.agent.get("/metrics/earnings").await, "pictor_electricity_cost_total{currency=\"USD\"")
    })
    .await;
    assert!(after >= cost, "{after} after {cost}");
}

fn value(text: &str, start: &str) -> Option<f64> {
    let line = text.lines().find(|line| line.starts_with(start))?;
    line.rsplit(' ').next()?.parse().ok()
}
