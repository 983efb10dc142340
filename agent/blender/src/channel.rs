//! Lines out of a process that may print anything, of any length, for ever.

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};

use super::command::DriverEvent;

/// What is longer is cut; events are far shorter.
const LINE_BYTES_MAX: usize = 16 << 10;
const RECORD_SEPARATOR: u8 = 0x1e;

/// One line, told apart.
#[derive(Debug)]
pub(super) enum Line {
    Event(DriverEvent),
    Printed(String),
}

impl Line {
    fn from_bytes(bytes: &[u8]) -> Line {
        let event = bytes
            .strip_prefix(&[RECORD_SEPARATOR])
            .and_then(|json| serde_json::from_slice::<DriverEvent>(json).ok());
        event.map_or_else(|| Line::Printed(printable(bytes)), Line::Event)
    }
}

/// Text that cannot move the cursor of whoever reads the log.
fn printable(bytes: &[u8]) -> String {
    without_controls(&String::from_utf8_lossy(bytes))
}

/// What a stranger wrote, fit for one line of a log.
pub(super) fn without_controls(text: &str) -> String {
    text.trim_end().chars().filter(|c| !c.is_control() || *c == '\t').collect()
}

/// Reads lines with a bound on each. Reading can be cancelled at any point without losing any.
pub(super) struct Lines<R> {
    reader: BufReader<R>,
    line: Vec<u8>,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    pub(super) fn new(reader: R) -> Self {
        Self { reader: BufReader::new(reader), line: Vec::new() }
    }

    /// The next line, or `None` once every writer has closed its end.
    pub(super) async fn next(&mut self) -> Option<Line> {
        loop {
            let Ok(buffer) = self.reader.fill_buf().await else { return None };
            if buffer.is_empty() {
                return (!self.line.is_empty()).then(|| self.take());
            }
            let newline = buffer.iter().position(|byte| *byte == b'\n');
            let part = newline.unwrap_or(buffer.len());
            let room = LINE_BYTES_MAX - self.line.len();
            self.line.extend_from_slice(&buffer[..part.min(room)]);
            let used = newline.map_or(part, |at| at + 1);
            self.reader.consume(used);
            if newline.is_some() {
                return Some(self.take());
            }
        }
    }

    fn take(&mut self) -> Line {
        let line = Line::from_bytes(&self.line);
        self.line.clear();
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn events_and_anything_else() {
        let mut text =
            b"Blender 3.4.1\r\n\x1e{\"event\":\"frame\",\"frame\":7}\n\x1e{\"event\":\n\x1b[2J\xff\n"
                .to_vec();
        text.extend(vec![b'x'; 1 << 20]);
        text.extend(b"\nlast");
        let mut lines = Lines::new(text.as_slice());
        let mut printed = Vec::new();
        let mut frames = Vec::new();
        while let Some(line) = lines.next().await {
            match line {
                Line::Event(DriverEvent::Frame { frame }) => frames.push(frame),
                Line::Event(other) => panic!("{other:?}"),
                Line::Printed(text) => printed.push(text),
            }
        }
        assert_eq!(frames, [7]);
        let cut = "x".repeat(LINE_BYTES_MAX);
        assert_eq!(printed, ["Blender 3.4.1", "{\"event\":", "[2J\u{fffd}", cut.as_str(), "last"]);
    }
}
