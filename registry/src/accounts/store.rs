//! The rows of accounts and tokens.

use pictor_protocol::{Account, AccountId, Micros, Role, Scope, Token, TokenId, UnixMillis, WorkerId};
use sqlx::AnyConnection;

use crate::error::{Error, Result};
use crate::row::Parsed;

#[derive(Debug, Clone)]
pub struct NewAccount {
    pub id: AccountId,
    pub name: String,
    pub roles: Vec<Role>,
    pub wallet_address: Option<String>,
}

/// A token to be kept: of an account, or of one worker's agent.
#[derive(Clone)]
pub struct NewTokenRow {
    pub id: TokenId,
    pub account_id: AccountId,
    pub worker_id: Option<WorkerId>,
    pub name: String,
    pub scope: Scope,
    pub sha256: [u8; 32],
}

/// `Conflict` with code `name_taken` when another account has the name.
pub async fn create(conn: &mut AnyConnection, new: &NewAccount, now: UnixMillis) -> Result<()> {
    let made = sqlx::query(
        "INSERT INTO accounts (id, name, roles, wallet_address, created_at)
         VALUES ($1, $2, $3, $4, $5) ON CONFLICT (name) DO NOTHING",
    )
    .bind(new.id.to_string())
    .bind(new.name.clone())
    .bind(roles_text(&new.roles))
    .bind(new.wallet_address.clone())
    .bind(now.0)
    .execute(conn)
    .await?
    .rows_affected();
    if made == 0 {
        return Err(Error::conflict(
            "name_taken",
            format!("there is an account named '{}' already", new.name),
        ));
    }
    Ok(())
}

fn roles_text(roles: &[Role]) -> String {
    let mut words: Vec<&str> = roles.iter().map(|role| role.as_str()).collect();
    words.sort_unstable();
    words.dedup();
    words.join(",")
}

pub async fn find(conn: &mut AnyConnection, name: &str) -> Result<Option<AccountId>> {
    let id: Option<Parsed<_>> = sqlx::query_scalar("SELECT id FROM accounts WHERE name = $1")
        .bind(name.trim().to_owned())
        .fetch_optional(conn)
        .await?;
    Ok(id.map(|Parsed(id)| id))
}

type AccountRow = (Parsed<AccountId>, String, String, Option<String>, i64);

/// Accounts by age, the next `limit` after one; their balances are the ledger's to fill in.
pub async fn list(conn: &mut AnyConnection, after: Option<AccountId>, limit: i64) -> Result<Vec<Account>> {
    let rows: Vec<AccountRow> = sqlx::query_as(
        "SELECT id, name, roles, wallet_address, created_at FROM accounts WHERE id > $1 ORDER BY id LIMIT $2",
    )
    .bind(after.map(String::from).unwrap_or_default())
    .bind(limit)
    .fetch_all(conn)
    .await?;
    rows.into_iter().map(account).collect()
}

fn account((Parsed(id), name, roles, wallet_address, created_at): AccountRow) -> Result<Account> {
    let roles: std::result::Result<Vec<Role>, _> = roles.split(',').map(str::parse).collect();
    Ok(Account {
        id,
        name,
        roles: roles.map_err(anyhow::Error::from)?,
        wallet_address,
        balance_micros: Micros::ZERO,
        created_at: UnixMillis(created_at),
    })
}

/// What an account says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    pub wallet_address: Option<String>,
    pub time_zone: Option<String>,
}

pub async fn profile(conn: &mut AnyConnection, id: AccountId) -> Result<Profile> {
    let row: Option<(Option<String>, Option<String>)> =
        sqlx::query_as("SELECT wallet_address, time_zone FROM accounts WHERE id = $1")
            .bind(id.to_string())
            .fetch_optional(conn)
            .await?;
    let (wallet_address, time_zone) = row.ok_or(Error::NotFound("account"))?;
    Ok(Profile { wallet_address, time_zone })
}

pub async fn set_profile(conn: &mut AnyConnection, id: AccountId, profile: &Profile) -> Result<()> {
    sqlx::query("UPDATE accounts SET wallet_address = $2, time_zone = $3 WHERE id = $1")
        .bind(id.to_string())
        .bind(profile.wallet_address.clone())
        .bind(profile.time_zone.clone())
        .execute(conn)
        .await?;
    Ok(())
}

pub async fn add_token(conn: &mut AnyConnection, new: &NewTokenRow, now: UnixMillis) -> Result<()> {
    sqlx::query(
        "INSERT INTO tokens (id, account_id, worker_id, name, scope, sha256, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(new.id.to_string())
    .bind(new.account_id.to_string())
    .bind(new.worker_id.map(String::from))
    .bind(new.name.clone())
    .bind(new.scope.as_str())
    .bind(new.sha256.to_vec())
    .bind(now.0)
    .execute(conn)
    .await?;
    Ok(())
}

type TokenRow = (Parsed<TokenId>, String, Parsed<Scope>, i64, Option<i64>);

/// An account's own tokens that were not revoked; those of its workers' agents are not among them.
pub async fn tokens(conn: &mut AnyConnection, account_id: AccountId) -> Result<Vec<Token>> {
    let rows: Vec<TokenRow> = sqlx::query_as(
        "SELECT id, name, scope, created_at, last_used_at FROM tokens
         WHERE account_id = $1 AND worker_id IS NULL AND revoked_at IS NULL ORDER BY id",
    )
    .bind(account_id.to_string())
    .fetch_all(conn)
    .await?;
    let token = |(Parsed(id), name, Parsed(scope), created_at, last_used_at): TokenRow| Token {
        id,
        name,
        scope,
        created_at: UnixMillis(created_at),
        last_used_at: last_used_at.map(UnixMillis),
    };
    Ok(rows.into_iter().map(token).collect())
}

/// A worker, and the newest token of its config files.
#[derive(Debug, Clone)]
pub struct WorkerToken {
    pub worker_id: WorkerId,
    pub name: String,
    pub created_at: Option<UnixMillis>,
    pub first_used_at: Option<UnixMillis>,
}

type WorkerTokenRow = (Parsed<WorkerId>, String, Option<i64>, Option<i64>);

/// The first `limit` of an account's workers by name, and how many it has.
pub async fn worker_tokens(
    conn: &mut AnyConnection,
    account_id: AccountId,
    limit: i64,
) -> Result<(Vec<WorkerToken>, i64)> {
    let rows: Vec<WorkerTokenRow> = sqlx::query_as(
        "SELECT w.id, w.name, MAX(t.created_at), MAX(t.last_used_at)
         FROM workers w LEFT JOIN tokens t ON t.worker_id = w.id AND t.revoked_at IS NULL
         WHERE w.account_id = $1 AND w.archived_at IS NULL
         GROUP BY w.id, w.name, w.name_key ORDER BY w.name_key LIMIT $2",
    )
    .bind(account_id.to_string())
    .bind(limit)
    .fetch_all(&mut *conn)
    .await?;
    let total: i64 =
        sqlx::query_scalar("SELECT COUNT(*) FROM workers WHERE account_id = $1 AND archived_at IS NULL")
            .bind(account_id.to_string())
            .fetch_one(conn)
            .await?;
    let worker = |(Parsed(worker_id), name, created_at, first_used_at): WorkerTokenRow| WorkerToken {
        worker_id,
        name,
        created_at: created_at.map(UnixMillis),
        first_used_at: first_used_at.map(UnixMillis),
    };
    Ok((rows.into_iter().map(worker).collect(), total))
}

/// Whose the token was, and its name. `owner` None: of any account, for operators.
pub async fn revoke_token(
    conn: &mut AnyConnection,
    owner: Option<AccountId>,
    id: TokenId,
    now: UnixMillis,
) -> Result<(AccountId, String)> {
    let revoked: Option<(Parsed<AccountId>, String)> = sqlx::query_as(
        "UPDATE tokens SET revoked_at = $3
         WHERE id = $1 AND account_id = COALESCE($2, account_id) AND worker_id IS NULL AND revoked_at IS NULL
         RETURNING account_id, name",
    )
    .bind(id.to_string())
    .bind(owner.map(String::from))
    .bind(now.0)
    .fetch_optional(conn)
    .await?;
    let (Parsed(account_id), name) = revoked.ok_or(Error::NotFound("token"))?;
    Ok((account_id, name))
}

/// Every token of a worker's agent, the one in use too.
pub async fn revoke_worker_tokens(
    conn: &mut AnyConnection,
    worker_id: WorkerId,
    now: UnixMillis,
) -> Result<()> {
    sqlx::query("UPDATE tokens SET revoked_at = $2 WHERE worker_id = $1 AND revoked_at IS NULL")
        .bind(worker_id.to_string())
        .bind(now.0)
        .execute(conn)
        .await?;
    Ok(())
}

/// A worker has at most its token in use and the newest one: an older one that nobody used goes.
/// The one in use goes at the newest's first use, which is where tokens are read.
pub async fn add_worker_token(conn: &mut AnyConnection, new: &NewTokenRow, now: UnixMillis) -> Result<()> {
    sqlx::query(
        "UPDATE tokens SET revoked_at = $2 WHERE worker_id = $1 AND revoked_at IS NULL AND last_used_at IS NULL",
    )
    .bind(new.worker_id.map(String::from))
    .bind(now.0)
    .execute(&mut *conn)
    .await?;
    add_token(conn, new, now).await
}
