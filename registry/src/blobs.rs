//! Files by the SHA-256 of what they hold: scenes and frames.

use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload, WriteMultipart};
use pictor_protocol::Sha256;
use sha2::Digest;
use std::pin::pin;
use std::sync::Arc;

use crate::clock::Clock;
use crate::error::{Error, Result};

/// How many parts of one upload are being written at once; more would only hold memory.
const PARTS_IN_FLIGHT: usize = 2;

/// Where the bytes of scenes and frames are kept; clones share it.
#[derive(Clone)]
pub struct Blobs {
    store: Arc<dyn ObjectStore>,
    clock: Clock,
}

/// A file received but not yet kept under a name: [`Received::keep`] or [`Received::discard`] it.
pub struct Received {
    pub sha256: Sha256,
    pub size_bytes: u64,
    /// The first bytes, for telling what it is.
    pub head: Bytes,
    staged: Path,
    blobs: Blobs,
}

/// A stored file on its way out.
pub struct Stored {
    pub size_bytes: u64,
    pub bytes: BoxStream<'static, std::result::Result<Bytes, object_store::Error>>,
}

impl Blobs {
    /// Opens `file://FOLDER`, making the folder when it is missing.
    pub fn open(url: &str, clock: Clock) -> anyhow::Result<Blobs> {
        let Some(folder) = url.strip_prefix("file://") else {
            anyhow::bail!("'{url}' is not a place for files: write file://FOLDER");
        };
        std::fs::create_dir_all(folder).map_err(|cause| {
            anyhow::anyhow!("the folder {folder} for scenes and frames cannot be made: {cause}")
        })?;
        let store = LocalFileSystem::new_with_prefix(folder)?.with_fsync(true);
        Ok(Blobs { store: Arc::new(store), clock })
    }

    /// Whether files can be written now.
    pub async fn check(&self) -> Result<()> {
        let probe = self.staging();
        self.store.put(&probe, PutPayload::from_static(b"probe")).await?;
        self.store.delete(&probe).await?;
        Ok(())
    }

    pub async fn put(&self, path: &str, bytes: Bytes) -> Result<()> {
        self.store.put(&Path::from(path), PutPayload::from_bytes(bytes)).await?;
        Ok(())
    }

    pub async fn exists(&self, path: &str) -> Result<bool> {
        match self.store.head(&Path::from(path)).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(cause) => Err(cause.into()),
        }
    }

    pub async fn get(&self, path: &str) -> Result<Stored> {
        let found = self.store.get(&Path::from(path)).await?;
        Ok(Stored { size_bytes: found.meta.size, bytes: found.into_stream() })
    }

    /// Receives at most `bytes_max` bytes, hashing them on the way; never holds the whole in memory.
    pub async fn receive<S, E>(&self, stream: S, bytes_max: u64) -> Result<Received>
    where
        S: Stream<Item = std::result::Result<Bytes, E>> + Send,
        E: std::fmt::Display,
    {
        let staged = self.staging();
        let mut upload = WriteMultipart::new(self.store.put_multipart(&staged).await?);
        match self.fill(&mut upload, stream, bytes_max).await {
            Ok((sha256, size_bytes, head)) => {
                upload.finish().await?;
                Ok(Received { sha256, size_bytes, head, staged, blobs: self.clone() })
            }
            Err(error) => {
                upload.abort().await?;
                Err(error)
            }
        }
    }

    async fn fill<S, E>(
        &self,
        upload: &mut WriteMultipart,
        stream: S,
        bytes_max: u64,
    ) -> Result<(Sha256, u64, Bytes)>
    where
        S: Stream<Item = std::result::Result<Bytes, E>> + Send,
        E: std::fmt::Display,
    {
        let (mut hash, mut size_bytes, mut head) = (sha2::Sha256::new(), 0_u64, Vec::new());
        let mut stream = pin!(stream);
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(|cause| Error::Invalid(format!("the upload broke off: {cause}")))?;
            size_bytes += chunk.len() as u64;
            if size_bytes > bytes_max {
                return Err(Error::TooLarge(format!("the file is larger than {bytes_max} bytes")));
            }
            if head.len() < HEAD_BYTES {
                head.extend_from_slice(&chunk[..chunk.len().min(HEAD_BYTES - head.len())]);
            }
            hash.update(&chunk);
            upload.wait_for_capacity(PARTS_IN_FLIGHT).await?;
            upload.put(chunk);
        }
        Ok((<[u8; 32]>::from(hash.finalize()).into(), size_bytes, Bytes::from(head)))
    }

    fn staging(&self) -> Path {
        Path::from(format!("incoming/{}", hex::encode(self.clock.random::<16>())))
    }
}

/// How much of a file's beginning is kept at hand: enough to unpack a compressed header from.
const HEAD_BYTES: usize = 256 * 1024;

impl Received {
    /// Moves the file to its name. The same content may be there already; it is the same then.
    pub async fn keep(self, path: &str) -> Result<()> {
        self.blobs.store.rename(&self.staged, &Path::from(path)).await?;
        Ok(())
    }

    pub async fn discard(self) -> Result<()> {
        self.blobs.store.delete(&self.staged).await?;
        Ok(())
    }
}
