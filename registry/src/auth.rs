//! Who a request speaks for and what it may do: every role and ownership check stands in this file.

mod session;
mod store;

use std::fmt;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{Method, header};
use pictor_protocol::{AccountId, Role, Scope, TokenId, WorkerId};
use sha2::{Digest, Sha256};
use tracing::Span;

use crate::App;
use crate::clock::Clock;
use crate::error::{Error, Result};

pub use session::{SESSION_IDLE_MILLIS, SESSION_MILLIS_MAX, Session, find_session};
pub(crate) use store::{KnownToken, touch};

/// How stale a token's `last_used_at` may be: it is for people to read, not worth a write a request.
const LAST_USED_MILLIS: i64 = 60_000;

/// A token just made: its text, shown once, and its hash, kept.
pub struct NewSecret {
    pub text: String,
    pub sha256: [u8; 32],
}

/// 256 random bits behind a prefix and before a checksum, so that a leaked one can be found and told from noise.
pub fn new_token(clock: &Clock) -> NewSecret {
    new_secret(clock, "pictor_")
}

/// As [`new_token`], for what is no access token.
pub fn new_secret(clock: &Clock, prefix: &str) -> NewSecret {
    let secret = hex::encode(clock.random::<32>());
    let text = format!("{prefix}{secret}{:08x}", crc32fast::hash(secret.as_bytes()));
    let sha256 = digest(&text);
    NewSecret { text, sha256 }
}

/// Random 256-bit secrets need no slow hash. Looking a hash up in an index tells an attacker nothing
/// about the secret it belongs to, so this is the comparison in constant time.
pub fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

/// How somebody acted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Actor {
    /// Signed in, with a browser.
    Session,
    /// With an access token.
    Token,
    /// On the registry's command line.
    Cli,
    /// The registry, by itself.
    System,
}

impl Actor {
    pub fn as_str(self) -> &'static str {
        match self {
            Actor::Session => "session",
            Actor::Token => "token",
            Actor::Cli => "cli",
            Actor::System => "system",
        }
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The account behind a token of a person or a program.
#[derive(Debug, Clone)]
pub struct Caller {
    pub account_id: AccountId,
    pub name: String,
    pub roles: Vec<Role>,
    pub scope: Scope,
    pub wallet_address: Option<String>,
    /// How they speak: with a token, or signed in.
    pub actor: Actor,
}

impl Caller {
    pub fn is_operator(&self) -> bool {
        self.roles.contains(&Role::Operator)
    }

    /// Operators see every account's things, others their own.
    pub fn may_see(&self, owner: AccountId) -> bool {
        self.is_operator() || self.account_id == owner
    }

    /// The account to which lists are narrowed; an operator's are not.
    pub fn account_filter(&self) -> Option<AccountId> {
        (!self.is_operator()).then_some(self.account_id)
    }

    pub fn is_full(&self) -> bool {
        self.scope == Scope::Full
    }

    /// Config files, scenes, frames and logs are not for tokens that only read numbers.
    pub fn require_full(&self) -> Result<()> {
        if self.is_full() {
            return Ok(());
        }
        Err(Error::Forbidden("this needs a token of scope full; this one's is read".to_owned()))
    }

    /// Operators may do what every role may.
    pub fn has_role(&self, role: Role) -> bool {
        self.roles.contains(&role) || self.is_operator()
    }

    pub fn require_role(&self, role: Role) -> Result<()> {
        if self.has_role(role) {
            return Ok(());
        }
        Err(Error::Forbidden(format!("this needs an account with the role {role}")))
    }
}

/// A caller of what only reads, though it may be asked by POST.
pub struct Reader(pub Caller);
/// A caller with the role `provider` (or an operator).
pub struct Provider(pub Caller);
/// A caller with the role `creator` (or an operator).
pub struct Creator(pub Caller);
/// A caller with the role `operator`.
pub struct Operator(pub Caller);

/// An agent, speaking for its one worker and for nothing else.
#[derive(Debug, Clone, Copy)]
pub struct Agent {
    pub worker_id: WorkerId,
    pub account_id: AccountId,
    pub token_id: TokenId,
}

impl FromRequestParts<App> for Caller {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Caller> {
        let Reader(caller) = Reader::from_request_parts(parts, app).await?;
        if !matches!(parts.method, Method::GET | Method::HEAD) {
            caller.require_full()?;
        }
        Ok(caller)
    }
}

impl FromRequestParts<App> for Reader {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Reader> {
        let found = known_token(app, bearer(parts)?).await?;
        if found.worker_id.is_some() {
            return Err(Error::Forbidden("a worker's token opens the agent's calls only".to_owned()));
        }
        let stale = found.last_used_at.is_none_or(|used| app.clock.now().0 - used.0 > LAST_USED_MILLIS);
        if stale {
            let (token_id, now) = (found.token_id, app.clock.now());
            app.db.write(move |conn| Box::pin(store::touch(conn, token_id, now))).await?;
        }
        Ok(Reader(found.caller))
    }
}

macro_rules! with_role {
    ($name:ident, $role:expr) => {
        impl FromRequestParts<App> for $name {
            type Rejection = Error;

            async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<$name> {
                let caller = Caller::from_request_parts(parts, app).await?;
                caller.require_role($role)?;
                Ok($name(caller))
            }
        }
    };
}

with_role!(Provider, Role::Provider);
with_role!(Creator, Role::Creator);
with_role!(Operator, Role::Operator);

impl FromRequestParts<App> for Agent {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Agent> {
        let found = known_token(app, bearer(parts)?).await?;
        let Some(worker_id) = found.worker_id else {
            return Err(Error::Forbidden(
                "this call is an agent's: it needs the token of a config file".to_owned(),
            ));
        };
        let agent = Agent { worker_id, account_id: found.account_id, token_id: found.token_id };
        pictor_telemetry::attribute(&Span::current(), "pictor.worker.id", &worker_id);
        if found.last_used_at.is_none() {
            let now = app.clock.now();
            app.db.write(move |conn| Box::pin(store::first_use(conn, agent, now))).await?;
        }
        Ok(agent)
    }
}

fn bearer(parts: &Parts) -> Result<&str> {
    parts
        .headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim())
        .ok_or(Error::Unauthorized)
}

async fn known_token(app: &App, token: &str) -> Result<KnownToken> {
    store::known_token(&mut *app.db.read().await?, token).await
}

/// The token that a person signs in with.
pub(crate) async fn persons_token(app: &App, token: &str) -> Result<KnownToken> {
    let found = known_token(app, token.trim()).await?;
    if found.worker_id.is_some() {
        return Err(Error::Forbidden(
            "that is the token of a worker's config file; people sign in with an access token".to_owned(),
        ));
    }
    Ok(found)
}
