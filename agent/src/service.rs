//! `pictor-agent service`: the agent as a Windows service, started with the machine, of an account with few rights.

use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use pictor_telemetry::TelemetryArgs;
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
    cli,
    config::{self, Config, RunFlags},
    durable, import,
};

const NAME: &str = "pictor-agent";
const TITLE: &str = "My Workers agent";
const ABOUT: &str = "Renders tasks for the network, and exposes what this machine does to Prometheus.";
/// It may read its own folder and the network, and little else.
const ACCOUNT: &str = r"NT AUTHORITY\LocalService";
/// SYSTEM, administrators, and that account, by the numbers that are the same in every language.
const RIGHTS: [&str; 3] = ["*S-1-5-18:(OI)(CI)F", "*S-1-5-32-544:(OI)(CI)F", "*S-1-5-19:(OI)(CI)M"];
const RESTART_AFTER: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);
/// A task is given back and what is finished is sent.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
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
    telemetry.log()?;
    cli::set_up_tls();
    match flags.action {
        Action::Install { file } => install(file)?,
        Action::Uninstall => uninstall()?,
        Action::Run { folder } => entry::start(folder)
            .context("for Windows to start: try `pictor-agent service install`, or `pictor-agent run`")?,
    }
    Ok(ExitCode::SUCCESS)
}

fn install(file: Option<PathBuf>) -> anyhow::Result<()> {
    let (places, program) = (Places::find()?, program()?);
    let access = ServiceManagerAccess::CONNECT | ServiceManagerAccess::CREATE_SERVICE;
    let manager = manager(access)?;
    make_folder(&places.folder).with_context(|| format!("cannot make {}", places.folder.display()))?;
    if file.is_some() || !places.config.exists() {
        let Some(file) = file else {
            bail!("name the downloaded file: pictor-agent service install pictor-worker-NAME.toml")
        };
        let text = config::read(&file)?;
        let imported = import::install(&file, text, &places.config)?;
        println!("This machine is worker {}, by {}.", imported.worker.0.worker_name, places.config.display());
    }
    // One that is there may run the program that is to be replaced.
    if let Ok(service) = manager.open_service(NAME, ServiceAccess::STOP | ServiceAccess::QUERY_STATUS) {
        stop(&service)?;
    }
    install_program(&program)?;
    let info = ServiceInfo {
        name: NAME.into(),
        display_name: TITLE.into(),
        service_type: ServiceType::OWN_PROCESS,
        start_type: ServiceStartType::AutoStart,
        error_control: ServiceErrorControl::Normal,
        executable_path: program.clone(),
        launch_arguments: vec![
            "--log-dir".into(),
            places.logs.clone().into(),
            "service".into(),
            "run".into(),
            places.folder.into(),
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
    let restarts = service.update_failure_actions(restart());
    if let Err(error) = restarts.and_then(|()| service.set_failure_actions_on_non_crash_failures(true)) {
        // It works without; somebody then has to start it again.
        println!("Windows does not start it again after a failure ({error}).");
    }
    service.start::<OsString>(&[]).context("the service is installed, but does not start")?;
    println!("The service {NAME} runs, and starts with this machine.");
    println!("Its program: {}", program.display());
    println!("Its log:     {}", places.logs.display());
    println!("To see what it does, as an administrator: pictor-agent status, or pictor-agent app");
    Ok(())
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

fn stop(service: &Service) -> anyhow::Result<()> {
    if service.query_status()?.current_state == ServiceState::Stopped {
        return Ok(());
    }
    service.stop().context("cannot stop the service")?;
    let until = Instant::now() + STOP_TIMEOUT;
    while service.query_status()?.current_state != ServiceState::Stopped {
        if Instant::now() >= until {
            bail!("the service does not stop: end it in the Task Manager, then try again");
        }
        thread::sleep(LOOK);
    }
    Ok(())
}

/// A folder that no ordinary user can read: the worker's token is in it.
fn make_folder(folder: &Path) -> anyhow::Result<()> {
    durable::make_private_folder(folder)?;
    let icacls = config::system_folder().context("SystemRoot is not set")?.join("icacls.exe");
    let output =
        Command::new(icacls).arg(folder).args(["/inheritance:r", "/grant:r"]).args(RIGHTS).output()?;
    if !output.status.success() {
        bail!("its rights cannot be set: {}", String::from_utf8_lossy(&output.stderr).trim());
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

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let bytes = fs::read(from)?;
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
    let result = cli::on_runtime(work(folder, handle, shutdown));
    tell(&handle, ServiceState::Stopped, u32::from(result.is_err()))?;
    result
}

async fn work(folder: &Path, handle: ServiceStatusHandle, shutdown: CancellationToken) -> anyhow::Result<()> {
    let places = Places::under(folder);
    let flags = RunFlags { config: Some(places.config), data: Some(places.data), ..RunFlags::default() };
    let config = Config::load(&flags)?;
    tokio::spawn({
        let shutdown = shutdown.clone();
        async move {
            shutdown.cancelled().await;
            if let Err(error) = tell(&handle, ServiceState::StopPending, 0) {
                tracing::debug!("{error:#}");
            }
        }
    });
    crate::run(config, link::new_key(), shutdown).await.map(drop)
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
        wait_hint: if state == ServiceState::StopPending { STOP_TIMEOUT } else { Duration::ZERO },
        process_id: None,
    };
    handle.set_service_status(status).context("Windows does not hear the service's state")
}
