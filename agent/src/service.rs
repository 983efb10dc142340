//! `pictor-agent service`: the agent as a Windows service, started with the machine, with an account of its own.

mod folder;

use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use pictor_ground::durable;
use pictor_telemetry::TelemetryArgs;
use sysinfo::{Pid, ProcessesToUpdate, System};
use tokio_util::sync::CancellationToken;
use windows_service::{
    service::{
        Service, ServiceAccess, ServiceAction, ServiceActionType, ServiceControl, ServiceControlAccept,
        ServiceErrorControl, ServiceExitCode, ServiceFailureActions, ServiceFailureResetPeriod, ServiceInfo,
        ServiceStartType, ServiceState, ServiceStatus, ServiceType,
    },
    service_control_handler::{self, ServiceControlHandlerResult, ServiceStatusHandle},
    service_manager::{ServiceManager, ServiceManagerAccess},
};

use crate::{
    app::link,
    assembly,
    config::{self, Config, RunFlags},
    import, program,
};

const NAME: &str = "pictor-agent";
const TITLE: &str = "My Workers agent";
const ABOUT: &str = "Renders tasks for the network, and exposes what this machine does to Prometheus.";
/// The service's own: no other runs as it.
const ACCOUNT: &str = r"NT SERVICE\pictor-agent";
/// All that it needs of what Windows would let it do besides.
const PRIVILEGES: &str = "SeChangeNotifyPrivilege";
const RESTART_AFTER: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);
/// A task is given back and what is finished is sent.
const STATE_TIMEOUT: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(250);

#[derive(Debug, clap::Args)]
pub struct Flags {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Installs the service and starts it; for an administrator
    Install {
        /// The downloaded pictor-worker-NAME.toml; without it, the one of before
        file: Option<PathBuf>,
    },
    /// Stops and removes the service; its config file, results and logs stay
    Uninstall,
    /// What Windows starts
    #[command(hide = true)]
    Run {
        /// Where `install` put the config file: a service's environment may name other folders
        folder: PathBuf,
    },
}

/// Where the service's things are.
struct Places {
    folder: PathBuf,
    config: PathBuf,
    data: PathBuf,
    logs: PathBuf,
}

impl Places {
    fn find() -> anyhow::Result<Places> {
        Ok(Places::under(&config::service_folder().context("ProgramData is not set")?))
    }

    fn under(folder: &Path) -> Places {
        let (config, data) = config::in_folder(folder);
        Places { folder: folder.to_owned(), config, data, logs: folder.join("log") }
    }
}

/// Where the service's program lies.
fn program() -> anyhow::Result<PathBuf> {
    Ok(config::programs_folder().context("ProgramFiles is not set")?.join("pictor-agent.exe"))
}

pub fn execute(telemetry: &TelemetryArgs, flags: Flags) -> anyhow::Result<ExitCode> {
    program::set_up_tls();
    let telemetry = telemetry.start(&program::SERVICE)?;
    let result = act(flags.action);
    telemetry.stop();
    result.map(|()| ExitCode::SUCCESS)
}

fn act(action: Action) -> anyhow::Result<()> {
    match action {
        Action::Install { file } => install(file),
        Action::Uninstall => uninstall(),
        Action::Run { folder } => entry::start(folder)
            .context("for Windows to start: try `pictor-agent service install`, or `pictor-agent run`"),
    }
}

fn install(file: Option<PathBuf>) -> anyhow::Result<()> {
    let (places, program) = (Places::find()?, program()?);
    let access = ServiceManagerAccess::CONNECT | ServiceManagerAccess::CREATE_SERVICE;
    let manager = manager(access)?;
    if file.is_none() && !places.config.exists() {
        bail!("name the downloaded file: pictor-agent service install pictor-worker-NAME.toml");
    }
    folder::make(&places.folder)?;
    if let Some(file) = file {
        let text = config::read(&file)?;
        let imported = import::install(&file, text, &places.config)?;
        println!("This machine is worker {}, by {}.", imported.worker.0.worker_name, places.config.display());
    }
    // One that is there runs the program that is to be replaced.
    let before = manager
        .open_service(NAME, ServiceAccess::STOP | ServiceAccess::QUERY_STATUS | ServiceAccess::START)
        .ok();
    if let Some(before) = &before {
        stop(before)?;
    }
    let replaced = install_program(&program).and_then(|()| register(&manager, &places, &program));
    if let (Err(_), Some(before)) = (&replaced, before)
        && let Err(error) = before.start::<OsString>(&[])
    {
        println!("The service of before does not start again ({error}).");
    }
    let service = replaced?;
    service.start::<OsString>(&[]).context("the service is installed, but does not start")?;
    if !wait_for(&service, ServiceState::Running)? {
        bail!("the service does not stay up: its log is in {}", places.logs.display());
    }
    println!("The service {NAME} runs, and starts with this machine.");
    println!("Its program: {}", program.display());
    println!("Its log:     {}", places.logs.display());
    println!("To see what it does, as an administrator: pictor-agent status, or pictor-agent app");
    Ok(())
}

/// Tells Windows of it, anew where it is there.
fn register(manager: &ServiceManager, places: &Places, program: &Path) -> anyhow::Result<Service> {
    let info = ServiceInfo {
        name: NAME.into(),
        display_name: TITLE.into(),
        service_type: ServiceType::OWN_PROCESS,
        start_type: ServiceStartType::AutoStart,
        error_control: ServiceErrorControl::Normal,
        executable_path: program.to_owned(),
        launch_arguments: vec![
            "--log-dir".into(),
            places.logs.clone().into(),
            "service".into(),
            "run".into(),
            places.folder.clone().into(),
        ],
        dependencies: Vec::new(),
        account_name: Some(ACCOUNT.into()),
        account_password: None,
    };
    let rights = ServiceAccess::CHANGE_CONFIG | ServiceAccess::START | ServiceAccess::QUERY_STATUS;
    let service = match manager.open_service(NAME, rights) {
        Ok(service) => {
            service.change_config(&info).context("cannot change the service")?;
            service
        }
        Err(_) => manager.create_service(&info, rights).context("cannot make the service")?,
    };
    service.set_description(ABOUT)?;
    // It works without these two, not as well.
    let restarts = service.update_failure_actions(restart());
    if let Err(error) = restarts.and_then(|()| service.set_failure_actions_on_non_crash_failures(true)) {
        println!("Windows does not start it again after a failure ({error}).");
    }
    if let Err(error) = give_up_privileges() {
        println!("Windows leaves it the privileges of every service ({error:#}).");
    }
    Ok(service)
}

fn restart() -> ServiceFailureActions {
    let again = ServiceAction { action_type: ServiceActionType::Restart, delay: RESTART_AFTER };
    ServiceFailureActions {
        reset_period: ServiceFailureResetPeriod::After(DAY),
        reboot_msg: None,
        command: None,
        actions: Some(vec![again]),
    }
}

fn uninstall() -> anyhow::Result<()> {
    let places = Places::find()?;
    let manager = manager(ServiceManagerAccess::CONNECT)?;
    let rights = ServiceAccess::STOP | ServiceAccess::QUERY_STATUS | ServiceAccess::DELETE;
    let service = manager.open_service(NAME, rights).context("there is no such service here")?;
    stop(&service)?;
    service.delete().context("cannot remove the service")?;
    println!("The service {NAME} is removed. {} and {} stay.", places.folder.display(), program()?.display());
    Ok(())
}

fn manager(access: ServiceManagerAccess) -> anyhow::Result<ServiceManager> {
    ServiceManager::local_computer(None::<&str>, access)
        .context("only an administrator can do that: open the terminal with \"Run as administrator\"")
}

/// Stops it, and waits for its process: until that is gone, its program and its data are in use.
fn stop(service: &Service) -> anyhow::Result<()> {
    let status = service.query_status()?;
    if status.current_state == ServiceState::Stopped {
        return Ok(());
    }
    service.stop().context("cannot stop the service")?;
    let process = status.process_id.map(Pid::from_u32);
    if !wait_for(service, ServiceState::Stopped)? || process.is_some_and(|process| !is_gone(process)) {
        bail!("the service does not stop: end it in the Task Manager, then try again");
    }
    Ok(())
}

/// Whether it comes to that state in time.
fn wait_for(service: &Service, state: ServiceState) -> anyhow::Result<bool> {
    let until = Instant::now() + STATE_TIMEOUT;
    loop {
        let is = service.query_status()?.current_state;
        if is == state
            || Instant::now() >= until
            || (is == ServiceState::Stopped && state == ServiceState::Running)
        {
            return Ok(is == state);
        }
        thread::sleep(LOOK);
    }
}

fn is_gone(process: Pid) -> bool {
    let until = Instant::now() + STATE_TIMEOUT;
    loop {
        let is_there = System::new().is_ok_and(|mut system| {
            system.refresh_processes(ProcessesToUpdate::Some(&[process]), true);
            system.process(process).is_some()
        });
        if !is_there || Instant::now() >= until {
            return !is_there;
        }
        thread::sleep(LOOK);
    }
}

fn give_up_privileges() -> anyhow::Result<()> {
    let sc = config::system_folder().context("SystemRoot is not set")?.join("sc.exe");
    let output = Command::new(sc).args(["privs", NAME, PRIVILEGES]).output()?;
    if !output.status.success() {
        bail!("sc privs: {}", output.status);
    }
    Ok(())
}

/// Where only administrators can change it, and the service's account can read it.
fn install_program(program: &Path) -> anyhow::Result<()> {
    let this = std::env::current_exe()?;
    if dunce::canonicalize(&this).ok() == dunce::canonicalize(program).ok() {
        return Ok(());
    }
    let copied = fs::create_dir_all(durable::folder_of(program)).and_then(|()| copy(&this, program));
    copied.with_context(|| format!("cannot copy the program to {}", program.display()))
}

/// One that runs can be moved out of the way, and not written over.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let bytes = fs::read(from)?;
    if to.exists() {
        fs::rename(to, to.with_extension("exe.previous"))?;
    }
    durable::write(to, &bytes)
}

mod entry {
    use std::{ffi::OsString, path::PathBuf, sync::OnceLock};

    use windows_service::{define_windows_service, service_dispatcher};

    define_windows_service!(service_main, main);

    /// Windows calls `main` with nothing of this process's own.
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();

    fn main(_: Vec<OsString>) {
        if let Some(folder) = FOLDER.get() {
            super::serve(folder);
        }
    }

    /// Hands this process over to Windows until the service ends.
    pub(super) fn start(folder: PathBuf) -> windows_service::Result<()> {
        FOLDER.get_or_init(|| folder);
        service_dispatcher::start(super::NAME, service_main)
    }
}

/// Runs as the service until it is to stop.
fn serve(folder: &Path) {
    if let Err(error) = attempt(folder) {
        tracing::error!("{error:#}");
    }
}

fn attempt(folder: &Path) -> anyhow::Result<()> {
    let shutdown = CancellationToken::new();
    let asked = shutdown.clone();
    let handle = service_control_handler::register(NAME, move |control| match control {
        ServiceControl::Stop | ServiceControl::Shutdown => {
            asked.cancel();
            ServiceControlHandlerResult::NoError
        }
        ServiceControl::Interrogate => ServiceControlHandlerResult::NoError,
        _ => ServiceControlHandlerResult::NotImplemented,
    })?;
    tell(&handle, ServiceState::Running, 0)?;
    let result = program::on_runtime(work(folder, handle, shutdown));
    tell(&handle, ServiceState::Stopped, u32::from(result.is_err()))?;
    result
}

async fn work(folder: &Path, handle: ServiceStatusHandle, shutdown: CancellationToken) -> anyhow::Result<()> {
    let places = Places::under(folder);
    let flags = RunFlags { config: Some(places.config), data: Some(places.data), ..RunFlags::default() };
    let mut config = Config::load(&flags)?;
    // What other users can put there is not run by the service.
    (config.places.search_path, config.places.home) = (None, None);
    tokio::spawn({
        let shutdown = shutdown.clone();
        async move {
            shutdown.cancelled().await;
            if let Err(error) = tell(&handle, ServiceState::StopPending, 0) {
                tracing::debug!("{error:#}");
            }
        }
    });
    assembly::run_with(config, None, link::new_key(), shutdown).await.map(drop)
}

fn tell(handle: &ServiceStatusHandle, state: ServiceState, exit_code: u32) -> anyhow::Result<()> {
    let accepts = ServiceControlAccept::STOP | ServiceControlAccept::SHUTDOWN;
    let is_running = state == ServiceState::Running;
    let status = ServiceStatus {
        service_type: ServiceType::OWN_PROCESS,
        current_state: state,
        controls_accepted: if is_running { accepts } else { ServiceControlAccept::empty() },
        exit_code: match exit_code {
            0 => ServiceExitCode::NO_ERROR,
            code => ServiceExitCode::ServiceSpecific(code),
        },
        checkpoint: 0,
        wait_hint: if state == ServiceState::StopPending { STATE_TIMEOUT } else { Duration::ZERO },
        process_id: None,
    };
    handle.set_service_status(status).context("Windows does not hear the service's state")
}
