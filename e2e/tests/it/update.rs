//! A release made by scripts/release is served by the registry, and an agent at work takes it after its task.

use std::fs;
use std::path::{Path, PathBuf};

use pictor_agent::update::TARGET;
use pictor_processes::{Process, built, command, installed, repository, run, until_true};
use pictor_protocol::AttemptStatus;

use crate::network::{Network, Pace};
use crate::scenes;

const VERSION: &str = env!("CARGO_PKG_VERSION");

#[tokio::test]
async fn a_release_is_taken_between_two_tasks() {
    let scene = scenes::slow().await;
    let folder = tempfile::tempdir().expect("a folder");
    let releases = folder.path().join("releases");
    fs::create_dir(&releases).expect("a folder for releases");
    let key = make_key(folder.path()).await;
    let network =
        Network::start_with(Pace::QUICK, &["--releases", releases.to_str().expect("a path in UTF-8")]).await;
    let machine = network.machine("updated").await;
    let config = fs::read_to_string(&machine.config).expect("the config file");
    fs::write(&machine.config, format!("{config}\n[update]\npublic_key = \"{key}\"\n"))
        .expect("the config file");
    let program = folder.path().join("pictor-agent");
    put_program(&program, &built("pictor-agent")).await;

    let agent = Process::start("agent", network.folder(), machine.command_of(&program, "run", &[]));
    agent.says("ready to render").await;
    let job = network.submit(&scene, &["--frames", "1-2"]).await;
    until_true("a frame is rendered", async || network.job(job).await.tasks_running > 0).await;
    let newer = release(folder.path(), &releases).await;
    let asked = run(machine.command_of(&program, "update", &[])).await.succeeded();
    assert!(asked.contains("lies ready") && asked.contains("Faster clouds."), "{asked}");
    let is_waiting = network.job(job).await.tasks_completed < 2;

    until_true("the newer version reports", async || {
        assert!(agent.exit_status().is_none(), "it becomes the new version in the same process");
        network.worker(machine.id).await.agent_version.as_ref() == Some(&newer)
    })
    .await;
    network.completed(job).await;
    network.paid_frames(2).await;
    assert!(is_waiting, "the job was over before the update was asked for");
    let statuses: Vec<_> = network.attempts().await.into_iter().map(|attempt| attempt.status).collect();
    let lost = statuses
        .iter()
        .filter(|status| !matches!(status, AttemptStatus::Completed | AttemptStatus::Released));
    assert_eq!(lost.count(), 0, "no frame was lost: {statuses:?}");
    until_true("it is installed", async || folder.path().join("pictor-agent.previous").exists()).await;
    let version = run(command(&program, ["--version"])).await.succeeded();
    assert!(version.contains(&newer), "{version}");
    let check = run(machine.command_of(&program, "update", &["--check"])).await.succeeded();
    assert!(check.contains("there is nothing newer"), "{check}");
    assert_eq!(agent.terminate().await, Some(0));
}

/// A pair of keys of this test's own; the public one's text.
async fn make_key(folder: &Path) -> String {
    let (public, secret) = (folder.join("release.pub"), folder.join("release.key"));
    let mut make = command(&installed("minisign"), ["-G", "-W", "-p"]);
    make.arg(&public).arg("-s").arg(&secret);
    run(make).await.succeeded();
    let text = fs::read_to_string(public).expect("a public key");
    text.lines().last().expect("its last line").to_owned()
}

/// By another process: while this one writes a program and starts others, that one could not be started.
async fn put_program(to: &Path, from: &Path) {
    let mut install = command(&installed("install"), ["-m", "755"]);
    install.arg(from).arg(to);
    run(install).await.succeeded();
}

/// Makes a release as an operator does, of this very program with a later number of the same length in it.
async fn release(folder: &Path, releases: &Path) -> String {
    let newer = format!("8{}", &VERSION[1..]);
    let (program, text) = (folder.join("newer"), folder.join("newer-text"));
    let mut bytes = fs::read(built("pictor-agent")).expect("this program");
    let mut at = 0;
    while let Some(found) = bytes[at..].windows(VERSION.len()).position(|text| text == VERSION.as_bytes()) {
        at += found + VERSION.len();
        bytes[at - VERSION.len()..at].copy_from_slice(newer.as_bytes());
    }
    fs::write(&text, bytes).expect("the newer program");
    put_program(&program, &text).await;
    let script: PathBuf = repository().join("scripts/release");
    let mut make = command(&script, [&newer, "--notes", "Faster clouds.", "--key"]);
    make.arg(folder.join("release.key")).arg("--out").arg(releases);
    make.arg("--binary").arg(format!("{TARGET}={}", program.display()));
    let said = run(make).await.succeeded();
    assert!(said.contains(&format!("Version {newer} lies in")), "{said}");

    let wrong = {
        let mut make = command(&script, ["7.7.7", "--key"]);
        make.arg(folder.join("release.key")).arg("--out").arg(folder.join("wrong"));
        make.arg("--binary").arg(format!("{TARGET}={}", program.display()));
        run(make).await
    };
    wrong.failed(1, &["is no version 7.7.7"]);
    assert!(!folder.join("wrong").exists());
    newer
}
