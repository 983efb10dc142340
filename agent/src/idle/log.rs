//! What the owner's program prints: a bounded file in the data folder, and its end in memory.

use std::{
    collections::VecDeque,
    fs::{self, File},
    io::{self, BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use pictor_ground::durable;

use crate::clock;

/// Of the file; then it becomes the old one, and the one before it goes.
const FILE_BYTES_MAX: u64 = 1 << 20;
const LINE_BYTES_MAX: u64 = 4 << 10;
const TAIL_LINES_MAX: usize = 200;

#[derive(Debug)]
pub(super) struct Log {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    tail: VecDeque<String>,
    file: Option<(File, u64)>,
    failed: bool,
}

impl Log {
    /// Nothing is written until there is something to write.
    pub(super) fn new(data: &Path, slot: u32) -> Log {
        Log { path: data.join(format!("idle/slot-{slot}.log")), state: Mutex::default() }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn tail(&self) -> Vec<String> {
        self.lock().tail.iter().cloned().collect()
    }

    /// A line of the agent's own.
    pub(super) fn note(&self, text: &str) {
        self.add(&format!("[{}] {text}", clock::local().strftime("%F %T")));
    }

    /// Everything that comes, until nobody can write any more. Blocks.
    pub(super) fn follow(&self, output: impl Read) {
        let mut output = BufReader::new(output);
        let mut line = Vec::new();
        loop {
            line.clear();
            match (&mut output).take(LINE_BYTES_MAX).read_until(b'\n', &mut line) {
                Ok(0) | Err(_) => return,
                Ok(_) => {
                    let text = plain(&String::from_utf8_lossy(&line));
                    if !text.is_empty() {
                        self.add(&text);
                    }
                }
            }
        }
    }

    fn add(&self, text: &str) {
        let mut state = self.lock();
        if state.tail.len() >= TAIL_LINES_MAX {
            state.tail.pop_front();
        }
        state.tail.push_back(text.to_owned());
        let written = state.write(&self.path, text);
        if let Err(error) = &written
            && !state.failed
        {
            tracing::warn!(%error, "the idle workload's log cannot be kept in {}", self.path.display());
        }
        state.failed = written.is_err();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A line more or less is all that a panic elsewhere can leave.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn write(&mut self, path: &Path, text: &str) -> io::Result<()> {
        let (mut file, mut bytes) = match self.file.take() {
            Some((file, bytes)) if bytes < FILE_BYTES_MAX => (file, bytes),
            full => open(path, full.is_some())?,
        };
        // One call: the line is there whole.
        let line = format!("{text}\n");
        file.write_all(line.as_bytes())?;
        bytes += u64::try_from(line.len()).unwrap_or(FILE_BYTES_MAX);
        self.file = Some((file, bytes));
        Ok(())
    }
}

fn open(path: &Path, is_full: bool) -> io::Result<(File, u64)> {
    if let Some(folder) = path.parent() {
        durable::make_private_folder(folder)?;
    }
    if is_full || fs::metadata(path).is_ok_and(|file| file.len() >= FILE_BYTES_MAX) {
        fs::rename(path, path.with_extension("log.old"))?;
    }
    let file = durable::append_private(path)?;
    let bytes = file.metadata()?.len();
    Ok((file, bytes))
}

/// Without colours and other controls of a terminal; of a line that was written over, what stood last.
fn plain(line: &str) -> String {
    let last = line.trim_end().rsplit('\r').next().unwrap_or_default();
    let mut text = String::new();
    let mut characters = last.chars();
    while let Some(character) = characters.next() {
        if character == '\x1b' {
            // `ESC [ … letter`; what else begins with it is one character more.
            if characters.next() == Some('[') {
                characters.by_ref().find(|end| ('@'..='~').contains(end));
            }
        } else if !character.is_control() || character == '\t' {
            text.push(character);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_bounded_and_readable() {
        let folder = tempfile::tempdir().unwrap();
        let log = Log::new(folder.path(), 3);
        assert!(!log.path().exists());
        log.follow(&b"\x1b[32mgreen\x1b[0m 1\r\x1b[32mgreen\x1b[0m 2\r\n\n\x07bell\nlast"[..]);
        assert_eq!(log.tail(), ["green 2", "bell", "last"]);
        assert_eq!(
            fs::read_to_string(folder.path().join("idle/slot-3.log")).unwrap(),
            "green 2\nbell\nlast\n"
        );
        let lines = "x".repeat(999) + "\n";
        log.follow(lines.repeat(4_000).as_bytes());
        assert_eq!(log.tail().len(), TAIL_LINES_MAX);
        let sizes = ["idle/slot-3.log", "idle/slot-3.log.old"]
            .map(|name| fs::metadata(folder.path().join(name)).unwrap().len());
        assert!(sizes.iter().all(|size| *size <= FILE_BYTES_MAX + 1_000 && *size > 0), "{sizes:?}");
        assert_eq!(fs::read_dir(folder.path().join("idle")).unwrap().count(), 2);
        log.follow("y".repeat(10_000).as_bytes());
        assert!(log.tail().iter().all(|line| line.len() <= 4 << 10));
    }

    #[test]
    fn a_folder_that_cannot_be_written_loses_only_the_file() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("idle"), "in the way").unwrap();
        let log = Log::new(folder.path(), 0);
        log.note("started");
        assert!(log.tail()[0].ends_with("] started"));
    }
}
