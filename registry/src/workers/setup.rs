//! Making workers, one or many, and the config files with which their machines become them.

use std::io::{Cursor, Write as _};

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use pictor_protocol::UnixMillis;
use pictor_protocol::{
    AccountId, DesiredState, NewWorkers, Scope, TokenId, WorkerConfig, WorkerId, WorkerName,
};
use serde_json::json;
use sqlx::AnyConnection;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::store::{self, WorkerRow};
use super::{names, tags};
use crate::App;
use crate::accounts::store::{NewTokenRow, add_token, add_worker_token};
use crate::audit::{self, Event};
use crate::auth::{self, Caller, Provider};
use crate::error::{Error, Json, Result};

const CONFIG_HEADER: &str = "\
# One worker of the render network. Install it with: pictor-agent import THIS-FILE
# The token is a secret. Using this file on another machine disconnects the machine that uses the worker now.
";
const ZIP_NAME: &str = "pictor-workers.zip";

/// A file to be downloaded, which holds a secret.
pub struct Download {
    pub name: String,
    pub content_type: &'static str,
    pub bytes: Vec<u8>,
}

impl IntoResponse for Download {
    fn into_response(self) -> Response {
        let headers = [
            (header::CONTENT_TYPE, self.content_type.to_owned()),
            (header::CACHE_CONTROL, "no-store".to_owned()),
            (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{}\"", self.name)),
        ];
        (headers, self.bytes).into_response()
    }
}

/// A worker that is about to be made, with the token of its first config file.
#[derive(Clone)]
pub struct Fresh {
    pub worker: WorkerRow,
    token: NewTokenRow,
    secret: String,
}

impl Fresh {
    pub fn new(app: &App, account_id: AccountId, name: WorkerName, tags: Vec<String>) -> Fresh {
        let now = app.clock.now();
        let worker = WorkerRow {
            id: app.clock.id(WorkerId::from_parts),
            account_id,
            name,
            tags,
            desired: DesiredState::Active,
            created_at: now,
            updated_at: now,
            slots: Vec::new(),
            account_name: String::new(),
            wallet_address: None,
        };
        let (token, secret) = new_token(app, &worker);
        Fresh { worker, token, secret }
    }

    /// `Conflict` with code `name_taken` when another worker of the account has the name.
    pub async fn add(&self, conn: &mut AnyConnection, now: UnixMillis) -> Result<()> {
        let worker = &self.worker;
        store::create(conn, worker.id, worker.account_id, &worker.name, now).await?;
        if !worker.tags.is_empty() {
            store::update(conn, worker).await?;
        }
        add_token(conn, &self.token, now).await
    }

    pub fn config(&self, app: &App, wallet_address: Option<String>) -> WorkerConfig {
        let worker = WorkerRow { wallet_address, ..self.worker.clone() };
        config(app, worker, self.secret.clone())
    }
}

fn new_token(app: &App, worker: &WorkerRow) -> (NewTokenRow, String) {
    let secret = auth::new_token(&app.clock);
    let row = NewTokenRow {
        id: app.clock.id(TokenId::from_parts),
        account_id: worker.account_id,
        worker_id: Some(worker.id),
        name: worker.name.config_file_name(),
        scope: Scope::Full,
        sha256: secret.sha256,
    };
    (row, secret.text)
}

fn config(app: &App, worker: WorkerRow, token: String) -> WorkerConfig {
    WorkerConfig {
        registry: app.public_url.clone(),
        worker_id: worker.id,
        worker_name: worker.name,
        wallet_address: worker.wallet_address,
        token,
    }
}

fn config_text(config: &WorkerConfig) -> Result<String> {
    let settings = toml::to_string(config).map_err(anyhow::Error::from)?;
    Ok(format!("{CONFIG_HEADER}{settings}"))
}

/// Makes a worker of this name.
pub async fn register(app: &App, account_id: AccountId, name: WorkerName) -> Result<WorkerId> {
    let (id, now) = (app.clock.id(WorkerId::from_parts), app.clock.now());
    app.db
        .write(move |conn| {
            let name = name.clone();
            Box::pin(async move { store::create(conn, id, account_id, &name, now).await })
        })
        .await?;
    Ok(id)
}

/// A worker's config file with a new token, which disconnects the older one when it is first used.
pub async fn config_file(app: &App, caller: &Caller, id: WorkerId) -> Result<Download> {
    caller.require_full()?;
    let row = store::get(&mut *app.db.read().await?, id, caller.account_filter()).await?;
    let (token, secret) = new_token(app, &row);
    let (now, name) = (app.clock.now(), row.name.config_file_name());
    let event = Event::by(&app.clock, caller, row.account_id, "worker_config_downloaded", id)
        .with(json!({ "file": name }));
    let text = config_text(&config(app, row, secret))?;
    app.db
        .write(move |conn| {
            let (token, event) = (token.clone(), event.clone());
            Box::pin(async move {
                add_worker_token(conn, &token, now).await?;
                audit::record(conn, &event).await
            })
        })
        .await?;
    Ok(Download { name, content_type: "application/toml", bytes: text.into_bytes() })
}

/// Makes every worker that the names stand for, or none of them: a zip of their config files.
pub async fn register_many(app: &App, caller: &Caller, new: NewWorkers) -> Result<Download> {
    caller.require_full()?;
    let (names, tags, now) = (names::expand(&new.names)?, tags(new.tags)?, app.clock.now());
    let fresh: Vec<Fresh> =
        names.into_iter().map(|name| Fresh::new(app, caller.account_id, name, tags.clone())).collect();
    let bytes = zip(app, caller, &fresh)?;
    app.db
        .write(move |conn| {
            let fresh = fresh.clone();
            Box::pin(async move {
                for worker in &fresh {
                    worker.add(conn, now).await?;
                }
                Ok(())
            })
        })
        .await?;
    Ok(Download { name: ZIP_NAME.to_owned(), content_type: "application/zip", bytes })
}

fn zip(app: &App, caller: &Caller, fresh: &[Fresh]) -> Result<Vec<u8>> {
    let internal = |cause: zip::result::ZipError| Error::Internal(anyhow::Error::new(cause));
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    // Secrets: whoever unpacks them may read them, and nobody else.
    let options =
        SimpleFileOptions::default().compression_method(CompressionMethod::Stored).unix_permissions(0o600);
    for worker in fresh {
        let config = worker.config(app, caller.wallet_address.clone());
        archive.start_file(config.worker_name.config_file_name(), options).map_err(internal)?;
        archive.write_all(config_text(&config)?.as_bytes()).map_err(anyhow::Error::from)?;
    }
    Ok(archive.finish().map_err(internal)?.into_inner())
}

/// Registers up to 1,000 workers at once, all or none; the zip holds a config file for each.
#[utoipa::path(
    post,
    path = "/v1/workers/batch",
    request_body = NewWorkers,
    responses(
        (status = 201, body = Vec<u8>, content_type = "application/zip"),
        (status = 409, description = "One of the names is taken, and no worker was made")
    )
)]
pub(super) async fn batch(
    State(app): State<App>,
    Provider(caller): Provider,
    Json(new): Json<NewWorkers>,
) -> Result<(StatusCode, Download)> {
    Ok((StatusCode::CREATED, register_many(&app, &caller, new).await?))
}
