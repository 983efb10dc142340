//! Runs each collector on a thread of its own and keeps its latest measurements ready as bytes.

use std::{
    io::Write,
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::Context;
use bytes::Bytes;
use flate2::{Compression, Crc, write::DeflateEncoder};
use pictor_protocol::Family;
use prometheus::TextEncoder;

use crate::collectors::{Collector, Families};

const SUCCESS: Family = Family::gauge(
    "pictor_collector_success",
    &["collector"],
    "Whether the collector's last measurement worked.",
);
const DURATION: Family = Family::gauge(
    "pictor_collector_duration_seconds",
    &["collector"],
    "How long the collector's last measurement took.",
);
const LAST_SUCCESS: Family = Family::gauge(
    "pictor_collector_last_success_timestamp_seconds",
    &["collector"],
    "When the collector last measured.",
);
pub const FAMILIES: [Family; 3] = [SUCCESS, DURATION, LAST_SUCCESS];

/// How often a collector that waits is asked whether its interval has changed.
const INTERVAL_LOOK: Duration = Duration::from_secs(1);

/// The beginning of a gzip file: deflate, no name, no time.
const GZIP_HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
/// An empty last block.
const DEFLATE_END: [u8; 2] = [3, 0];

/// Text of format 0.0.4, and the same deflated, to be put together into one gzip file: many readers, curl among
/// them, stop at the end of the first of several.
#[derive(Debug, Default)]
struct Encoded {
    text: String,
    /// Ends on a byte's boundary and not with a last block.
    deflated: Vec<u8>,
    crc: Crc,
}

/// How a collector fares.
#[derive(Debug, Clone, Default)]
struct Health {
    success: bool,
    duration: Duration,
    last_success_seconds: Option<f64>,
}

#[derive(Debug)]
struct Part {
    name: &'static str,
    /// `None` until its first measurement.
    health: Option<Health>,
    body: Arc<Encoded>,
}

#[derive(Debug)]
struct State {
    parts: Vec<Part>,
    /// The health of all, encoded: one family must stand in one place.
    health: Arc<Encoded>,
}

/// The exposition.
#[derive(Debug)]
pub struct Sampler {
    state: Mutex<State>,
}

/// The threads; they end soon after this is dropped.
#[derive(Debug)]
pub struct Threads(
    #[allow(dead_code, reason = "dropping them is what stops the threads")] Vec<mpsc::Sender<()>>,
);

impl Sampler {
    /// Starts measuring.
    pub fn start(collectors: Vec<Box<dyn Collector>>) -> anyhow::Result<(Arc<Sampler>, Threads)> {
        let parts = collectors
            .iter()
            .map(|collector| Part { name: collector.name(), health: None, body: Arc::default() })
            .collect();
        let state = Mutex::new(State { parts, health: Arc::default() });
        let sampler = Arc::new(Sampler { state });
        let mut stops = Vec::new();
        for (number, mut collector) in collectors.into_iter().enumerate() {
            let (stop, stopped) = mpsc::channel::<()>();
            let sampler = Arc::clone(&sampler);
            thread::Builder::new()
                .name(format!("collect-{}", collector.name()))
                .spawn(move || {
                    loop {
                        sampler.sample(number, collector.as_mut());
                        if !wait(collector.as_ref(), &stopped) {
                            return;
                        }
                    }
                })
                .context("cannot start a thread")?;
            stops.push(stop);
        }
        Ok((sampler, Threads(stops)))
    }

    /// The whole exposition, or one collector's; `None` if there is no such collector.
    pub fn exposition(&self, collector: Option<&str>, gzip: bool) -> Option<Bytes> {
        let state = self.lock();
        let mut parts: Vec<Arc<Encoded>> = Vec::new();
        match collector {
            None => {
                parts.extend(state.parts.iter().map(|part| Arc::clone(&part.body)));
                parts.push(Arc::clone(&state.health));
            }
            Some(name) => {
                let part = state.parts.iter().find(|part| part.name == name)?;
                parts.extend([Arc::clone(&part.body), Arc::new(encode_health(std::slice::from_ref(part)))]);
            }
        }
        drop(state);
        Some(if gzip { gzip_file(&parts) } else { plain_text(&parts) })
    }

    fn sample(&self, number: usize, collector: &mut dyn Collector) {
        let started = Instant::now();
        let collected = collector.collect().and_then(|families| encode_text(&families));
        let duration = started.elapsed();
        let text = match &collected {
            Ok(text) => text.clone(),
            Err(_) => encode_text(&collector.after_failure()).unwrap_or_default(),
        };
        let mut state = self.lock();
        let Some(part) = state.parts.get_mut(number) else { return };
        let before = part.health.take();
        let succeeded_before = before.as_ref().is_none_or(|health| health.success);
        match &collected {
            Err(error) if succeeded_before => tracing::info!("no measurements from {}: {error:#}", part.name),
            Ok(_) if !succeeded_before => tracing::info!("measurements from {} again", part.name),
            _ => {}
        }
        part.health = Some(Health {
            success: collected.is_ok(),
            duration,
            last_success_seconds: match collected {
                Ok(_) => Some(unix_seconds()),
                Err(_) => before.and_then(|health| health.last_success_seconds),
            },
        });
        if part.body.text != text {
            part.body = Arc::new(encode(text));
        }
        state.health = Arc::new(encode_health(&state.parts));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Parts are replaced whole: a panic elsewhere leaves nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits for the collector's interval, which may change meanwhile; false when it is to stop.
fn wait(collector: &dyn Collector, stopped: &mpsc::Receiver<()>) -> bool {
    let since = Instant::now();
    loop {
        let left = collector.interval().saturating_sub(since.elapsed());
        if left.is_zero() {
            return true;
        }
        if stopped.recv_timeout(left.min(INTERVAL_LOOK)) != Err(mpsc::RecvTimeoutError::Timeout) {
            return false;
        }
    }
}

/// The wall clock, for timestamps in metrics.
pub fn unix_seconds() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

fn encode_health(parts: &[Part]) -> Encoded {
    let mut families = Families::default();
    let rows = |read: fn(&Health) -> Option<f64>| -> Vec<_> {
        let known = parts.iter().filter_map(|part| Some((part.name, part.health.as_ref()?)));
        known.filter_map(|(name, health)| Some((vec![name.to_owned()], read(health)?))).collect()
    };
    families.rows(&SUCCESS, rows(|health| Some(f64::from(u8::from(health.success)))));
    families.rows(&DURATION, rows(|health| Some(health.duration.as_secs_f64())));
    families.rows(&LAST_SUCCESS, rows(|health| health.last_success_seconds));
    encode_text(&families).map(encode).unwrap_or_default()
}

fn encode_text(families: &Families) -> anyhow::Result<String> {
    TextEncoder::new().encode_to_string(families.as_slice()).context("measurements cannot be written as text")
}

fn encode(text: String) -> Encoded {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
    let mut crc = Crc::new();
    // Writing to memory does not fail.
    let deflated = encoder.write_all(text.as_bytes()).and_then(|()| encoder.flush());
    let deflated = deflated.map_or_else(|_| Vec::new(), |()| encoder.get_ref().clone());
    crc.update(text.as_bytes());
    Encoded { text, deflated, crc }
}

fn plain_text(parts: &[Arc<Encoded>]) -> Bytes {
    parts.iter().map(|part| part.text.as_str()).collect::<String>().into()
}

fn gzip_file(parts: &[Arc<Encoded>]) -> Bytes {
    let mut file = GZIP_HEADER.to_vec();
    let mut crc = Crc::new();
    for part in parts {
        file.extend_from_slice(&part.deflated);
        crc.combine(&part.crc);
    }
    file.extend(DEFLATE_END);
    file.extend(crc.sum().to_le_bytes());
    file.extend(crc.amount().to_le_bytes());
    file.into()
}
