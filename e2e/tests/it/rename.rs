//! A worker's owner gives it another name at the machine: the registry has the last word, and the file follows.

use std::fs;
use std::path::Path;
use std::process::Command;

use pictor_processes::{Outcome, built, command, installed, run};

use crate::network::{Network, Pace};

async fn set_name(wrapper: &[&str], config: &Path, name: &str) -> Outcome {
    let agent = built("pictor-agent");
    let mut set: Command = match wrapper {
        [] => command(&agent, ["set"]),
        [program, arguments @ ..] => {
            let mut wrapped = command(&installed(program), arguments);
            wrapped.arg(agent).arg("set");
            wrapped
        }
    };
    set.args(["worker_name", name, "--config"]).arg(config);
    run(set).await
}

#[tokio::test]
async fn a_worker_is_renamed_at_its_machine() {
    let mut network = Network::start(Pace::QUICK).await;
    let machine = network.machine("old-name").await;
    network.download("taken").await;
    let agent = network.idle_agent(&machine).await;
    let before = fs::read_to_string(&machine.config).expect("the config file");

    let taken = set_name(&[], &machine.config, "taken").await;
    taken.failed(1, &["worker_name", "another of your workers is named 'taken' already"]);
    assert_eq!(fs::read_to_string(&machine.config).expect("the config file"), before);
    assert_eq!(network.worker(machine.id).await.name.as_str(), "old-name");

    let renamed = set_name(&[], &machine.config, " new-name ").await.succeeded();
    assert!(renamed.contains("worker_name = new-name"), "{renamed}");
    assert_eq!(network.worker(machine.id).await.name.as_str(), "new-name");
    let after = fs::read_to_string(&machine.config).expect("the config file");
    assert_eq!(after, before.replace("\"old-name\"", "\"new-name\""));

    // The registry has taken it, and the file cannot follow.
    let folder = network.folder().to_str().expect("a path in UTF-8").to_owned();
    let read_only = ["bwrap", "--bind", "/", "/", "--dev", "/dev", "--ro-bind", &folder, &folder];
    let half = set_name(&read_only, &machine.config, "half-done").await;
    half.failed(
        1,
        &["is called half-done at the registry now", "cannot be written", "worker_name = \"half-done\""],
    );
    assert_eq!(network.worker(machine.id).await.name.as_str(), "half-done");
    assert_eq!(fs::read_to_string(&machine.config).expect("the config file"), after);

    // It works on under any of its names, and says so when nobody can be asked.
    assert_eq!(agent.terminate().await, Some(0));
    network.registry().kill().await;
    let nobody = set_name(&[], &machine.config, "later").await;
    nobody.failed(1, &["cannot be asked", "the name stays as it was"]);
    assert_eq!(fs::read_to_string(&machine.config).expect("the config file"), after);
}
