//! Renders a frame of a .blend file that need not be trusted: with the Blender found here, in the sandbox.
//!
//!     cargo run -p pictor-blender --example render -- SCENE.blend [FRAME] [PICTURE.png]

use std::{env, fs, path::PathBuf};

use anyhow::{Context, anyhow};
use pictor_blender::{
    Device, Event, Launch, Limits, Mode, Places, Sandbox, Session, detect, output, sandbox::Settings,
};
use tokio::sync::mpsc;

const EVENTS_MAX: usize = 1_000;

fn main() -> anyhow::Result<()> {
    // The step into the sandbox is this program, started once more.
    pictor_blender::inner();
    let mut arguments = env::args_os().skip(1);
    let scene = arguments.next().context("name a scene: render SCENE.blend [FRAME] [PICTURE.png]")?;
    let frame = arguments.next().map_or(Ok(1), |frame| frame.to_string_lossy().parse())?;
    let picture = arguments.next().map_or_else(|| format!("frame_{frame}.png").into(), PathBuf::from);
    tokio::runtime::Runtime::new()?.block_on(render(PathBuf::from(scene), frame, picture))
}

async fn render(scene: PathBuf, frame: i32, picture: PathBuf) -> anyhow::Result<()> {
    let scene = scene.canonicalize().with_context(|| format!("cannot read {}", scene.display()))?;
    let places = Places { search_path: env::var_os("PATH"), ..Places::default() };
    let blender = detect(&places).await.installed.into_iter().next().context("there is no Blender here")?;
    let sandbox = Sandbox::probe(Settings::new(Mode::Auto, env::current_exe()?)).await?;
    println!("Blender {} in a sandbox: {}", blender.version, sandbox.describe());
    // An empty folder that nothing else is written to; what Blender leaves there is looked at before it is kept.
    let folder = tempfile::tempdir()?;
    let output = folder.path().join("output");
    fs::create_dir(&output)?;
    let limits = Limits::default();
    let bytes_max = limits.file_bytes;
    let launch = Launch {
        blender: &blender,
        sandbox: &sandbox,
        scene: Some(&scene),
        output: &output,
        device: Device::Cpu,
        slot: 0,
        limits,
    };
    let (sender, mut events) = mpsc::channel(EVENTS_MAX);
    let told = tokio::spawn(async move {
        while let Some(event) = events.recv().await {
            match event {
                Event::Progress { ratio, .. } => println!("{:3.0} %", ratio * 100.0),
                Event::Log(line) => println!("     {line}"),
                Event::Statistics(_) => {}
            }
        }
    });
    let mut session = Session::start(launch, sender).await?;
    let rendered = session.render(frame, None).await;
    session.stop().await;
    told.await?;
    let name = rendered?;
    let checked = tokio::task::spawn_blocking(move || output::check(&output, &name, None, bytes_max)).await?;
    let checked = checked.map_err(|error| anyhow!("what Blender left is no picture to keep: {error}"))?;
    fs::write(&picture, &checked.bytes).with_context(|| format!("cannot write {}", picture.display()))?;
    println!("{}", picture.display());
    Ok(())
}
