//! `pictor-registry account`: works on the database itself, beside a registry that runs on it.

use anyhow::Context;
use clap::{Args, Subcommand};
use pictor_protocol::{AccountId, Micros, Role, Scope, TokenId};
use serde_json::json;

use crate::accounts::{self, identities, store};
use crate::audit::{self, Event};
use crate::auth;
use crate::clock::Clock;
use crate::config::DatabaseArgs;
use crate::db::Db;
use crate::ledger::store::{Book, balance, credit};
use crate::oidc::Identity;

#[derive(Debug, Subcommand)]
pub(super) enum AccountCommand {
    /// Make an account, and a first token of scope full
    Create(CreateArgs),
    /// Make one more token for an account; it is shown once
    Token(TokenArgs),
    /// Give an account money to spend
    Credit(CreditArgs),
    /// Let somebody sign in to an account through the OpenID Connect provider
    Link(LinkArgs),
}

#[derive(Debug, Args)]
pub(super) struct CreateArgs {
    /// The account's name
    name: String,
    /// What the account may do: provider, creator, operator; may be given several times
    #[arg(long = "role", env = "PICTOR_ROLE", required = true, value_delimiter = ',')]
    roles: Vec<Role>,
    /// Where the provider's payouts go
    #[arg(long, env = "PICTOR_WALLET", value_name = "ADDRESS")]
    wallet: Option<String>,
    /// Print {"account_id", "token"}
    #[arg(long, env = "PICTOR_JSON")]
    json: bool,
    #[command(flatten)]
    database: DatabaseArgs,
}

#[derive(Debug, Args)]
pub(super) struct TokenArgs {
    /// The account's name
    name: String,
    /// read: numbers and history, for Prometheus, Grafana and scripts; full: everything the account may do
    #[arg(long, env = "PICTOR_SCOPE", default_value = "read")]
    scope: Scope,
    /// Print {"account_id", "token"}
    #[arg(long, env = "PICTOR_JSON")]
    json: bool,
    #[command(flatten)]
    database: DatabaseArgs,
}

#[derive(Debug, Args)]
pub(super) struct CreditArgs {
    /// The account's name
    name: String,
    /// How much, in units of the network's currency, such as 12.50
    amount: Micros,
    /// Names this credit: given again with the same key, it is the same one
    #[arg(long, env = "PICTOR_KEY")]
    key: Option<String>,
    #[command(flatten)]
    database: DatabaseArgs,
}

#[derive(Debug, Args)]
pub(super) struct LinkArgs {
    /// The account's name
    name: String,
    /// The provider, exactly as it names itself
    #[arg(long, env = "PICTOR_OIDC_ISSUER", value_name = "URL")]
    issuer: String,
    /// The person, as the provider names them; the page that refused them shows it
    #[arg(long, env = "PICTOR_OIDC_SUBJECT", value_name = "SUBJECT")]
    subject: String,
    #[command(flatten)]
    database: DatabaseArgs,
}

pub(super) async fn run(command: AccountCommand) -> anyhow::Result<()> {
    match command {
        AccountCommand::Create(args) => create(args).await,
        AccountCommand::Token(args) => token(args).await,
        AccountCommand::Credit(args) => give(args).await,
        AccountCommand::Link(args) => link(args).await,
    }
}

async fn create(args: CreateArgs) -> anyhow::Result<()> {
    let (db, clock) = (Db::open(&args.database.database).await?, Clock::system());
    let account = store::NewAccount {
        id: clock.id(AccountId::from_parts),
        name: accounts::account_name(&args.name)?,
        roles: args.roles,
        wallet_address: args.wallet.as_deref().map(accounts::wallet_address).transpose()?,
    };
    let (secret, now) = (auth::new_token(&clock), clock.now());
    let id = account.id;
    let event = Event::by_cli(&clock, id, "account_created", id).with(json!({ "roles": account.roles }));
    let first = store::NewTokenRow {
        id: clock.id(TokenId::from_parts),
        account_id: id,
        worker_id: None,
        name: "made with the account".to_owned(),
        scope: Scope::Full,
        sha256: secret.sha256,
    };
    db.write(move |conn| {
        let (account, first, event) = (account.clone(), first.clone(), event.clone());
        Box::pin(async move {
            store::create(conn, &account, now).await?;
            store::add_token(conn, &first, now).await?;
            audit::record(conn, &event).await
        })
    })
    .await?;
    show(id, &secret.text, args.json);
    Ok(())
}

async fn token(args: TokenArgs) -> anyhow::Result<()> {
    let (db, clock) = (Db::open(&args.database.database).await?, Clock::system());
    let account_id = find(&db, &args.name).await?;
    let (secret, now) = (auth::new_token(&clock), clock.now());
    let new = store::NewTokenRow {
        id: clock.id(TokenId::from_parts),
        account_id,
        worker_id: None,
        name: "made on the command line".to_owned(),
        scope: args.scope,
        sha256: secret.sha256,
    };
    let event = Event::by_cli(&clock, account_id, "token_created", new.id)
        .with(json!({ "name": new.name, "scope": new.scope }));
    db.write(move |conn| {
        let (new, event) = (new.clone(), event.clone());
        Box::pin(async move {
            store::add_token(conn, &new, now).await?;
            audit::record(conn, &event).await
        })
    })
    .await?;
    show(account_id, &secret.text, args.json);
    Ok(())
}

async fn give(args: CreditArgs) -> anyhow::Result<()> {
    let (db, clock) = (Db::open(&args.database.database).await?, Clock::system());
    let account_id = find(&db, &args.name).await?;
    let key = args.key.unwrap_or_else(|| hex::encode(clock.random::<16>()));
    let (now, amount) = (clock.now(), args.amount);
    let event = Event::by_cli(&clock, account_id, "credited", account_id)
        .with(json!({ "amount_micros": amount, "key": key }));
    let (given, held) = db
        .write(move |conn| {
            let (key, event) = (key.clone(), event.clone());
            Box::pin(async move {
                let given = credit(conn, account_id, &key, amount, now).await?;
                if given {
                    audit::record(conn, &event).await?;
                }
                Ok((given, balance(conn, &Book::Account(account_id)).await?))
            })
        })
        .await?;
    let done = if given { "was given" } else { "had been given under this key before:" };
    println!("{} {done} {amount}; the account holds {held}", args.name);
    Ok(())
}

async fn link(args: LinkArgs) -> anyhow::Result<()> {
    let (db, clock) = (Db::open(&args.database.database).await?, Clock::system());
    let account_id = find(&db, &args.name).await?;
    let identity = Identity { issuer: args.issuer, subject: args.subject };
    let event = Event::by_cli(&clock, account_id, "identity_connected", &identity.subject);
    let made = identities::link(&db, account_id, identity.clone(), event).await?;
    let done = if made { "signs in" } else { "signed in already" };
    println!("{} at {} {done} to {}", identity.subject, identity.issuer, args.name);
    Ok(())
}

async fn find(db: &Db, name: &str) -> anyhow::Result<AccountId> {
    let found = store::find(&mut *db.read().await?, name).await?;
    found.with_context(|| format!("there is no account named '{name}'"))
}

fn show(account_id: AccountId, token: &str, as_json: bool) {
    if as_json {
        println!("{}", json!({ "account_id": account_id, "token": token }));
    } else {
        println!("account {account_id}\ntoken   {token}\nThe token is shown this once: keep it.");
    }
}
