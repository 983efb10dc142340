//! A test render: one frame of a scene of our own, rendered as a task would be, in the same sandbox.

mod wanted;

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::Context;
use pictor_blender::{Device, Launch, Limits, Session, output};
use pictor_ground::durable;
use serde::Serialize;
use tokio::{sync::mpsc, time::timeout};

use crate::probe::Tools;

pub use wanted::{Bench, TestRenders};

const RENDER_TIMEOUT: Duration = Duration::from_secs(5 * 60);
const FRAME: i32 = 1;
const SIZE: (u32, u32) = (640, 360);
/// More than any machine has: what is used is measured only where there is a limit.
const NO_LIMIT: u64 = u64::MAX;
/// Nobody reads them; more are dropped.
const EVENTS_MAX: usize = 16;

/// What a test render came to.
#[derive(Debug, Clone, Serialize)]
pub struct Figures {
    pub blender: String,
    /// What Cycles rendered on, as it says itself.
    pub device: Option<String>,
    /// From the start of Blender until the scene was ready.
    pub load_seconds: f64,
    /// Of the frame.
    pub render_seconds: f64,
    /// Of all its processes, sampled while it ran; null when it ended before it was measured.
    pub peak_memory_bytes: Option<u64>,
}

/// As [`render`], for those who show the reason of a failure, and within some minutes.
pub async fn render_in_time(
    tools: &Tools,
    device: Device,
    slot: u32,
    limits: &Limits,
    folder: &Path,
) -> Result<(Figures, Vec<u8>), String> {
    match timeout(RENDER_TIMEOUT, render(tools, device, slot, limits, folder)).await {
        Ok(rendered) => rendered.map_err(|error| format!("{error:#}")),
        Err(_) => Err(format!("it was not rendered in {} minutes", RENDER_TIMEOUT.as_secs() / 60)),
    }
}

/// Renders the test scene on one slot. `folder` holds what Blender writes meanwhile; the frame comes back as PNG.
pub async fn render(
    tools: &Tools,
    device: Device,
    slot: u32,
    limits: &Limits,
    folder: &Path,
) -> anyhow::Result<(Figures, Vec<u8>)> {
    durable::make_folder(folder)?;
    let scratch = tempfile::tempdir_in(folder)?;
    let output = scratch.path().join("output");
    fs::create_dir(&output)?;
    let limits = Limits { memory_bytes: limits.memory_bytes.or(Some(NO_LIMIT)), ..limits.clone() };
    let bytes_max = limits.file_bytes;
    let launch = Launch {
        blender: &tools.blender,
        sandbox: &tools.sandbox,
        scene: None,
        output: &output,
        device,
        slot,
        limits,
    };
    let (events, _) = mpsc::channel(EVENTS_MAX);
    let mut session = Session::start(launch, events).await?;
    let started = Instant::now();
    let rendered = session.render(FRAME, Some(SIZE)).await;
    let (render_seconds, peak_memory_bytes) = (started.elapsed().as_secs_f64(), session.peak_memory_bytes());
    let loaded = session.loaded().clone();
    session.stop().await;
    let name = rendered?;
    let checked = tokio::task::spawn_blocking(move || output::check(&output, &name, Some(SIZE), bytes_max));
    let frame = checked.await.context("the frame could not be looked at")??;
    let figures = Figures {
        blender: loaded.version,
        device: loaded.device,
        load_seconds: loaded.seconds,
        render_seconds,
        peak_memory_bytes,
    };
    Ok((figures, frame.bytes))
}
