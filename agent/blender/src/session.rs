//! One Blender process with one scene, that renders any frame asked for until it is stopped.
//!
//! A task of its own owns the process, so that it is read, watched and killed whether or not anybody waits for a frame.

use std::{
    io::{self, Write},
    path::Path,
    process::ExitStatus,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use pictor_ground::process::signal_of;
use tokio::{
    io::AsyncWriteExt,
    process::{ChildStderr, ChildStdout},
    sync::mpsc,
    task::JoinHandle,
};

use super::{
    channel::{Line, Lines, without_controls},
    command::{self, DRIVER, Device, DriverEvent, RefusalKind, RenderCommand, TEST_SCENE, frame_name},
    detect::Installed,
    process::Process,
    progress::{self, FrameProgress},
    sandbox::{Confinement, Handover, Sandbox, View},
    watch::{Breach, Limits, Watch},
};

/// How long Blender may take to end by itself, and its pipes to close once it is dead.
const STOP_GRACE: Duration = Duration::from_millis(1500);
const WATCH_INTERVAL: Duration = Duration::from_millis(500);
/// More log than this is dropped: a scene can print for hours.
const LOG_BYTES_MAX: usize = 1 << 20;
/// Unread answers of one frame; more than this is no driver of ours.
const REPLIES_MAX: usize = 16;
/// `SIGXFSZ`, which ends a process at its file size limit.
const FILE_SIZE_SIGNAL: i32 = 25;

/// What to start.
#[derive(Debug)]
pub struct Launch<'a> {
    pub blender: &'a Installed,
    pub sandbox: &'a Sandbox,
    /// None: the one of a test render.
    pub scene: Option<&'a Path>,
    /// An empty folder of this attempt alone.
    pub output: &'a Path,
    pub device: Device,
    /// From 0.
    pub slot: u32,
    pub limits: Limits,
}

/// What happens meanwhile. These may be dropped when nobody reads them.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    Progress {
        frame: i32,
        /// Of this frame; never falls.
        ratio: f64,
        /// Of this frame, as Blender estimates it.
        remaining_seconds: Option<f64>,
    },
    /// A line Blender printed, without control characters.
    Log(String),
    /// Likewise, of the many that say how far a frame is: worth watching, not worth keeping.
    Statistics(String),
}

/// What the driver found. Except for the seconds it is what the process inside says.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// From the start of the process until the scene was ready.
    pub seconds: f64,
    pub version: String,
    pub engine: String,
    /// What Cycles renders on; `None` for other engines.
    pub device: Option<String>,
    /// Features this Blender was built without.
    pub lacks: Vec<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum BlenderError {
    #[error("Blender could not be started: {0}")]
    Start(#[source] io::Error),
    #[error("the sandbox could not be set up: {0}")]
    Sandbox(String),
    #[error("Blender could not open the scene: {0}")]
    Scene(String),
    #[error("the scene has no camera")]
    NoCamera,
    #[error("the scene asks for OpenImageDenoise, which this Blender was built without")]
    NoDenoiser,
    #[error("{0}")]
    NoGpu(String),
    #[error("Blender could not render: {0}")]
    Render(String),
    #[error("Blender ended ({status}): {reason}")]
    Ended { status: ExitStatus, reason: String },
    #[error(transparent)]
    Limit(#[from] Breach),
    #[error("Blender was stopped")]
    Stopped,
    #[error("what Blender sent makes no sense: {0}")]
    Nonsense(String),
}

/// A running Blender. Dropping it kills Blender and everything it started.
///
/// Start it on a thread that lives as long (a worker of the runtime, not `spawn_blocking`): with the thread that
/// started it, bubblewrap dies.
#[derive(Debug)]
pub struct Session {
    /// `None` once it is to stop.
    commands: Option<mpsc::Sender<RenderCommand>>,
    replies: mpsc::Receiver<Result<DriverEvent, BlenderError>>,
    supervisor: JoinHandle<()>,
    view: View,
    peak: Arc<AtomicU64>,
    loaded: Loaded,
}

impl Session {
    /// Starts Blender and waits until it has loaded the scene. Dropping the future kills Blender.
    pub async fn start(launch: Launch<'_>, events: mpsc::Sender<Event>) -> Result<Session, BlenderError> {
        let started = Instant::now();
        // Needed until it is read: the mount keeps it alive, and nothing is left when the host dies later.
        let mut driver = tempfile::NamedTempFile::new().map_err(BlenderError::Start)?;
        let script =
            if launch.scene.is_some() { DRIVER.to_owned() } else { format!("{TEST_SCENE}\n{DRIVER}") };
        driver.write_all(script.as_bytes()).map_err(BlenderError::Start)?;
        let confinement = Confinement {
            blender: &launch.blender.path,
            // Something has to lie there; without a scene it is not opened.
            scene: launch.scene.unwrap_or(driver.path()),
            driver: driver.path(),
            output: launch.output,
            device: &launch.device,
            slot: launch.slot,
            limits: &launch.limits,
        };
        let handover = launch.sandbox.hand_over(&confinement).map_err(BlenderError::Start)?;
        let view = launch.sandbox.view(&confinement);
        let scene = launch.scene.is_some().then_some(view.scene.as_path());
        let arguments = command::arguments(scene, &view.driver, &launch.device);
        let blender = launch.sandbox.command(&confinement, &launch.blender.path, &arguments);
        let process = Process::start(blender).map_err(BlenderError::Start)?;
        let watch = Watch::new(process.pid, launch.output.to_owned(), launch.limits.clone());
        let peak = watch.peak();
        let (commands, commands_received) = mpsc::channel(1);
        let (replies_sent, replies) = mpsc::channel(REPLIES_MAX);
        let supervisor = Supervisor {
            process,
            watch,
            file_bytes: launch.limits.file_bytes,
            commands: commands_received,
            replies: replies_sent,
            events,
            log: Log::default(),
            frame: None,
            handover: Some(handover),
        };
        let mut session = Session {
            commands: Some(commands),
            replies,
            supervisor: tokio::spawn(supervisor.run()),
            view,
            peak,
            loaded: Loaded {
                seconds: 0.0,
                version: String::new(),
                engine: String::new(),
                device: None,
                lacks: Vec::new(),
            },
        };
        match session.reply().await? {
            DriverEvent::Loaded { version, engine, device, lacks } => {
                let seconds = started.elapsed().as_secs_f64();
                session.loaded = Loaded { seconds, version, engine, device, lacks };
                Ok(session)
            }
            other => Err(BlenderError::Nonsense(format!("{other:?} before the scene was loaded"))),
        }
    }

    pub fn loaded(&self) -> &Loaded {
        &self.loaded
    }

    /// The most memory that its processes were seen to use together; none before they were measured, which
    /// they are only when there is a limit.
    pub fn peak_memory_bytes(&self) -> Option<u64> {
        Some(self.peak.load(Ordering::Relaxed)).filter(|bytes| *bytes > 0)
    }

    /// Renders one frame, of `size` (width, height) if given, else as the scene says, and returns the name of
    /// its file in the output folder. The file is a stranger's: see [`super::output::check`].
    /// After [`BlenderError::NoCamera`], `NoDenoiser` and `Render` the session still works;
    /// after this future was dropped, only `stop` makes sense.
    pub async fn render(&mut self, frame: i32, size: Option<(u32, u32)>) -> Result<String, BlenderError> {
        let name = frame_name(frame);
        let path = self.view.output.join(&name);
        let (width, height) = size.unzip();
        let command = RenderCommand { frame, path, width, height };
        if let Some(commands) = &self.commands
            && commands.send(command).await.is_ok()
        {
            match self.reply().await? {
                DriverEvent::Frame { frame: rendered } if rendered == frame => return Ok(name),
                other => {
                    return Err(BlenderError::Nonsense(format!("{other:?} while rendering frame {frame}")));
                }
            }
        }
        // It ended before; its last reply says why.
        let reply = self.reply().await;
        Err(reply.err().unwrap_or(BlenderError::Stopped))
    }

    /// Ends Blender, in the middle of a frame too, and waits until its memory is free: 5 s at most.
    pub async fn stop(mut self) {
        self.commands = None;
        self.replies.close();
        let supervisor = &mut self.supervisor;
        if tokio::time::timeout(STOP_GRACE * 3, supervisor).await.is_err() {
            tracing::warn!("Blender did not end in time");
        }
    }

    async fn reply(&mut self) -> Result<DriverEvent, BlenderError> {
        match self.replies.recv().await {
            Some(Ok(DriverEvent::Error { kind, message })) => Err(match kind {
                RefusalKind::NoCamera => BlenderError::NoCamera,
                RefusalKind::NoDenoiser => BlenderError::NoDenoiser,
                RefusalKind::NoGpu => BlenderError::NoGpu(without_controls(&message)),
                RefusalKind::Render => BlenderError::Render(without_controls(&message)),
            }),
            Some(reply) => reply,
            None => Err(BlenderError::Stopped),
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Drops the process, which kills it.
        self.supervisor.abort();
    }
}

/// What Blender printed, bounded.
#[derive(Debug, Default)]
struct Log {
    bytes: usize,
    /// Whether Blender itself said anything: until then a failure is the sandbox's.
    spoke: bool,
    last: String,
    last_error: Option<String>,
}

impl Log {
    fn add(&mut self, line: &str) {
        self.bytes = self.bytes.saturating_add(line.len());
        if line.starts_with("Blender ") && line != "Blender quit" {
            self.spoke = true;
        }
        if line.contains("Error") {
            self.last_error = Some(line.to_owned());
        }
        if !line.is_empty() && line != "Blender quit" {
            line.clone_into(&mut self.last);
        }
    }

    fn reason(&self) -> String {
        let line = self.last_error.as_ref().unwrap_or(&self.last);
        line.strip_prefix("Error: ").unwrap_or(line).to_owned()
    }
}

/// The task that owns the process.
struct Supervisor {
    process: Process,
    watch: Watch,
    file_bytes: u64,
    commands: mpsc::Receiver<RenderCommand>,
    replies: mpsc::Sender<Result<DriverEvent, BlenderError>>,
    events: mpsc::Sender<Event>,
    log: Log,
    frame: Option<(i32, FrameProgress)>,
    handover: Option<Handover>,
}

/// Why the supervisor stopped looking.
enum Ending {
    Exited(ExitStatus),
    Stopped,
    Failed(BlenderError),
}

impl Supervisor {
    async fn run(mut self) {
        let (Some(stdout), Some(stderr)) = (self.process.stdout.take(), self.process.stderr.take()) else {
            return;
        };
        let (mut stdout, mut stderr) = (Lines::new(stdout), Lines::new(stderr));
        let ending = self.serve(&mut stdout, &mut stderr).await;
        // End of input is the driver's sign to exit, should it still run.
        self.process.stdin = None;
        if tokio::time::timeout(STOP_GRACE, self.process.wait()).await.is_err() {
            self.process.kill();
            let _ = self.process.wait().await;
        }
        // Pipes close after memory is given back, so their end says that all of it is free.
        let _ = tokio::time::timeout(STOP_GRACE, self.drain(&mut stdout, &mut stderr)).await;
        let error = match ending {
            Ending::Exited(status) => self.exit_error(status),
            Ending::Failed(error) => error,
            Ending::Stopped => BlenderError::Stopped,
        };
        // Whoever waits for the end finds the folder given back.
        self.handover = None;
        let _ = self.replies.try_send(Err(error));
    }

    async fn serve(&mut self, stdout: &mut Lines<ChildStdout>, stderr: &mut Lines<ChildStderr>) -> Ending {
        let mut tick = tokio::time::interval(WATCH_INTERVAL);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (mut stdout_open, mut stderr_open) = (true, true);
        loop {
            let result = tokio::select! {
                line = stdout.next(), if stdout_open => match line {
                    Some(line) => self.line(line),
                    None => { stdout_open = false; Ok(()) }
                },
                line = stderr.next(), if stderr_open => match line {
                    // The driver's channel is the other one.
                    Some(Line::Printed(text)) => { self.printed(text); Ok(()) }
                    Some(Line::Event(_)) => Ok(()),
                    None => { stderr_open = false; Ok(()) }
                },
                command = self.commands.recv() => match command {
                    None => return Ending::Stopped,
                    Some(command) => self.send(&command).await,
                },
                status = self.process.wait() => match status {
                    Ok(status) => return Ending::Exited(status),
                    Err(error) => Err(BlenderError::Start(error)),
                },
                _ = tick.tick() => self.check_limits().await,
            };
            if let Err(error) = result {
                self.process.kill();
                return Ending::Failed(error);
            }
        }
    }

    async fn check_limits(&self) -> Result<(), BlenderError> {
        let watch = self.watch.clone();
        let measured = tokio::task::spawn_blocking(move || watch.breach()).await;
        match measured {
            Ok(None) => Ok(()),
            Ok(Some(breach)) => Err(breach.into()),
            Err(error) => Err(BlenderError::Start(io::Error::other(error))),
        }
    }

    async fn send(&mut self, command: &RenderCommand) -> Result<(), BlenderError> {
        self.frame = Some((command.frame, FrameProgress::default()));
        let mut line =
            serde_json::to_vec(command).map_err(|error| BlenderError::Nonsense(error.to_string()))?;
        line.push(b'\n');
        if let Some(stdin) = &mut self.process.stdin
            && let Err(error) = stdin.write_all(&line).await
        {
            // It has ended or is about to; its exit says more.
            tracing::debug!(%error, "Blender takes no more commands");
        }
        Ok(())
    }

    fn line(&mut self, line: Line) -> Result<(), BlenderError> {
        match line {
            Line::Printed(text) => self.printed(text),
            Line::Event(DriverEvent::Stats { text }) => self.statistics(&text),
            Line::Event(event) => {
                if matches!(event, DriverEvent::Frame { .. }) {
                    self.progress(progress::Progress { ratio: 1.0, remaining_seconds: Some(0.0) });
                    self.frame = None;
                }
                match self.replies.try_send(Ok(event)) {
                    // Nobody waits any more: it is being stopped.
                    Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => {}
                    Err(mpsc::error::TrySendError::Full(_)) => {
                        return Err(BlenderError::Nonsense("events nobody asked for".to_owned()));
                    }
                }
            }
        }
        Ok(())
    }

    fn printed(&mut self, text: String) {
        if progress::is_statistics(&text) {
            self.statistics(&text);
            let _ = self.events.try_send(Event::Statistics(text));
            return;
        }
        self.log.add(&text);
        if !text.is_empty() && self.log.bytes <= LOG_BYTES_MAX {
            let _ = self.events.try_send(Event::Log(text));
        }
    }

    fn statistics(&mut self, text: &str) {
        if let Some(progress) = progress::parse(text) {
            self.progress(progress);
        }
    }

    fn progress(&mut self, progress: progress::Progress) {
        let Some((frame, seen)) = &mut self.frame else { return };
        if let Some(progress::Progress { ratio, remaining_seconds }) = seen.advance(progress) {
            let _ = self.events.try_send(Event::Progress { frame: *frame, ratio, remaining_seconds });
        }
    }

    /// What was still in the pipes.
    async fn drain(&mut self, stdout: &mut Lines<ChildStdout>, stderr: &mut Lines<ChildStderr>) {
        while let Some(line) = stdout.next().await {
            let _ = self.line(line);
        }
        while let Some(line) = stderr.next().await {
            if let Line::Printed(text) = line {
                self.printed(text);
            }
        }
    }

    fn exit_error(&self, status: ExitStatus) -> BlenderError {
        if signal_of(status) == Some(FILE_SIZE_SIGNAL) {
            return Breach::FileSize { limit_bytes: self.file_bytes }.into();
        }
        let reason = self.log.reason();
        match () {
            () if !self.log.spoke => BlenderError::Sandbox(reason),
            () if status.code() == Some(1) && self.frame.is_none() => BlenderError::Scene(reason),
            () => BlenderError::Ended { status, reason },
        }
    }
}
