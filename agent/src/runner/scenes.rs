//! Scenes on disk, named by their SHA-256, checked before their first use, the longest unused removed first.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use pictor_ground::{backoff::Backoff, clock, digest, durable};
use pictor_protocol::{Lease, Sha256};
use sha2::Digest;

use crate::{
    counters::Counters,
    registry::{CallError, Registry},
};

const UNFINISHED: &str = "unfinished-";

/// Why there is no scene.
#[derive(Debug, thiserror::Error)]
pub enum SceneError {
    #[error("the lease is lost: {0}")]
    Lost(String),
    /// This machine's own trouble.
    #[error("cannot keep the scene on disk: {0}")]
    Disk(#[from] io::Error),
    #[error("the registry does not hand out the scene: {0}")]
    Refused(CallError),
    #[error("the scene that came is not the one announced: {0}")]
    Wrong(String),
}

/// Whether the file was checked by this process. Held while it is fetched or used.
type Checked = Arc<tokio::sync::Mutex<bool>>;

/// A scene that stays where it is as long as this lives.
#[derive(Debug)]
pub struct Scene {
    pub path: PathBuf,
    _used: Checked,
}

#[derive(Debug)]
pub struct SceneCache {
    folder: PathBuf,
    bytes_max: u64,
    known: Mutex<HashMap<Sha256, Checked>>,
    counters: Arc<Counters>,
}

impl SceneCache {
    pub fn open(folder: &Path, bytes_max: u64, counters: Arc<Counters>) -> io::Result<SceneCache> {
        durable::make_private_folder(folder)?;
        let cache = SceneCache { folder: folder.to_owned(), bytes_max, known: Mutex::default(), counters };
        for (path, ..) in cache.files()? {
            if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(UNFINISHED)) {
                fs::remove_file(path)?;
            }
        }
        cache.count()?;
        Ok(cache)
    }

    /// The lease's scene, fetched if it is not there. Goes on trying while the registry cannot be reached.
    pub async fn fetch(self: &Arc<Self>, registry: &Registry, lease: &Lease) -> Result<Scene, SceneError> {
        let path = self.folder.join(format!("{}.blend", lease.scene_sha256));
        let checked = Arc::clone(self.lock().entry(lease.scene_sha256).or_default());
        let mut is_checked = checked.lock().await;
        if self.is_there(&path, lease, *is_checked).await? {
            self.counters.scene_hit();
        } else {
            self.counters.scene_missed();
            self.make_room(lease.scene_bytes).await?;
            let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(10));
            loop {
                match self.download(registry, lease, &path).await {
                    Err(Fetching::Call(CallError::LeaseLost(detail))) => {
                        return Err(SceneError::Lost(detail));
                    }
                    Err(Fetching::Call(error @ CallError::Refused { .. })) => {
                        return Err(SceneError::Refused(error));
                    }
                    Err(Fetching::Call(error)) => {
                        tracing::debug!(%error, "fetching the scene again later");
                        let wait = match error {
                            CallError::Retry { after: Some(after), .. } => after,
                            _ => backoff.delay(),
                        };
                        tokio::time::sleep(wait).await;
                    }
                    Err(Fetching::Scene(error)) => return Err(error),
                    Ok(()) => break,
                }
            }
        }
        *is_checked = true;
        drop(is_checked);
        let cache = Arc::clone(self);
        blocking(move || cache.count()).await?;
        Ok(Scene { path, _used: checked })
    }

    /// Whether the cache has the scene, whole; looks at every byte once a process.
    async fn is_there(&self, path: &Path, lease: &Lease, is_checked: bool) -> io::Result<bool> {
        let (path, sha256, bytes) = (path.to_owned(), lease.scene_sha256, lease.scene_bytes);
        blocking(move || {
            let Ok(mut file) = File::options().read(true).write(true).open(&path) else { return Ok(false) };
            if file.metadata()?.len() != bytes
                || (!is_checked && digest::of(&mut file)? != *sha256.as_bytes())
            {
                tracing::warn!("a scene in the cache was damaged and is fetched again");
                fs::remove_file(&path)?;
                return Ok(false);
            }
            file.set_modified(clock::now())?;
            Ok(true)
        })
        .await
    }

    async fn download(&self, registry: &Registry, lease: &Lease, path: &Path) -> Result<(), Fetching> {
        let mut stream = registry.scene(lease.id).await?;
        let folder = self.folder.clone();
        let mut file =
            blocking(move || tempfile::Builder::new().prefix(UNFINISHED).tempfile_in(folder)).await?;
        let mut digest = sha2::Sha256::new();
        let mut received: u64 = 0;
        while let Some(piece) = stream.next().await? {
            received += u64::try_from(piece.len()).unwrap_or(u64::MAX);
            if received > lease.scene_bytes {
                return Err(wrong(format!("it is larger than {} bytes", lease.scene_bytes)));
            }
            digest.update(&piece);
            file = blocking(move || file.write_all(&piece).map(|()| file)).await?;
        }
        if received != lease.scene_bytes {
            return Err(wrong(format!("it has {received} bytes, not {}", lease.scene_bytes)));
        }
        if digest.finalize()[..] != lease.scene_sha256.as_bytes()[..] {
            return Err(wrong("its SHA-256 differs".to_owned()));
        }
        let path = path.to_owned();
        blocking(move || {
            file.as_file().sync_all()?;
            file.persist(path).map(drop).map_err(io::Error::from)
        })
        .await?;
        Ok(())
    }

    /// Removes the longest unused until there is room within the bound; what is in use stays.
    async fn make_room(self: &Arc<Self>, bytes: u64) -> io::Result<()> {
        let cache = Arc::clone(self);
        blocking(move || {
            let mut files = cache.files()?;
            files.sort_by_key(|(_, _, used)| *used);
            let mut sum: u64 = files.iter().map(|(_, size, _)| size).sum();
            for (path, size, _) in files {
                if sum.saturating_add(bytes) <= cache.bytes_max {
                    break;
                }
                if cache.forget(&path) {
                    durable::remove_file(&path)?;
                    sum -= size;
                }
            }
            Ok(())
        })
        .await
    }

    /// False while somebody uses it.
    fn forget(&self, path: &Path) -> bool {
        let mut known = self.lock();
        // A file of another name is no scene that somebody uses.
        let Some(name) = path.file_stem().and_then(|name| name.to_str()?.parse().ok()) else { return true };
        if known.get(&name).is_some_and(|checked| Arc::strong_count(checked) > 1) {
            return false;
        }
        known.remove(&name);
        true
    }

    fn count(&self) -> io::Result<()> {
        self.counters.set_scene_bytes(self.files()?.iter().map(|(_, size, _)| size).sum());
        Ok(())
    }

    fn files(&self) -> io::Result<Vec<(PathBuf, u64, SystemTime)>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            // One that was removed meanwhile is no scene.
            if let Ok(metadata) = entry.metadata() {
                files.push((entry.path(), metadata.len(), metadata.modified()?));
            }
        }
        Ok(files)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Sha256, Checked>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why one try to fetch ended.
enum Fetching {
    Call(CallError),
    Scene(SceneError),
}

impl From<CallError> for Fetching {
    fn from(error: CallError) -> Self {
        Fetching::Call(error)
    }
}

impl From<io::Error> for Fetching {
    fn from(error: io::Error) -> Self {
        Fetching::Scene(error.into())
    }
}

fn wrong(detail: String) -> Fetching {
    Fetching::Scene(SceneError::Wrong(detail))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}
