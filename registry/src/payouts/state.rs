//! Where a payout can go from where it stands.

use pictor_protocol::PayoutStatus;

/// What an operator says of a payout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PayoutEvent {
    Sent,
    Failed,
}

/// The payout has ended otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refused;

/// A payout ends once: what was sent cannot come back by itself, and what failed was spent again since.
pub(super) fn apply(status: PayoutStatus, event: PayoutEvent) -> std::result::Result<PayoutStatus, Refused> {
    match (status, event) {
        (PayoutStatus::Pending, PayoutEvent::Sent) => Ok(PayoutStatus::Sent),
        (PayoutStatus::Pending, PayoutEvent::Failed) => Ok(PayoutStatus::Failed),
        (PayoutStatus::Sent | PayoutStatus::Failed, _) => Err(Refused),
    }
}

#[cfg(test)]
mod tests {
    use super::{PayoutEvent, Refused, apply};
    use pictor_protocol::PayoutStatus;

    #[test]
    fn a_payout_ends_once() {
        for status in PayoutStatus::ALL {
            for (event, to) in
                [(PayoutEvent::Sent, PayoutStatus::Sent), (PayoutEvent::Failed, PayoutStatus::Failed)]
            {
                let expected = if *status == PayoutStatus::Pending { Ok(to) } else { Err(Refused) };
                assert_eq!(apply(*status, event), expected, "{status} {event:?}");
            }
        }
    }
}
