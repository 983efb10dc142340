//! `pictor-registry job`: submits scenes to a registry and fetches what was rendered.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use pictor_protocol::{FrameRange, Job, JobId, JobSettings, JobStatus, Micros, Problem};
use reqwest::multipart::{Form, Part};
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use tokio::io::AsyncWriteExt;
use tokio_util::io::ReaderStream;
use url::Url;

use crate::clock::Clock;

const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// How long a registry may be away while its job is waited for.
const AWAY_MAX: Duration = Duration::from_secs(120);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const POLL_TIMEOUT: Duration = Duration::from_secs(30);

/// The commands about jobs.
#[derive(Debug, Subcommand)]
pub enum JobCommand {
    /// Submit a scene for rendering
    Submit(SubmitArgs),
    /// Fetch the rendered frames of a job
    Fetch(FetchArgs),
}

/// Which registry, and as whom.
#[derive(Debug, Args)]
struct RegistryArgs {
    /// The registry's address
    #[arg(long, env = "PICTOR_REGISTRY", value_name = "URL")]
    registry: Url,

    /// An access token of scope full
    #[arg(long, env = "PICTOR_TOKEN", hide_env_values = true)]
    token: String,
}

#[derive(Debug, Args)]
pub struct SubmitArgs {
    /// The scene
    #[arg(value_name = "FILE.blend")]
    file: PathBuf,

    /// The frames to render, such as 1-10, or 7 for one frame
    #[arg(long, allow_hyphen_values = true)]
    frames: FrameRange,

    /// How many frames one task renders
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    frames_per_task: u32,

    /// What the job pays for one frame, in the network's currency
    #[arg(long, default_value = "0.05", value_parser = cost, allow_hyphen_values = true)]
    cost: Micros,

    /// What to call the job [default: the file's name]
    #[arg(long)]
    name: Option<String>,

    /// Wait until the job has ended; exit code 1 unless it completed
    #[arg(long)]
    wait: bool,

    /// Print the job as JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    registry: RegistryArgs,
}

#[derive(Debug, Args)]
pub struct FetchArgs {
    /// The job, as submit printed it
    job_id: JobId,

    /// The folder for the frames, made when it is missing
    #[arg(long, value_name = "DIR")]
    output: PathBuf,

    #[command(flatten)]
    registry: RegistryArgs,
}

fn cost(text: &str) -> Result<Micros, String> {
    match text.parse::<Micros>() {
        Ok(cost) if cost < Micros::ZERO => Err("a cost cannot be negative".to_owned()),
        Ok(cost) => Ok(cost),
        Err(error) => Err(error.to_string()),
    }
}

pub async fn run(command: JobCommand) -> anyhow::Result<()> {
    match command {
        JobCommand::Submit(args) => submit(args).await,
        JobCommand::Fetch(args) => fetch(args).await,
    }
}

/// A registry that is spoken to with one token.
struct Registry {
    client: Client,
    base: Url,
    token: String,
}

impl Registry {
    fn new(args: RegistryArgs) -> anyhow::Result<Registry> {
        // Frames and scenes take as long as they take; only connecting is bounded.
        let client = Client::builder().connect_timeout(CONNECT_TIMEOUT).build()?;
        Ok(Registry { client, base: args.registry, token: args.token })
    }

    fn url(&self, path: &str) -> String {
        format!("{}/v1/{path}", self.base.as_str().trim_end_matches('/'))
    }

    async fn send(&self, request: RequestBuilder) -> anyhow::Result<Response> {
        request
            .bearer_auth(&self.token)
            .send()
            .await
            .with_context(|| format!("the registry {} does not answer", self.base))
    }

    async fn job(&self, id: JobId) -> anyhow::Result<Response> {
        self.send(self.client.get(self.url(&format!("jobs/{id}"))).timeout(POLL_TIMEOUT)).await
    }
}

/// The answer, or what the registry says is wrong.
async fn accepted(response: Response) -> anyhow::Result<Response> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let text = response.text().await.unwrap_or_default();
    match serde_json::from_str::<Problem>(&text) {
        Ok(problem) => Err(anyhow!("{} ({})", problem.detail, problem.code)),
        Err(_) => {
            Err(anyhow!("the registry answered {status}: {}", text.chars().take(200).collect::<String>()))
        }
    }
}

async fn submit(args: SubmitArgs) -> anyhow::Result<()> {
    let registry = Registry::new(args.registry)?;
    let (file, shown) = (&args.file, args.file.display());
    let stem = file.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let settings = JobSettings {
        name: args.name.or(stem).unwrap_or_default(),
        frames: args.frames,
        frames_per_task: args.frames_per_task,
        frame_cost_micros: args.cost,
        width: None,
        height: None,
        task_timeout_seconds: None,
        scene_sha256: None,
    };
    let scene =
        tokio::fs::File::open(file).await.with_context(|| format!("the scene {shown} cannot be read"))?;
    let about = scene.metadata().await?;
    if !about.is_file() {
        bail!("the scene {shown} is not a file");
    }
    // A wrong token is better told before gigabytes are sent.
    accepted(registry.send(registry.client.get(registry.url("me"))).await?).await?;
    let body = reqwest::Body::wrap_stream(ReaderStream::new(scene));
    let form = Form::new()
        .part("settings", Part::text(serde_json::to_string(&settings)?).mime_str("application/json")?)
        .part("scene", Part::stream_with_length(body, about.len()).file_name("scene.blend"));
    // A proxy that sends the request twice must not make two jobs.
    let key = hex::encode(Clock::system().random::<16>());
    let request = registry.client.post(registry.url("jobs")).header("idempotency-key", key).multipart(form);
    let mut job: Job = accepted(registry.send(request).await?).await?.json().await?;
    if !args.json {
        println!("{}", job.id);
    }
    if args.wait {
        job = wait(&registry, job).await?;
    }
    if args.json {
        println!("{}", serde_json::to_string(&job)?);
    }
    match job.status {
        JobStatus::Failed => {
            bail!("{} failed: {}", job.id, job.error.as_deref().unwrap_or("no reason was given"))
        }
        JobStatus::Cancelled => bail!("{} was cancelled", job.id),
        _ => Ok(()),
    }
}

/// Waits for the job's end through restarts of the registry, and tells of it on standard error.
async fn wait(registry: &Registry, mut job: Job) -> anyhow::Result<Job> {
    let progress = Progress::new(&job);
    let mut polls = tokio::time::interval(POLL_INTERVAL);
    let mut heard_at = Instant::now();
    while !job.status.has_ended() {
        polls.tick().await;
        let away = match registry.job(job.id).await {
            Ok(response) if response.status().is_server_error() => {
                anyhow!("the registry answered {}", response.status())
            }
            Ok(response) => {
                job = accepted(response).await?.json().await?;
                heard_at = Instant::now();
                progress.show(&job);
                continue;
            }
            Err(cause) => cause,
        };
        if heard_at.elapsed() > AWAY_MAX {
            return Err(
                away.context(format!("gave up waiting for {}, which goes on without this command", job.id))
            );
        }
    }
    progress.end(&job);
    Ok(job)
}

/// A bar for people at a terminal, plain lines for logs.
enum Progress {
    Bar(ProgressBar),
    Lines(std::cell::Cell<Option<(JobStatus, i64)>>),
}

impl Progress {
    fn new(job: &Job) -> Progress {
        if !std::io::stderr().is_terminal() {
            return Progress::Lines(std::cell::Cell::new(None));
        }
        let bar = ProgressBar::new(u64::try_from(job.frames_total).unwrap_or(0));
        let style = ProgressStyle::with_template("{msg:9} [{bar:40}] {pos}/{len} frames {elapsed_precise}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "));
        bar.enable_steady_tick(POLL_INTERVAL);
        Progress::Bar(bar)
    }

    fn show(&self, job: &Job) {
        match self {
            Progress::Bar(bar) => {
                bar.set_message(job.status.as_str());
                bar.set_position(u64::try_from(job.frames_completed).unwrap_or(0));
            }
            Progress::Lines(shown) => {
                let now = (job.status, job.frames_completed);
                if shown.replace(Some(now)) != Some(now) {
                    eprintln!("{}: {} of {} frames", job.status, job.frames_completed, job.frames_total);
                }
            }
        }
    }

    fn end(&self, job: &Job) {
        self.show(job);
        if let Progress::Bar(bar) = self {
            bar.abandon();
        }
    }
}

async fn fetch(args: FetchArgs) -> anyhow::Result<()> {
    let registry = Registry::new(args.registry)?;
    let job: Job = accepted(registry.job(args.job_id).await?).await?.json().await?;
    let folder = &args.output;
    tokio::fs::create_dir_all(folder)
        .await
        .with_context(|| format!("the folder {} cannot be made", folder.display()))?;
    let (mut fetched, mut missing) = (0_u64, Vec::new());
    for frame in job.frames.iter() {
        let request = registry.client.get(registry.url(&format!("jobs/{}/frames/{frame}", job.id)));
        let response = registry.send(request).await?;
        if response.status() == StatusCode::NOT_FOUND {
            missing.push(frame);
            continue;
        }
        let response = accepted(response).await.with_context(|| format!("frame {frame}"))?;
        write_frame(folder, frame, response)
            .await
            .with_context(|| format!("frame {frame} could not be written"))?;
        fetched += 1;
    }
    println!("{fetched} frames in {}", folder.display());
    if let Some(first) = missing.first() {
        bail!("{} frames are not rendered (the first is {first}); the job is {}", missing.len(), job.status);
    }
    Ok(())
}

/// Under its name only once it is whole.
async fn write_frame(folder: &Path, frame: i32, mut response: Response) -> anyhow::Result<()> {
    let name = format!("frame_{frame:06}.png");
    let partial = folder.join(format!(".{name}.part"));
    let mut file = tokio::fs::File::create(&partial).await?;
    while let Some(chunk) = response.chunk().await? {
        file.write_all(&chunk).await?;
    }
    file.sync_all().await?;
    tokio::fs::rename(&partial, folder.join(name)).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::JobCommand;
    use clap::{Parser, error::ErrorKind};

    #[derive(Parser)]
    struct Line {
        #[command(subcommand)]
        command: JobCommand,
    }

    fn parse(arguments: &[&str]) -> Result<JobCommand, clap::Error> {
        let fixed = ["x", "submit", "a.blend", "--registry", "http://127.0.0.1:1", "--token", "t"];
        Line::try_parse_from(fixed.iter().chain(arguments)).map(|line| line.command)
    }

    #[test]
    fn bad_arguments_say_what_is_wrong() {
        assert!(parse(&["--frames", "1-10"]).is_ok());
        assert!(parse(&["--frames", "-5-3", "--cost", "0"]).is_ok());
        for (arguments, said) in [
            (["--frames", "10-1", "--cost", "1"], "run backwards"),
            (["--frames", "1-10", "--cost", "-0.05"], "a cost cannot be negative"),
            (["--frames", "1-10", "--cost", "cheap"], "is not an amount"),
            (["--frames", "1-10", "--frames-per-task", "0"], "not in 1.."),
        ] {
            let error = parse(&arguments).unwrap_err();
            assert_eq!((error.kind(), error.exit_code()), (ErrorKind::ValueValidation, 2));
            assert!(error.to_string().contains(said), "{error}");
        }
    }
}
