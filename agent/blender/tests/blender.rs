//! The real Blender in the real sandbox.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{
    ffi::OsString,
    fs,
    io::{BufRead, BufReader},
    net::TcpListener,
    os::{
        linux::net::SocketAddrExt,
        unix::{
            fs::{MetadataExt, PermissionsExt, chown},
            net::{SocketAddr, UnixDatagram, UnixListener},
            process::CommandExt,
        },
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use pictor_blender::{
    BlenderError, Breach, Device, Event, Installed, Launch, Limits, Mode, Places, Sandbox, Session, detect,
    output,
    sandbox::{Confinement, Settings},
};
use tokio::sync::mpsc;

const SCENES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/scenes");
const FRAME_BYTES_MAX: u64 = 1 << 20;
/// Blender itself reserves files of some 64 MB in memory.
const FILE_BYTES_MAX: u64 = 128 << 20;
/// Nobody's: for what has to hold when the agent is an ordinary user.
const SOMEBODY: u32 = 64_980;
/// Where the sandbox without namespaces has the output folder open.
const OUTPUT_NUMBER: u32 = 102;

/// A folder of one test with Blender, the sandbox and room for scenes and output.
struct Bench {
    blender: Installed,
    sandbox: Sandbox,
    folder: tempfile::TempDir,
}

impl Bench {
    async fn new() -> Bench {
        Bench::with(settings(Mode::Bubblewrap)).await
    }

    async fn with(settings: Settings) -> Bench {
        let places = Places { search_path: std::env::var_os("PATH"), ..Places::default() };
        let detection = detect(&places).await;
        let blender = detection.installed.into_iter().next();
        let blender = blender.expect("these tests need Blender: scripts/test installs it");
        let sandbox = Sandbox::probe(settings).await;
        let sandbox =
            sandbox.expect("these tests need bubblewrap, which scripts/test installs, and Landlock");
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::create_dir(folder.path().join("output")).expect("a new folder");
        Bench { blender, sandbox, folder }
    }

    fn output(&self) -> PathBuf {
        self.folder.path().join("output")
    }

    /// Runs one of the scripts in `tests/scenes`, which saves a scene.
    fn scene(&self, script: &str, argument: &str) -> PathBuf {
        let scene = self.folder.path().join(format!("{argument}.blend").replace('/', "-"));
        let run = Command::new(&self.blender.path)
            .args(["-b", "--factory-startup", "--python-exit-code", "1", "--python"])
            .arg(Path::new(SCENES).join(script))
            .arg("--")
            .args([scene.as_os_str(), argument.as_ref()])
            .output()
            .expect("Blender runs");
        assert!(run.status.success(), "{script}: {}", String::from_utf8_lossy(&run.stderr));
        scene
    }

    async fn start(
        &self,
        scene: &Path,
        limits: Limits,
    ) -> Result<(Session, mpsc::Receiver<Event>), BlenderError> {
        let (sender, events) = mpsc::channel(10_000);
        let launch = Launch {
            blender: &self.blender,
            sandbox: &self.sandbox,
            scene: Some(scene),
            output: &self.output(),
            device: Device::Cpu,
            slot: 0,
            limits,
        };
        Ok((Session::start(launch, sender).await?, events))
    }
}

fn settings(mode: Mode) -> Settings {
    Settings::new(mode, PathBuf::from(env!("CARGO_BIN_EXE_pictor-blender-inner")))
}

/// Whether a process of this host has the folder mounted, and so belongs to the test's sandbox.
fn sandboxed_processes(folder: &Path) -> Vec<String> {
    let name = folder.file_name().expect("a folder with a name").to_string_lossy().into_owned();
    let processes =
        fs::read_dir("/proc").expect("/proc is mounted").filter_map(Result::ok).map(|entry| entry.path());
    let inside = processes.filter(|path| {
        fs::read_to_string(path.join("mountinfo")).is_ok_and(|mounts| mounts.contains(&name))
            || fs::read(path.join("cmdline")).is_ok_and(|line| String::from_utf8_lossy(&line).contains(&name))
            || (!path.ends_with(std::process::id().to_string())
                && fs::read_link(path.join(format!("fd/{OUTPUT_NUMBER}")))
                    .is_ok_and(|open| open.to_string_lossy().contains(&name)))
    });
    inside.map(|path| path.display().to_string()).collect()
}

/// What has to end at once, on a machine that may be busy with others.
const SOON: Duration = Duration::from_secs(20);

async fn poll(limit: Duration, mut done: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    let mut tick = tokio::time::interval(Duration::from_millis(20));
    while Instant::now() < deadline {
        if done() {
            return true;
        }
        tick.tick().await;
    }
    false
}

#[tokio::test(flavor = "multi_thread")]
async fn renders_frames_of_one_scene_in_one_process() {
    renders(Bench::new().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn renders_frames_of_one_scene_in_one_process_without_namespaces() {
    renders(Bench::with(settings(Mode::Landlock)).await).await;
}

async fn renders(bench: Bench) {
    let scene = bench.scene("cube.py", "writer");
    // As a cache may keep it: the sandbox's user can read it all the same.
    fs::set_permissions(&scene, fs::Permissions::from_mode(0o600)).unwrap();
    fs::set_permissions(bench.folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let (mut session, mut events) = bench.start(&scene, Limits::default()).await.unwrap();
    assert_eq!(session.loaded().engine, "CYCLES");
    assert_eq!(session.loaded().device.as_deref(), Some("CPU"));
    assert!(session.loaded().seconds > 0.0);
    let mut pixels = Vec::new();
    for (frame, size) in [(1, None), (9, None), (-5, Some((32, 18))), (1, None)] {
        let name = session.render(frame, size).await.unwrap();
        let checked =
            output::check(&bench.output(), &name, size.or(Some((64, 36))), FRAME_BYTES_MAX).unwrap();
        pixels.push(image::load_from_memory(&checked.bytes).unwrap());
    }
    let pid_before_stop = sandboxed_processes(bench.folder.path());
    assert!(!pid_before_stop.is_empty(), "the test cannot see the sandbox's processes");
    session.stop().await;
    assert_eq!(sandboxed_processes(bench.folder.path()), Vec::<String>::new());
    assert!(pixels[0] == pixels[3], "the same frame again is another picture");
    assert!(pixels[0] != pixels[1], "the scene does not move");
    let mut last = (i32::MIN, 0.0);
    let mut finished = Vec::new();
    while let Some(event) = events.recv().await {
        let Event::Progress { frame, ratio, .. } = event else { continue };
        assert!((0.0..=1.0).contains(&ratio));
        assert!(frame != last.0 || ratio >= last.1, "{frame}: {ratio} after {last:?}");
        last = (frame, ratio);
        if ratio == 1.0 && finished.last() != Some(&frame) {
            finished.push(frame);
        }
    }
    assert_eq!(finished, [1, 9, -5, 1]);
    let mut names: Vec<_> =
        fs::read_dir(bench.output()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["frame_-00005.png", "frame_000001.png", "frame_000009.png"], "and no stray file");
    let owner = fs::metadata(bench.output()).unwrap().uid();
    assert_eq!(owner, fs::metadata(bench.folder.path()).unwrap().uid(), "the folder is ours again");
}

#[tokio::test(flavor = "multi_thread")]
async fn says_what_is_wrong_with_a_scene() {
    let bench = Bench::new().await;
    let (mut session, _events) =
        bench.start(&bench.scene("cube.py", "no_camera"), Limits::default()).await.unwrap();
    let error = session.render(1, None).await.unwrap_err();
    assert!(matches!(error, BlenderError::NoCamera), "{error}");
    let lacks_denoiser = session.loaded().lacks.contains(&"OpenImageDenoise".to_owned());
    session.stop().await;

    if lacks_denoiser {
        let (mut session, _events) =
            bench.start(&bench.scene("cube.py", "denoise"), Limits::default()).await.unwrap();
        let error = session.render(1, None).await.unwrap_err();
        assert!(matches!(error, BlenderError::NoDenoiser), "{error}");
        session.stop().await;
    }

    let whole = fs::read(bench.scene("cube.py", "plain")).unwrap();
    let cut = bench.folder.path().join("cut.blend");
    fs::write(&cut, &whole[..whole.len() / 4]).unwrap();
    let error = bench.start(&cut, Limits::default()).await.unwrap_err();
    assert!(matches!(&error, BlenderError::Scene(reason) if !reason.is_empty()), "{error}");
}

/// A limit may be met while loading or while rendering.
async fn first_frame_error(bench: &Bench, scene: &Path, limits: Limits) -> BlenderError {
    match bench.start(scene, limits).await {
        Ok((mut session, _events)) => session.render(1, None).await.expect_err("the limit holds"),
        Err(error) => error,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_end_it() {
    limits_hold(Bench::new().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_end_it_without_namespaces() {
    limits_hold(Bench::with(settings(Mode::Landlock)).await).await;
}

async fn limits_hold(bench: Bench) {
    let scene = bench.scene("cube.py", "endless");
    let limits = Limits { memory_bytes: Some(20 << 20), ..Limits::default() };
    let error = first_frame_error(&bench, &scene, limits).await;
    let limit_bytes = 20 << 20;
    assert!(
        matches!(error, BlenderError::Limit(Breach::Memory { limit_bytes: l, .. }) if l == limit_bytes),
        "{error}"
    );

    let limits = Limits { wall: Duration::from_secs(6), ..Limits::default() };
    let error = first_frame_error(&bench, &scene, limits).await;
    assert!(matches!(error, BlenderError::Limit(Breach::Time { .. })), "{error}");

    let limits = Limits { file_bytes: 100, ..Limits::default() };
    let scene = bench.scene("cube.py", "plain");
    let error = first_frame_error(&bench, &scene, limits).await;
    assert!(matches!(error, BlenderError::Limit(Breach::FileSize { limit_bytes: 100 })), "{error}");

    if bench.sandbox.mode() == Mode::Landlock {
        // Its scratch folder counts: there is nothing else yet.
        let limits = Limits { output_bytes: 100, ..Limits::default() };
        let error = first_frame_error(&bench, &scene, limits).await;
        assert!(matches!(error, BlenderError::Limit(Breach::Output { limit_bytes: 100, .. })), "{error}");
    }

    let gone = poll(SOON, || sandboxed_processes(bench.folder.path()).is_empty()).await;
    assert!(gone, "{:?}", sandboxed_processes(bench.folder.path()));
}

#[tokio::test(flavor = "multi_thread")]
async fn stops_in_the_middle_of_a_frame() {
    stops(Bench::new().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stops_in_the_middle_of_a_frame_without_namespaces() {
    stops(Bench::with(settings(Mode::Landlock)).await).await;
}

async fn stops(bench: Bench) {
    let scene = bench.scene("cube.py", "endless");
    for gently in [true, false] {
        let (mut session, mut events) = bench.start(&scene, Limits::default()).await.unwrap();
        {
            let rendering = session.render(1, None);
            tokio::pin!(rendering);
            loop {
                tokio::select! {
                    result = &mut rendering => panic!("it ended: {result:?}"),
                    event = events.recv() => if matches!(event, Some(Event::Progress { .. })) { break },
                }
            }
        }
        assert!(!sandboxed_processes(bench.folder.path()).is_empty());
        let before = Instant::now();
        if gently {
            session.stop().await;
            assert_eq!(sandboxed_processes(bench.folder.path()), Vec::<String>::new());
        } else {
            drop(session);
        }
        let gone = poll(SOON, || sandboxed_processes(bench.folder.path()).is_empty()).await;
        assert!(gone, "{:?}", sandboxed_processes(bench.folder.path()));
        assert!(before.elapsed() < SOON);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_scene_runs_and_gets_nothing() {
    hostile(Bench::new().await, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_scene_runs_and_gets_nothing_without_namespaces() {
    hostile(Bench::with(settings(Mode::Landlock)).await, 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_scene_runs_and_gets_nothing_with_the_oldest_landlock() {
    let settings = Settings { landlock_abi: 1, ..settings(Mode::Landlock) };
    hostile(Bench::with(settings).await, 5).await;
}

/// The three above once more, as a user like any other, which is also the user that the scene runs as.
#[test]
fn an_ordinary_user_gives_a_hostile_scene_nothing_either() {
    let Some(folder) = somebodys_folder() else { return };
    let run = Command::new(std::env::current_exe().unwrap())
        .args(["--test-threads", "1", "a_hostile_scene_runs_and_gets_nothing"])
        .env("TMPDIR", folder.path())
        .env("HOME", folder.path())
        .uid(SOMEBODY)
        .gid(SOMEBODY)
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&run.stdout).into_owned() + &String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success() && printed.contains("3 passed"), "{printed}");
}

/// None where nobody else can be, or where others cannot reach this build.
fn somebodys_folder() -> Option<tempfile::TempDir> {
    let is_root = fs::metadata("/proc/self").unwrap().uid() == 0;
    let is_open = |path: &Path| {
        path.ancestors().all(|folder| fs::metadata(folder).unwrap().permissions().mode() & 0o001 != 0)
    };
    let program = std::env::current_exe().unwrap();
    if !is_root || !is_open(&program) || !is_open(Path::new(env!("CARGO_BIN_EXE_pictor-blender-inner"))) {
        eprintln!(
            "NOT TRIED as an ordinary user: this is no root, or others cannot run {}",
            program.display()
        );
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    chown(folder.path(), Some(SOMEBODY), Some(SOMEBODY)).unwrap();
    Some(folder)
}

/// Each on a slot of its own: as root that is a user of its own, whose processes are counted together.
async fn hostile(bench: Bench, slot: u32) {
    let folder = bench.folder.path();
    let canary = folder.join("canary");
    fs::write(&canary, "secret").unwrap();
    fs::set_permissions(&canary, fs::Permissions::from_mode(0o644)).unwrap();
    let before = fs::metadata(&canary).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let local = UnixListener::bind(folder.join("socket")).unwrap();
    fs::set_permissions(folder.join("socket"), fs::Permissions::from_mode(0o777)).unwrap();
    local.set_nonblocking(true).unwrap();
    let name = folder.file_name().unwrap().to_string_lossy().into_owned();
    let unnamed = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    unnamed.set_nonblocking(true).unwrap();
    let datagrams = SocketAddr::from_abstract_name(format!("{name}-d")).unwrap();
    let datagrams = UnixDatagram::bind_addr(&datagrams).unwrap();
    datagrams.set_nonblocking(true).unwrap();
    let is_alone = bench.sandbox.mode() == Mode::Landlock;
    let attack = fs::read_to_string(Path::new(SCENES).join("attack.py")).unwrap();
    let attack = attack
        .replace("@CANARY@", canary.to_str().unwrap())
        .replace("@FOLDER@", folder.to_str().unwrap())
        .replace("@ABSTRACT@", &name)
        .replace("@AGENT@", env!("CARGO_BIN_EXE_pictor-blender-inner"))
        .replace("@PID@", &std::process::id().to_string())
        .replace("@MODE@", if is_alone { "landlock" } else { "bubblewrap" })
        .replace("@PORT@", &listener.local_addr().unwrap().port().to_string());
    let module = folder.join("attack.py");
    fs::write(&module, attack).unwrap();
    let scene = bench.scene("hostile.py", module.to_str().unwrap());

    // Through the driver it does not even run.
    let (mut session, _events) = bench.start(&scene, Limits::default()).await.unwrap();
    session.render(1, None).await.unwrap();
    session.stop().await;
    assert!(!bench.output().join("attack.json").exists(), "the driver left Freestyle on");

    let report = run_undriven(&bench, &scene, slot);
    assert_eq!(report["got"], serde_json::json!({}), "{report}");
    let refused = report["refused"].as_object().unwrap().len();
    assert_eq!(refused, if is_alone { 56 } else { 50 }, "{report}");
    assert_eq!(report["seccomp"], "2");
    assert_eq!(report["processes"], 300);
    assert_ne!(report["uid"], 0);
    assert!(listener.accept().is_err(), "it reached a socket outside");
    assert!(local.accept().is_err() && unnamed.accept().is_err(), "it reached a local socket");
    assert!(datagrams.recv(&mut [0]).is_err(), "it sent something to a local socket");
    assert!(!folder.join("canary.stolen").exists());
    let after = fs::metadata(&canary).unwrap();
    assert_eq!(fs::read_to_string(&canary).unwrap(), "secret");
    assert_eq!((after.mode(), after.mtime_nsec()), (before.mode(), before.mtime_nsec()));
    let left: Vec<_> =
        fs::read_dir(bench.output()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.contains(&".scratch".into()), "{left:?}");
}

/// Renders without the driver, so that only the operating system stands in the way, and returns what a scene reports.
fn run_undriven(bench: &Bench, scene: &Path, slot: u32) -> serde_json::Value {
    let limits = Limits { processes: 300, file_bytes: FILE_BYTES_MAX, ..Limits::default() };
    let (output, driver) = (bench.output(), bench.folder.path().join("driver"));
    fs::write(&driver, "").unwrap();
    let confinement = Confinement {
        blender: &bench.blender.path,
        scene,
        driver: &driver,
        output: &output,
        device: &Device::Cpu,
        slot,
        limits: &limits,
    };
    let view = bench.sandbox.view(&confinement);
    let mut arguments: Vec<OsString> = ["-b", "--factory-startup", "-Y"].map(OsString::from).into();
    arguments.extend([
        view.scene.into(),
        "-o".into(),
        view.output.join("f_").into(),
        "-f".into(),
        "1".into(),
    ]);
    let handover = bench.sandbox.hand_over(&confinement).unwrap();
    let run = bench.sandbox.command(&confinement, &bench.blender.path, &arguments).output().unwrap();
    drop(handover);
    let printed = String::from_utf8_lossy(&run.stdout).into_owned() + &String::from_utf8_lossy(&run.stderr);
    let report = fs::read_to_string(output.join("attack.json"));
    let report = report.unwrap_or_else(|error| panic!("it did not run ({error}, {}): {printed}", run.status));
    serde_json::from_str(&report).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn without_namespaces_it_ends_with_the_agent() {
    let bench = Bench::with(settings(Mode::Landlock)).await;
    let (output, scene) = (bench.output(), bench.folder.path().join("scene"));
    fs::write(&scene, "").unwrap();
    let confinement = Confinement {
        blender: &bench.blender.path,
        scene: &scene,
        driver: &scene,
        output: &output,
        device: &Device::Cpu,
        slot: 4,
        limits: &Limits::default(),
    };
    let _handover = bench.sandbox.hand_over(&confinement).unwrap();
    let confined = bench.sandbox.command(&confinement, Path::new("/usr/bin/sleep"), &["60".into()]);
    // In place of the agent, a shell that starts it.
    let own = std::process::id().to_string();
    let arguments = confined
        .get_args()
        .map(|argument| if argument == own.as_str() { "@".into() } else { argument.into() });
    let arguments: Vec<OsString> = arguments.collect();
    let script =
        r#"for word do shift; [ "$word" != @ ] || word=$$; set -- "$@" "$word"; done; "$@" & echo $!; wait"#;
    let mut agent = Command::new("sh")
        .args(["-c", script, "sh"])
        .arg(confined.get_program())
        .args(arguments)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(agent.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let process = PathBuf::from("/proc").join(line.trim());
    let is_asleep = || fs::read_link(process.join("exe")).is_ok_and(|exe| exe.ends_with("sleep"));
    assert!(poll(SOON, is_asleep).await, "it was not started");
    agent.kill().unwrap();
    agent.wait().unwrap();
    assert!(poll(SOON, || !is_asleep()).await, "it outlived the agent");
}

#[tokio::test(flavor = "multi_thread")]
async fn its_owner_may_do_without_a_sandbox() {
    let mut bench = Bench::new().await;
    bench.sandbox = Sandbox::probe(Settings::new(Mode::Off, PathBuf::new())).await.unwrap();
    let (mut session, _events) =
        bench.start(&bench.scene("cube.py", "plain"), Limits::default()).await.unwrap();
    let name = session.render(2, None).await.unwrap();
    output::check(&bench.output(), &name, Some((64, 36)), FRAME_BYTES_MAX).unwrap();
    assert!(!sandboxed_processes(bench.folder.path()).is_empty());
    drop(session);
    let gone = poll(SOON, || sandboxed_processes(bench.folder.path()).is_empty()).await;
    assert!(gone, "{:?}", sandboxed_processes(bench.folder.path()));
}

#[tokio::test]
async fn a_machine_that_cannot_isolate_says_so() {
    let agent = PathBuf::from(env!("CARGO_BIN_EXE_pictor-blender-inner"));
    let mut settings = Settings::new(Mode::Bubblewrap, agent);
    settings.bubblewrap = "/nonexistent/bwrap".into();
    let error = Sandbox::probe(settings.clone()).await.unwrap_err();
    assert!(error.to_string().contains("install the package"), "{error}");
    settings.bubblewrap = "/usr/bin/false".into();
    assert!(Sandbox::probe(settings).await.is_err());
}
