//! `pictor-agent app`: shows the worker app, in a window where one can be opened, else in the browser.

mod agent;
mod autostart;
mod browser;
mod opened;
#[cfg(feature = "desktop")]
mod window;

use std::{
    env,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context;

use crate::config::{RunFlags, Session};
use autostart::Autostart;

#[derive(Debug, clap::Args)]
pub struct Flags {
    #[command(flatten)]
    pub run: RunFlags,
    /// A downloaded pictor-worker-NAME.toml: makes this machine that worker
    pub file: Option<PathBuf>,
    /// Starts in the tray, its window closed
    #[arg(long, env = "PICTOR_HIDDEN")]
    pub hidden: bool,
    /// Opens in the browser, not in a window of its own
    #[arg(long, env = "PICTOR_BROWSER")]
    pub browser: bool,
    /// Sets whether the app starts with the session, in the tray, and does no more
    #[arg(long, env = "PICTOR_AUTOSTART", value_name = "on|off")]
    pub autostart: Option<Autostart>,
}

pub fn app(flags: &Flags) -> anyhow::Result<ExitCode> {
    let session = Session::of_environment()?;
    if let Some(wanted) = flags.autostart {
        let program = env::current_exe().context("cannot tell where this program is")?;
        println!("{}", autostart::set(wanted, &session.autostart, &program, &words(&flags.run)?)?);
        return Ok(ExitCode::SUCCESS);
    }
    match without_window(flags, &session) {
        Some(reason) => browser::open(flags, &session, reason),
        None => open_window(flags, &session),
    }
}

/// Why no window is opened.
fn without_window(flags: &Flags, session: &Session) -> Option<&'static str> {
    if flags.browser {
        Some("as --browser says")
    } else if !cfg!(feature = "desktop") {
        Some("this pictor-agent was built without the desktop window")
    } else if session.ssh_address.is_some() && !session.is_graphical {
        Some("this is an SSH session")
    } else if !session.is_graphical {
        Some("this session has no screen: neither DISPLAY nor WAYLAND_DISPLAY is set")
    } else {
        None
    }
}

#[cfg(feature = "desktop")]
fn open_window(flags: &Flags, session: &Session) -> anyhow::Result<ExitCode> {
    if let Err(error) = window::reach_screen() {
        tracing::debug!("{error}");
        return browser::open(
            flags,
            session,
            "the screen that DISPLAY or WAYLAND_DISPLAY names does not answer",
        );
    }
    window::open(flags, session)
}

#[cfg(not(feature = "desktop"))]
fn open_window(flags: &Flags, session: &Session) -> anyhow::Result<ExitCode> {
    browser::open(flags, session, "this pictor-agent was built without the desktop window")
}

/// The flags again, for a start from elsewhere. Not those of an enrolment: its key is a secret, and used once.
fn words(run: &RunFlags) -> anyhow::Result<Vec<String>> {
    let mut words = Vec::new();
    for (option, path) in [
        ("--config", &run.config),
        ("--data", &run.data),
        ("--blender", &run.blender),
        ("--metrics-token-file", &run.metrics_token_file),
    ] {
        let Some(path) = path else { continue };
        words.extend([option.to_owned(), absolute(path)?.to_string_lossy().into_owned()]);
    }
    for (option, address) in [("--listen", run.listen), ("--app-listen", run.app_listen)] {
        words.extend(address.into_iter().flat_map(|address| [option.to_owned(), address.to_string()]));
    }
    Ok(words)
}

fn absolute(path: &Path) -> anyhow::Result<PathBuf> {
    std::path::absolute(path).with_context(|| format!("cannot tell where {} is", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_with_the_session_has_all_the_flags_but_those_of_an_enrolment() {
        let run = RunFlags {
            config: Some("/etc/pictor/worker.toml".into()),
            listen: "127.0.0.1:9851".parse().ok(),
            app_listen: "127.0.0.1:9852".parse().ok(),
            data: Some("/srv/pictor".into()),
            blender: Some("/opt/blender/blender".into()),
            enrol: Some("secret".to_owned()),
            registry: "https://registry.example".parse().ok(),
            metrics_token_file: Some("/etc/pictor/metrics-token".into()),
        };
        let expected = "--config /etc/pictor/worker.toml --data /srv/pictor --blender /opt/blender/blender \
                        --metrics-token-file /etc/pictor/metrics-token --listen 127.0.0.1:9851 --app-listen 127.0.0.1:9852";
        assert_eq!(words(&run).unwrap().join(" "), expected);
    }
}
