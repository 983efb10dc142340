//! What the agent shows of GPUs, with a fake NVML that a script tells what to answer.

use std::{fs, path::PathBuf, time::Instant};

use fake_nvml::install::Fake;
use pictor_processes::until;
use tempfile::TempDir;

use super::{
    agent::{Agent, client, config_text, nobody},
    exposition,
};

/// Not the same twice.
const VOLATILE: [&str; 2] =
    ["pictor_collector_duration_seconds", "pictor_collector_last_success_timestamp_seconds"];

/// A machine with an agent. Its parts end in this order.
struct Machine {
    agent: Agent,
    fake: Fake,
    config: String,
    folder: TempDir,
}

fn data(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(path)
}

fn profile(name: &str) -> String {
    fs::read_to_string(data(&format!("nvml/{name}.toml"))).unwrap()
}

impl Machine {
    /// With the GPUs of a profile, and more lines for `[metrics]`.
    async fn start(name: &str, metrics: &str) -> Machine {
        let folder = tempfile::tempdir().unwrap();
        let fake = Fake::install(folder.path(), &profile(name));
        let config = format!(
            "{}[metrics]\nnvml_library = \"{}\"\ngpu_interval_seconds = 0.1\n{metrics}",
            config_text(&nobody()),
            fake.library.display()
        );
        let agent = Agent::start(folder.path(), &config).await;
        let machine = Machine { agent, fake, config, folder };
        machine.measured_again().await;
        machine
    }

    async fn restart(&mut self) {
        self.agent.terminate();
        self.agent.ended().await;
        self.agent = Agent::start(self.folder.path(), &self.config).await;
        self.measured_again().await;
    }

    /// Waits for a measurement that began after this call.
    async fn measured_again(&self) {
        const LAST: &str = "pictor_collector_last_success_timestamp_seconds{collector=\"nvml\"}";
        let mut seen = Vec::new();
        until("measurements of GPUs", async || {
            let last = self.agent.metric(LAST).await.filter(|last| *last > 0.0)?;
            if seen.last() != Some(&last) {
                seen.push(last);
            }
            // The one shown first and the one that ran then may be older.
            (seen.len() >= 3).then_some(())
        })
        .await;
    }

    async fn text(&self) -> String {
        self.agent.get("/metrics/nvml").await
    }

    /// A series of one of this machine's GPUs.
    fn series(&self, family: &str, gpu: usize, more: &str) -> String {
        let uuid = self.fake.uuid(gpu);
        let more = if more.is_empty() { String::new() } else { format!(",{more}") };
        format!("{family}{{uuid=\"{uuid}\",gpu=\"{gpu}\"{more}}}")
    }

    async fn value(&self, family: &str, gpu: usize, more: &str) -> Option<f64> {
        self.agent.metric(&self.series(family, gpu, more)).await
    }

    async fn wait_for_value(&self, family: &str, gpu: usize, more: &str, value: f64) {
        let series = self.series(family, gpu, more);
        let what = format!("{series} {value}");
        until(&what, async || (self.agent.metric(&series).await? == value).then_some(())).await;
    }
}

/// Replaces what is not the same twice.
fn steady(text: &str) -> String {
    let steady = |line: &str| match line.rsplit_once(' ') {
        Some((series, _)) if VOLATILE.iter().any(|family| series.starts_with(family)) => {
            format!("{series} VOLATILE\n")
        }
        _ => format!("{line}\n"),
    };
    text.lines().map(steady).collect()
}

async fn golden(name: &str) {
    let machine = Machine::start(name, "").await;
    let text = machine.text().await;
    exposition::check(&text);
    let path = data(&format!("scrapes/{name}.prom"));
    let text = steady(&text);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &text).unwrap();
    }
    let golden = fs::read_to_string(&path).unwrap_or_default();
    let missing: Vec<&str> = golden.lines().filter(|line| text.lines().all(|other| other != *line)).collect();
    let new: Vec<&str> = text.lines().filter(|line| golden.lines().all(|other| other != *line)).collect();
    assert!(
        text == golden,
        "the scrape is not the one in {}.\nMissing now:\n{}\nNew:\n{}\nIf this is meant, run\n    \
         UPDATE_GOLDEN=1 cargo test -p pictor-agent golden\nand read the difference before you commit it.",
        path.display(),
        missing.join("\n"),
        new.join("\n"),
    );
}

#[tokio::test]
async fn golden_geforce() {
    golden("geforce").await;
}

#[tokio::test]
async fn golden_server_8() {
    golden("server-8").await;
}

#[tokio::test]
async fn golden_mig() {
    golden("mig").await;
}

#[tokio::test]
async fn golden_old_driver() {
    golden("old-driver").await;
}

/// A library without a driver is as good as none.
#[tokio::test]
async fn without_a_driver_there_are_no_gpu_series() {
    let folder = tempfile::tempdir().unwrap();
    let fake = Fake::install(folder.path(), "errors = { nvmlInit_v2 = \"DRIVER_NOT_LOADED\" }");
    for library in [fake.library, folder.path().join("nowhere.so")] {
        let config =
            format!("{}[metrics]\nnvml_library = \"{}\"\n", config_text(&nobody()), library.display());
        let agent = Agent::start(folder.path(), &config).await;
        let failed = "pictor_collector_success{collector=\"nvml\"}";
        until("a try", async || agent.metric(failed).await.filter(|success| *success == 0.0)).await;
        for path in ["/metrics", "/metrics/nvml"] {
            let text = agent.get(path).await;
            assert!(!text.contains("pictor_gpu"), "{path} of {}:\n{text}", library.display());
        }
    }
}

#[tokio::test]
async fn one_that_hangs_keeps_nobody_waiting() {
    let mut machine = Machine::start("server-8", "").await;
    machine.fake.set(3, "state", "hung");
    machine.wait_for_value("pictor_gpu_up", 3, "", 0.0).await;
    assert_eq!(machine.value("pictor_gpu_utilization_ratio", 3, "").await, None, "it is not known any more");

    for (utilization, gpu) in [(12, 0), (13, 2), (14, 4), (15, 7)] {
        machine.fake.set(gpu, "utilization_percent.gpu", utilization);
        let ratio = f64::from(utilization) / 100.0;
        machine.wait_for_value("pictor_gpu_utilization_ratio", gpu, "", ratio).await;
    }
    let client = client();
    let mut slowest = 0.0_f64;
    for _ in 0..100 {
        let before = Instant::now();
        let response = client.get(machine.agent.url("/metrics")).send().await.unwrap();
        assert!(response.bytes().await.unwrap().len() > 10_000);
        slowest = slowest.max(before.elapsed().as_secs_f64());
    }
    println!("slowest of 100 scrapes while a GPU hangs: {:.1} ms", slowest * 1e3);
    assert_eq!(machine.agent.metric("pictor_collector_success{collector=\"nvml\"}").await, Some(1.0));

    machine.fake.set(3, "state", "up");
    machine.wait_for_value("pictor_gpu_up", 3, "", 1.0).await;
    machine.wait_for_value("pictor_gpu_utilization_ratio", 3, "", 0.88).await;
}

/// Another source of the same count must not look like a reset.
#[tokio::test]
async fn counters_do_not_jump_when_their_source_fails_for_a_while() {
    let mut machine = Machine::start("server-8", "pcie_throughput = true\n").await;
    let (bytes, throttled) = ("pictor_gpu_pcie_bytes_total", "pictor_gpu_throttle_seconds_total");
    let (rx, cap) = ("direction=\"rx\"", "reason=\"sw_power_cap\"");
    let before = (machine.value(bytes, 0, rx).await, machine.value(throttled, 0, cap).await);
    assert!(before.0.is_some() && before.1.is_some(), "{before:?}");
    machine.fake.set(0, "errors.nvmlDeviceGetFieldValues", "UNKNOWN");
    until("the counters to be gone", async || {
        let gone = (machine.value(bytes, 0, rx).await, machine.value(throttled, 0, cap).await);
        (gone == (None, None)).then_some(())
    })
    .await;
    machine.fake.set(0, "errors", toml::Table::new());
    until("the counters to be back", async || {
        let after = (machine.value(bytes, 0, rx).await, machine.value(throttled, 0, cap).await);
        after.0.is_some().then(|| assert_eq!(after, before))
    })
    .await;
}

/// What a lost GPU does not tell says nothing about what it counts.
#[tokio::test]
async fn a_gpu_that_is_lost_at_the_start_has_its_own_counters_later() {
    let mut machine = Machine::start("server-8", "pcie_throughput = true\n").await;
    let (bytes, throttled) = ("pictor_gpu_pcie_bytes_total", "pictor_gpu_throttle_seconds_total");
    let (rx, thermal) = ("direction=\"rx\"", "reason=\"sw_thermal\"");
    let before = (machine.value(bytes, 0, rx).await, machine.value(throttled, 0, thermal).await);
    assert!(before.0.is_some() && before.1.is_some(), "{before:?}");
    // The library goes on telling the ids of a lost GPU.
    for call in ["nvmlDeviceGetFieldValues", "nvmlDeviceGetPowerUsage"] {
        machine.fake.set(0, &format!("errors.{call}"), "GPU_IS_LOST");
    }
    machine.restart().await;
    machine.wait_for_value("pictor_gpu_up", 0, "", 0.0).await;
    machine.fake.set(0, "errors", toml::Table::new());
    machine.wait_for_value("pictor_gpu_up", 0, "", 1.0).await;
    let after = (machine.value(bytes, 0, rx).await, machine.value(throttled, 0, thermal).await);
    assert_eq!(after, before);
}

/// Its owner accepts that the GPUs are gone, and the driver with them.
#[tokio::test]
async fn gpus_are_forgotten_also_while_the_driver_fails() {
    let mut machine = Machine::start("geforce", "").await;
    assert_eq!(machine.agent.metric("pictor_gpus_expected").await, Some(1.0));
    machine.fake.change(|script| {
        let errors = toml::Table::from_iter([("nvmlDeviceGetCount_v2".to_owned(), "UNKNOWN".into())]);
        drop(script.insert("errors".to_owned(), errors.into()));
    });
    machine.wait_for_value("pictor_gpu_up", 0, "", 0.0).await;
    fs::remove_file(machine.folder.path().join("data/gpus.json")).unwrap();
    until("the GPU to be forgotten", async || {
        machine.agent.metric("pictor_gpus_expected").await.is_none().then_some(())
    })
    .await;
}

/// Not just a GPU whose every call hangs: one call is enough.
#[tokio::test]
async fn one_call_that_hangs_keeps_nobody_waiting() {
    let mut machine = Machine::start("server-8", "").await;
    machine.fake.set(5, "errors.nvmlDeviceGetPowerUsage", "HANG");
    machine.wait_for_value("pictor_gpu_up", 5, "", 0.0).await;
    machine.fake.set(6, "utilization_percent.gpu", 77);
    machine.wait_for_value("pictor_gpu_utilization_ratio", 6, "", 0.77).await;
}

#[tokio::test]
async fn a_lost_gpu_is_missed_also_after_a_restart() {
    let mut machine = Machine::start("server-8", "").await;
    assert_eq!(machine.agent.metric("pictor_gpus_visible").await, Some(8.0));
    machine.fake.set(2, "state", "lost");
    for restarted in [false, true] {
        if restarted {
            machine.restart().await;
        }
        machine.wait_for_value("pictor_gpu_up", 2, "", 0.0).await;
        assert_eq!(machine.agent.metric("pictor_gpus_expected").await, Some(8.0));
        assert_eq!(machine.agent.metric("pictor_gpus_visible").await, Some(7.0));
        let text = machine.text().await;
        let uuid = machine.fake.uuid(2);
        let left: Vec<&str> = text.lines().filter(|line| line.contains(&uuid)).collect();
        assert_eq!(left, [format!("{} 0", machine.series("pictor_gpu_up", 2, ""))], "restarted: {restarted}");
        for gpu in [0, 1, 3, 7] {
            assert_eq!(machine.value("pictor_gpu_up", gpu, "").await, Some(1.0));
            assert!(machine.value("pictor_gpu_temperature_celsius", gpu, "sensor=\"gpu\"").await.is_some());
        }
        exposition::check(&text);
    }
    machine.fake.set(2, "state", "up");
    machine.wait_for_value("pictor_gpu_up", 2, "", 1.0).await;
    assert_eq!(machine.agent.metric("pictor_gpus_visible").await, Some(8.0));
}

/// The driver may forget a GPU altogether, and number those behind it anew.
#[tokio::test]
async fn a_gpu_that_is_no_longer_counted_is_missed() {
    let mut machine = Machine::start("server-8", "").await;
    let (gone, next) = (machine.fake.uuid(1), machine.fake.uuid(2));
    machine.fake.change(|script| {
        script["gpu"].as_array_mut().unwrap().remove(1);
    });
    let up = format!("pictor_gpu_up{{uuid=\"{gone}\",gpu=\"1\"}}");
    until("its absence", async || machine.agent.metric(&up).await.filter(|up| *up == 0.0)).await;
    assert_eq!(machine.agent.metric("pictor_gpus_expected").await, Some(8.0));
    assert_eq!(machine.agent.metric("pictor_gpus_visible").await, Some(7.0));
    let text = machine.text().await;
    assert_eq!(text.lines().filter(|line| line.contains(&gone)).count(), 1, "{text}");
    assert!(text.contains(&format!("pictor_gpu_utilization_ratio{{uuid=\"{next}\",gpu=\"1\"}} ")), "{text}");
    exposition::check(&text);
}

#[tokio::test]
async fn counters_go_on_when_the_gpu_is_reset() {
    const COUNTERS: [(&str, &str); 5] = [
        ("pictor_gpu_energy_joules_total", ""),
        ("pictor_gpu_ecc_errors_total", "severity=\"corrected\",scope=\"volatile\""),
        ("pictor_gpu_throttle_seconds_total", "reason=\"sw_power_cap\""),
        ("pictor_gpu_throttle_seconds_total", "reason=\"thermal\""),
        ("pictor_gpu_pcie_replays_total", ""),
    ];
    let mut machine = Machine::start("server-8", "").await;
    machine.fake.set(3, "pcie.replays", 6);
    machine.wait_for_value("pictor_gpu_pcie_replays_total", 3, "", 6.0).await;
    let read = async |machine: &Machine| -> Vec<f64> {
        let mut values = Vec::new();
        for (family, more) in COUNTERS {
            values.push(machine.value(family, 3, more).await.unwrap());
        }
        values
    };
    let mut last = read(&machine).await;
    let before = last.clone();
    machine.fake.change(|script| {
        let gpu = &mut script["gpu"][3];
        let mut put = |table: &str, key: &str, value: i64| {
            gpu[table].as_table_mut().unwrap().insert(key.to_owned(), value.into());
        };
        put("ecc_errors", "volatile_corrected", 2);
        put("pcie", "replays", 1);
        put("fields", "74", 1_000_000_000);
        put("fields", "75", 200_000_000);
        gpu.as_table_mut().unwrap().insert("energy_millijoules".to_owned(), 7_000.into());
    });
    let added = [7.0, 2.0, 1.0, 0.2, 1.0];
    let expected: Vec<f64> = before.iter().zip(added).map(|(before, added)| before + added).collect();
    until("the counts after the reset", async || {
        let now = read(&machine).await;
        for ((now, last), (family, more)) in now.iter().zip(&last).zip(COUNTERS) {
            assert!(now >= last, "{family} {more} went back from {last} to {now}");
        }
        last.clone_from(&now);
        let arrived = now.iter().zip(&expected).all(|(now, expected)| (now - expected).abs() < 1e-3);
        arrived.then_some(())
    })
    .await;
}

#[tokio::test]
async fn xid_errors_are_counted_by_number() {
    let mut machine = Machine::start("server-8", "").await;
    let text = machine.text().await;
    assert!(!text.contains("xid"), "none has happened:\n{text}");
    // Those before the agent listens are not told; it listens once it has measured.
    let (errors, last) = ("pictor_gpu_xid_errors_total", "pictor_gpu_xid_last_timestamp_seconds");
    let started =
        machine.agent.metric("pictor_collector_last_success_timestamp_seconds{collector=\"nvml\"}").await;
    machine.fake.set(4, "xids", vec![31]);
    machine.wait_for_value(errors, 4, "xid=\"31\"", 1.0).await;
    let first = machine.value(last, 4, "xid=\"31\"").await.unwrap();
    assert!(first >= started.unwrap(), "{first}");
    machine.fake.set(4, "xids", vec![31, 31, 79]);
    machine.wait_for_value(errors, 4, "xid=\"31\"", 2.0).await;
    machine.wait_for_value(errors, 4, "xid=\"79\"", 1.0).await;
    assert!(machine.value(last, 4, "xid=\"31\"").await.unwrap() > first);
    // The one that says "fallen off the bus" is shown though the GPU is not.
    machine.fake.set(4, "state", "lost");
    machine.wait_for_value("pictor_gpu_up", 4, "", 0.0).await;
    assert_eq!(machine.value(errors, 4, "xid=\"79\"").await, Some(1.0));
    let text = machine.text().await;
    assert_eq!(text.matches("pictor_gpu_xid_errors_total{").count(), 2, "{text}");
    exposition::check(&text);
}

#[tokio::test]
async fn what_stands_for_unknown_is_absent() {
    /// What drivers say instead of an error.
    const NOT_AVAILABLE: i64 = 9_223_372_036_854_775_794;
    const ALL_BITS: i64 = -1;
    let mut machine = Machine::start("server-8", "").await;
    machine.fake.set(0, "compute_processes", toml::Value::Array(Vec::new()));
    for (key, value) in [
        ("temperature_celsius", ALL_BITS),
        ("power_milliwatts", ALL_BITS),
        ("power_limit_milliwatts", 0x7fff_ffff),
        ("energy_millijoules", NOT_AVAILABLE),
        ("performance_state", 32),
        ("utilization_percent.gpu", ALL_BITS),
        ("utilization_percent.encoder", 101),
        ("memory_bytes.used", ALL_BITS),
        ("pcie.generation", ALL_BITS),
        ("pcie.width", ALL_BITS),
        ("pcie.replays", ALL_BITS),
        ("ecc_errors.volatile_corrected", NOT_AVAILABLE),
        ("ecc_errors.aggregate_corrected", ALL_BITS),
        ("temperature_threshold_celsius.memory_max", 0),
        ("clocks_megahertz.video", ALL_BITS),
        ("fields.74", ALL_BITS),
        ("fields.82", 0),
        ("fields.186", ALL_BITS),
        ("fields.230", ALL_BITS),
    ] {
        machine.fake.set(0, key, value);
    }
    // The threshold is read seldom; so is what is read with it.
    let threshold = machine.series("pictor_gpu_temperature_threshold_celsius", 0, "threshold=\"memory_max\"");
    until("the change", async || machine.agent.metric(&threshold).await.is_none().then_some(())).await;
    machine.measured_again().await;
    let text = machine.text().await;
    exposition::check(&text);
    for (family, more) in [
        ("pictor_gpu_temperature_celsius", "sensor=\"gpu\""),
        ("pictor_gpu_temperature_celsius", "sensor=\"memory\""),
        ("pictor_gpu_power_watts", "type=\"average\""),
        ("pictor_gpu_power_watts", "type=\"instant\""),
        ("pictor_gpu_power_watts", "type=\"limit\""),
        ("pictor_gpu_energy_joules_total", ""),
        ("pictor_gpu_performance_state", ""),
        ("pictor_gpu_utilization_ratio", ""),
        ("pictor_gpu_encoder_utilization_ratio", ""),
        ("pictor_gpu_memory_used_bytes", ""),
        ("pictor_gpu_pcie_link_generation", ""),
        ("pictor_gpu_pcie_link_width", ""),
        ("pictor_gpu_pcie_replays_total", ""),
        ("pictor_gpu_ecc_errors_total", "severity=\"corrected\",scope=\"volatile\""),
        ("pictor_gpu_ecc_errors_total", "severity=\"corrected\",scope=\"aggregate\""),
        ("pictor_gpu_clock_hertz", "clock=\"video\""),
        ("pictor_gpu_throttle_seconds_total", "reason=\"sw_power_cap\""),
        ("pictor_gpu_recovery_action", ""),
    ] {
        let absent = machine.series(family, 0, more);
        assert!(!text.contains(&format!("{absent} ")), "{absent} is in\n{text}");
        let other = machine.series(family, 1, more);
        assert!(text.contains(&format!("{other} ")), "{other} is not in\n{text}");
    }
    assert_eq!(machine.value("pictor_gpu_processes", 0, "").await, Some(0.0), "none is known to be none");
}

/// One answer that fails takes no other with it.
#[tokio::test]
async fn an_error_hides_just_what_it_is_about() {
    let mut machine = Machine::start("geforce", "").await;
    let before = machine.text().await;
    machine.fake.set(0, "errors.nvmlDeviceGetPowerUsage", "UNKNOWN");
    machine.fake.set(0, "errors.nvmlDeviceGetPerformanceState", "NOT_SUPPORTED");
    let power = machine.series("pictor_gpu_power_watts", 0, "type=\"average\"");
    let state = machine.series("pictor_gpu_performance_state", 0, "");
    until("their absence", async || {
        let text = machine.text().await;
        (!text.contains(&power) && !text.contains(&state)).then_some(())
    })
    .await;
    let after = machine.text().await;
    let gone: Vec<&str> = before
        .lines()
        .filter(|line| !line.starts_with('#') && !line.starts_with("pictor_collector"))
        .filter(|line| after.lines().all(|other| other != *line))
        .collect();
    assert_eq!(gone, [format!("{state} 2"), format!("{power} 187.42")]);
}

/// Where the fields with these times are missing and others are there.
#[tokio::test]
async fn throttle_times_come_by_the_older_call_too() {
    let mut machine = Machine::start("geforce", "").await;
    let times = "pictor_gpu_throttle_seconds_total";
    assert_eq!(machine.value(times, 0, "reason=\"thermal\"").await, None, "the fields have no such time");
    machine.fake.change(|script| {
        let fields = script["gpu"][0]["fields"].as_table_mut().unwrap();
        fields.retain(|id, _| id == "186" || id == "230");
    });
    // Where a GPU's counts come from is decided at its first reading.
    machine.restart().await;
    machine.wait_for_value(times, 0, "reason=\"thermal\"", 0.0).await;
    assert_eq!(machine.value(times, 0, "reason=\"sw_power_cap\"").await, Some(1.234_567_89));
    assert_eq!(machine.value(times, 0, "reason=\"sw_thermal\"").await, None);
    assert_eq!(machine.value("pictor_gpu_power_watts", 0, "type=\"instant\"").await, Some(191.3));
}

#[tokio::test]
async fn programs_and_traffic_are_shown_when_asked_for() {
    let mut machine = Machine::start("geforce", "gpu_processes = true\npcie_throughput = true\n").await;
    for (pid, name, bytes) in [(4242, "blender", 4_294_967_296.0), (1180, "Xorg", 268_435_456.0)] {
        let program = format!("pid=\"{pid}\",name=\"{name}\"");
        assert_eq!(machine.value("pictor_gpu_process_memory_bytes", 0, &program).await, Some(bytes));
    }
    // A GPU without counters has rates, which add up.
    for direction in ["rx", "tx"] {
        let series = machine.series("pictor_gpu_pcie_bytes_total", 0, &format!("direction=\"{direction}\""));
        let first = until(&series, async || machine.agent.metric(&series).await).await;
        until("more traffic", async || machine.agent.metric(&series).await.filter(|now| *now > first)).await;
    }
    exposition::check(&machine.text().await);
    machine.fake.set(0, "compute_processes", toml::Value::Array(Vec::new()));
    machine.wait_for_value("pictor_gpu_processes", 0, "", 0.0).await;
    let text = machine.text().await;
    assert!(!text.contains("pid=\"4242\""), "it has ended:\n{text}");

    let server = Machine::start("server-8", "pcie_throughput = true\n").await;
    let received = server.value("pictor_gpu_pcie_bytes_total", 0, "direction=\"rx\"").await;
    assert_eq!(received, Some(17_592_186_044_416.0), "the GPU's own counter");
}

#[tokio::test]
async fn dcgm_names_stand_beside_ours() {
    let machine = Machine::start("geforce", "dcgm_names = true\n").await;
    let text = machine.text().await;
    exposition::check(&text);
    let uuid = machine.fake.uuid(0);
    for (family, value) in [
        ("DCGM_FI_DEV_GPU_UTIL", "97"),
        ("DCGM_FI_DEV_GPU_TEMP", "64"),
        ("DCGM_FI_DEV_POWER_USAGE", "187.42"),
        ("DCGM_FI_DEV_SM_CLOCK", "2745"),
        ("DCGM_FI_DEV_MEM_CLOCK", "10251"),
        ("DCGM_FI_DEV_FB_USED", "4608"),
        ("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", "98765432100"),
    ] {
        let start = format!("{family}{{gpu=\"0\",UUID=\"{uuid}\",");
        let series = text.lines().find(|line| line.starts_with(&start));
        let series = series.unwrap_or_else(|| panic!("{family} is not in\n{text}"));
        assert!(series.ends_with(&format!("}} {value}")), "{series}");
        assert!(series.contains(",modelName=\"NVIDIA GeForce RTX 4070\","), "{series}");
    }
    assert!(!text.contains("DCGM_FI_DEV_MEMORY_TEMP") && text.contains("pictor_gpu_utilization_ratio"));
    let without = Machine::start("geforce", "").await;
    assert!(!without.text().await.contains("DCGM"));
}
