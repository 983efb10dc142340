//! Runs each collector on a thread of its own and keeps its latest measurements ready as bytes.

use std::{
    io::Write,
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    thread,
    time::{Duration, Instant},
};

use anyhow::Context;
use bytes::Bytes;
use flate2::{Compression, Crc, write::DeflateEncoder};
use pictor_family::families;
use pictor_ground::clock;
use prometheus::TextEncoder;

use super::exposition::{Collector, Families};

families! {
    pub FAMILIES:
    /// Whether the collector's last measurement worked.
    SUCCESS = gauge("pictor_collector_success", ["collector"]);
    /// How long the collector's last measurement took.
    DURATION = gauge("pictor_collector_duration_seconds", ["collector"]);
    /// When the collector last measured.
    LAST_SUCCESS = gauge("pictor_collector_last_success_timestamp_seconds", ["collector"]);
}

/// A collector that does not come back for this long, and for this many of its intervals, hangs.
const STALE_AFTER: Duration = Duration::from_secs(30);
const STALE_INTERVALS: u32 = 5;
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
    /// When its last measurement is too old to be shown: its thread hangs.
    stale_at: Option<Instant>,
}

/// Everything, ready to be served.
#[derive(Debug, Clone, Default)]
struct Whole {
    text: Bytes,
    gzip: Bytes,
    /// When the first of its parts becomes stale.
    stale_at: Option<Instant>,
}

/// The exposition.
#[derive(Debug)]
pub struct Sampler {
    /// Taken before `whole` where both are, so that no older whole replaces a newer one.
    parts: Mutex<Vec<Part>>,
    /// Apart from what it is made of: a scrape does not wait while it is made.
    whole: Mutex<Whole>,
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
            .map(|collector| Part {
                name: collector.name(),
                health: None,
                body: Arc::default(),
                stale_at: None,
            })
            .collect();
        let sampler = Arc::new(Sampler { parts: Mutex::new(parts), whole: Mutex::default() });
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
        let whole = self.fresh();
        let Some(name) = collector else {
            return Some(if gzip { whole.gzip } else { whole.text });
        };
        let parts = lock(&self.parts);
        let part = parts.iter().find(|part| part.name == name)?;
        let (body, health) = (Arc::clone(&part.body), health_families(std::slice::from_ref(part)));
        drop(parts);
        let encoded = [body, Arc::new(encode_families(&health))];
        Some(if gzip { gzip_file(&encoded) } else { plain_text(&encoded) })
    }

    /// The whole without what has become stale.
    fn fresh(&self) -> Whole {
        let now = Instant::now();
        let whole = lock(&self.whole).clone();
        if whole.stale_at.is_none_or(|stale_at| stale_at > now) {
            return whole;
        }
        let mut parts = lock(&self.parts);
        parts.iter_mut().for_each(|part| part.expire(now));
        let whole = Whole::of(&parts);
        lock(&self.whole).clone_from(&whole);
        whole
    }

    fn sample(&self, number: usize, collector: &mut dyn Collector) {
        let started = Instant::now();
        let collected = collector.collect().and_then(|families| encode_text(&families));
        let duration = started.elapsed();
        let stale_at = Instant::now() + STALE_AFTER.max(STALE_INTERVALS * collector.interval());
        let (text, failure) = match collected {
            Ok(text) => (text, None),
            Err(error) => (encode_text(&collector.after_failure()).unwrap_or_default(), Some(error)),
        };
        // Deflated while nobody waits. Only this thread gives the part a new body; one that expired meanwhile is empty.
        let shown = lock(&self.parts).get(number).map(|part| Arc::clone(&part.body));
        let body = shown.filter(|shown| shown.text == text).unwrap_or_else(|| Arc::new(encode(text)));
        let mut parts = lock(&self.parts);
        let Some(part) = parts.get_mut(number) else { return };
        let before = part.health.take();
        let succeeded_before = before.as_ref().is_none_or(|health| health.success);
        match &failure {
            Some(error) if succeeded_before => {
                tracing::info!("no measurements from {}: {error:#}", part.name);
            }
            None if !succeeded_before => tracing::info!("measurements from {} again", part.name),
            _ => {}
        }
        part.health = Some(Health {
            success: failure.is_none(),
            duration,
            last_success_seconds: match failure {
                None => Some(clock::unix_seconds()),
                Some(_) => before.and_then(|health| health.last_success_seconds),
            },
        });
        part.stale_at = part.is_well().then_some(stale_at);
        part.body = body;
        let whole = Whole::of(&parts);
        *lock(&self.whole) = whole;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is behind it is replaced whole: a panic elsewhere leaves nothing half done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Part {
    fn is_well(&self) -> bool {
        self.health.as_ref().is_some_and(|health| health.success)
    }

    /// What hangs tells nothing about now.
    fn expire(&mut self, now: Instant) {
        if self.stale_at.is_some_and(|stale_at| stale_at <= now) {
            tracing::warn!("no measurements from {}: the last one hangs", self.name);
            self.stale_at = None;
            self.body = Arc::default();
            if let Some(health) = &mut self.health {
                health.success = false;
            }
        }
    }
}

impl Whole {
    fn of(parts: &[Part]) -> Whole {
        let mut encoded: Vec<Arc<Encoded>> = parts.iter().map(|part| Arc::clone(&part.body)).collect();
        // The health of all comes last, together: one family must stand in one place.
        encoded.push(Arc::new(encode_families(&health_families(parts))));
        Whole {
            text: plain_text(&encoded),
            gzip: gzip_file(&encoded),
            stale_at: parts.iter().filter_map(|part| part.stale_at).min(),
        }
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

fn health_families(parts: &[Part]) -> Families {
    let mut families = Families::default();
    let rows = |read: fn(&Health) -> Option<f64>| -> Vec<_> {
        let known = parts.iter().filter_map(|part| Some((part.name, part.health.as_ref()?)));
        known.filter_map(|(name, health)| Some((vec![name.to_owned()], read(health)?))).collect()
    };
    families.rows(&SUCCESS, rows(|health| Some(f64::from(u8::from(health.success)))));
    families.rows(&DURATION, rows(|health| Some(health.duration.as_secs_f64())));
    families.rows(&LAST_SUCCESS, rows(|health| health.last_success_seconds));
    families
}

fn encode_families(families: &Families) -> Encoded {
    encode_text(families).map(encode).unwrap_or_default()
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
