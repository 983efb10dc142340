//! Scenes made by the real Blender, each once per test run.

use std::fs;
use std::path::{Path, PathBuf};

use pictor_processes::{command, installed, repository, run};
use tokio::sync::OnceCell;

/// Ten frames of 320 by 180, the one that the quickstart renders.
pub(crate) async fn sample() -> PathBuf {
    static MADE: OnceCell<PathBuf> = OnceCell::const_new();
    made(&MADE, "sample.blend", "scripts/scenes/sample.py", &[]).await
}

/// A fraction of a second a frame.
pub(crate) async fn quick() -> PathBuf {
    static MADE: OnceCell<PathBuf> = OnceCell::const_new();
    made(&MADE, "quick.blend", CUBE, &["4"]).await
}

/// Some seconds a frame, to be interrupted.
pub(crate) async fn slow() -> PathBuf {
    static MADE: OnceCell<PathBuf> = OnceCell::const_new();
    made(&MADE, "slow.blend", CUBE, &["5000"]).await
}

/// Cannot be rendered.
pub(crate) async fn without_camera() -> PathBuf {
    static MADE: OnceCell<PathBuf> = OnceCell::const_new();
    made(&MADE, "without-camera.blend", CUBE, &["4", "no-camera"]).await
}

const CUBE: &str = "e2e/scenes/cube.py";

async fn made(cell: &OnceCell<PathBuf>, name: &str, script: &str, options: &[&str]) -> PathBuf {
    cell.get_or_init(async || {
        // One folder for every run: statics are never dropped, so nobody would remove a run's own.
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("scenes");
        fs::create_dir_all(&folder).expect("a folder for scenes");
        let (path, unfinished) = (folder.join(name), folder.join(format!("{}-{name}", std::process::id())));
        let script = repository().join(script);
        let mut blender = command(
            &installed("blender"),
            ["-b", "--factory-startup", "--python-exit-code", "1", "--python"],
        );
        blender.arg(script).arg("--").arg(&unfinished).args(options);
        run(blender).await.succeeded();
        fs::rename(&unfinished, &path).expect("the finished scene");
        path
    })
    .await
    .clone()
}
