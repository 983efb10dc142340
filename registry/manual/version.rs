//! The build script of both programs: what `--version` says besides the version, in `PICTOR_VERSION`.
//!
//! It runs when something is compiled that goes into the program, and not at every commit, which would compile all of
//! it again for a line of text; only release builds follow each commit. `SOURCE_DATE_EPOCH` sets the date, and
//! `PICTOR_COMMIT` the commit where the source comes without git.

use std::{
    env,
    path::Path,
    process::Command,
    time::{Duration, SystemTime},
};

/// From the folder of the program's own Cargo.toml.
const SOURCES: [&str; 9] = [
    "Cargo.toml",
    "src",
    "migrations",
    "../Cargo.lock",
    "../Cargo.toml",
    "../registry/look/src",
    "../registry/manual",
    "../registry/protocol/src",
    "../registry/telemetry/src",
];
const DAY: u64 = 24 * 60 * 60;

fn main() {
    for source in SOURCES.into_iter().filter(|source| Path::new(source).exists()) {
        println!("cargo:rerun-if-changed={source}");
    }
    println!("cargo:rerun-if-env-changed=PICTOR_COMMIT");
    println!("cargo:rerun-if-env-changed=SOURCE_DATE_EPOCH");
    let version = env::var("CARGO_PKG_VERSION").unwrap_or_default();
    let commit = commit().map(|commit| format!("commit {commit}, ")).unwrap_or_default();
    println!("cargo:rustc-env=PICTOR_VERSION={version} ({commit}built {})", date(built_at()));
}

/// None where the source is not a checkout, or git is not installed.
fn commit() -> Option<String> {
    if let Some(given) = env::var("PICTOR_COMMIT").ok().filter(|given| !given.is_empty()) {
        return Some(given);
    }
    // An unpacked archive may lie in somebody else's repository.
    git(&["ls-files", "--error-unmatch", "Cargo.toml"])?;
    if env::var("PROFILE").is_ok_and(|profile| profile == "release") {
        for file in ["HEAD", "logs/HEAD"] {
            let path = git(&["rev-parse", "--git-path", file])?;
            if Path::new(&path).exists() {
                println!("cargo:rerun-if-changed={path}");
            }
        }
    }
    let commit = git(&["rev-parse", "--short=12", "HEAD"])?;
    let changes = git(&["status", "--porcelain", "--untracked-files=no"])?;
    Some(if changes.is_empty() { commit } else { format!("{commit} with changes") })
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").arg("--no-optional-locks").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

fn built_at() -> Duration {
    match env::var("SOURCE_DATE_EPOCH").ok().and_then(|seconds| seconds.trim().parse().ok()) {
        Some(seconds) => Duration::from_secs(seconds),
        None => SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default(),
    }
}

/// The day in UTC, such as 2026-11-25: a build script should need no crate for that.
fn date(since_1970: Duration) -> String {
    let mut days = since_1970.as_secs() / DAY;
    let is_leap =
        |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let mut year = 1970;
    while days >= 365 + u64::from(is_leap(year)) {
        days -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let february = 28 + u64::from(is_leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    format!("{year}-{month:02}-{:02}", days + 1)
}
