//! How far a frame is, read from the statistics Blender prints or hands to a handler.
//!
//! The text differs by version and engine (2.8x–2.9x tiles, 3.x–4.5 Cycles and EEVEE, 5.x without `Fra:`);
//! all of it is parsed here and nowhere else.

/// How far one frame is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    /// 0 at the start of the frame, 1 at its end.
    pub ratio: f64,
    /// Blender's own estimate, if it gave one.
    pub remaining_seconds: Option<f64>,
}

/// Reads one line of statistics. `None` for every line that says nothing about samples.
pub fn parse(line: &str) -> Option<Progress> {
    if !is_statistics(line) {
        return None;
    }
    let mut ratio = None;
    let mut remaining_seconds = None;
    for part in line.split('|').map(str::trim) {
        if let Some(clock) = part.strip_prefix("Remaining:") {
            remaining_seconds = clock_seconds(clock.trim());
        } else if let Some(found) = part_ratio(part) {
            ratio = Some(found);
        }
    }
    Some(Progress { ratio: ratio?, remaining_seconds })
}

/// Whether a printed line is Blender's running statistics rather than something worth logging.
pub fn is_statistics(line: &str) -> bool {
    line.contains(" | ") && line.contains("Mem:")
}

fn part_ratio(part: &str) -> Option<f64> {
    if let Some(tiles) = part.strip_prefix("Path Tracing Tile ") {
        // The tile being rendered, from 1.
        let (tile, samples) = tiles.split_once(", Sample ")?;
        let (tile, count) = fraction(tile)?;
        return Some(tile_ratio(tile.saturating_sub(1), count, samples));
    }
    if let Some(tiles) = part.strip_prefix("Rendered ") {
        // The tiles that are finished.
        let (tiles, samples) = tiles.split_once(" Tiles, Sample ")?;
        let (done, count) = fraction(tiles)?;
        return Some(tile_ratio(done, count, samples));
    }
    let samples = part
        .strip_prefix("Sample ")
        .or_else(|| part.strip_prefix("Rendering ").and_then(|rest| rest.strip_suffix(" samples")))?;
    let (done, count) = fraction(samples)?;
    Some(f64::from(done) / f64::from(count))
}

fn tile_ratio(done: u32, count: u32, samples: &str) -> f64 {
    let within = fraction(samples).map_or(0.0, |(sample, samples)| f64::from(sample) / f64::from(samples));
    ((f64::from(done) + within) / f64::from(count)).min(1.0)
}

/// `3/16` or `3 / 16`, never above one.
fn fraction(text: &str) -> Option<(u32, u32)> {
    let (done, count) = text.split_once('/')?;
    let (done, count) = (done.trim().parse().ok()?, count.trim().parse().ok()?);
    (count > 0 && done <= count).then_some((done, count))
}

/// `25:50.81` or `01:10:05.16`, in seconds.
fn clock_seconds(clock: &str) -> Option<f64> {
    let (whole, last) = clock.rsplit_once(':')?;
    let mut minutes = 0_u32;
    for part in whole.split(':') {
        minutes = minutes.checked_mul(60)?.checked_add(part.parse().ok()?)?;
    }
    let seconds: f64 = last.parse().ok()?;
    (0.0..60.0).contains(&seconds).then(|| f64::from(minutes) * 60.0 + seconds)
}

/// Keeps a frame's ratio from running backwards: Blender counts samples anew for every view layer.
#[derive(Debug, Default)]
pub struct FrameProgress {
    last: Option<Progress>,
}

impl FrameProgress {
    /// What to report, if this is news.
    pub fn advance(&mut self, mut progress: Progress) -> Option<Progress> {
        if let Some(last) = self.last {
            progress.ratio = progress.ratio.max(last.ratio);
            if progress == last {
                return None;
            }
        }
        self.last = Some(progress);
        Some(progress)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(ratio: f64, remaining_seconds: impl Into<Option<f64>>) -> Option<Progress> {
        Some(Progress { ratio, remaining_seconds: remaining_seconds.into() })
    }

    #[test]
    fn blender_2_tiles() {
        let line = "Fra:151 Mem:405.91M (0.00M, Peak 633.81M) | Time:25:50.81 | Remaining:01:10:05.16 | \
                    Mem:470.26M, Peak:470.82M | Scene, RenderLayer | Path Tracing Tile 1/135, Sample 200/200";
        assert_eq!(parse(line), progress(1.0 / 135.0, 4205.16));
        let line = "Fra:7 Mem:40.9M (Peak 63.8M) | Time:00:50.81 | Mem:4.2M, Peak:4.8M | Scene, ViewLayer | \
                    Rendered 3/6 Tiles, Sample 256/512";
        assert_eq!(parse(line), progress(3.5 / 6.0, None));
        assert_eq!(parse("Fra:7 Mem:4M | Rendered 6/6 Tiles, Sample 512/512"), progress(1.0, None));
    }

    #[test]
    fn eevee_has_spaces_round_the_slash() {
        let line = "Fra:1 Mem:31.41M (Peak 31.41M) | Time:00:00.46 | Rendering 4 / 16 samples";
        assert_eq!(parse(line), progress(0.25, None));
    }

    #[test]
    fn recorded_4_2() {
        let text = include_str!("../tests/data/statistics-4.2.23.txt");
        let found: Vec<Progress> = text.lines().filter_map(parse).collect();
        assert_eq!(found.len(), 6);
        assert_eq!(found.get(1).copied(), progress(1.0 / 64.0, 7.09));
        assert_eq!(found.last().copied(), progress(1.0, None));
    }

    #[test]
    fn recorded_5_0() {
        let text = include_str!("../tests/data/statistics-5.0.1.txt");
        let found: Vec<Progress> = text.lines().filter_map(parse).collect();
        let ratios: Vec<f64> = found.iter().map(|progress| progress.ratio * 1024.0).collect();
        assert_eq!(ratios, [0.0, 1.0, 129.0, 385.0, 641.0, 897.0, 1024.0]);
        assert_eq!(found.get(2).and_then(|progress| progress.remaining_seconds), Some(92.93));
    }

    #[test]
    fn what_a_stranger_prints_is_ignored() {
        for line in [
            "Sample 1/16",
            "Mem: 1M | Sample 1/0",
            "Mem: 1M | Sample 17/16",
            "Mem: 1M | Sample -1/16",
            "Mem: 1M | Sample 99999999999999999999/99999999999999999999",
            "Mem: 1M | Path Tracing Tile 1/0, Sample 1/1",
            "Mem: 1M | Sample é/é",
            "",
        ] {
            assert_eq!(parse(line), None, "{line}");
        }
        assert_eq!(parse("Remaining:99999999999:00:00 | Mem: 1M | Sample 1/2"), progress(0.5, None));
        assert_eq!(parse("Remaining:00:NaN | Mem: 1M | Sample 1/2"), progress(0.5, None));
    }

    #[test]
    fn a_second_view_layer_does_not_run_backwards() {
        let mut frame = FrameProgress::default();
        let at = |ratio| Progress { ratio, remaining_seconds: None };
        assert_eq!(frame.advance(at(0.5)), Some(at(0.5)));
        assert_eq!(frame.advance(at(0.1)), None);
        assert_eq!(frame.advance(at(0.7)), Some(at(0.7)));
    }
}
