//! The worker app without a window of its own: in the browser, or as a link to open elsewhere.

use std::{
    io::{BufRead, IsTerminal, Write, stdin, stdout},
    process::{Command, ExitCode, Stdio},
};

use anyhow::{Context, bail};
use pictor_ground::process;
use tokio_util::sync::CancellationToken;

use super::{
    Flags,
    agent::{Finder, Running},
    opened::Opened,
};
use crate::{
    app::link::Link,
    config::{self, Session},
    program,
};

/// Shows the link, and runs the agent if none did.
pub(super) fn open(flags: &Flags, session: &Session, reason: &'static str) -> anyhow::Result<ExitCode> {
    program::on_runtime(async move {
        let stop = CancellationToken::new();
        program::stop_on_signals(&stop)?;
        let finder = Finder::new(&flags.run)?;
        if flags.file.is_some() {
            import(flags, &finder).await?;
        }
        let mut agent = finder.meet(&flags.run).await?;
        show(&agent.link, session, reason, flags.hidden);
        if agent.is_own() {
            println!("The agent was started here and runs until Ctrl-C.");
            run(&mut agent, &stop).await?;
        }
        agent.stop().await?;
        Ok(ExitCode::SUCCESS)
    })
}

async fn run(agent: &mut Running, stop: &CancellationToken) -> anyhow::Result<()> {
    tokio::select! {
        () = stop.cancelled() => Ok(()),
        error = agent.ended() => Err(error),
    }
}

async fn import(flags: &Flags, finder: &Finder) -> anyhow::Result<()> {
    let Some(file) = &flags.file else { return Ok(()) };
    let opened = Opened::read(file, &flags.run)?;
    if opened.is_installed() {
        return Ok(());
    }
    if finder.find().await.is_some() {
        return opened.refuse_for_other();
    }
    if let Some(question) = opened.question()
        && !ask(&question)?
    {
        bail!("the file was not imported");
    }
    opened.install()
}

fn ask(question: &str) -> anyhow::Result<bool> {
    if !stdin().is_terminal() {
        bail!(
            "this machine is a worker already, and nobody is here to ask: run `pictor-agent import FILE` to replace its config file"
        );
    }
    print!("{question} [y/N] ");
    stdout().flush()?;
    let mut answer = String::new();
    stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

fn show(link: &Link, session: &Session, reason: &str, is_hidden: bool) {
    println!("No window is opened: {reason}.");
    println!("The worker app, with the key of this start: {}", link.url());
    if let Some(address) = &session.ssh_address {
        let (port, user) = (link.address.port(), session.user.as_deref().unwrap_or("USER"));
        println!("To open it on your own machine, run this there and then open that link:");
        println!("    ssh -L {port}:{} {user}@{address}", link.address);
    } else if !is_hidden && let Err(error) = visit(&link.url()) {
        println!("Open that link in a browser on this machine ({error:#}).");
    }
}

/// Opens the system's browser.
pub(super) fn visit(url: &str) -> anyhow::Result<()> {
    let (program, arguments) = config::opener();
    let mut opener = Command::new(&program);
    opener.args(arguments).arg(url).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let name = program.display().to_string();
    let started = process::start_free(&mut opener);
    let mut child = started.with_context(|| format!("{name} cannot be started"))?;
    // Some openers are the browser and stay as long as it is open.
    std::thread::spawn(move || match child.wait() {
        Ok(status) if !status.success() => tracing::warn!("{name} found no browser: {status}"),
        Ok(_) => {}
        Err(error) => tracing::warn!("{name}: {error}"),
    });
    Ok(())
}
