//! How good the estimates of a task's remaining time are: they are compared with what came true.

use std::time::Duration;

use tokio::time::Instant;

/// Where in a task its estimates are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EtaPoint {
    Quarter,
    Half,
    ThreeQuarters,
}

impl EtaPoint {
    pub const ALL: [EtaPoint; 3] = [EtaPoint::Quarter, EtaPoint::Half, EtaPoint::ThreeQuarters];

    pub fn as_str(self) -> &'static str {
        match self {
            EtaPoint::Quarter => "0.25",
            EtaPoint::Half => "0.5",
            EtaPoint::ThreeQuarters => "0.75",
        }
    }

    /// The last point that a task of this progress has passed.
    fn passed(progress_ratio: f64) -> Option<EtaPoint> {
        match progress_ratio {
            ratio if ratio < 0.25 => None,
            ratio if ratio < 0.5 => Some(EtaPoint::Quarter),
            ratio if ratio < 0.75 => Some(EtaPoint::Half),
            ratio if ratio < 1.0 => Some(EtaPoint::ThreeQuarters),
            _ => None,
        }
    }
}

#[derive(Debug)]
struct Estimate {
    point: EtaPoint,
    at: Instant,
    remaining: Duration,
}

/// The first estimate after each point of one task. A point that progress jumped over has none.
#[derive(Debug, Default)]
pub struct Estimates(Vec<Estimate>);

impl Estimates {
    pub fn add(&mut self, progress_ratio: f64, remaining: Duration, at: Instant) {
        let Some(point) = EtaPoint::passed(progress_ratio) else { return };
        if self.0.iter().all(|estimate| estimate.point != point) {
            self.0.push(Estimate { point, at, remaining });
        }
    }

    /// The difference over the true remaining time, of a task that was rendered at `ended`.
    pub fn errors(&self, ended: Instant) -> Vec<(EtaPoint, f64)> {
        let error = |estimate: &Estimate| {
            let came_true = ended.saturating_duration_since(estimate.at).as_secs_f64();
            let error = (estimate.remaining.as_secs_f64() - came_true).abs() / came_true;
            error.is_finite().then_some((estimate.point, error))
        };
        self.0.iter().filter_map(error).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_estimate_after_each_point_counts() {
        let seconds = Duration::from_secs;
        let start = Instant::now();
        let mut estimates = Estimates::default();
        for (progress_ratio, remaining, at) in [
            (0.1, 99, 5),
            (0.25, 30, 10),
            (0.4, 99, 20),
            (0.5, 30, 30),
            (0.75, 60, 50),
            (0.9, 99, 60),
            (1.0, 99, 70),
        ] {
            estimates.add(progress_ratio, seconds(remaining), start + seconds(at));
        }
        let errors = estimates.errors(start + seconds(70));
        let expected = [(EtaPoint::Quarter, 0.5), (EtaPoint::Half, 0.25), (EtaPoint::ThreeQuarters, 2.0)];
        assert_eq!(errors, expected);
    }

    #[test]
    fn a_point_that_was_jumped_over_says_nothing() {
        let start = Instant::now();
        let mut estimates = Estimates::default();
        estimates.add(0.6, Duration::from_secs(4), start);
        assert_eq!(estimates.errors(start + Duration::from_secs(4)), [(EtaPoint::Half, 0.0)]);
        assert!(estimates.errors(start).is_empty(), "no time was left: nothing to compare with");
    }
}
