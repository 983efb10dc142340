//! Who signs in to which account.

use pictor_protocol::{AccountId, Identity as Linked, UnixMillis};
use sqlx::AnyConnection;

use super::Identity;
use crate::error::{Error, Result};
use crate::row::Parsed;

pub async fn find(conn: &mut AnyConnection, identity: &Identity) -> Result<Option<AccountId>> {
    let id: Option<Parsed<_>> =
        sqlx::query_scalar("SELECT account_id FROM oidc_identities WHERE issuer = $1 AND subject = $2")
            .bind(identity.issuer.clone())
            .bind(identity.subject.clone())
            .fetch_optional(conn)
            .await?;
    Ok(id.map(|Parsed(id)| id))
}

/// Whether it was linked now; false when it was before. `Conflict` when it signs in to another account.
pub async fn link(
    conn: &mut AnyConnection,
    identity: &Identity,
    account_id: AccountId,
    now: UnixMillis,
) -> Result<bool> {
    let made = sqlx::query(
        "INSERT INTO oidc_identities (issuer, subject, account_id, created_at)
         VALUES ($1, $2, $3, $4) ON CONFLICT (issuer, subject) DO NOTHING",
    )
    .bind(identity.issuer.clone())
    .bind(identity.subject.clone())
    .bind(account_id.to_string())
    .bind(now.0)
    .execute(&mut *conn)
    .await?
    .rows_affected();
    if made == 0 && find(conn, identity).await? != Some(account_id) {
        return Err(Error::conflict(
            "identity_taken",
            format!("{} at {} signs in to another account", identity.subject, identity.issuer),
        ));
    }
    Ok(made > 0)
}

/// `NotFound` when it does not sign in to this account.
pub async fn unlink(conn: &mut AnyConnection, identity: &Identity, account_id: AccountId) -> Result<()> {
    let gone =
        sqlx::query("DELETE FROM oidc_identities WHERE issuer = $1 AND subject = $2 AND account_id = $3")
            .bind(identity.issuer.clone())
            .bind(identity.subject.clone())
            .bind(account_id.to_string())
            .execute(&mut *conn)
            .await?
            .rows_affected();
    if gone == 0 {
        return Err(Error::NotFound("identity"));
    }
    // Whoever signed in with it is signed in no longer.
    sqlx::query("DELETE FROM sessions WHERE account_id = $1 AND token_id IS NULL")
        .bind(account_id.to_string())
        .execute(conn)
        .await?;
    Ok(())
}

pub async fn list(conn: &mut AnyConnection, account_id: AccountId) -> Result<Vec<Linked>> {
    let rows: Vec<(String, String, i64)> = sqlx::query_as(
        "SELECT issuer, subject, created_at FROM oidc_identities WHERE account_id = $1
         ORDER BY created_at, issuer, subject",
    )
    .bind(account_id.to_string())
    .fetch_all(conn)
    .await?;
    let linked =
        |(issuer, subject, created_at)| Linked { issuer, subject, created_at: UnixMillis(created_at) };
    Ok(rows.into_iter().map(linked).collect())
}
