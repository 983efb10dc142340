//! Who did what to which account, kept for good: written in the transaction that does the thing.

mod log;
pub mod store;

use std::fmt;

use pictor_protocol::{AccountId, AuditEventId, UnixMillis};
use serde_json::Value;

use crate::auth::{Actor, Caller};
use crate::clock::Clock;

pub use log::{AuditQuery, actions, entries, routes};
pub use store::record;

/// Something that was done.
#[derive(Debug, Clone)]
pub struct Event {
    pub id: AuditEventId,
    pub at: UnixMillis,
    /// Whose things; none are the network's own.
    pub account_id: Option<AccountId>,
    pub actor_account_id: Option<AccountId>,
    pub actor: Actor,
    /// Such as `token_created`.
    pub action: String,
    /// What it was done to: an id, or a name.
    pub subject: String,
    pub detail: Value,
}

impl Event {
    /// A caller did this to something of `owner`'s.
    pub fn by(
        clock: &Clock,
        caller: &Caller,
        owner: AccountId,
        action: &str,
        subject: impl fmt::Display,
    ) -> Event {
        Event::new(clock, Some(caller.account_id), caller.actor, owner, action, subject)
    }

    /// Done on the command line.
    pub fn by_cli(clock: &Clock, owner: AccountId, action: &str, subject: impl fmt::Display) -> Event {
        Event::new(clock, None, Actor::Cli, owner, action, subject)
    }

    fn new(
        clock: &Clock,
        actor_account_id: Option<AccountId>,
        actor: Actor,
        owner: AccountId,
        action: &str,
        subject: impl fmt::Display,
    ) -> Event {
        Event {
            id: clock.id(AuditEventId::from_parts),
            at: clock.now(),
            account_id: Some(owner),
            actor_account_id,
            actor,
            action: action.to_owned(),
            subject: subject.to_string(),
            detail: Value::Object(serde_json::Map::new()),
        }
    }

    /// What else is to be known, as a JSON object; never a secret.
    pub fn with(self, detail: Value) -> Event {
        Event { detail, ..self }
    }
}
