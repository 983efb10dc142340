//! What the registry offers, as far as this agent believes it, and how a version comes to lie ready.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, anyhow, bail};
use jiff::Timestamp;
use minisign_verify::PublicKey;
use semver::Version;
use serde::{Deserialize, Serialize};
use tokio::{process::Command, task::block_in_place};

use super::{
    manifest::{self, Manifest, TARGET},
    place::{self, BUSY_PAUSE, BUSY_TRIES, Place},
    state::{Event, Release},
    store::{Store, Turn},
};
use crate::{
    clock,
    disk::Disk,
    registry::{CallError, Registry},
};

const MANIFEST: &str = "manifest.json";
const SIGNATURE: &str = "manifest.json.minisig";
const MANIFEST_BYTES_MAX: u64 = 256 << 10;
const SIGNATURE_BYTES_MAX: u64 = 4 << 10;
/// Longer than the slowest line needs; a registry that sends a byte now and then must not hold an update for ever.
const DOWNLOAD_TIMEOUT: Duration = Duration::from_secs(2 * 3600);
const SELF_CHECK_TIMEOUT: Duration = Duration::from_secs(60);

/// What `pictor-agent self-check` prints. Versions read each other's: keys are only ever added.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SelfCheck {
    pub version: String,
    pub target: String,
}

/// What there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Offer {
    /// The registry publishes no releases.
    Nothing,
    /// This version or an older one, which is not taken.
    NotNewer(Version),
    /// A newer version; with its program where this agent can take it, else why not.
    Newer { version: Version, notes: String, program: Result<(manifest::File, Release), String> },
}

/// The registry's releases, and where one is made ready.
#[derive(Debug, Clone)]
pub(super) struct Releases {
    pub registry: Registry,
    pub key: PublicKey,
    pub current: Version,
    pub store: Store,
    pub place: Place,
    /// The config file, which a new version has to understand.
    pub config: PathBuf,
}

impl Releases {
    /// Asks the registry. Changes nothing on disk.
    pub(super) async fn look(&self) -> anyhow::Result<(Offer, Option<Timestamp>)> {
        let fetched = async {
            let manifest = self.small(MANIFEST, MANIFEST_BYTES_MAX).await?;
            anyhow::Ok((manifest, self.small(SIGNATURE, SIGNATURE_BYTES_MAX).await?))
        };
        let (manifest, signature) = match fetched.await {
            Err(error) if matches!(error.downcast_ref(), Some(CallError::Refused { status: 404, .. })) => {
                // A registry that published releases once does not just stop.
                if let Some(newest) = self.store.read().newest_published_at {
                    bail!("the registry has no releases any more; its newest was published {newest}");
                }
                return Ok((Offer::Nothing, None));
            }
            fetched => fetched?,
        };
        let state = self.store.read();
        let refused = "the registry's release manifest is not taken";
        let signature = String::from_utf8_lossy(&signature);
        let manifest = Manifest::verified(&manifest, &signature, &self.key).context(refused)?;
        manifest.is_timely(clock::timestamp(), state.newest_published_at).context(refused)?;
        let published_at = Some(manifest.published_at);
        if manifest.version.cmp_precedence(&self.current).is_le() {
            return Ok((Offer::NotNewer(manifest.version), published_at));
        }
        let program = match manifest.release(TARGET).context(refused)? {
            _ if let Some(given_up) = state.is_given_up(&manifest.version) => {
                Err(format!("{} is not tried again: {}", manifest.version, given_up.reason))
            }
            Some(program) => Ok(program),
            None => Err(manifest::has_none_for(TARGET)),
        };
        Ok((Offer::Newer { version: manifest.version, notes: manifest.notes, program }, published_at))
    }

    /// Remembers the manifest, so that no older one is believed from now on.
    pub(super) fn remember(&self, turn: &Turn, published_at: Option<Timestamp>) -> anyhow::Result<()> {
        if let Some(published_at) = published_at {
            self.store.apply(turn, Event::Seen(published_at))?;
        }
        Ok(())
    }

    /// Downloads a version, verifies it, puts it beside the installed program, and lets it check itself.
    pub(super) async fn prepare(
        &self,
        turn: &Turn,
        file: &manifest::File,
        release: Release,
        is_asked: bool,
    ) -> anyhow::Result<()> {
        let (version, download) = (release.version.clone(), self.store.download());
        if !block_in_place(|| self.place.next_is(&release))? {
            let fetched = tokio::time::timeout(DOWNLOAD_TIMEOUT, self.download(file, &release, &download));
            let fetched = match fetched.await {
                Ok(fetched) => fetched.with_context(|| format!("cannot download version {version}")),
                Err(_) => Err(anyhow!("cannot download version {version}: it takes too long")),
            };
            let put = fetched.and_then(|()| {
                let put = block_in_place(|| self.place.put_next(&download, &release));
                put.context("cannot put the new version beside this one")
            });
            let removed = fs::remove_file(&download);
            put?;
            removed.context("cannot remove the download")?;
        }
        if let Err(reason) = self_check(&self.place.next(), &self.config, &version).await {
            self.place.tidy();
            let reason = format!("it does not pass its self-check: {reason}");
            self.store.apply(turn, Event::Failed { version: version.clone(), reason: reason.clone() })?;
            bail!("version {version} is not taken, and not tried again: {reason}");
        }
        self.store.apply(turn, Event::Placed { release, is_asked })?;
        Ok(())
    }

    async fn small(&self, name: &str, bytes_max: u64) -> anyhow::Result<Vec<u8>> {
        let mut stream = self.registry.release_file(name).await?;
        let mut bytes = Vec::new();
        while let Some(piece) = stream.next().await? {
            bytes.extend_from_slice(&piece);
            if bytes.len() as u64 > bytes_max {
                bail!("{name} is larger than {bytes_max} bytes");
            }
        }
        Ok(bytes)
    }

    /// Exactly the bytes that the manifest promises, or an error.
    async fn download(&self, file: &manifest::File, release: &Release, to: &Path) -> anyhow::Result<()> {
        // The one before is kept, too.
        let bytes = 2 * release.size_bytes;
        for folder in [self.store.folder(), pictor_ground::durable::folder_of(self.place.installed())] {
            if let Some(needed) = Disk::look(folder).needed_for(bytes) {
                bail!("the disk is full under {}: {} MB are needed", folder.display(), needed >> 20);
            }
        }
        let mut stream = self.registry.release_file(&file.file).await?;
        let mut into = File::create(to)?;
        let mut left = release.size_bytes;
        while let Some(piece) = stream.next().await? {
            left = left.checked_sub(piece.len() as u64).context("it is longer than the manifest says")?;
            into.write_all(&piece)?;
        }
        if left > 0 {
            bail!("it is truncated: {left} of {} bytes are missing", release.size_bytes);
        }
        if !block_in_place(|| place::is(to, release))? {
            bail!("its SHA-256 is not the one in the manifest");
        }
        Ok(())
    }
}

/// Starts the program in a way that changes nothing, and hears whether it is what it should be.
async fn self_check(program: &Path, config: &Path, version: &Version) -> Result<(), String> {
    let mut command = Command::new(program);
    command.arg("self-check");
    // With what this one was told beside its config file, where it was.
    match std::env::args_os().skip(1).collect::<Vec<_>>().split_first() {
        Some((first, words)) if first == "run" => command.args(words),
        _ => command.arg("--config").arg(config),
    };
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut tries = 0;
    let child = loop {
        match command.spawn() {
            Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy && tries < BUSY_TRIES => {
                tries += 1;
                tokio::time::sleep(BUSY_PAUSE).await;
            }
            other => break other.map_err(|error| format!("it cannot be started: {error}"))?,
        }
    };
    let output = match tokio::time::timeout(SELF_CHECK_TIMEOUT, child.wait_with_output()).await {
        Ok(output) => output.map_err(|error| error.to_string())?,
        Err(_) => return Err("it does not end".to_owned()),
    };
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let last = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
        return Err(format!("{}: {last}", output.status));
    }
    let said: SelfCheck =
        serde_json::from_slice(&output.stdout).map_err(|_| "it says nothing that is known")?;
    if said.version != version.to_string() || said.target != TARGET {
        return Err(format!("it says that it is version {} for {}", said.version, said.target));
    }
    Ok(())
}
