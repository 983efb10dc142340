//! An exporter without an agent: machine and GPUs, with a library in NVML's place.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{fs, path::PathBuf, time::Duration};

use fake_nvml::install::Fake;
use pictor_measure::{Sampler, Settings, exposition::Collector, host::Host, nvml::Nvml};
use tokio::{
    sync::watch,
    time::{Instant, interval},
};

const PATIENCE: Duration = Duration::from_secs(120);
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

fn collectors(folder: &tempfile::TempDir, nvml_library: PathBuf) -> Vec<Box<dyn Collector>> {
    let settings = Settings { nvml_library: Some(nvml_library), ..Settings::default() };
    let (gpus, host) = (watch::Sender::new(None), watch::Sender::new(None));
    let nvml = Nvml::new(&settings, folder.path(), "machine", || false, gpus).unwrap();
    let host = Host::new(&settings, host, "0", "machine".to_owned(), "an OS".to_owned()).unwrap();
    vec![Box::new(nvml), Box::new(host)]
}

/// The exposition, once a line of it begins so.
async fn text_with(sampler: &Sampler, beginning: &str) -> String {
    let (deadline, mut look) = (Instant::now() + PATIENCE, interval(LOOK_INTERVAL));
    loop {
        look.tick().await;
        let text = String::from_utf8(sampler.exposition(None, false).unwrap().to_vec()).unwrap();
        if text.lines().any(|line| line.starts_with(beginning)) {
            return text;
        }
        assert!(Instant::now() < deadline, "no {beginning} in\n{text}");
    }
}

#[tokio::test]
async fn gpus_and_machine_are_exported() {
    let folder = tempfile::tempdir().unwrap();
    let profile = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/nvml/geforce.toml");
    let fake = Fake::install(folder.path(), &fs::read_to_string(profile).unwrap());
    let (sampler, _threads) = Sampler::start(collectors(&folder, fake.library)).unwrap();
    let text = text_with(&sampler, "pictor_gpu_utilization_ratio{").await;
    assert!(text.contains("} 0.97"), "{text}");
    text_with(&sampler, "pictor_memory_total_bytes ").await;
    let text = text_with(&sampler, "pictor_collector_success{collector=\"nvml\"} 1").await;
    assert!(text.contains("# HELP pictor_gpu_utilization_ratio Time in which a kernel ran.\n"), "{text}");
}

#[tokio::test]
async fn without_a_driver_nothing_is_invented() {
    let folder = tempfile::tempdir().unwrap();
    let (sampler, _threads) = Sampler::start(collectors(&folder, "/nowhere/libnvidia-ml.so".into())).unwrap();
    let text = text_with(&sampler, "pictor_collector_success{collector=\"nvml\"} 0").await;
    assert!(!text.contains("pictor_gpu"), "{text}");
    text_with(&sampler, "pictor_memory_total_bytes ").await;
}
