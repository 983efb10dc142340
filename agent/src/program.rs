//! This program as a process: which version it is, its threads, what ends it, and what ends with it.

use std::time::Duration;

use anyhow::Context;
use pictor_ground::process::Requests;
use pictor_telemetry::Service;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

#[cfg(windows)]
use pictor_ground::job_object;
/// As releases are numbered.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
pub const SERVICE: Service = Service { name: "pictor-agent", version: VERSION };

/// What still blocks a thread after a clean end is not waited for any longer.
pub const RUNTIME_GRACE: Duration = Duration::from_secs(1);

pub fn set_up_tls() {
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        tracing::debug!("TLS is set up already");
    }
}

/// Does `work`, and ends its threads.
pub fn on_runtime<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = runtime()?;
    let result = runtime.block_on(work);
    runtime.shutdown_timeout(RUNTIME_GRACE);
    result
}

pub fn runtime() -> anyhow::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start threads")
}

/// What this process starts ends with it, however it ends. On Linux each sandbox and guard sees to that.
pub fn bind_children() -> anyhow::Result<()> {
    #[cfg(windows)]
    job_object::enter(&job_object::Bounds { lets_go: true, ..job_object::Bounds::default() })
        .context("cannot enter a job object")?;
    Ok(())
}

/// SIGTERM, Ctrl-C and their like stop the agent, and the second time at once.
pub fn stop_on_signals(stop: &CancellationToken) -> anyhow::Result<()> {
    let mut requests = Requests::listen()?;
    let stop = stop.clone();
    tokio::spawn(async move {
        requests.next().await;
        tracing::info!("stopping; a second signal stops at once");
        stop.cancel();
        requests.next().await;
        std::process::exit(1);
    });
    Ok(())
}
