//! The line to the registry, tried once: whether it answers, what time it has, and whether it knows this worker.

use pictor_protocol::{LeaseRequest, WorkerConfig};
use url::Url;
use uuid::Uuid;

use crate::registry::{CallError, Registry};

#[derive(Debug, Clone, PartialEq)]
pub enum Line {
    /// The config file names no registry that could be asked.
    Unusable(String),
    Silent {
        url: Url,
        error: String,
    },
    Answers {
        url: Url,
        /// How far this machine's clock is ahead, where the registry tells its time.
        skew_seconds: Option<f64>,
        token: TokenWord,
    },
}

/// What the registry says of the worker's token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenWord {
    Accepted,
    Refused(String),
    NotSaid(String),
}

impl Line {
    /// Asks the registry, as this worker.
    pub async fn look(worker: &WorkerConfig) -> Line {
        let registry = match Registry::new(worker) {
            Ok(registry) => registry,
            Err(error) => return Line::Unusable(error.to_string()),
        };
        let url = registry.url().clone();
        match registry.clock_skew().await {
            Ok(skew_seconds) => Line::Answers { url, skew_seconds, token: token(&registry).await },
            Err(error) => Line::Silent { url, error: error.to_string() },
        }
    }
}

async fn token(registry: &Registry) -> TokenWord {
    // Asks for no slot, so it gets no task.
    let ask = LeaseRequest { ask_id: Uuid::now_v7().into(), slots: Vec::new(), wait_seconds: 0 };
    match registry.leases(&ask).await {
        // That it asked for nothing can be refused only once it is known who asks.
        Ok(_) | Err(CallError::Refused { .. } | CallError::LeaseLost(_)) => TokenWord::Accepted,
        Err(CallError::Retry { reason, .. }) => TokenWord::NotSaid(reason),
        Err(error @ (CallError::Unauthorized(_) | CallError::DuplicateWorker(_))) => {
            TokenWord::Refused(error.to_string())
        }
    }
}
