//! The release manifest: what the registry says there is, believed only with the release key's signature on it.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use minisign_verify::{PublicKey, Signature};
use semver::Version;
use serde::Deserialize;

use super::state::Release;

const FORMAT: u32 = 1;
/// More than any program of ours; a mistake in a manifest must not fill disks.
const FILE_BYTES_MAX: u64 = 1 << 30;
/// Clocks differ. One that says it is of next year would make all that come before it old.
const AHEAD_MAX: SignedDuration = SignedDuration::from_hours(24);

/// A target's program with a window of its own is another one: named for it, so that neither replaces the other.
macro_rules! target {
    ($name:literal) => {
        if cfg!(feature = "desktop") { concat!($name, "+desktop") } else { $name }
    };
}

/// What this program was built for, as manifests name it; empty for what no release is made for.
pub const TARGET: &str = match () {
    () if cfg!(all(target_arch = "x86_64", target_os = "linux", target_env = "gnu")) => {
        target!("x86_64-unknown-linux-gnu")
    }
    () if cfg!(all(target_arch = "x86_64", target_os = "linux", target_env = "musl")) => {
        target!("x86_64-unknown-linux-musl")
    }
    () if cfg!(all(target_arch = "aarch64", target_os = "linux", target_env = "gnu")) => {
        target!("aarch64-unknown-linux-gnu")
    }
    () if cfg!(all(target_arch = "aarch64", target_os = "linux", target_env = "musl")) => {
        target!("aarch64-unknown-linux-musl")
    }
    () if cfg!(all(target_arch = "x86_64", target_os = "windows", target_env = "gnu")) => {
        target!("x86_64-pc-windows-gnu")
    }
    () if cfg!(all(target_arch = "x86_64", target_os = "windows", target_env = "msvc")) => {
        target!("x86_64-pc-windows-msvc")
    }
    () => "",
};

/// Why a release without that is not taken.
pub(super) fn has_none_for(target: &str) -> String {
    match target.strip_suffix("+desktop") {
        Some(platform) => format!("this release has no program with a window for {platform}"),
        None => format!("this release has no program for {target}"),
    }
}

/// A manifest with a good signature. Keys that it has besides are of later formats, and harmless.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Manifest {
    pub version: Version,
    pub published_at: Timestamp,
    expires_at: Timestamp,
    #[serde(default)]
    pub notes: String,
    /// By target.
    files: BTreeMap<String, File>,
}

/// A program in the registry's folder.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct File {
    pub file: String,
    pub size_bytes: u64,
    pub sha256: String,
}

/// Why a manifest is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unacceptable {
    #[error(
        "its signature is not one of the release key's ({0}): it was changed on its way, or is another network's"
    )]
    Signature(String),
    #[error("it cannot be read: {0}")]
    Unreadable(String),
    #[error("its format is {0}, this agent knows {FORMAT}: update the agent by hand once")]
    Format(u32),
    #[error("it is of {0}, which is still to come: is this machine's clock right?")]
    FromTheFuture(Timestamp),
    #[error("it is of {offered}, and one of {newest} was seen before: an old answer was played again")]
    RolledBack { offered: Timestamp, newest: Timestamp },
    #[error(
        "it expired at {0}: the network's operator has to publish a new one, or this machine's clock is wrong"
    )]
    Expired(Timestamp),
}

impl Manifest {
    /// Nothing of it is read before its signature is known to be good.
    pub(super) fn verified(bytes: &[u8], signature: &str, key: &PublicKey) -> Result<Manifest, Unacceptable> {
        let bad = |error: minisign_verify::Error| Unacceptable::Signature(error.to_string());
        let signature = Signature::decode(signature).map_err(bad)?;
        key.verify(bytes, &signature, false).map_err(bad)?;
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let unreadable = |error: serde_json::Error| Unacceptable::Unreadable(error.to_string());
        let Format { format } = serde_json::from_slice(bytes).map_err(unreadable)?;
        if format != FORMAT {
            return Err(Unacceptable::Format(format));
        }
        serde_json::from_slice(bytes).map_err(unreadable)
    }

    /// Whether it is of today, and not older than one that was seen before.
    pub(super) fn is_timely(&self, now: Timestamp, newest: Option<Timestamp>) -> Result<(), Unacceptable> {
        if self.published_at.duration_since(now) > AHEAD_MAX {
            return Err(Unacceptable::FromTheFuture(self.published_at));
        }
        if let Some(newest) = newest.filter(|newest| self.published_at < *newest) {
            return Err(Unacceptable::RolledBack { offered: self.published_at, newest });
        }
        if self.expires_at <= now {
            return Err(Unacceptable::Expired(self.expires_at));
        }
        Ok(())
    }

    /// Its program for a platform; `None` where there is none.
    pub(super) fn release(&self, target: &str) -> Result<Option<(File, Release)>, Unacceptable> {
        let Some(file) = self.files.get(target) else { return Ok(None) };
        let is_name = !file.file.is_empty() && !file.file.starts_with('.') && !file.file.contains('/');
        let is_sized = (1..=FILE_BYTES_MAX).contains(&file.size_bytes);
        // Tools that write hashes write them in capitals, too.
        let sha256 = file.sha256.to_ascii_lowercase().parse().ok().filter(|_| is_name && is_sized);
        let sha256 = sha256
            .ok_or_else(|| Unacceptable::Unreadable(format!("its entry for {target} makes no sense")))?;
        let release = Release { version: self.version.clone(), size_bytes: file.size_bytes, sha256 };
        Ok(Some((file.clone(), release)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(published: &str, expires: &str) -> Manifest {
        let text = serde_json::json!({
            "version": "0.2.0", "published_at": published, "expires_at": expires,
            "files": { "a": { "file": "a", "size_bytes": 1, "sha256": "0".repeat(64) },
                       "b": { "file": "../b", "size_bytes": 1, "sha256": "0".repeat(64) },
                       "c": { "file": "c", "size_bytes": 2_u64 << 30, "sha256": "0".repeat(64) },
                       "d": { "file": "d", "size_bytes": 1, "sha256": "12" } }
        });
        serde_json::from_value(text).unwrap()
    }

    #[test]
    fn times_are_judged() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let now = at("2026-06-15T12:00:00Z");
        let good = manifest("2026-06-01T00:00:00Z", "2026-07-01T00:00:00Z");
        assert_eq!(good.is_timely(now, None), Ok(()));
        assert_eq!(good.is_timely(now, Some(good.published_at)), Ok(()), "the same once more");
        let newest = at("2026-06-01T00:00:00.001Z");
        let offered = good.published_at;
        assert_eq!(good.is_timely(now, Some(newest)), Err(Unacceptable::RolledBack { offered, newest }));
        let expires = at("2026-07-01T00:00:00Z");
        assert_eq!(good.is_timely(expires, None), Err(Unacceptable::Expired(expires)));
        let hasty = manifest("2026-06-16T12:00:01Z", "2027-01-01T00:00:00Z");
        assert_eq!(hasty.is_timely(now, None), Err(Unacceptable::FromTheFuture(hasty.published_at)));
    }

    #[test]
    fn a_platforms_program_is_a_name_with_a_size_and_a_hash() {
        let manifest = manifest("2026-06-01T00:00:00Z", "2026-07-01T00:00:00Z");
        assert!(manifest.release("a").unwrap().is_some());
        assert_eq!(manifest.release("z"), Ok(None));
        for target in ["b", "c", "d"] {
            assert!(matches!(manifest.release(target), Err(Unacceptable::Unreadable(_))), "{target}");
        }
        assert_eq!(manifest.release("a+desktop"), Ok(None));
        assert_eq!(has_none_for("a+desktop"), "this release has no program with a window for a");
        assert_eq!(has_none_for("z"), "this release has no program for z");
    }
}
