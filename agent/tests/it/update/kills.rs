//! Killed at any step of an update, a machine has an agent that starts.

use std::{fs, path::PathBuf};

use serde_json::json;
use tokio::task::{JoinSet, LocalSet};

use super::machine::{Machine, Release, VERSION, later, program, put_program};

/// The disk as a kill can leave it, in the order of things; each is made by hand, and the agent started on it.
#[derive(Debug, Clone, Copy)]
enum Killed {
    InTheDownload,
    WithTheProgramInPlace,
    ReadyForATrial,
    InItsTrial,
    WithThePreviousKept,
    WithTheProgramInstalled,
    AfterAll,
}

impl Killed {
    const ALL: [Killed; 7] = [
        Killed::InTheDownload,
        Killed::WithTheProgramInPlace,
        Killed::ReadyForATrial,
        Killed::InItsTrial,
        Killed::WithThePreviousKept,
        Killed::WithTheProgramInstalled,
        Killed::AfterAll,
    ];

    fn leaves(self, machine: &Machine, newer: &Release) {
        let update = machine.path("data/update");
        fs::create_dir_all(&update).unwrap();
        let put = |to: PathBuf, bytes: &[u8]| put_program(&to, bytes);
        let stage = |stage: &str, tries: u32| {
            let mut state = json!({"stage": stage, "given_up": [], "newest_published_at": null});
            if stage != "none" {
                let entry = newer.entry();
                state["release"] = json!({"version": newer.manifest["version"],
                    "size_bytes": entry["size_bytes"], "sha256": entry["sha256"]});
                state["tries"] = json!(tries);
                state["is_asked"] = json!(false);
            }
            fs::write(update.join("state.json"), state.to_string()).unwrap();
        };
        let half = &newer.program[..newer.program.len() / 2];
        match self {
            Killed::InTheDownload => put(update.join("download"), half),
            Killed::WithTheProgramInPlace => {
                put(machine.path("bin/.pictor-agent-aBcDeF"), half);
                put(machine.neighbour("next"), &newer.program);
            }
            Killed::ReadyForATrial => {
                put(machine.neighbour("next"), &newer.program);
                stage("ready", 0);
            }
            Killed::InItsTrial => {
                put(machine.neighbour("next"), &newer.program);
                stage("trial", 1);
            }
            Killed::WithThePreviousKept => {
                put(machine.neighbour("next"), &newer.program);
                put(machine.neighbour("previous"), &program(VERSION));
                stage("trial", 1);
            }
            Killed::WithTheProgramInstalled | Killed::AfterAll => {
                fs::rename(machine.installed(), machine.neighbour("previous")).unwrap();
                put(machine.installed(), &newer.program);
                stage(if matches!(self, Killed::AfterAll) { "none" } else { "trial" }, 1);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_step_the_machine_has_an_agent_and_updates() {
    let here = LocalSet::new();
    here.run_until(async {
        let mut steps = JoinSet::new();
        for step in Killed::ALL {
            steps.spawn_local(after(step));
        }
        while let Some(ended) = steps.join_next().await {
            ended.unwrap();
        }
    })
    .await;
}

async fn after(step: Killed) {
    let (mut machine, newer) = (Machine::new().await, later("8"));
    let release = Release::new(&newer, program(&newer));
    machine.publish(&release);
    step.leaves(&machine, &release);
    machine.start();
    machine.runs(&newer).await;
    assert_eq!(machine.restarts, 0, "{step:?}");
    assert!(!machine.log().contains("not tried again"), "{step:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_it_updates_it_starts_and_updates() {
    let (mut machine, newer) = (Machine::new().await, later("8"));
    machine.publish(&Release::new(&newer, program(&newer)));
    // In the download, which hangs.
    machine.registry.books().releases.hangs_after = Some(1 << 20);
    machine.start();
    machine
        .until("half a download", |machine| {
            let begun = fs::metadata(machine.path("data/update/download")).is_ok_and(|file| file.len() > 0);
            begun.then_some(())
        })
        .await;
    machine.kill();
    assert_eq!(machine.installed_version(), VERSION);
    machine.registry.books().releases.hangs_after = None;
    // In its trial, where nobody answers it.
    machine.registry.books().is_away_from = Some(newer.clone());
    machine.start();
    machine.says("is on trial").await;
    machine.kill();
    assert_eq!(machine.installed_version(), VERSION);
    machine.registry.books().is_away_from = None;
    machine.start();
    machine.runs(&newer).await;
}

type IsSo = fn(&Machine) -> bool;

/// What can be seen of an update, in the order of things.
const STEPS: [(&str, IsSo); 8] = [
    ("its data", |machine| machine.path("data").exists()),
    ("a file for the download", |machine| machine.path("data/update/download").exists()),
    ("some of the download", |machine| {
        fs::metadata(machine.path("data/update/download")).is_ok_and(|file| file.len() > 0)
    }),
    ("the program in its place", |machine| machine.neighbour("next").exists()),
    ("a release that waits for its trial", |machine| machine.state()["stage"] == "ready"),
    ("its trial", |machine| machine.state()["stage"] == "trial"),
    ("the version before", |machine| machine.neighbour("previous").exists()),
    ("an agent that runs again", |machine| machine.path("data/app.json").exists()),
];

/// The newer version is at work, or given up after the second trial that was cut short.
fn is_over(machine: &Machine, newer: &str) -> bool {
    let beats = machine.registry.books().beats.last().is_some_and(|beat| beat.agent_version == newer);
    machine.state()["stage"] == "none" && (beats || machine.state()["given_up"][0].is_object())
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_without_warning_again_and_again_it_always_starts() {
    let (mut machine, newer) = (Machine::new().await, later("8"));
    machine.publish(&Release::new(&newer, program(&newer)));
    machine.start();
    for (what, is_so) in STEPS {
        // Some steps are over before anybody looks: then the end of it all will do.
        machine.until(what, |machine| (is_so(machine) || is_over(machine, &newer)).then_some(())).await;
        machine.kill();
        let version = machine.installed_version();
        assert!(version == VERSION || version == newer, "{version}");
        machine.start();
    }
    // Killed in two trials, a version is given up; either way an agent is at work.
    machine.registry.books().beats.clear();
    machine
        .until("an agent at work", |machine| {
            let is_given_up = machine.state()["given_up"][0].is_object();
            let expected = if is_given_up { VERSION } else { &newer };
            let is_at_rest = machine.state()["stage"] == "none";
            let books = machine.registry.books();
            let beats = books.beats.last().is_some_and(|beat| beat.agent_version == expected);
            (is_at_rest && beats).then_some(())
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_left_of_its_folder_the_agent_starts() {
    let (mut machine, newer) = (Machine::new().await, later("8"));
    fs::create_dir(machine.path("data")).unwrap();
    fs::write(machine.path("data/update"), "a file").unwrap();
    machine.start();
    machine.says("updates do not work").await;
    machine.says("connected to").await;
    machine.kill();
    fs::remove_file(machine.path("data/update")).unwrap();
    fs::create_dir(machine.path("data/update")).unwrap();
    fs::write(machine.path("data/update/state.json"), "{\"stage\": \"of a later version\"}").unwrap();
    machine.publish(&Release::new(&newer, program(&newer)));
    machine.start();
    machine
        .until("a state that can be read", |machine| {
            (machine.state()["stage"] != "of a later version").then_some(())
        })
        .await;
    machine.runs(&newer).await;
}
