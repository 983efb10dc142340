//! Config files: read, refused with the key and the line, imported.

use std::{
    fs::{self, File},
    os::unix::fs::PermissionsExt,
    path::Path,
};

use pictor_agent::config::{Config, RunFlags};
use pictor_processes::until;
use tokio::process::{Child, Command};

use super::{
    agent::{command, config_text, nobody, run_to_end},
    registry::{ENROLMENT_KEY, Registry},
};

const BAD_CONFIGURATION: i32 = 78;

fn write(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    fs::write(&path, text).unwrap();
    path.display().to_string()
}

#[test]
fn the_example_names_every_setting_and_loads() {
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/worker.example.toml");
    let flags = RunFlags { config: Some(example.into()), ..RunFlags::default() };
    let config = Config::load(&flags).unwrap();
    assert_eq!(config.identity.0.worker_name.as_str(), "render-box");
    assert_eq!(config.scene_cache_bytes, 20 << 30);
    assert!(!format!("{config:?}").contains("replaced-by"), "the token is not for logs");
}

#[test]
fn a_mistake_is_named_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let good = config_text("http://127.0.0.1:1");
    for (text, said) in [
        (format!("{good}colour = \"red\"\n"), "line 5: unknown key `colour`"),
        (format!("{good}[agent]\nlisten = \"here\"\n"), "line 6: invalid socket address"),
        (format!("{good}[sandbox]\nmode = \"none\"\n"), "line 6: unknown variant `none`"),
        (good.replace("token = ", "tokens = "), "line 4: unknown key `tokens`"),
        (good.lines().skip(1).collect::<Vec<_>>().join("\n"), "missing key `registry`"),
        (good.replace("http://", "ftp://"), "`registry` is not an http or https URL"),
        (good.replace("wrk_", "acc_"), "line 2: "),
        (
            format!("{good}[metrics]\nhost_interval_seconds = 0.0\n"),
            "`host_interval_seconds` under [metrics]",
        ),
        (
            format!("{good}[metrics]\ndisabled_collectors = [\"host\", \"disk\"]\n"),
            "line 6: there is no collector `disk`; there are nvml, host, render, earnings",
        ),
        ("registry = ".to_owned(), "line 1: "),
    ] {
        let path = write(folder.path(), "worker.toml", &text);
        let (code, _, stderr) = run_to_end(folder.path(), &["run", "--config", &path]);
        assert_eq!(code, BAD_CONFIGURATION, "{stderr}");
        assert!(stderr.contains(said) && stderr.contains(&path), "{said}: {stderr}");
        assert!(stderr.lines().filter(|line| line.starts_with("pictor-agent:")).count() == 1, "{stderr}");
    }
    let (code, _, stderr) = run_to_end(folder.path(), &["run", "--config", "/nowhere/worker.toml"]);
    assert_eq!(code, BAD_CONFIGURATION);
    assert!(stderr.contains("pictor-agent import FILE.toml"), "{stderr}");
    let (code, ..) = run_to_end(folder.path(), &["run", "--colour"]);
    assert_eq!(code, 2);
}

#[test]
fn beyond_loopback_metrics_need_a_token_or_a_word() {
    let folder = tempfile::tempdir().unwrap();
    let good = config_text(&nobody());
    let path = write(folder.path(), "worker.toml", &good);
    let (code, _, stderr) = run_to_end(folder.path(), &["run", "--config", &path, "--listen", "0.0.0.0:0"]);
    assert_eq!(code, BAD_CONFIGURATION);
    assert!(stderr.contains("token_file") && stderr.contains("open = true"), "{stderr}");
    // No file that is dropped on the first run's page could say so: it is said before.
    let missing = folder.path().join("none.toml").display().to_string();
    let app = ["app", "--browser", "--hidden", "--config", &missing, "--listen", "0.0.0.0:0"];
    let (code, _, stderr) = run_to_end(folder.path(), &app);
    assert!(code == BAD_CONFIGURATION && stderr.contains("--metrics-token-file FILE"), "{stderr}");
    let token = write(folder.path(), "token", "secret\n");
    for table in [format!("token_file = \"{token}\""), "open = true".to_owned()] {
        let path = write(folder.path(), "worker.toml", &format!("{good}[metrics]\n{table}\n"));
        let listen = "0.0.0.0:0".parse().ok();
        Config::load(&RunFlags { config: Some(path.into()), listen, ..RunFlags::default() }).unwrap();
    }
}

#[test]
fn import_installs_and_keeps_the_machines_own_settings() {
    let folder = tempfile::tempdir().unwrap();
    let downloaded = write(folder.path(), "pictor-worker-test.toml", &config_text("http://127.0.0.1:1"));
    let destination = folder.path().join("deep/worker.toml");
    let destination = destination.to_str().unwrap();
    let import = |file: &str| run_to_end(folder.path(), &["import", file, "--config", destination]);
    let (code, stdout, stderr) = import(&downloaded);
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.contains(destination) && stdout.contains("pictor-agent run --config"), "{stdout}");
    assert_eq!(fs::metadata(destination).unwrap().permissions().mode() & 0o777, 0o600);

    let mut own = fs::read_to_string(destination).unwrap();
    own.push_str("# this one is quiet\n[agent]\nlisten = \"127.0.0.1:1234\" # mine\n");
    fs::write(destination, own).unwrap();
    let again = config_text("http://127.0.0.1:1").replace("test-token", "newer-token");
    let again = write(folder.path(), "again.toml", &again);
    assert_eq!(import(&again).0, 0);
    let config = Config::load(&RunFlags { config: Some(destination.into()), ..RunFlags::default() }).unwrap();
    assert_eq!(config.identity.0.token, "newer-token");
    assert_eq!(config.listen.port(), 1234);
    assert!(fs::read_to_string(destination).unwrap().contains("# mine"));

    let before = fs::read_to_string(destination).unwrap();
    let broken = write(folder.path(), "broken.toml", "registry = 7\n");
    let (code, _, stderr) = import(&broken);
    assert_eq!((code, fs::read_to_string(destination).unwrap()), (BAD_CONFIGURATION, before), "{stderr}");
    // What the agent would not start with, and the machine's own part that it does not.
    for (table, said) in [
        ("[economics]\nprice_per_kwh = 0.3\n", "currency"),
        ("[idle]\nafter_seconds = 0\n", "`after_seconds` under [idle]"),
        ("[metrics]\nhost_interval_seconds = 0.0\n", "`host_interval_seconds` under [metrics]"),
        ("[sandbox]\nuid = 0\n", "`uid` under [sandbox]"),
    ] {
        let refused = write(folder.path(), "refused.toml", &(config_text("http://127.0.0.1:1") + table));
        let new = folder.path().join("new/worker.toml").display().to_string();
        let (code, _, stderr) = run_to_end(folder.path(), &["import", &refused, "--config", &new]);
        assert!(code == BAD_CONFIGURATION && stderr.contains(said) && stderr.contains(&refused), "{stderr}");
        assert!(!Path::new(&new).exists());
    }
    let own = config_text("http://127.0.0.1:1") + "[update]\npublic_key = \"RWnonsense\"\n";
    fs::write(destination, &own).unwrap();
    let (code, _, stderr) = import(&again);
    assert!(code == BAD_CONFIGURATION && stderr.contains("`public_key` under [update]"), "{stderr}");
    assert_eq!(fs::read_to_string(destination).unwrap(), own);
    assert_eq!(import("/nowhere/file.toml").0, BAD_CONFIGURATION);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_traded_for_a_worker_once() {
    let registry = Registry::start().await;
    let folder = tempfile::tempdir().unwrap();
    let (place, url) = (folder.path().to_owned(), registry.url());
    let import = move |file: &str, key: &str| {
        let (place, url, key) = (place.clone(), url.clone(), key.to_owned());
        let destination = place.join(file).display().to_string();
        tokio::task::spawn_blocking(move || {
            run_to_end(&place, &["import", "--enrol", &key, "--registry", &url, "--config", &destination])
        })
    };
    let (code, _, stderr) = import("a/worker.toml", "another-key").await.unwrap();
    assert!(code == 1 && stderr.contains("the test says enrolment_used_up"), "{stderr}");
    // A key is not spent where its config cannot be kept.
    fs::write(folder.path().join("file"), "").unwrap();
    let (code, _, stderr) = import("file/worker.toml", ENROLMENT_KEY).await.unwrap();
    assert!(code == 1 && stderr.contains("cannot write"), "{stderr}");
    // Nor where what the machine's owner wrote there could not be used with it.
    write(folder.path(), "own.toml", "[metrics]\nhost_interval_seconds = 0.0\n");
    let (code, _, stderr) = import("own.toml", ENROLMENT_KEY).await.unwrap();
    let said = "own.toml: `host_interval_seconds` under [metrics]";
    assert!(code == BAD_CONFIGURATION && stderr.contains(said), "{stderr}");
    assert!(registry.books().enrolled.is_empty());

    let (code, stdout, stderr) = import("a/worker.toml", ENROLMENT_KEY).await.unwrap();
    assert!(code == 0 && stdout.contains("Worker rack-1"), "{stdout}{stderr}");
    let destination = folder.path().join("a/worker.toml");
    assert_eq!(fs::metadata(&destination).unwrap().permissions().mode() & 0o777, 0o600);
    let config = Config::load(&RunFlags { config: Some(destination), ..RunFlags::default() }).unwrap();
    assert_eq!(config.identity.0.worker_name.as_str(), "rack-1");
    let hostname = hostname::get().unwrap().to_string_lossy().into_owned();
    assert_eq!(registry.books().enrolled[0].hostname.as_ref(), Some(&hostname));

    let (code, stdout, stderr) = import("a/worker.toml", ENROLMENT_KEY).await.unwrap();
    assert!(code == 0 && stdout.contains("rack-1 already"), "{stdout}{stderr}");
    let (code, ..) = import("b/worker.toml", ENROLMENT_KEY).await.unwrap();
    assert_eq!((code, registry.books().enrolled.len()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_not_spent_by_a_start_that_cannot_be() {
    let registry = Registry::start().await;
    let folder = tempfile::tempdir().unwrap();
    let start = async |words: &'static [&str], own: Option<&str>| {
        let (place, url) = (folder.path().to_owned(), registry.url());
        let config = place.join("worker.toml").display().to_string();
        match own {
            Some(own) => fs::write(&config, own).unwrap(),
            None => assert!(!Path::new(&config).exists()),
        }
        let data = place.join("data").display().to_string();
        tokio::task::spawn_blocking(move || {
            let enrol = ["--enrol", ENROLMENT_KEY, "--registry", &url, "--config", &config, "--data", &data];
            let (code, _, stderr) = run_to_end(&place, &[words, &enrol].concat());
            (code, stderr)
        })
        .await
        .unwrap()
    };
    let run: &[&str] = &["run", "--listen", "0.0.0.0:0"];
    let app: &[&str] = &["app", "--browser", "--hidden", "--listen", "0.0.0.0:0"];
    for own in [None, Some("[metrics]\nopen = false\n")] {
        for words in [run, app] {
            let (code, stderr) = start(words, own).await;
            assert!(code == BAD_CONFIGURATION && stderr.contains("--metrics-token-file FILE"), "{stderr}");
        }
    }
    let own = Some("[metrics]\nopen = true\nhost_interval_seconds = 0.0\n");
    for words in [run, app] {
        let (code, stderr) = start(words, own).await;
        assert!(code == BAD_CONFIGURATION && stderr.contains("`host_interval_seconds`"), "{stderr}");
    }
    assert!(registry.books().enrolled.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_app_trades_a_key_once_where_no_agent_runs_yet() {
    let registry = Registry::start().await;
    let folder = tempfile::tempdir().unwrap();
    let said = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
    let start = |name: &str| -> Child {
        let mut app = command(folder.path());
        app.args(["app", "--browser", "--hidden", "--listen", "127.0.0.1:0", "--registry", &registry.url()])
            .args(["--enrol", ENROLMENT_KEY])
            .arg("--config")
            .arg(folder.path().join("worker.toml"))
            .arg("--data")
            .arg(folder.path().join("data"))
            .stdout(File::create(folder.path().join(name)).unwrap());
        Command::from(app).kill_on_drop(true).spawn().unwrap()
    };
    let opens = async |name: &str| {
        let what = format!("the link, by the {name} start");
        until(&what, async || said(name).contains("The worker app, with the key").then_some(())).await;
    };
    // Of two at once, one shows what the other has started.
    let mut at_once = [start("first"), start("second")];
    opens("first").await;
    opens("second").await;
    let both = said("first") + &said("second");
    assert!(both.contains("Worker rack-1") && both.contains("The agent was started here"), "{both}");
    assert!(!both.contains("Start rendering"), "it renders already: {both}");
    assert_eq!(registry.books().enrolled.len(), 1);
    let config = RunFlags { config: Some(folder.path().join("worker.toml")), ..RunFlags::default() };
    assert_eq!(Config::load(&config).unwrap().identity.0.worker_name.as_str(), "rack-1");

    let mut third = start("third");
    assert!(third.wait().await.unwrap().success());
    assert!(said("third").contains("the enrolment key was not used"), "{}", said("third"));
    for app in &mut at_once {
        // That which found the other's agent has ended.
        let _ = app.kill().await;
    }
    let _fourth = start("fourth");
    opens("fourth").await;
    assert!(said("fourth").contains("rack-1 already"), "{}", said("fourth"));
    assert_eq!(registry.books().enrolled.len(), 1);
}

#[test]
fn doctor_says_what_is_wrong_and_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), "worker.toml", &config_text(&nobody()));
    let data = folder.path().join("data").display().to_string();
    let arguments = ["doctor", "--json", "--config", &path, "--data", &data, "--blender", "/usr/bin/true"];
    let (code, stdout, stderr) = run_to_end(folder.path(), &arguments);
    assert_eq!(code, 1, "{stderr}");
    let report: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    let status = |name: &str| {
        let checks = report["checks"].as_array().unwrap();
        let check = checks.iter().find(|check| check["name"] == name).unwrap_or(&serde_json::Value::Null);
        assert!(check["status"] == "ok" || check["advice"].is_string(), "{check}");
        check["status"].as_str().unwrap_or("none").to_owned()
    };
    assert_eq!(["config", "data", "disk", "sandbox"].map(status), ["ok"; 4], "{stdout}");
    assert_eq!(["blender", "registry"].map(status), ["fail"; 2], "{stdout}");
    assert_eq!(status("gpus"), if Path::new("/dev/nvidiactl").exists() { "ok" } else { "warn" });
}

#[test]
fn the_log_goes_into_files_where_a_folder_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let (good, logs) = (config_text("http://127.0.0.1:1"), folder.path().join("logs"));
    let path = write(folder.path(), "worker.toml", &good);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let named = logs.display().to_string();
    let (.., stderr) = run_to_end(folder.path(), &["--log-dir", &named, "self-check", "--config", &path]);
    assert_eq!(stderr, "");
    let files: Vec<_> = fs::read_dir(&logs).unwrap().map(|entry| entry.unwrap().path()).collect();
    let [file] = files.as_slice() else { panic!("{files:?}") };
    let name = file.file_name().unwrap().to_string_lossy();
    assert!(name.starts_with("pictor-agent.") && name.ends_with(".log"), "{name}");
    assert!(fs::read_to_string(file).unwrap().contains("can be read by others"));
}
