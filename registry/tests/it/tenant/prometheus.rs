//! A real Prometheus over samples that a test gives it.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};

use pictor_processes::until;
use tempfile::TempDir;

use crate::registry::{Answer, answer};

/// The samples end here, long enough ago to be blocks; the clock's hour does not matter to queries at a given time.
pub(super) const END_SECONDS: i64 = 1_795_000_000;
const INTERVAL_SECONDS: i64 = 15;
const SAMPLES: i64 = 80;

/// One series and how its value grows, a sample at a time.
pub(super) struct Series {
    pub(super) name: &'static str,
    pub(super) labels: String,
    pub(super) first: i64,
    pub(super) step: i64,
}

pub(super) struct Prometheus {
    pub(super) url: String,
    process: Child,
    client: reqwest::Client,
    _folder: TempDir,
}

impl Prometheus {
    pub(super) async fn start(series: &[Series]) -> Prometheus {
        let folder = tempfile::tempdir().unwrap();
        let (samples, data) = (folder.path().join("samples.txt"), folder.path().join("data"));
        fs::write(&samples, openmetrics(series)).unwrap();
        let mut promtool = Command::new("promtool");
        let made = promtool.args(["tsdb", "create-blocks-from", "openmetrics"]).arg(&samples).arg(&data);
        let made = made.output().expect("promtool, which scripts/test installs");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let config = folder.path().join("prometheus.yml");
        fs::write(&config, "scrape_configs: []\n").unwrap();
        // It dies with the tests, however they end.
        let mut process = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--", "prometheus", "--web.listen-address=127.0.0.1:0"])
            .args(["--storage.tsdb.retention.time=100y", "--enable-feature=exemplar-storage"])
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", data.display()))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(process.stderr.take().unwrap());
        let url = tokio::task::spawn_blocking(move || {
            let address = listening(&mut log);
            // A pipe that nobody reads would stop it.
            std::thread::spawn(move || log.read_to_end(&mut Vec::new()));
            format!("http://{address}")
        });
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let prometheus = Prometheus { url: url.await.unwrap(), process, client, _folder: folder };
        until("Prometheus is ready", async || {
            let ready = prometheus.client.get(format!("{}/-/ready", prometheus.url)).send().await;
            ready.is_ok_and(|answer| answer.status().is_success()).then_some(())
        })
        .await;
        prometheus
    }

    /// What it says when asked directly.
    pub(super) async fn get(&self, path: &str) -> Answer {
        answer(self.client.get(format!("{}/api/v1/{path}", self.url))).await
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn listening(log: &mut impl BufRead) -> String {
    let mut line = String::new();
    while log.read_line(&mut line).unwrap() > 0 {
        if let (true, Some((_, address))) = (line.contains("Listening on"), line.split_once("address=")) {
            return address.trim().to_owned();
        }
        line.clear();
    }
    panic!("Prometheus ended before it listened");
}

fn openmetrics(series: &[Series]) -> String {
    let mut text = String::new();
    for Series { name, labels, first, step } in series {
        for sample in 0..SAMPLES {
            let at = END_SECONDS - (SAMPLES - 1 - sample) * INTERVAL_SECONDS;
            writeln!(text, "{name}{{{labels}}} {} {at}", first + sample * step).unwrap();
        }
    }
    text.push_str("# EOF\n");
    text
}
