//! What leases come to, as they are counted.

/// What became of leases, as `pictor_registry_leases_total` counts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseOutcome {
    Granted,
    Completed,
    Failed,
    Released,
    Expired,
}

impl LeaseOutcome {
    pub const ALL: [LeaseOutcome; 5] = [
        LeaseOutcome::Granted,
        LeaseOutcome::Completed,
        LeaseOutcome::Failed,
        LeaseOutcome::Released,
        LeaseOutcome::Expired,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            LeaseOutcome::Granted => "granted",
            LeaseOutcome::Completed => "completed",
            LeaseOutcome::Failed => "failed",
            LeaseOutcome::Released => "released",
            LeaseOutcome::Expired => "expired",
        }
    }
}
