//! One window for one agent: whoever holds the lock has the window; a second start hands over what it was asked, and ends.

use std::{
    fs::{self, DirBuilder, File},
    io::{self, BufRead, BufReader, Write},
    os::unix::{fs::DirBuilderExt, net::UnixStream},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use pictor_ground::digest;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream as Incoming},
};

/// A first one that just starts is waited for, or one that just ends: its agent has work to give back.
const HAND_OVER_TIMEOUT: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(50);
const ANSWER: &[u8] = b"shown\n";

/// What a second start asks of the first.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Asked {
    pub(super) file: Option<PathBuf>,
    /// A start in the tray need not show the window.
    pub(super) is_hidden: bool,
    /// With which the desktop lets the window come to the front.
    pub(super) startup_id: Option<String>,
}

/// This process has the window, until this is dropped.
#[derive(Debug)]
pub(super) struct Instance {
    socket: PathBuf,
    _lock: File,
}

#[derive(Debug)]
pub(super) enum Claim {
    First(Instance),
    /// Another process has the window, and was told.
    HandedOver,
}

/// The window of the agent that keeps its data here.
pub(super) fn claim(folder: &Path, data: &Path, asked: &Asked) -> anyhow::Result<Claim> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .with_context(|| format!("cannot write to {}", folder.display()))?;
    // Short, for a socket's path is.
    let name = hex::encode(&digest::of(data.as_os_str().as_encoded_bytes())?[..8]);
    let (lock, socket) = (folder.join(format!("app-{name}.lock")), folder.join(format!("app-{name}.socket")));
    let until = Instant::now() + HAND_OVER_TIMEOUT;
    loop {
        let held = File::create(&lock).with_context(|| format!("cannot write {}", lock.display()))?;
        if flock(&held, FlockOperation::NonBlockingLockExclusive).is_ok() {
            return Ok(Claim::First(Instance { socket, _lock: held }));
        }
        match hand_over(&socket, asked) {
            Ok(()) => return Ok(Claim::HandedOver),
            Err(error) if Instant::now() >= until => {
                bail!("the app is open already and does not answer ({error}): end it, then try again")
            }
            Err(_) => thread::sleep(LOOK_EVERY),
        }
    }
}

fn hand_over(socket: &Path, asked: &Asked) -> io::Result<()> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(HAND_OVER_TIMEOUT))?;
    stream.set_write_timeout(Some(HAND_OVER_TIMEOUT))?;
    let mut line = serde_json::to_vec(asked)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut answer = Vec::new();
    BufReader::new(stream).read_until(b'\n', &mut answer)?;
    if answer == ANSWER { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

impl Instance {
    /// Hears what later starts ask, for ever.
    pub(super) async fn listen(&self, heard: impl Fn(Asked)) -> anyhow::Result<()> {
        // Left by one that was killed: it held the lock, and this one does now.
        match fs::remove_file(&self.socket) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        let listener = UnixListener::bind(&self.socket)
            .with_context(|| format!("cannot listen on {}", self.socket.display()))?;
        loop {
            let (stream, _) = listener.accept().await?;
            match tokio::time::timeout(HAND_OVER_TIMEOUT, hear(stream)).await {
                Ok(Ok(asked)) => heard(asked),
                Ok(Err(error)) => tracing::debug!(%error, "a second start was not understood"),
                Err(_) => tracing::debug!("a second start said nothing"),
            }
        }
    }
}

async fn hear(mut stream: Incoming) -> io::Result<Asked> {
    let mut line = String::new();
    tokio::io::BufReader::new(&mut stream).read_line(&mut line).await?;
    let asked = serde_json::from_str(&line)?;
    stream.write_all(ANSWER).await?;
    Ok(asked)
}

impl Drop for Instance {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.socket) {
            tracing::debug!(%error, "cannot remove {}", self.socket.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_second_start_hands_over_and_a_start_after_the_end_is_first() {
        let folder = tempfile::tempdir().unwrap();
        let claim_here = |asked: &Asked| claim(folder.path(), Path::new("/data"), asked).unwrap();
        let Claim::First(first) = claim_here(&Asked::default()) else { panic!("nobody else is there") };
        let Claim::First(_other) = claim(folder.path(), Path::new("/elsewhere"), &Asked::default()).unwrap()
        else {
            panic!("another agent has a window of its own")
        };
        // Left by one that was killed.
        fs::write(&first.socket, "").unwrap();

        let (tell, told) = mpsc::channel();
        let first = std::sync::Arc::new(first);
        let listening = tokio::spawn({
            let first = std::sync::Arc::clone(&first);
            async move { first.listen(move |asked| tell.send(asked).unwrap()).await }
        });
        let asked = Asked { file: Some("/a file.toml".into()), ..Asked::default() };
        let handed = {
            let (folder, asked) = (folder.path().to_owned(), asked.clone());
            tokio::task::spawn_blocking(move || claim(&folder, Path::new("/data"), &asked)).await.unwrap()
        };
        assert!(matches!(handed.unwrap(), Claim::HandedOver));
        assert_eq!(told.recv().unwrap(), asked);

        listening.abort();
        let _ = listening.await;
        drop(first);
        assert!(matches!(claim_here(&Asked::default()), Claim::First(_)));
    }
}
