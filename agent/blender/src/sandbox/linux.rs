//! Isolation by the operating system: bubblewrap makes the mounts and namespaces, [`inner`] does the rest. Where
//! namespaces are refused, as in a default container, it does all of it: [`without_namespaces`].

mod inner;
mod rules;
mod syscalls;
mod without_namespaces;

use std::{
    ffi::{OsStr, OsString},
    fmt::Write,
    fs::{self, File},
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use rustix::{
    fs::{AtFlags, Gid, Mode as Permission, OFlags, Uid, chownat, mkdirat},
    process::{DumpableBehavior, set_dumpable_behavior},
};

pub(super) use inner::{InnerArgs, run_inner};
use without_namespaces as without;

use super::{
    Confinement, Device, LANDLOCK_ABI, Limits, Mode, PROBE_TIMEOUT, STEP, SandboxError, Settings, View,
};

const HOST_INSIDE: &str = "/pictor/host";
const SCENE_INSIDE: &str = "/pictor/scene.blend";
const DRIVER_INSIDE: &str = "/pictor/driver.py";
const OUTPUT_INSIDE: &str = "/output";
const READABLE_INSIDE: [&str; 4] = ["/usr", "/etc", "/proc", "/pictor"];
const WRITABLE_INSIDE: [&str; 2] = [OUTPUT_INSIDE, "/tmp"];

/// What programs need of `/etc`: library paths, fonts, where graphics drivers are.
const ETC: [&str; 7] = [
    "/etc/alternatives",
    "/etc/fonts",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/glvnd",
    "/etc/OpenCL",
];

/// Of `/tmp` inside: it lives in memory, and no process's resident set shows it.
const SCRATCH_BYTES: u64 = 1 << 30;

/// A sandbox that was tried out on this machine.
#[derive(Debug, Clone)]
pub struct Sandbox {
    settings: Settings,
    /// Further user namespaces are refused by bubblewrap too, not by our filter alone.
    disable_userns: bool,
    /// Why there are no namespaces, where they were tried.
    refused: Option<String>,
}

impl Sandbox {
    /// Runs a program in the sandbox, with every check of the inner step. A machine where this fails takes no tasks.
    pub async fn probe(settings: Settings) -> Result<Sandbox, SandboxError> {
        let mode = settings.mode;
        if mode != Mode::Off
            && is_root()
            && fs::metadata(&settings.host)?.permissions().mode() & 0o005 != 0o005
        {
            return Err(SandboxError::NotExecutable { path: settings.host.display().to_string() });
        }
        let sandbox = Sandbox { settings, disable_userns: !is_root(), refused: None };
        match mode {
            Mode::Off => Ok(sandbox),
            Mode::Bubblewrap => sandbox.with_bubblewrap().await,
            Mode::Landlock => sandbox.with_landlock().await,
            Mode::Auto => match sandbox.clone().with_bubblewrap().await {
                Err(SandboxError::NoNamespaces { said }) => {
                    let without = Sandbox { refused: Some(said.clone()), ..sandbox };
                    without.with_landlock().await.map_err(|error| {
                        SandboxError::NeitherHolds(SandboxError::NoNamespaces { said }.into(), error.into())
                    })
                }
                result => result,
            },
        }
    }

    async fn with_bubblewrap(mut self) -> Result<Sandbox, SandboxError> {
        self.settings.mode = Mode::Bubblewrap;
        match self.try_out().await {
            // Where /proc/sys is read-only (containers), bubblewrap cannot do this part.
            Err(SandboxError::NoNamespaces { .. } | SandboxError::Fails { .. }) if self.disable_userns => {
                self.disable_userns = false;
                self.try_out().await?;
            }
            result => result?,
        }
        Ok(self)
    }

    async fn with_landlock(mut self) -> Result<Sandbox, SandboxError> {
        self.settings.mode = Mode::Landlock;
        let abi = without::landlock_abi().ok_or(SandboxError::NoLandlock)?;
        self.settings.landlock_abi = abi.min(self.settings.landlock_abi);
        if !is_root() {
            // Scenes run as our own user: what the kernel shows of us in /proc becomes root's alone.
            set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(io::Error::from)?;
        }
        self.try_out().await?;
        Ok(self)
    }

    /// What isolates, and never [`Mode::Auto`].
    pub fn mode(&self) -> Mode {
        self.settings.mode
    }

    /// What isolates, and what it does without, in words.
    pub fn describe(&self) -> String {
        match self.settings.mode {
            Mode::Off => "it is off: strangers' scenes run with this user's rights".to_owned(),
            Mode::Auto | Mode::Bubblewrap => "bubblewrap holds: a program was run in it".to_owned(),
            Mode::Landlock => {
                let abi = self.settings.landlock_abi;
                let mut text = format!(
                    "Landlock (version {abi}) and seccomp hold without bubblewrap: a program was run in them"
                );
                if let Some(said) = &self.refused {
                    // Writing to a String does not fail.
                    let _ = write!(text, ". Namespaces are refused here ({said})");
                }
                let user = if is_root() { "" } else { " and runs as the agent's own user" };
                text + ". A scene can tell which files there are, reads none of them" + user
            }
        }
    }

    async fn try_out(&self) -> Result<(), SandboxError> {
        let folder = tempfile::tempdir()?;
        let (scene, output) = (folder.path().join("scene"), folder.path().join("output"));
        fs::write(&scene, "")?;
        fs::create_dir(&output)?;
        let program = Path::new("/usr/bin/true");
        let confinement = Confinement {
            blender: program,
            scene: &scene,
            driver: &scene,
            output: &output,
            device: &Device::Cpu,
            slot: 0,
            limits: &Limits::default(),
        };
        let _handover = self.hand_over(&confinement)?;
        let mut command = tokio::process::Command::from(self.command(&confinement, program, &[]));
        let running = command.stdin(Stdio::null()).kill_on_drop(true).output();
        let output = tokio::time::timeout(PROBE_TIMEOUT, running)
            .await
            .map_err(|_| SandboxError::Hangs)?
            .map_err(|source| match self.settings.mode {
                Mode::Landlock => SandboxError::Io(source),
                Mode::Auto | Mode::Bubblewrap | Mode::Off => SandboxError::NotInstalled {
                    program: self.settings.bubblewrap.display().to_string(),
                    source,
                },
            })?;
        if output.status.success() {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&output.stderr);
        let said = text.trim().lines().last().map_or_else(|| output.status.to_string(), str::to_owned);
        Err(if said.contains("Unknown option") {
            SandboxError::TooOld { said }
        } else if said.starts_with("bwrap: ") {
            SandboxError::NoNamespaces { said }
        } else {
            SandboxError::Fails { said }
        })
    }

    pub fn view(&self, confinement: &Confinement<'_>) -> View {
        match self.settings.mode {
            Mode::Auto | Mode::Bubblewrap => View {
                scene: SCENE_INSIDE.into(),
                driver: DRIVER_INSIDE.into(),
                output: OUTPUT_INSIDE.into(),
            },
            Mode::Landlock => View {
                scene: without::SCENE.into(),
                driver: without::DRIVER.into(),
                output: without::OUTPUT.into(),
            },
            Mode::Off => View {
                scene: confinement.scene.into(),
                driver: confinement.driver.into(),
                output: confinement.output.into(),
            },
        }
    }

    /// The user a slot renders as: another one only when we are root.
    fn identity(&self, slot: u32) -> Option<u32> {
        let wanted = self.settings.mode != Mode::Off && is_root();
        wanted.then(|| self.settings.first_identity.saturating_add(slot))
    }

    /// Lets the sandbox's user read what it is given and write the output folder, until the guard is dropped.
    pub fn hand_over(&self, confinement: &Confinement<'_>) -> io::Result<Handover> {
        let identity = self.identity(confinement.slot);
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW;
        let flags = i32::try_from(flags.bits()).map_err(io::Error::other)?;
        let folder = File::options().read(true).custom_flags(flags).open(confinement.output)?;
        let mut handover = Handover { folder: None, scratch: None };
        if self.settings.mode == Mode::Landlock {
            mkdirat(&folder, without::SCRATCH, Permission::RWXU)?;
            handover.scratch = Some(confinement.output.join(without::SCRATCH));
        }
        let Some(identity) = identity else { return Ok(handover) };
        // The folders above may be closed to everybody else: only the files themselves are mounted, or handed on open.
        for path in [confinement.scene, confinement.driver] {
            let file = File::open(path)?;
            let mode = file.metadata()?.mode();
            if mode & 0o004 == 0 {
                file.set_permissions(fs::Permissions::from_mode((mode | 0o044) & 0o7777))?;
            }
        }
        if handover.scratch.is_some() {
            let (user, group) = (Uid::from_raw(identity), Gid::from_raw(identity));
            chownat(&folder, without::SCRATCH, Some(user), Some(group), AtFlags::SYMLINK_NOFOLLOW)?;
        }
        fchown(&folder, Some(identity), Some(identity))?;
        handover.folder = Some(folder);
        Ok(handover)
    }

    /// `program` with `arguments`, confined. The mode `off` confines nothing but the environment.
    pub fn command(&self, confinement: &Confinement<'_>, program: &Path, arguments: &[OsString]) -> Command {
        let scratch = if self.settings.mode == Mode::Landlock { without::SCRATCH_INSIDE } else { "/tmp" };
        let environment = environment(confinement.device, scratch);
        let mut command = match self.settings.mode {
            Mode::Off => {
                let mut command = Command::new(program);
                command.current_dir("/");
                command
            }
            Mode::Landlock => {
                let mut command = Command::new(&self.settings.host);
                command.arg(STEP).args(self.inner_step(confinement));
                command.args(self.without_namespaces(confinement)).arg("--").arg(program).current_dir("/");
                command
            }
            Mode::Auto | Mode::Bubblewrap => {
                let mut command = Command::new(&self.settings.bubblewrap);
                command.args(self.mounts(confinement));
                for (name, value) in &environment {
                    command.arg("--setenv").arg(name).arg(value);
                }
                command.args(["--", HOST_INSIDE, STEP]);
                command.args(self.inner_step(confinement)).arg("--").arg(program);
                command
            }
        };
        // Nothing of the host's environment, where secrets may be.
        command.args(arguments).env_clear().envs(environment);
        command
    }

    fn without_namespaces(&self, confinement: &Confinement<'_>) -> Vec<OsString> {
        let mut inner = Arguments(Vec::new());
        inner.add(["--without-namespaces-under", &std::process::id().to_string()]);
        inner.add(["--landlock-abi", &self.settings.landlock_abi.to_string()]);
        for path in [confinement.scene, confinement.driver, confinement.output] {
            inner.0.extend(["--open".into(), path.into()]);
        }
        for node in device_nodes(confinement.device) {
            inner.add(["--device", &node]);
        }
        inner.0
    }

    fn mounts(&self, confinement: &Confinement<'_>) -> Vec<OsString> {
        let mut bubblewrap = Arguments(Vec::new());
        for flag in
            ["--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try"]
        {
            bubblewrap.add([flag]);
        }
        bubblewrap.add(["--die-with-parent", "--new-session", "--clearenv", "--hostname", "render"]);
        bubblewrap.add(["--cap-drop", "ALL"]);
        if self.identity(confinement.slot).is_some() {
            bubblewrap.add(["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]);
        } else {
            bubblewrap.add(["--unshare-user"]);
            if self.disable_userns {
                bubblewrap.add(["--disable-userns"]);
            }
        }
        bubblewrap.system();
        let scratch = SCRATCH_BYTES.to_string();
        bubblewrap.add(["--proc", "/proc", "--dev", "/dev"]);
        for node in device_nodes(confinement.device) {
            bubblewrap.add(["--dev-bind-try", &node, &node]);
        }
        bubblewrap.add(["--perms", "1777", "--size", &scratch, "--tmpfs", "/tmp"]);
        for path in installation(confinement.blender) {
            bubblewrap.folders_above(&path);
            bubblewrap.bind("--ro-bind", &path, &path);
        }
        bubblewrap.bind("--ro-bind", &self.settings.host, HOST_INSIDE);
        bubblewrap.bind("--ro-bind", confinement.scene, SCENE_INSIDE);
        bubblewrap.bind("--ro-bind", confinement.driver, DRIVER_INSIDE);
        bubblewrap.bind("--bind", confinement.output, OUTPUT_INSIDE);
        // Both live in memory without a bound.
        bubblewrap.add(["--remount-ro", "/dev", "--remount-ro", "/", "--chdir", "/"]);
        bubblewrap.0
    }

    fn inner_step(&self, confinement: &Confinement<'_>) -> Vec<OsString> {
        let mut inner = Arguments(Vec::new());
        inner.add(["--processes", &confinement.limits.processes.to_string()]);
        inner.add(["--file-bytes", &confinement.limits.file_bytes.to_string()]);
        if let Some(identity) = self.identity(confinement.slot) {
            inner.add(["--identity", &identity.to_string()]);
        }
        for path in installation(confinement.blender) {
            inner.0.extend(["--read".into(), path.into()]);
        }
        inner.0
    }
}

/// An argument list under way.
struct Arguments(Vec<OsString>);

impl Arguments {
    fn add<const N: usize>(&mut self, arguments: [&str; N]) {
        self.0.extend(arguments.map(OsString::from));
    }

    /// The folders above a mount point; bubblewrap makes missing ones for their owner alone, who is root.
    fn folders_above(&mut self, inside: &Path) {
        let mut above: Vec<&Path> =
            inside.ancestors().skip(1).filter(|path| *path != Path::new("/")).collect();
        above.reverse();
        for folder in above {
            self.add(["--perms", "0755", "--dir"]);
            self.0.push(folder.into());
        }
    }

    fn bind(&mut self, how: &str, outside: impl AsRef<OsStr>, inside: impl AsRef<OsStr>) {
        self.0.extend([how.into(), outside.as_ref().into(), inside.as_ref().into()]);
    }

    /// Programs and libraries, whether `/lib` is a link to `/usr/lib` or a folder of its own.
    fn system(&mut self) {
        self.bind("--ro-bind", "/usr", "/usr");
        for name in ["bin", "sbin", "lib", "lib32", "lib64"] {
            let path = Path::new("/").join(name);
            if let Ok(target) = fs::read_link(&path) {
                self.bind("--symlink", &target, &path);
            } else if path.is_dir() {
                self.bind("--ro-bind", &path, &path);
            }
        }
        self.add(["--perms", "0755", "--dir", "/etc", "--perms", "0755", "--dir", "/pictor"]);
        for path in ETC {
            self.bind("--ro-bind-try", path, path);
        }
    }
}

/// The parts of an unpacked Blender outside `/usr`, and nothing that happens to lie beside them.
fn installation(blender: &Path) -> Vec<PathBuf> {
    if blender.starts_with("/usr") {
        return Vec::new();
    }
    let mut parts = vec![blender.to_owned()];
    let beside = blender.parent().and_then(|folder| fs::read_dir(folder).ok());
    for entry in beside.into_iter().flatten().filter_map(Result::ok) {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let is_version = name
            .split_once('.')
            .is_some_and(|(major, minor)| major.parse::<u8>().is_ok() && minor.parse::<u8>().is_ok());
        if is_version || name == "lib" {
            parts.push(entry.path());
        }
    }
    parts
}

/// Of the GPU alone: the others are not to be seen. WSL 2 has one node for all of them.
fn device_nodes(device: &Device) -> Vec<String> {
    let Device::Gpu { minor, .. } = device else { return Vec::new() };
    let names = ["nvidiactl", "nvidia-uvm", &format!("nvidia{minor}"), "dxg"];
    names.map(|name| format!("/dev/{name}")).into()
}

fn environment(device: &Device, scratch: &str) -> Vec<(OsString, OsString)> {
    let gpu = match device {
        Device::Cpu => "",
        Device::Gpu { uuid, .. } => uuid,
    };
    [
        ("HOME", scratch),
        ("TMPDIR", scratch),
        ("PATH", "/usr/local/bin:/usr/bin:/bin"),
        ("LANG", "C.UTF-8"),
        ("CUDA_VISIBLE_DEVICES", gpu),
    ]
    .map(|(name, value)| (name.into(), value.into()))
    .into()
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Takes the output folder back when dropped, and removes what was left in the scratch folder.
#[derive(Debug)]
#[must_use = "dropping it takes the output folder back"]
pub struct Handover {
    folder: Option<File>,
    scratch: Option<PathBuf>,
}

impl Drop for Handover {
    fn drop(&mut self) {
        if let Some(folder) = &self.folder
            && let Err(error) = fchown(folder, Some(0), Some(0))
        {
            tracing::warn!(%error, "cannot take an output folder back");
        }
        if let Some(scratch) = &self.scratch
            && let Err(error) = fs::remove_dir_all(scratch)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, "cannot remove a scratch folder");
        }
    }
}
