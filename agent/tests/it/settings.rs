//! Single settings, changed in the config file by `pictor-agent set` and by the running agent.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use pictor_agent::{
    config::{Config, RunFlags},
    economics::{Economics, Reading},
    idle,
    probe::{Inventory, Probe},
    readiness::{self, Readiness, Verdict},
    settings::{Live, Settings},
};
use pictor_blender::sandbox;
use pictor_processes::{PATIENCE, until};
use tokio::{sync::watch, task::JoinSet};

use super::agent::{Agent, PROGRAM, config_text, nobody, run_to_end};

const TABLES: &str = "\n# what it costs\n[economics]\nprice_per_kwh = 0.30 # since May\ncurrency = \"EUR\"\n\n\
                      [blender]\ndevice = \"cpu\" # no GPU here\n";

fn config(folder: &Path) -> PathBuf {
    let path = folder.join("worker.toml");
    fs::write(&path, format!("# mine\n{}{TABLES}", config_text(&nobody()))).unwrap();
    path
}

fn set(folder: &Path, path: &Path, key: &str, value: &str) -> (i32, String, String) {
    run_to_end(folder, &["set", key, value, "--config", path.to_str().unwrap()])
}

#[test]
fn a_setting_is_changed_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = config(folder.path());
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let before = fs::read_to_string(&path).unwrap();
    for (key, value, said, after) in [
        ("economics.price_per_kwh", "0,42", "economics.price_per_kwh = 0.42", before.replace("0.30", "0.42")),
        ("economics.price_per_kwh", "0.30", "economics.price_per_kwh = 0.3", before.replace("0.30", "0.3")),
        (
            "idle.command",
            "/bin/sleep 60",
            "restarted",
            format!("{}\n[idle]\ncommand = \"/bin/sleep 60\"\n", before.replace("0.30", "0.3")),
        ),
        (
            "idle.enabled",
            "on",
            "idle.enabled = true",
            format!(
                "{}\n[idle]\ncommand = \"/bin/sleep 60\"\nenabled = true\n",
                before.replace("0.30", "0.3")
            ),
        ),
        (
            "idle.enabled",
            "",
            "the default again",
            format!("{}\n[idle]\ncommand = \"/bin/sleep 60\"\n", before.replace("0.30", "0.3")),
        ),
    ] {
        let (code, stdout, stderr) = set(folder.path(), &path, key, value);
        assert!(code == 0 && stdout.contains(said), "{key}: {stdout}{stderr}");
        assert_eq!(fs::read_to_string(&path).unwrap(), after, "{key}");
    }
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o640);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
    let (code, stdout, _) = run_to_end(folder.path(), &["set", "--config", path.to_str().unwrap()]);
    assert!(code == 0 && stdout.contains("idle.after_seconds = 60") && !stdout.contains("wrk_"), "{stdout}");
    let (code, ..) = run_to_end(folder.path(), &["set", "idle.enabled", "--config", path.to_str().unwrap()]);
    assert_eq!(code, 2, "a key without its value");
}

#[test]
fn a_bad_value_is_refused_at_its_key() {
    let folder = tempfile::tempdir().unwrap();
    let path = config(folder.path());
    let before = fs::read_to_string(&path).unwrap();
    for (key, value, said) in [
        ("economics.price_per_kwh", "-1", "not an amount"),
        ("economics.currency", "euros", "three letters"),
        ("economics.currency", "", "take the prices out first"),
        ("idle.enabled", "true", "needs a `command`"),
        ("idle.command", "[\"/bin/nothing-here\"]", "no program that this user can run"),
        ("idle.command", "miner {gpu_id}", "stands for nothing"),
        ("blender.path", "/bin/true", "/bin/true"),
        ("blender.path", "/nowhere/blender", "cannot be opened"),
        ("worker_name", "a/b", "1 to 64 characters"),
        ("worker_name", "other", "cannot be asked"),
        ("worker_id", "wrk_1", "import another worker's config file"),
        ("wallet_address", "0x1", "in the console"),
        ("token", "x", "idle.after_seconds"),
        ("colour", "red", "economics.price_per_kwh"),
    ] {
        let (code, stdout, stderr) = set(folder.path(), &path, key, value);
        assert!(code == 1 && stderr.contains(said) && stderr.contains(key), "{key}: {stdout}{stderr}");
        assert_eq!(fs::read_to_string(&path).unwrap(), before, "{key}");
    }
    fs::write(&path, config_text(&nobody())).unwrap();
    let (code, _, stderr) = set(folder.path(), &path, "economics.price_per_kwh", "0.4");
    assert!(code == 1 && stderr.contains("choose the currency first"), "{stderr}");
    fs::write(&path, format!("{before}[idle]\ncolour = 1\n")).unwrap();
    let (code, _, stderr) = set(folder.path(), &path, "economics.price_per_kwh", "0.4");
    assert!(code == 1 && stderr.contains("correct that first") && stderr.contains("`colour`"), "{stderr}");
}

/// `set` where one path is mounted over itself with this option of bubblewrap.
fn set_mounted(option: &str, mounted: &Path, path: &Path, key: &str, value: &str) -> (i32, String) {
    let output = Command::new("bwrap")
        .args(["--bind", "/", "/", "--dev", "/dev", option])
        .args([mounted, mounted])
        .args([PROGRAM, "set", key, value, "--config"])
        .arg(path)
        .output()
        .expect("these tests need bubblewrap: scripts/test installs it");
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn a_file_that_cannot_be_written_comes_with_the_line_to_write() {
    let folder = tempfile::tempdir().unwrap();
    let path = config(folder.path());
    let before = fs::read_to_string(&path).unwrap();
    let (code, stderr) = set_mounted("--ro-bind", folder.path(), &path, "economics.price_per_kwh", "");
    assert!(
        code == 1 && stderr.contains("take the line of `price_per_kwh` under [economics] out"),
        "{stderr}"
    );
    for (option, mounted) in [("--ro-bind", folder.path()), ("--bind", path.as_path())] {
        let (code, stderr) = set_mounted(option, mounted, &path, "economics.price_per_kwh", "0.5");
        assert_eq!(code, 1, "{stderr}");
        assert!(stderr.contains("\n[economics]\nprice_per_kwh = 0.5\n"), "{option}: {stderr}");
        assert!(stderr.contains(path.to_str().unwrap()) && stderr.contains("restart"), "{stderr}");
        assert_eq!(fs::read_to_string(&path).unwrap(), before);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
    }
}

#[test]
fn a_linked_file_is_changed_where_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = config(folder.path());
    fs::create_dir(folder.path().join("links")).unwrap();
    let link = folder.path().join("links/worker.toml");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    assert_eq!(set(folder.path(), &link, "economics.price_per_kwh", "0.9").0, 0);
    assert!(link.is_symlink() && fs::read_to_string(&path).unwrap().contains("0.9"));
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_at_once_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = config(folder.path());
    let values = [
        ("economics.price_per_kwh", "0.77"),
        ("economics.currency", "USD"),
        ("idle.command", "sleep 9"),
        ("idle.after_seconds", "77"),
        ("update.enabled", "false"),
    ];
    for round in 0..5 {
        let path = config(folder.path());
        let mut writers = JoinSet::new();
        for (key, value) in values {
            let settings = Settings::of_file(path.clone());
            writers.spawn(async move { settings.set(key, value).await.unwrap() });
        }
        assert_eq!(writers.join_all().await.len(), values.len());
        let settings = Settings::of_file(path).current().unwrap().settings;
        for (key, value) in values {
            let found = settings.iter().find(|setting| setting.key == key).unwrap();
            assert_eq!(found.value.as_deref(), Some(value), "{key} in round {round}");
        }
    }
    // Whoever edits it by hand meanwhile is heard too.
    let settings = Settings::of_file(path.clone());
    settings.set("idle.after_seconds", "5").await.unwrap();
    let edited = fs::read_to_string(&path).unwrap().replace("0.77", "0.11 # by hand");
    fs::write(&path, edited).unwrap();
    settings.set("idle.after_seconds", "6").await.unwrap();
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains("0.11 # by hand") && text.contains("after_seconds = 6"), "{text}");
}

#[tokio::test]
async fn a_running_agent_takes_over_what_it_can() {
    let folder = tempfile::tempdir().unwrap();
    let path = config(folder.path());
    let loaded = Config::load(&RunFlags { config: Some(path.clone()), ..RunFlags::default() }).unwrap();
    let economics = Arc::new(Economics::open(loaded.economics.clone(), folder.path()));
    let (idle, places) = (watch::Sender::new(loaded.idle.clone()), watch::Sender::new(loaded.places.clone()));
    let update_enabled = watch::Sender::new(true);
    let live = |blender_is_given| Live {
        economics: Arc::clone(&economics),
        idle: idle.clone(),
        places: places.clone(),
        blender_is_given,
        update_enabled: update_enabled.clone(),
    };
    let settings = Settings::of_agent(path.clone(), live(false));
    assert_eq!(economics.price(), Some(0.30));
    let applied = settings.set("economics.price_per_kwh", "0.5").await.unwrap();
    assert_eq!((applied.value.as_deref(), applied.restart), (Some("0.5"), None));
    economics.advance(&Reading::default());
    assert_eq!(economics.price(), Some(0.5));
    settings.set("economics.price_per_kwh", "").await.unwrap();
    settings.set("economics.currency", "").await.unwrap();
    economics.advance(&Reading::default());
    assert_eq!((economics.price(), economics.settings().currency), (None, None));

    let mut heard = idle.subscribe();
    settings.set("idle.command", "sleep 1").await.unwrap();
    assert!(!heard.has_changed().unwrap(), "it is off: nothing changes");
    settings.set("idle.after_seconds", "3").await.unwrap();
    settings.set("idle.enabled", "true").await.unwrap();
    let now = heard.borrow_and_update().clone();
    assert_eq!(now.command, Some(idle::Command::Line("sleep 1".to_owned())));
    assert_eq!(now.after.as_secs(), 3);

    let blender = "/usr/bin/blender";
    assert_eq!(settings.set("blender.path", blender).await.unwrap().restart, None);
    assert_eq!(places.borrow().configured, Some(blender.into()));
    settings.set("blender.path", "").await.unwrap();
    assert_eq!(places.borrow().configured, None);
    let given = Settings::of_agent(path, live(true));
    let restart = given.set("blender.path", blender).await.unwrap().restart.unwrap();
    assert!(restart.contains("--blender") && places.borrow().configured.is_none(), "{restart}");
    let mut switch = update_enabled.subscribe();
    assert_eq!(given.set("update.enabled", "false").await.unwrap().restart, None);
    assert!(switch.has_changed().unwrap() && !*switch.borrow_and_update());
}

#[tokio::test]
async fn another_blender_is_looked_for_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = config(folder.path());
    let text = fs::read_to_string(&path).unwrap().replace("device", "path = \"/nowhere/blender\"\ndevice");
    fs::write(&path, text).unwrap();
    let loaded = Config::load(&RunFlags { config: Some(path.clone()), ..RunFlags::default() }).unwrap();
    let places = watch::Sender::new(loaded.places.clone());
    let probe = Probe {
        sandbox: sandbox::Settings::new(sandbox::Mode::Bubblewrap, PROGRAM.into()),
        data: folder.path().to_owned(),
        ..loaded.probe()
    };
    let probed = readiness::Sources { probe, places: places.clone(), gpus: Inventory::default() };
    let live = Live {
        economics: Arc::new(Economics::open(loaded.economics, folder.path())),
        idle: watch::Sender::new(loaded.idle),
        places,
        blender_is_given: false,
        update_enabled: watch::Sender::new(true),
    };
    let readiness = Arc::new(Readiness::new());
    let watching = tokio::spawn({
        let readiness = Arc::clone(&readiness);
        async move { readiness.watch(&probed).await }
    });
    let mut probed = readiness.subscribe();
    let refused = probed.wait_for(|probed| matches!(probed.verdict, Verdict::Refused { .. })).await.unwrap();
    assert!(refused.blender.is_empty() || !refused.blender[0].path.contains("nowhere"));
    drop(refused);
    let settings = Settings::of_agent(path, live);
    settings.set("blender.path", "/usr/bin/blender").await.unwrap();
    // Without being told it would look again after a minute.
    let ready = probed.wait_for(|probed| matches!(probed.verdict, Verdict::Ready(_)));
    tokio::time::timeout(PATIENCE, ready).await.unwrap().unwrap();
    watching.abort();
}

#[tokio::test]
async fn the_changed_file_starts_an_agent() {
    let folder = tempfile::tempdir().unwrap();
    let path = config(folder.path());
    let settings = Settings::of_file(path.clone());
    for (key, value) in [
        ("economics.price_per_kwh", "0.25"),
        ("idle.command", "[\"/bin/sleep\", \"{gpu_uuid}\"]"),
        ("idle.enabled", "true"),
        ("update.enabled", "false"),
    ] {
        settings.set(key, value).await.unwrap();
    }
    let text = fs::read_to_string(&path).unwrap();
    let agent = Agent::start(folder.path(), &text).await;
    until("the price", async || {
        let price = agent.metric("pictor_electricity_price{currency=\"EUR\"}").await?;
        (price == 0.25).then_some(())
    })
    .await;
}
