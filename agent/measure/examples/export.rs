//! Exports this machine's metrics: prints them, or serves them to Prometheus.
//!
//!     cargo run -p pictor-measure --example export                     prints them once
//!     cargo run -p pictor-measure --example export 127.0.0.1:9835      serves them at /metrics

use std::{
    env,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    thread,
    time::Duration,
};

use pictor_measure::{Sampler, Settings, host::Host, nvml::Nvml};
use tokio::sync::watch;

/// After this long a collector has measured, or hangs.
const FIRST_MEASUREMENT: Duration = Duration::from_secs(3);

fn main() -> anyhow::Result<()> {
    let settings = Settings::default();
    // Which GPUs this machine has had is remembered here, so that one that falls off the bus is missed.
    let remembered = env::temp_dir().join("pictor-export");
    std::fs::create_dir_all(&remembered)?;
    let hostname = hostname::get()?.to_string_lossy().into_owned();
    let (gpus, host) = (watch::Sender::new(None), watch::Sender::new(None));
    let version = env!("CARGO_PKG_VERSION");
    let collectors = vec![
        boxed(Nvml::new(&settings, &remembered, &hostname, || false, gpus)?),
        boxed(Host::new(&settings, host, version, hostname, env::consts::OS.to_owned())?),
    ];
    let (sampler, _threads) = Sampler::start(collectors)?;
    let Some(listen) = env::args().nth(1) else {
        thread::sleep(FIRST_MEASUREMENT);
        std::io::stdout().write_all(&text(&sampler))?;
        return Ok(());
    };
    let listener = TcpListener::bind(&listen)?;
    println!(
        "serving http://{}/metrics, remembering GPUs in {}",
        listener.local_addr()?,
        remembered.display()
    );
    for caller in listener.incoming() {
        // One that hung up is no reason to end.
        if let Err(error) = caller.and_then(|caller| answer(&caller, &text(&sampler))) {
            eprintln!("{error}");
        }
    }
    Ok(())
}

fn boxed(
    collector: impl pictor_measure::exposition::Collector + 'static,
) -> Box<dyn pictor_measure::exposition::Collector> {
    Box::new(collector)
}

fn text(sampler: &Sampler) -> Vec<u8> {
    sampler.exposition(None, false).map(Vec::from).unwrap_or_default()
}

/// Whatever was asked for: there is one page.
fn answer(mut caller: &TcpStream, text: &[u8]) -> std::io::Result<()> {
    caller.set_read_timeout(Some(Duration::from_secs(5)))?;
    for line in BufReader::new(caller).lines() {
        if line?.is_empty() {
            break;
        }
    }
    write!(
        caller,
        "HTTP/1.1 200 OK\r\ncontent-type: text/plain; version=0.0.4; charset=utf-8\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n",
        text.len()
    )?;
    caller.write_all(text)
}
