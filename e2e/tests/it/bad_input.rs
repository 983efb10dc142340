//! What people get wrong gives one clear message, an exit code, and costs nothing.

use std::fs;

use pictor_processes::{built, command, run};
use pictor_protocol::{JobId, JobStatus};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::hand::refused;
use crate::network::{CREDIT_MICROS, FRAME_COST, Network, Pace};
use crate::scenes;

#[tokio::test]
async fn a_scene_without_a_camera_fails_with_the_reason_and_gives_the_money_back() {
    let scene = scenes::without_camera().await;
    let network = Network::start(Pace::QUICK).await;
    let machine = network.machine("alone").await;
    let agent = network.idle_agent(&machine).await;
    let scene = scene.to_str().expect("a path in UTF-8");
    let submit = ["submit", scene, "--frames", "1-2", "--cost", FRAME_COST, "--wait"];
    let submitted = run(network.job_command(&submit)).await;
    assert_eq!(submitted.code, Some(1), "{submitted:#?}");
    assert!(submitted.stderr.to_lowercase().contains("camera"), "{submitted:#?}");

    let jobs = network.call(&network.creator.token, Method::GET, "/v1/jobs", None).await;
    let jobs: Value = jobs.json().await.expect("JSON");
    let job: JobId = jobs["items"][0]["id"].as_str().expect("a job").parse().expect("its id");
    let job = network.job(job).await;
    assert_eq!(job.status, JobStatus::Failed);
    assert!(job.error.as_deref().is_some_and(|error| error.contains("camera")), "{job:?}");
    network.paid_frames(0).await;
    assert!(agent.exit_status().is_none());
}

#[tokio::test]
async fn a_job_that_cannot_be_is_refused_by_its_command() {
    let scene = scenes::quick().await;
    let network = Network::start(Pace::QUICK).await;
    let scene = scene.to_str().expect("a path in UTF-8");
    let place = |name: &str, bytes: &[u8]| {
        let path = network.folder().join(name);
        fs::write(&path, bytes).expect("a file");
        path.to_str().expect("a path in UTF-8").to_owned()
    };
    let (picture, empty) =
        (place("picture.blend", b"\x89PNG\r\n\x1a\n and so on"), place("empty.blend", b""));
    let cases: [(&[&str], i32, &[&str]); 8] = [
        (&[&picture, "--frames", "1"], 1, &["blend"]),
        (&[&empty, "--frames", "1"], 1, &["empty"]),
        (&["/nonexistent/scene.blend", "--frames", "1"], 1, &["/nonexistent/scene.blend"]),
        (&[scene, "--frames", "10-1"], 2, &["backwards"]),
        (&[scene, "--frames", "all"], 2, &["'all'", "1-10"]),
        (&[scene, "--frames", "1", "--cost=-1"], 2, &["cost"]),
        (&[scene, "--frames", "1", "--token", "nobody's"], 1, &["token"]),
        (&[scene, "--frames", "1-100", "--cost", "1"], 1, &["100.00", "10.00"]),
    ];
    for (options, code, words) in cases {
        let submitted = run(network.job_command(&[&["submit"], options].concat())).await;
        submitted.failed(code, words);
    }
    let mut nowhere = command(&built("pictor-registry"), ["job", "submit", scene, "--frames", "1"]);
    nowhere.args(["--registry", "http://127.0.0.1:9"]).env("PICTOR_TOKEN", &network.creator.token);
    run(nowhere).await.failed(1, &["http://127.0.0.1:9"]);
    assert_eq!(network.creators_balance().await, CREDIT_MICROS);
}

#[tokio::test]
async fn a_request_that_cannot_be_is_a_problem() {
    let network = Network::start(Pace::QUICK).await;
    let post =
        async |token: &str, body: Value| network.call(token, Method::POST, "/v1/workers", Some(body)).await;
    let token = &network.provider.token;
    assert!(post(token, json!({ "name": "mine" })).await.status().is_success());
    refused(post(token, json!({ "name": "mine" })).await, StatusCode::CONFLICT).await;
    refused(post(token, json!({ "name": "a/b" })).await, StatusCode::BAD_REQUEST).await;
    refused(post(token, json!({ "name": "x", "nmae": "y" })).await, StatusCode::BAD_REQUEST).await;
    refused(post("nobody's", json!({ "name": "x" })).await, StatusCode::UNAUTHORIZED).await;
    refused(post(&network.creator.token, json!({ "name": "x" })).await, StatusCode::FORBIDDEN).await;
    let strangers = "/v1/workers/wrk_019a0000000070008000000000000000";
    for path in [strangers, "/v1/workers/unknown", "/v1/nowhere"] {
        refused(network.call(token, Method::GET, path, None).await, StatusCode::NOT_FOUND).await;
    }
    network
        .on_database(&["account", "create", "provider", "--role", "provider"])
        .await
        .failed(1, &["provider"]);
    network.on_database(&["account", "credit", "creator", "-1"]).await.failed(2, &["-1"]);
    network.on_database(&["account", "credit", "nobody", "1"]).await.failed(1, &["nobody"]);
}

#[tokio::test]
async fn a_config_file_that_cannot_be_is_named_with_its_line() {
    let network = Network::start(Pace::QUICK).await;
    let (_, file) = network.download("typo").await;
    let text = fs::read_to_string(&file).expect("a config file");
    let line = text.lines().count() + 2;
    fs::write(&file, format!("{text}\n[agent]\nlisten_on = \"127.0.0.1:1\"\n")).expect("a config file");
    let config = network.folder().join("worker.toml");
    let agent = |args: &[&str]| {
        let mut agent = command(&built("pictor-agent"), args);
        agent.arg("--config").arg(&config);
        agent
    };
    let file = file.to_str().expect("a path in UTF-8");
    let line = format!("line {}", line + 1);
    run(agent(&["import", file])).await.failed(78, &["listen_on", &line]);
    assert!(!config.exists(), "a wrong file must not be installed");
    run(agent(&["run"])).await.failed(78, &["worker.toml", "import"]);
}
