//! The agent, put together: [`run`] from its config file to its end, [`work`] with every route and every loop.

mod parts;

use std::{sync::Arc, time::Duration};

use anyhow::{Context, anyhow};
use tokio::{sync::mpsc, task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{
    app::{
        self, first_run,
        link::{self, Link},
    },
    config::{self, Config, ConfigError, RunFlags},
    data_folder::DataFolder,
    import,
    runner::{Assignment, Runner},
    server::{self, Doors},
    slots::Stop,
    update::{self, Boot, Ended, Started},
};
use parts::{Agent, Shared};

/// How long the outbox may go on sending once rendering has stopped.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);
const FLUSH_LOOK: Duration = Duration::from_millis(50);

/// Runs the agent until `shutdown`, or until a new version takes over. Where it has no config file yet, an enrolment key
/// brings it one.
pub async fn run(flags: &RunFlags, shutdown: CancellationToken) -> anyhow::Result<Ended> {
    let held = enrol(flags, &shutdown).await?;
    if shutdown.is_cancelled() {
        return Ok(Ended::Stopped);
    }
    run_with(Config::load(flags)?, held, link::new_key(), shutdown).await
}

/// The same; where there is no enrolment key either, the page that asks for a config file runs first.
pub async fn set_up_and_run(flags: &RunFlags, shutdown: CancellationToken) -> anyhow::Result<Ended> {
    let mut held = enrol(flags, &shutdown).await?;
    // Of both, so that who has opened the one need not open the other.
    let key = link::new_key();
    let config = match Config::load(flags) {
        _ if shutdown.is_cancelled() => return Ok(Ended::Stopped),
        Err(ConfigError::Missing(destination)) => {
            config::check_flags(flags, &destination)?;
            let (data, listen) = (config::data_of(flags)?, config::app_listen_of(flags));
            held = Some(DataFolder::held_or_open(held, &data)?);
            let listener = server::bind(listen).await?;
            first_run::serve(listener, &key, &data, destination, &shutdown).await?;
            if shutdown.is_cancelled() {
                return Ok(Ended::Stopped);
            }
            Config::load(flags)?
        }
        config => config?,
    };
    run_with(config, held, key, shutdown).await
}

/// Trades the start's enrolment key, if it has one. From then on the data folder is held: of two starts at once, one is
/// to spend the key, and the other one to find it at work.
async fn enrol(flags: &RunFlags, shutdown: &CancellationToken) -> anyhow::Result<Option<DataFolder>> {
    if flags.enrol.is_none() {
        return Ok(None);
    }
    let held = DataFolder::open(&config::data_of(flags)?)?;
    tokio::select! {
        enrolled = import::enrol_at_start(flags) => enrolled?,
        () = shutdown.cancelled() => {}
    }
    Ok(Some(held))
}

/// The worker app opens with `key`, unless this process was another version before: then with the key of that one.
pub async fn run_with(
    config: Config,
    held: Option<DataFolder>,
    key: String,
    shutdown: CancellationToken,
) -> anyhow::Result<Ended> {
    let _data = DataFolder::held_or_open(held, &config.data)?;
    let started = match update::boot(&config.update)? {
        Boot::Run(started) => started,
        Boot::Switch(place, program) => return Ok(Ended::Switch(place, program)),
    };
    let trial = started.trial.clone();
    let key = Link::inherited_key(&config.link_folder).unwrap_or(key);
    let ended = work(config, started, key, shutdown).await;
    update::conclude(trial, &ended);
    ended
}

/// At the end it stops rendering, gives its leases back, sends what is finished, says goodbye.
async fn work(
    config: Config,
    started: Started,
    key: String,
    shutdown: CancellationToken,
) -> anyhow::Result<Ended> {
    let doors = Doors::open(config.listen, config.app_listen).await?;
    let (link_folder, is_service) = (config.link_folder.clone(), config.link_folder != config.data);
    let agent = parts::assemble(config, started, doors.metrics_address()?, shutdown.clone()).await?;
    let Agent {
        shared,
        routes,
        probed,
        watched,
        heartbeat,
        electricity,
        idle,
        sender,
        runner,
        updates,
        app,
        threads: _threads,
    } = agent;
    let Shared { readiness, health, update_enabled, .. } = shared;
    let link = Link::new(doors.app_address()?, key);
    let app_routes = app::routes(Arc::clone(&app), &link.key, doors.app_address()?);
    let published = link.publish(&link_folder, is_service).context("cannot leave the worker app's link")?;

    // The loops. None of them ends by itself.
    let mut loops = JoinSet::new();
    loops.spawn(async move { doors.serve(routes, app_routes).await.err().map(|error| error.to_string()) });
    loops.spawn(async move { match app.watch().await {} });
    loops.spawn({
        let updates = Arc::clone(&updates);
        async move { match updates.follow(update_enabled).await {} }
    });
    loops.spawn(async move { match readiness.watch(&probed).await {} });
    loops.spawn(async move { match health.watch(watched).await {} });
    let (beating, counting) = (Arc::clone(&heartbeat), Arc::clone(&electricity));
    loops.spawn(async move { match beating.run().await {} });
    loops.spawn(async move { match counting.run().await {} });
    loops.spawn(async move { match sender.run().await {} });
    loops.spawn(async move { match idle.run().await {} });
    let (mut rendering, slots) = start_rendering(&runner);
    let result = tokio::select! {
        () = shutdown.cancelled() => Ok(Ended::Stopped),
        ended = updates.run() => Ok(ended),
        never = runner.ask(&slots) => match never {},
        ended = loops.join_next() => Err(anyhow!("a loop of the agent ended: {ended:?}")),
    };

    drop(slots);
    runner.slots.stop_all(&Stop::Shutdown);
    let stopped = async { while rendering.join_next().await.is_some() {} };
    tokio::join!(stopped, runner.idle.stop());
    let outbox = Arc::clone(&runner.outbox);
    tokio::task::spawn_blocking(move || outbox.release_unfinished("the agent stops")).await?;
    flush(&runner).await;
    loops.shutdown().await;
    // Who only becomes another version is back before anybody misses it.
    if !matches!(result, Ok(Ended::Switch(..))) {
        heartbeat.goodbye().await;
    }
    if matches!(result, Ok(Ended::Stopped)) {
        published.take_away();
    }
    electricity.close();
    result
}

/// One loop a slot, which ends with its channel.
fn start_rendering(runner: &Arc<Runner>) -> (JoinSet<()>, Vec<mpsc::Sender<Assignment>>) {
    let mut rendering = JoinSet::new();
    let start = |_| {
        let (assignments, assigned) = mpsc::channel(1);
        rendering.spawn(Arc::clone(runner).work(assigned));
        assignments
    };
    let slots = runner.slots.devices().iter().map(start).collect();
    (rendering, slots)
}

/// Lets the sender finish, as far as the registry is there and quick.
async fn flush(runner: &Runner) {
    let until = Instant::now() + FLUSH_TIMEOUT;
    let mut look = tokio::time::interval(FLUSH_LOOK);
    while runner.connection.borrow().is_up() && runner.outbox.entries() > 0 && Instant::now() < until {
        look.tick().await;
    }
    let left = runner.outbox.entries();
    if left > 0 {
        tracing::info!("{left} results wait in the outbox for the next start");
    }
}
