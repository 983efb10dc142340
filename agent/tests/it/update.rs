//! Updates: what is taken, what is refused, and how the agent goes back.

mod kills;
mod machine;

use std::{fs, os::unix::fs::PermissionsExt, path::Path as FilePath, process::Command};

use axum::{body::Bytes, http::Method};
use jiff::{Timestamp, ToSpan};
use pictor_agent::update::TARGET;
use pictor_processes::until;
use serde_json::json;

use super::agent::{PROGRAM, command, config_text};
use machine::{Machine, Release, VERSION, later, program, replaced, script};
pub(crate) use machine::{Releases, serve};

const HEARTBEAT: &[u8] = b"/v1/agent/heartbeat";
const HEARTBEAT_OF_ANOTHER_TIME: &[u8] = b"/v1/agent/heartpain";

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_version_takes_over() {
    let (mut machine, newer) = (Machine::new().await, later("8"));
    machine.publish(&Release::new(&newer, program(&newer)));
    machine.start();
    let key = machine.key_of_an_open_page().await;
    machine.runs(&newer).await;
    machine.says("is installed; the one before is").await;
    let previous = Command::new(machine.neighbour("previous")).arg("--version").output().unwrap();
    assert!(String::from_utf8_lossy(&previous.stdout).contains(VERSION));
    assert_eq!(machine.restarts, 0, "it became the new version, in the same process");
    assert_eq!(machine.registry.books().releases.fetched, 1);
    let mode = |path: &FilePath| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&machine.installed()), mode(FilePath::new(PROGRAM)));
    // The new one answers for itself, and goes on updating.
    let (code, said) = machine.update(&["--check"]).await;
    assert!(code == 0 && said.contains("there is nothing newer"), "{said}");
    assert!(said.contains("The agent takes newer versions by itself."), "{said}");
    let newest = later("9");
    machine.publish(&Release::new(&newest, program(&newest)));
    let (code, said) = machine.update(&[]).await;
    assert!(code == 0 && said.contains("lies ready") && said.contains("What is new."), "{said}");
    machine.runs(&newest).await;
    machine.still_opens_with(&key).await;
    assert_eq!(machine.restarts, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_genuine_is_refused() {
    let (machine, newer) = (Machine::new().await, later("8"));
    let genuine = || Release::new(&newer, program(&newer));
    let refused = async |words: &str| {
        let (code, said) = machine.update(&[]).await;
        assert!(code == 1 && said.contains(words), "{words}: {said}");
        machine.is_untouched();
    };
    // Another key, though every hash is right.
    machine.new_key("other");
    machine.publish_as(&genuine(), &genuine().manifest.to_string(), "other");
    refused("not one of the release key's").await;
    // Changed on its way; the signature of another manifest; none that is one.
    let release = genuine();
    machine.publish_as(
        &release,
        &release.manifest.to_string().replace("What is new", "What is old"),
        "release",
    );
    refused("not one of the release key's").await;
    machine.publish_as(
        &release,
        &genuine().with("/notes", json!("Another.")).manifest.to_string(),
        "release",
    );
    refused("not one of the release key's").await;
    let of_file =
        |name: &str, bytes: Bytes| machine.registry.books().releases.files.insert(name.to_owned(), bytes);
    machine.publish(&release);
    of_file("manifest.json.minisig", Bytes::from_static(b"no signature"));
    refused("not one of the release key's").await;
    // Signed, and not for now.
    let now = Timestamp::now();
    machine.publish(&genuine().with("/expires_at", json!(now - 1.second())));
    refused("it expired at").await;
    machine.publish(&genuine().with("/published_at", json!(now + 25.hours())));
    refused("still to come").await;
    machine.publish(&genuine().with("/format", json!(2)));
    refused("its format is 2").await;
    machine.publish(&genuine().with(&format!("/files/{TARGET}/file"), json!("../../etc/passwd")));
    refused("makes no sense").await;
    // For other platforms alone, and for this one without or with the window that this program has not.
    let entry = genuine().entry();
    machine.publish(&genuine().with("/files", json!({"riscv64-unknown-none": entry})));
    refused("this release has no program").await;
    let (other, words) = match TARGET.strip_suffix("+desktop") {
        Some(platform) => (platform.to_owned(), format!("no program with a window for {platform}")),
        None => (format!("{TARGET}+desktop"), format!("no program for {TARGET}")),
    };
    machine.publish(&genuine().with("/files", json!({other: entry})));
    refused(&words).await;
    assert_eq!(machine.registry.books().releases.fetched, 0, "what is refused is not downloaded");

    // The program is not what the manifest promises.
    machine.publish(&genuine());
    machine.registry.books().releases.breaks_after = Some(1 << 20);
    refused("it is truncated").await;
    machine.registry.books().releases.breaks_after = None;
    let file = entry["file"].as_str().unwrap();
    of_file(file, Bytes::from([program(&newer), b"more".to_vec()].concat()));
    refused("longer than the manifest says").await;
    of_file(file, Bytes::from(replaced(&program(&newer), HEARTBEAT, HEARTBEAT_OF_ANOTHER_TIME)));
    refused("its SHA-256 is not the one").await;
    assert!(
        machine.state()["given_up"].as_array().is_none_or(Vec::is_empty),
        "none of that is the version's fault"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn older_versions_and_older_manifests_are_refused() {
    let (mut machine, newer) = (Machine::new().await, later("8"));
    for older in [VERSION.to_owned(), "0.0.1".to_owned(), format!("{VERSION}-rc.1")] {
        machine.publish(&Release::new(&older, program(VERSION)));
        let (code, said) = machine.update(&[]).await;
        assert!(code == 0 && said.contains("there is nothing newer"), "{older}: {said}");
        machine.is_untouched();
    }
    // The agent saw a manifest of now; one of before, with a version that has a hole, is played to it.
    machine.publish(&Release::new(VERSION, program(VERSION)));
    machine.start();
    machine
        .until("a manifest remembered", |machine| machine.state()["newest_published_at"].as_str().map(drop))
        .await;
    let earlier = Timestamp::now() - 1.hour();
    machine.publish(&Release::new(&newer, program(&newer)).with("/published_at", json!(earlier)));
    let (code, said) = machine.update(&[]).await;
    assert!(code == 1 && said.contains("an old answer was played again"), "{said}");
    machine.kill();
    machine.start();
    machine.says("an old answer was played again").await;
    machine.runs(VERSION).await;
    machine.is_untouched();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_is_not_what_it_says_is_not_tried() {
    let (mut machine, newer, newest) = (Machine::new().await, later("8"), later("9"));
    let cases = [
        // Of another machine.
        (b"\x7fELF\x02\x01\x01 of another machine".to_vec(), "it cannot be started"),
        (script(&newer, "exit 0").repeat(1).into_iter().chain(*b"exit 5\n").collect(), "exit status: 5"),
        (script("7.7.7", "exit 0"), "it says that it is version 7.7.7"),
    ];
    for (bytes, words) in cases {
        let machine = Machine::new().await;
        machine.publish(&Release::new(&newer, bytes));
        let (code, said) = machine.update(&[]).await;
        assert!(code == 1 && said.contains(words) && said.contains("not tried again"), "{words}: {said}");
        machine.is_untouched();
        let (code, said) = machine.update(&[]).await;
        assert!(code == 1 && said.contains("is not tried again"), "{said}");
        assert_eq!(machine.registry.books().releases.fetched, 1);
    }
    // A running agent goes on as it was, and takes the next version that is good.
    machine.publish(&Release::new(&newer, script("7.7.7", "exit 0")));
    machine.start();
    machine.says("it does not pass its self-check").await;
    machine.runs(VERSION).await;
    machine.is_untouched();
    machine.publish(&Release::new(&newest, program(&newest)));
    assert_eq!(machine.update(&[]).await.0, 0);
    machine.runs(&newest).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_crashes_makes_room_for_the_one_before() {
    let (mut machine, newer, newest) = (Machine::new().await, later("8"), later("9"));
    machine.publish(&Release::new(&newer, script(&newer, "echo tried >&2; kill -SEGV $$")));
    machine.start();
    machine.says("is not tried again: it ended before it was seen to work").await;
    machine.runs(VERSION).await;
    assert_eq!(fs::read(machine.installed()).unwrap(), fs::read(PROGRAM).unwrap());
    assert_eq!((machine.restarts, machine.log().matches("tried\n").count()), (2, 2));
    assert_eq!(machine.state()["given_up"][0]["version"], newer.as_str());
    let (code, said) = machine.update(&[]).await;
    assert!(code == 1 && said.contains("is not tried again"), "{said}");
    machine.publish(&Release::new(&newest, program(&newest)));
    assert_eq!(machine.update(&[]).await.0, 0);
    machine.runs(&newest).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_the_registry_does_not_hear_makes_room_for_the_one_before() {
    let (mut machine, newer) = (Machine::new().await, later("8"));
    let deaf = replaced(&program(&newer), HEARTBEAT, HEARTBEAT_OF_ANOTHER_TIME);
    machine.publish(&Release::new(&newer, deaf));
    machine.start();
    let key = machine.key_of_an_open_page().await;
    machine
        .until("it is given up", |machine| machine.state()["given_up"][0]["version"].as_str().map(drop))
        .await;
    machine.runs(VERSION).await;
    machine.still_opens_with(&key).await;
    assert_eq!(machine.log().matches("is on trial").count(), 2);
    assert_eq!(machine.restarts, 0, "it goes back by itself");
    let reason = machine.state()["given_up"][0]["reason"].to_string();
    assert!(reason.contains("did not hear from it"), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_is_away_during_a_trial_costs_a_try_and_no_more() {
    let (mut machine, newer) = (Machine::new().await, later("8"));
    machine.publish(&Release::new(&newer, program(&newer)));
    // Nobody answers the new version, which goes back when its time is up; the old one is answered again.
    machine.registry.books().is_away_from = Some(newer.clone());
    machine.start();
    let key = machine.key_of_an_open_page().await;
    machine.says("is on trial").await;
    machine
        .until("its time is up", |machine| {
            machine.log().contains("was not heard within 60 s: going back").then_some(())
        })
        .await;
    machine.registry.books().is_away_from = None;
    machine.runs(&newer).await;
    machine.still_opens_with(&key).await;
    assert_eq!(machine.restarts, 0);
    assert_eq!(machine.log().matches("is on trial").count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_ends_with_an_error_makes_room_for_the_one_before() {
    let (mut machine, newer) = (Machine::new().await, later("8"));
    // It keeps its outbox elsewhere, where there is no folder.
    machine.publish(&Release::new(&newer, replaced(&program(&newer), b"outbox", b"boxout")));
    fs::create_dir(machine.path("data")).unwrap();
    fs::write(machine.path("data/boxout"), "").unwrap();
    machine.start();
    let key = machine.key_of_an_open_page().await;
    machine
        .until("it is given up", |machine| machine.state()["given_up"][0]["reason"].as_str().map(drop))
        .await;
    machine.runs(VERSION).await;
    assert_eq!(machine.restarts, 0, "it goes back by itself");
    let reason = machine.state()["given_up"][0]["reason"].to_string();
    assert!(reason.contains("it ended by itself: cannot read the boxout"), "{reason}");
    // One that panics cannot say so itself: that it was on trial does.
    let newest = later("9");
    machine.publish(&Release::new(
        &newest,
        replaced(&program(&newest), b"/metrics/{collector}", b"_metrics/{collector}"),
    ));
    assert_eq!(machine.update(&[]).await.0, 0);
    machine
        .until("it is given up", |machine| machine.state()["given_up"][1]["version"].as_str().map(drop))
        .await;
    machine.runs(VERSION).await;
    machine.still_opens_with(&key).await;
    assert!(machine.log().contains("it panicked; going back to"));
    assert_eq!(machine.restarts, 0, "it goes back by itself");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_switch_off_a_version_waits_to_be_asked_for() {
    let (mut machine, newer) = (Machine::new().await, later("8"));
    machine.configure("enabled = false\n");
    machine.publish(&Release::new(&newer, program(&newer)));
    machine.start();
    machine.says("is available: automatic updates are off").await;
    machine.is_untouched();
    let (code, said) = machine.update(&["--check"]).await;
    assert!(code == 0 && said.contains(&format!("Version {newer} is available")), "{said}");
    machine.is_untouched();
    assert_eq!(machine.registry.books().releases.fetched, 0);
    assert_eq!(machine.update(&[]).await.0, 0);
    machine.runs(&newer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn asked_for_while_no_agent_runs_it_is_tried_at_the_next_start() {
    let (mut machine, newer) = (Machine::new().await, later("8"));
    machine.publish(&Release::new(&newer, program(&newer)));
    let (code, said) = machine.update(&[]).await;
    assert!(code == 0 && said.contains("the next start of the agent"), "{said}");
    assert_eq!(
        (machine.installed_version().as_str(), machine.state()["is_asked"].as_bool()),
        (VERSION, Some(true))
    );
    // What lies ready was changed since: it is not started.
    let genuine = fs::read(machine.neighbour("next")).unwrap();
    fs::write(machine.neighbour("next"), script(&newer, "echo caught >&2")).unwrap();
    machine.start();
    machine.says("connected to").await;
    assert!(!machine.log().contains("caught"));
    machine.kill();
    drop(genuine);
    assert_eq!(machine.update(&[]).await.0, 0);
    machine.start();
    machine.runs(&newer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_keeps_a_trial_from_beginning_is_said_once() {
    let (mut machine, newer) = (Machine::new().await, later("8"));
    machine.publish(&Release::new(&newer, program(&newer)));
    assert_eq!(machine.update(&[]).await.0, 0);
    // Nobody gets the turn to change the state.
    let lock = machine.path("data/update/lock");
    fs::remove_file(&lock).unwrap();
    fs::create_dir(&lock).unwrap();
    machine.start();
    // Each look is followed by a try, and is logged.
    for looks in 1..=3 {
        let what = format!("look {looks}");
        machine
            .until(&what, |machine| (machine.log().matches("no update: ").count() >= looks).then_some(()))
            .await;
        machine.page(Method::POST, "/settings/look-for-update").await;
    }
    let said = format!("the trial of version {newer} cannot begin: Is a directory");
    assert_eq!(machine.log().matches(&said).count(), 1);
    until("the page to say why", async || {
        let page = machine.page(Method::GET, "/settings").await;
        page.contains("the last try came to nothing: Is a directory").then_some(())
    })
    .await;
    fs::remove_dir(&lock).unwrap();
    machine.runs(&newer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_it_may_not_replace_itself_it_says_who_does() {
    let (machine, newer) = (Machine::new().await, later("8"));
    machine.publish(&Release::new(&newer, program(&newer)));
    for (path, mode) in [("", 0o755), ("worker.toml", 0o644), ("bin", 0o555)] {
        fs::set_permissions(machine.path(path), fs::Permissions::from_mode(mode)).unwrap();
    }
    let run = |command: &str, more: &[&str]| {
        let mut run = if rustix::process::geteuid().is_root() {
            let mut run = Command::new("setpriv");
            run.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(machine.installed());
            run
        } else {
            Command::new(machine.installed())
        };
        run.args(machine.arguments(command)).args(more);
        async { tokio::task::spawn_blocking(move || run.output().unwrap()).await.unwrap() }
    };
    let check = run("update", &["--check"]).await;
    let said = String::from_utf8_lossy(&check.stdout).into_owned();
    assert!(check.status.success() && said.contains(&format!("Version {newer} is available")), "{check:?}");
    let who =
        if FilePath::new("/.dockerenv").exists() { "pull the new image" } else { "whoever installed it" };
    assert!(said.contains(who), "{said}");
    let update = run("update", &[]).await;
    assert_eq!(update.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&update.stderr).contains(who), "{update:?}");
    machine.publish(&Release::new(VERSION, program(VERSION)));
    let check = run("update", &["--check"]).await;
    let said = String::from_utf8_lossy(&check.stdout).into_owned();
    assert!(said.contains("there is nothing newer") && said.contains(who), "{check:?}");
    fs::set_permissions(machine.path("bin"), fs::Permissions::from_mode(0o755)).unwrap();
    machine.is_untouched();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_downloaded_file_brings_no_release_key() {
    let machine = Machine::new().await;
    let key = fs::read_to_string(machine.path("release.pub")).unwrap().lines().last().unwrap().to_owned();
    let identity = config_text(&machine.registry.url());
    let table = format!("[update]\nenabled = false\npublic_key = \"{key}\"\n");
    for (name, update) in [
        ("table", table.clone()),
        ("dotted", format!("[update]\npublic_key= '{key}'\nenabled = false\n")),
        ("inline", format!("update = {{ public_key = \"{key}\", enabled = false }}\n")),
    ] {
        let (file, to) = (machine.path(name), machine.path(&format!("{name}.toml")));
        fs::write(&file, format!("{identity}{update}")).unwrap();
        let import = |file: &FilePath| {
            let run = command(machine.folder.path())
                .arg("import")
                .arg(file)
                .arg("--config")
                .arg(&to)
                .output()
                .unwrap();
            assert!(run.status.success(), "{run:?}");
            (String::from_utf8(run.stdout).unwrap(), fs::read_to_string(&to).unwrap())
        };
        let (said, imported) = import(&file);
        assert!(said.contains("was left out") && !imported.contains(&key), "{said}{imported}");
        assert!(imported.contains("enabled = false"), "{imported}");
        // The owner's own stays.
        fs::write(&to, format!("{identity}{table}")).unwrap();
        let (_, imported) = import(&file);
        assert!(imported.contains(&key), "{imported}");
    }
    let bad = identity + "[update]\npublic_key = \"RWnonsense\"\n";
    fs::write(machine.path("worker.toml"), bad).unwrap();
    let (code, said) = machine.update(&[]).await;
    assert!(code == 78 && said.contains("`public_key` under [update]"), "{said}");
}
