//! What this worker's running agent says, which alone has watched the GPUs and its tasks.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use pictor_protocol::WorkerId;
use tokio::sync::watch;

use crate::finding::{Finding, Report};

const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// Where it is asked.
#[derive(Clone)]
pub enum Agent {
    /// Another process, if it runs at all.
    At {
        listen: SocketAddr,
        /// What it asks for, where it asks.
        token: Option<String>,
        worker_id: WorkerId,
    },
    /// This one.
    Here(watch::Receiver<Vec<Finding>>),
}

/// What it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Watched {
    Found(Vec<Finding>),
    NoAnswer(SocketAddr),
}

impl Agent {
    pub(super) async fn ask(&self) -> Watched {
        let (mut listen, token, worker_id) = match self {
            Agent::Here(findings) => return Watched::Found(findings.borrow().clone()),
            Agent::At { listen, token, worker_id } => (*listen, token.as_deref(), *worker_id),
        };
        if listen.ip().is_unspecified() {
            listen.set_ip(Ipv4Addr::LOCALHOST.into());
        }
        let report = report(listen, token).await.ok().filter(|report| report.worker_id == worker_id);
        report.map_or(Watched::NoAnswer(listen), |report| Watched::Found(report.findings))
    }
}

async fn report(listen: SocketAddr, token: Option<&str>) -> reqwest::Result<Report> {
    let client = reqwest::Client::builder().no_proxy().timeout(ANSWER_TIMEOUT).build()?;
    let mut call = client.get(format!("http://{listen}/health"));
    if let Some(token) = token {
        call = call.bearer_auth(token);
    }
    call.send().await?.error_for_status()?.json().await
}
