//! The pictures of a job: which there are, each of them, and all in one archive.

mod store;

use std::collections::{HashMap, VecDeque};
use std::io::{self, Write};
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use pictor_protocol::{Job, JobFrame, JobId, List, Sha256, TaskStatus};
use serde::Deserialize;
use utoipa::IntoParams;
use zip::write::{SimpleFileOptions, StreamWriter};
use zip::{CompressionMethod, ZipWriter};

use super::seen;
use crate::App;
use crate::auth::Caller;
use crate::error::{Error, Json, Path, Query, Result};
use crate::lists::{self, LIMIT_MAX};

/// How many frames of an archive are looked up at once.
const LOOKED_UP: i64 = 500;

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct FramesQuery {
    /// 1 to 1,000; 100 unless given.
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// The frames of a job, in order, and how each stands.
#[utoipa::path(get, path = "/v1/jobs/{id}/frames", params(("id" = JobId, Path), FramesQuery), responses((status = 200, body = List<JobFrame>)))]
pub(super) async fn list(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<JobId>,
    Query(query): Query<FramesQuery>,
) -> Result<Json<List<JobFrame>>> {
    let limit = lists::limit(query.limit)?;
    Ok(Json(frames(&app, &caller, id, lists::after(query.cursor.as_deref())?, limit).await?))
}

/// One page of a job's frames.
pub async fn frames(
    app: &App,
    caller: &Caller,
    id: JobId,
    after: Option<i32>,
    limit: u32,
) -> Result<List<JobFrame>> {
    let job = seen(app, caller, id).await?;
    let first = after.map_or(i64::from(job.frames.first()), |after| i64::from(after) + 1);
    let last = (first + i64::from(limit) - 1).min(i64::from(job.frames.last()));
    let conn = &mut *app.db.read().await?;
    let tasks = store::tasks_between(conn, id, first, last).await?;
    let mut pictures: HashMap<i32, Picture> = store::finished(conn, id, first, last, LIMIT_MAX.into())
        .await?
        .into_iter()
        .map(|there| (there.frame, there))
        .collect();
    let mut items = Vec::new();
    for (range, status) in tasks {
        for frame in range.iter().filter(|frame| (first..=last).contains(&i64::from(*frame))) {
            let picture = pictures.remove(&frame);
            let size_bytes = picture.as_ref().map(|picture| picture.size_bytes);
            items.push(JobFrame { frame, status, sha256: picture.map(|picture| picture.sha256), size_bytes });
        }
    }
    let has_next = last < i64::from(job.frames.last());
    Ok(List { items, next_cursor: has_next.then(|| last.to_string()) })
}

/// A rendered frame, as soon as its task has completed.
#[utoipa::path(get, path = "/v1/jobs/{id}/frames/{n}", params(("id" = JobId, Path), ("n" = i32, Path)), responses((status = 200, content_type = "image/png")))]
pub(super) async fn get(
    State(app): State<App>,
    caller: Caller,
    Path((id, frame)): Path<(JobId, i32)>,
) -> Result<Response> {
    picture(&app, &caller, id, frame).await
}

pub async fn picture(app: &App, caller: &Caller, id: JobId, frame: i32) -> Result<Response> {
    caller.require_full()?;
    let job = seen(app, caller, id).await?;
    let at = i64::from(frame);
    let found = store::finished(&mut *app.db.read().await?, job.id, at, at, 1).await?.pop();
    let sha256 = found.ok_or(Error::NotFound("frame, or it is not rendered yet"))?.sha256;
    let stored = app.blobs.get(&format!("frames/{sha256}")).await?;
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("image/png")),
        (header::CONTENT_LENGTH, HeaderValue::from(stored.size_bytes)),
        (header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache")),
    ];
    Ok((headers, Body::from_stream(stored.bytes)).into_response())
}

/// All finished frames as a zip, its files named `frame_0001.png`.
#[utoipa::path(get, path = "/v1/jobs/{id}/frames.zip", params(("id" = JobId, Path)), responses((status = 200, content_type = "application/zip")))]
pub(super) async fn zip(State(app): State<App>, caller: Caller, Path(id): Path<JobId>) -> Result<Response> {
    archive(&app, &caller, id).await
}

pub async fn archive(app: &App, caller: &Caller, id: JobId) -> Result<Response> {
    caller.require_full()?;
    let job = seen(app, caller, id).await?;
    let first = store::finished(&mut *app.db.read().await?, id, i64::MIN, i64::MAX, 1).await?;
    if first.is_empty() {
        return Err(Error::NotFound("frame: none of this job's is rendered yet"));
    }
    let parts = stream::try_unfold(Archive::new(app.clone(), job.id), async |mut archive: Archive| {
        Ok::<_, Error>(archive.next().await?.map(|part| (part, archive)))
    });
    let headers = [
        (header::CONTENT_TYPE, "application/zip".to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{id}.zip\"")),
    ];
    Ok((headers, Body::from_stream(parts)).into_response())
}

/// A picture that can be had.
#[derive(Debug)]
pub struct Picture {
    pub frame: i32,
    pub sha256: Sha256,
    pub size_bytes: i64,
}

/// The pictures of a job that came last, newest first.
pub async fn newest_frames(app: &App, job: &Job, limit: i64) -> Result<Vec<Picture>> {
    store::newest(&mut *app.db.read().await?, job.id, limit).await
}

/// A zip being written: what was written waits in `outlet` until it is sent, a part of a picture at most.
struct Archive {
    app: App,
    job: JobId,
    /// None once the archive is whole.
    writer: Option<ZipWriter<StreamWriter<Outlet>>>,
    outlet: Outlet,
    pictures: VecDeque<Picture>,
    /// From which frame on pictures are looked up next; none when there are no more.
    from: Option<i64>,
    open: Option<BoxStream<'static, std::result::Result<Bytes, object_store::Error>>>,
}

impl Archive {
    fn new(app: App, job: JobId) -> Archive {
        let outlet = Outlet::default();
        let writer = Some(ZipWriter::new_stream(outlet.clone()));
        Archive { app, job, writer, outlet, pictures: VecDeque::new(), from: Some(i64::MIN), open: None }
    }

    /// The next bytes of the archive; none after its last.
    async fn next(&mut self) -> Result<Option<Bytes>> {
        while self.writer.is_some() {
            self.step().await?;
            let written = mem::take(&mut *self.outlet.bytes());
            if !written.is_empty() {
                return Ok(Some(Bytes::from(written)));
            }
        }
        Ok(None)
    }

    async fn step(&mut self) -> Result<()> {
        let Some(writer) = &mut self.writer else { return Ok(()) };
        if let Some(open) = &mut self.open {
            match open.next().await {
                Some(bytes) => writer.write_all(&bytes?).map_err(anyhow::Error::from)?,
                None => self.open = None,
            }
        } else if let Some(picture) = self.pictures.pop_front() {
            // Pictures are packed already.
            let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
            writer
                .start_file(format!("frame_{:04}.png", picture.frame), options)
                .map_err(anyhow::Error::from)?;
            self.open = Some(self.app.blobs.get(&format!("frames/{}", picture.sha256)).await?.bytes);
        } else if let Some(from) = self.from {
            let conn = &mut *self.app.db.read().await?;
            let found = store::finished(conn, self.job, from, i64::MAX, LOOKED_UP).await?;
            self.from = found.last().map(|picture| i64::from(picture.frame) + 1);
            self.pictures = found.into();
        } else if let Some(writer) = self.writer.take() {
            writer.finish().map_err(anyhow::Error::from)?;
        }
        Ok(())
    }
}

#[derive(Clone, Default)]
struct Outlet(Arc<Mutex<Vec<u8>>>);

impl Outlet {
    fn bytes(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Write for Outlet {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// How many frames of a group of neighbours stand at a status, by their tasks.
#[derive(Debug)]
pub struct Standing {
    pub group: i64,
    pub status: TaskStatus,
    pub frames: i64,
}

/// How a job's frames stand, in groups of `size`, which is a multiple of its frames per task.
pub async fn standing(app: &App, job: &Job, size: i64) -> Result<Vec<Standing>> {
    store::standing(&mut *app.db.read().await?, job, size).await
}
