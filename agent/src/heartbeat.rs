//! Tells the registry every few seconds what the worker is and does, and hears what is wanted of it.

use std::{
    convert::Infallible,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use pictor_ground::{backoff::Backoff, clock};
use pictor_measure::{
    host::HostSample,
    nvml::{GpuSample, Gpus},
};
use pictor_protocol::{AttemptReport, Cpu, Earned, Gpu, HeartbeatRequest, HeartbeatResponse, LeaseState};
use tokio::sync::{Notify, watch};
use tracing::{Instrument, info_span};

use crate::{
    connection::{Connection, Line},
    economics::Economics,
    finding::Finding,
    health::Health,
    machine::{self, Machine},
    outbox::Outbox,
    program::VERSION,
    readiness::{Readiness, Verdict},
    registry::{CallError, Registry},
    slots::{Slots, Stop, WorkView},
    test_render::TestRenders,
};

/// Until the registry says otherwise.
const INTERVAL_DEFAULT: Duration = Duration::from_secs(10);
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_LONGEST: Duration = Duration::from_secs(15);
/// A token that is not accepted seldom becomes accepted by itself.
const REFUSED_RETRY: Duration = Duration::from_secs(30);
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(3);

/// Everything a heartbeat tells.
pub struct Heartbeat {
    pub registry: Registry,
    pub machine: Machine,
    pub metrics_listen: SocketAddr,
    pub slots: Arc<Slots>,
    pub test_renders: TestRenders,
    pub outbox: Arc<Outbox>,
    pub readiness: Arc<Readiness>,
    pub health: Arc<Health>,
    pub economics: Arc<Economics>,
    pub gpus: watch::Receiver<Option<Gpus>>,
    pub host: watch::Receiver<Option<HostSample>>,
    pub connection: watch::Sender<Connection>,
    pub earned: watch::Sender<Option<Earned>>,
    /// Rings when something happened that the registry should know at once.
    pub news: Arc<Notify>,
}

impl Heartbeat {
    /// Beats for ever.
    pub async fn run(&self) -> Infallible {
        let mut interval = INTERVAL_DEFAULT;
        let mut backoff = Backoff::new(RETRY_FIRST, RETRY_LONGEST);
        let mut readiness = self.readiness.subscribe();
        loop {
            readiness.mark_unchanged();
            let (accepts_tasks, answer) = self.beat(false).instrument(info_span!("heartbeat")).await;
            match answer {
                Ok((response, skew_seconds)) => {
                    backoff.reset();
                    self.heard(&response, skew_seconds, accepts_tasks);
                    interval = Duration::from_secs(response.heartbeat_seconds.max(1).into());
                    tokio::select! {
                        () = tokio::time::sleep(interval) => {}
                        () = self.news.notified() => {}
                        // The first one says that it is still probing; work should not wait for the next.
                        _ = readiness.changed() => {}
                    }
                }
                Err(error) => {
                    self.failed(&error);
                    let wait = match error {
                        CallError::Retry { after: Some(after), .. } => after.min(RETRY_LONGEST),
                        CallError::Retry { after: None, .. } => backoff.delay().min(interval),
                        _ => REFUSED_RETRY,
                    };
                    tokio::time::sleep(wait).await;
                }
            }
        }
    }

    /// One heartbeat: whether it said that this worker accepts tasks, and the answer.
    async fn beat(&self, stopping: bool) -> (bool, Result<(HeartbeatResponse, Option<f64>), CallError>) {
        let request = self.request(stopping).await;
        (request.accepts_tasks, self.registry.heartbeat(&request).await)
    }

    /// Says that the worker stops on purpose.
    pub async fn goodbye(&self) {
        if !self.connection.borrow().is_up() {
            return;
        }
        let goodbye = self.beat(true).instrument(info_span!("heartbeat"));
        match tokio::time::timeout(GOODBYE_TIMEOUT, goodbye).await {
            Ok((_, Ok(_))) => tracing::info!("said goodbye to the registry"),
            Ok((_, Err(error))) => tracing::warn!(%error, "could not say goodbye to the registry"),
            Err(_) => tracing::warn!("could not say goodbye to the registry in time"),
        }
    }

    fn heard(&self, response: &HeartbeatResponse, skew_seconds: Option<f64>, accepts_told: bool) {
        let before = self.connection.borrow().line.clone();
        self.connection.send_replace(Connection {
            line: Line::Up,
            last_success_seconds: Some(clock::unix_seconds()),
            accepts_told,
            skew_seconds,
            worker_name: Some(response.worker_name.clone()),
            refusal: None,
        });
        if before != Line::Up {
            tracing::info!("connected to {} as worker {}", self.registry.url(), response.worker_name);
        }
        self.earned.send_if_modified(|earned| {
            let is_news = earned.as_ref() != Some(&response.earned);
            if is_news {
                *earned = Some(response.earned.clone());
            }
            is_news
        });
        for lease in &response.leases {
            // What is rendered already is the sender's: it may just have been accepted.
            if lease.state == LeaseState::Lost {
                self.slots.stop(lease.attempt_id, &Stop::Lost);
            }
        }
        self.test_renders.want(response.test_render.as_ref());
        if self.slots.set_desired(response.desired, &response.slots) {
            // What it came to is shown where it was asked for.
            self.news.notify_one();
        }
    }

    fn failed(&self, error: &CallError) {
        let now = match error {
            CallError::Retry { .. } => Line::Down,
            _ => Line::Refused,
        };
        let is_news = self.connection.send_if_modified(|connection| {
            let is_news = connection.line != now;
            connection.line = now.clone();
            connection.refusal = (now == Line::Refused).then(|| error.to_string());
            is_news
        });
        // One line for each change, not for each try.
        match now {
            _ if !is_news => {}
            Line::Down => {
                let url = self.registry.url();
                tracing::warn!("cannot reach the registry at {url} ({error}); trying until it answers");
            }
            _ => tracing::error!("{error}"),
        }
    }

    async fn request(&self, stopping: bool) -> HeartbeatRequest {
        let probed = self.readiness.probed();
        let refusal = match &probed.verdict {
            Verdict::Ready(_) => None,
            Verdict::Probing => Some("the agent is starting".to_owned()),
            Verdict::Refused(refusal) => Some(refusal.reason.clone()),
        };
        // Looks a name up, which can take its time.
        let url = self.registry.url().clone();
        let local_ip = tokio::task::spawn_blocking(move || machine::local_ip(&url)).await.ok().flatten();
        let host = self.host.borrow().clone();
        let gpus = self.gpus.borrow().clone().unwrap_or_default();
        HeartbeatRequest {
            machine_id: self.machine.machine_id.clone(),
            boot_id: self.machine.boot_id.clone(),
            hostname: self.machine.hostname.clone(),
            agent_version: VERSION.to_owned(),
            os: self.machine.os.clone(),
            local_ip: local_ip.as_ref().map(IpAddr::to_string),
            metrics_listen: self.metrics_listen.to_string(),
            accepts_tasks: refusal.is_none(),
            refusal,
            stopping,
            blender: probed.blender,
            cpu: host.as_ref().map(cpu),
            memory_total_bytes: host.as_ref().map(|host| host.memory_total_bytes),
            memory_used_bytes: host.as_ref().map(|host| host.memory_used_bytes),
            gpus: gpus.visible.into_iter().map(gpu).collect(),
            slots: self.slots.reported(),
            attempts: self.attempts(),
            health: self.health.findings().iter().filter_map(Finding::report).collect(),
            electricity: self.economics.electricity(),
        }
    }

    /// What is rendered now, and what waits in the outbox.
    fn attempts(&self) -> Vec<AttemptReport> {
        let mut reports: Vec<AttemptReport> = self.slots.work().iter().map(WorkView::report).collect();
        for attempt_id in self.outbox.attempts() {
            if !reports.iter().any(|report| report.attempt_id == attempt_id) {
                reports.push(AttemptReport {
                    attempt_id,
                    progress_ratio: None,
                    elapsed_seconds: None,
                    remaining_seconds: None,
                });
            }
        }
        reports
    }
}

fn cpu(host: &HostSample) -> Cpu {
    Cpu {
        name: host.cpu_name.clone(),
        cores: host.cpu_cores,
        utilization_ratio: host.cpu_utilization_ratio,
        temperature_celsius: host.cpu_temperature_celsius,
    }
}

fn gpu(sample: GpuSample) -> Gpu {
    Gpu {
        uuid: sample.uuid,
        index: sample.index,
        name: sample.name,
        driver_version: sample.driver_version,
        memory_total_bytes: sample.memory_total_bytes,
        memory_used_bytes: sample.memory_used_bytes,
        utilization_ratio: sample.utilization_ratio,
        temperature_celsius: sample.temperature_celsius,
        power_watts: sample.power_average_watts,
    }
}
