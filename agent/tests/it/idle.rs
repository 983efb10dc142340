//! The owner's own program on idle GPUs: real processes on the GPUs of a fake NVML, with real leases in between.

use std::{
    fs,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use fake_nvml::install::Fake;
use pictor_agent::{
    config::{Config, RunFlags},
    economics::Economics,
    idle::{Idle, State, View},
    settings::{Live, Settings},
    slots::Slots,
};
use pictor_blender::Device;
use pictor_processes::until;
use pictor_protocol::{AttemptId, DesiredState, TestRenderId, WantedTestRender};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use tokio::sync::watch;

use super::{
    agent::{Agent, PROGRAM, config_text, nobody},
    registry::{Registry, lease},
};

/// Says where it runs, takes its time to end, and looks whether anything is rendered by then.
const GENTLE: &str = "trap 'sleep 0.7; echo $$ $(find data/render data/test-render -mindepth 1 | wc -l) >> ended; exit 0' TERM\n\
                      echo $$ $PPID \"$1\" \"$2\" ${CUDA_VISIBLE_DEVICES-all} $CUDA_DEVICE_ORDER >> started\n\
                      echo mining on $2\nwhile :; do sleep 0.05; done\n";
/// Does not end, and neither does what it put out of the reach of its group.
const STUBBORN: &str = "trap '' TERM\nsetsid sh -c 'trap \"\" TERM; echo $$ >> escaped; while :; do sleep 0.05; done' &\n\
                        echo $$ $PPID >> started\nwhile :; do sleep 0.05; done\n";

/// A machine with an agent. Its parts end in this order.
struct Machine {
    agent: Agent,
    registry: Registry,
    fake: Fake,
    folder: tempfile::TempDir,
}

impl Machine {
    async fn start(script: &str, more: &str) -> Machine {
        let (folder, registry) = (tempfile::tempdir().unwrap(), Registry::start().await);
        let profile = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/nvml/geforce.toml");
        let fake = Fake::install(folder.path(), &fs::read_to_string(profile).unwrap());
        let program = folder.path().join("program.sh");
        fs::write(&program, format!("cd {}\n{script}", folder.path().display())).unwrap();
        let config = format!(
            "{}[metrics]\nnvml_library = \"{}\"\ngpu_interval_seconds = 0.1\n[idle]\nafter_seconds = 1\n\
             command = [\"/bin/sh\", \"{}\", \"{{gpu_index}}\", \"{{gpu_uuid}}\"]\n{more}",
            config_text(&registry.url()),
            fake.library.display(),
            program.display()
        );
        let agent = Agent::start(folder.path(), &config).await;
        Machine { agent, registry, fake, folder }
    }

    fn lines(&self, file: &str) -> Vec<String> {
        let text = fs::read_to_string(self.folder.path().join(file)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    async fn wait_for_lines(&self, file: &str, count: usize) -> Vec<String> {
        until(&format!("{count} lines in {file}"), async || {
            let lines = self.lines(file);
            (lines.len() >= count).then_some(lines)
        })
        .await
    }

    async fn wait_for_running(&self, running: f64) {
        until(&format!("running {running}"), async || {
            let shown = self.agent.metric("pictor_idle_workload_running{slot=\"0\"}").await?;
            (shown == running).then_some(())
        })
        .await;
    }

    /// Blender was started and did not like the empty file that is the scene here.
    async fn failed(&self, attempt: AttemptId) {
        let key = (attempt, "fail".to_owned());
        let said = until("the task's end", async || self.registry.books().bodies.get(&key).cloned()).await;
        assert!(said.contains("could not open the scene"), "{said}");
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("data/idle/slot-0.log")).unwrap_or_default()
    }
}

/// The process ids of a line.
fn pid(line: &str, field: usize) -> Pid {
    Pid::from_raw(line.split_whitespace().nth(field).unwrap().parse().unwrap()).unwrap()
}

/// What the program of this line leaves when its GPU was its own to the end.
fn nothing_rendered(line: &str) -> String {
    format!("{} 0", line.split_whitespace().next().unwrap())
}

fn is_alive(pid: Pid) -> bool {
    test_kill_process(pid).is_ok()
}

async fn wait_for_end(pid: Pid) {
    until("the end of a process", async || (!is_alive(pid)).then_some(())).await;
}

#[tokio::test]
async fn runs_on_an_idle_gpu_and_is_gone_before_a_task_starts() {
    let machine = Machine::start(GENTLE, "enabled = true\n").await;
    let first = machine.wait_for_lines("started", 1).await.remove(0);
    let uuid = machine.fake.uuid(0);
    assert!(first.ends_with(&format!(" 0 {uuid} all PCI_BUS_ID")), "its number is CUDA's, too: {first}");
    machine.wait_for_running(1.0).await;

    let lease = machine.registry.add_task("1", None);
    machine.failed(lease.id).await;
    assert_eq!(machine.lines("ended"), [nothing_rendered(&first)], "the task waits for its end");
    assert!(!is_alive(pid(&first, 0)) && !is_alive(pid(&first, 1)));
    let second = machine.wait_for_lines("started", 2).await.remove(1);
    let id = TestRenderId::from_parts(1, [3; 10]);
    machine.registry.books().test_render = Some(WantedTestRender { id, slots: vec![0] });
    until("the end of the test render", async || {
        machine.registry.books().tested.iter().any(|(_, report)| report.status.has_ended()).then_some(())
    })
    .await;
    assert!(!is_alive(pid(&second, 0)));
    assert_eq!(machine.lines("ended")[1..], [nothing_rendered(&second)], "and so does the test render");

    let third = machine.wait_for_lines("started", 3).await.remove(2);
    machine.registry.books().desired = Some(DesiredState::Paused);
    wait_for_end(pid(&third, 0)).await;
    machine.wait_for_running(0.0).await;
    let beats = machine.registry.books().beats.len();
    until("three more seconds", async || (machine.registry.books().beats.len() > beats + 3).then_some(()))
        .await;
    assert_eq!(machine.lines("started").len(), 3, "whoever pauses it wants the GPU");
    machine.registry.books().desired = None;
    let fourth = machine.wait_for_lines("started", 4).await.remove(3);
    let ran = machine.agent.metric("pictor_idle_workload_seconds_total{slot=\"0\"}").await.unwrap();
    assert!(ran > 0.0, "{ran}");
    machine.agent.terminate();
    assert!(machine.agent.ended().await.success());
    assert!(!is_alive(pid(&fourth, 0)) && machine.lines("ended").len() == 4, "stopped with the agent");
    let log = machine.log();
    assert!(log.contains(&format!("mining on {uuid}")) && log.contains("asked to end"), "{log}");
    assert_eq!(log.matches("it sees all GPUs: it has to keep to number 0").count(), 4, "{log}");
}

#[tokio::test]
async fn what_does_not_end_is_killed_with_all_it_started() {
    let machine = Machine::start(STUBBORN, "enabled = true\n").await;
    let started = machine.wait_for_lines("started", 1).await.remove(0);
    let escaped = machine.wait_for_lines("escaped", 1).await.remove(0);
    let lease = machine.registry.add_task("1", None);
    let asked = Instant::now();
    machine.failed(lease.id).await;
    assert!(asked.elapsed() >= Duration::from_secs(4), "it had its time to end by itself");
    assert!(!is_alive(pid(&started, 0)) && !is_alive(pid(&escaped, 0)));
    assert!(machine.log().contains("ended by signal 9"), "{}", machine.log());
}

#[tokio::test]
async fn a_killed_agent_leaves_nothing_running() {
    let machine = Machine::start(STUBBORN, "enabled = true\n").await;
    let started = machine.wait_for_lines("started", 1).await.remove(0);
    let escaped = machine.wait_for_lines("escaped", 1).await.remove(0);
    machine.agent.kill().await;
    for gone in [pid(&started, 0), pid(&started, 1), pid(&escaped, 0)] {
        wait_for_end(gone).await;
    }
}

#[tokio::test]
async fn it_does_not_outlive_its_guard_and_is_started_again() {
    let machine = Machine::start(GENTLE, "enabled = true\n").await;
    let first = machine.wait_for_lines("started", 1).await.remove(0);
    kill_process(pid(&first, 1), Signal::KILL).unwrap();
    wait_for_end(pid(&first, 0)).await;
    machine.agent.says("its guard was ended by signal 9").await;
    machine.wait_for_lines("started", 2).await;
}

#[tokio::test]
async fn a_crash_loop_slows_down_and_says_so() {
    let script = "date +%s >> started; echo no coin; exit 3\n";
    let machine = Machine::start(script, "enabled = true\n").await;
    let started = machine.wait_for_lines("started", 2).await;
    let seconds: Vec<i64> = started.iter().map(|second| second.parse().unwrap()).collect();
    assert!(seconds[1] - seconds[0] >= 4, "not at once: {seconds:?}");
    for says in ["ended by itself (exit code 3); it is started again in 5 s", "started again in 10 s"] {
        machine.agent.says(says).await;
    }
    let printed = async || (machine.log().matches("no coin").count() == 2).then_some(());
    until("what it printed", printed).await;
    let lease = machine.registry.add_task("1", None);
    machine.failed(lease.id).await;
}

#[tokio::test]
async fn it_is_off_unless_switched_on_and_never_on_the_cpu() {
    let off = Machine::start(GENTLE, "").await;
    let cpu = Machine::start(GENTLE, "enabled = true\n[blender]\ndevice = \"cpu\"\n").await;
    off.wait_for_running(0.0).await;
    for machine in [&off, &cpu] {
        until("five heartbeats", async || (machine.registry.books().beats.len() > 5).then_some(())).await;
        let log = machine.folder.path().join("data/idle");
        assert!(machine.lines("started").is_empty() && !log.exists());
    }
    assert_eq!(cpu.agent.metric("pictor_idle_workload_running{slot=\"0\"}").await, None);
}

/// What `found` sees of the only slot, once it sees something.
async fn wait_for_view<T>(idle: &Idle, what: &str, found: impl Fn(&View) -> Option<T>) -> T {
    until(what, async || found(&idle.views()[0])).await
}

#[tokio::test]
async fn the_settings_switch_it_and_its_view_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("worker.toml");
    fs::write(&path, config_text(&nobody())).unwrap();
    let loaded = Config::load(&RunFlags { config: Some(path.clone()), ..RunFlags::default() }).unwrap();
    let gpu = Device::Gpu { uuid: "GPU-1".to_owned(), index: 0, minor: 0 };
    let slots = Arc::new(Slots::new(vec![gpu, Device::Cpu]));
    let switch = watch::Sender::new(loaded.idle);
    let (idle, supervisors) =
        Idle::new(Arc::clone(&slots), switch.clone(), Path::new(PROGRAM), folder.path());
    let running = tokio::spawn(supervisors.run());
    let settings = Settings::of_agent(
        path,
        Live {
            economics: Arc::new(Economics::open(loaded.economics, folder.path())),
            idle: switch,
            places: watch::Sender::new(loaded.places),
            blender_is_given: false,
            update_enabled: watch::Sender::new(true),
        },
    );
    let [gpu, cpu] = idle.views().try_into().unwrap();
    assert_eq!((gpu.state, cpu.state), (State::Off, State::Unsupported));
    assert!(cpu.reason.unwrap().contains("NVIDIA"));
    let is = |state: State| move |view: &View| (view.state == state).then(|| view.clone());

    for (key, value) in [
        ("idle.command", "echo first $CUDA_VISIBLE_DEVICES; exec sleep 1000"),
        ("idle.after_seconds", "1"),
        ("idle.enabled", "true"),
    ] {
        assert_eq!(settings.set(key, value).await.unwrap().restart, None);
    }
    let waiting = wait_for_view(&idle, "waiting", is(State::Waiting)).await;
    assert!(waiting.reason.unwrap().starts_with("it starts in "));
    let printed = |text: &'static str| {
        move |view: &View| view.log_tail.iter().any(|line| line == text).then(|| view.clone())
    };
    let first = wait_for_view(&idle, "the command", printed("first GPU-1")).await;
    assert_eq!((first.state, first.starts, first.reason), (State::Running, 1, None));
    assert!(!first.log_tail.iter().any(|line| line.contains("it sees all GPUs")), "{:?}", first.log_tail);
    let numbered = "echo second {gpu_index} ${CUDA_VISIBLE_DEVICES-all}; exec sleep 1000";
    settings.set("idle.command", numbered).await.unwrap();
    let second = wait_for_view(&idle, "the other command", printed("second 0 all")).await;
    assert_eq!((second.starts, second.last_exit.as_deref()), (2, Some("ended by signal 15")));

    let _stop = slots.take(&lease("1", None, b"")).unwrap();
    idle.make_room(0).await;
    let [view, _] = idle.views().try_into().unwrap();
    assert_eq!((view.state, view.reason.as_deref()), (State::Waiting, Some("the slot has a task")));
    assert!(view.running_seconds > 0.0);
    idle.make_room(0).await;
    idle.make_room(1).await;
    slots.leave(0);
    settings.set("idle.command", "exit 9").await.unwrap();
    let crashed = wait_for_view(&idle, "a crash", is(State::BackingOff)).await;
    let reason = crashed.reason.unwrap();
    assert!(reason.starts_with("it ended by itself (exit code 9); it starts again in "), "{reason}");
    settings.set("idle.enabled", "false").await.unwrap();
    let off = wait_for_view(&idle, "off", is(State::Off)).await;
    assert_eq!(off.reason.as_deref(), Some("it is switched off"));

    settings.set("idle.command", "[\"/bin/sleep\", \"1000\"]").await.unwrap();
    settings.set("idle.enabled", "true").await.unwrap();
    wait_for_view(&idle, "running", is(State::Running)).await;
    idle.stop().await;
    assert_eq!(idle.views()[0].state, State::Off, "at the agent's end it is gone");
    running.abort();
}
