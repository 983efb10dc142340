//! The last minutes of utilisation, for the small graphs.

use std::{
    collections::{BTreeMap, VecDeque},
    convert::Infallible,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use pictor_measure::{host::HostSample, nvml::Gpus};
use tokio::{sync::watch, time::MissedTickBehavior};

const INTERVAL: Duration = Duration::from_secs(1);
/// Two minutes.
const POINTS_MAX: usize = 120;

/// Ratios, the newest last; `None` where nothing was measured.
pub(super) type Points = Vec<Option<f64>>;

#[derive(Debug, Default)]
pub(crate) struct History(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    cpu: VecDeque<Option<f64>>,
    /// By UUID.
    gpus: BTreeMap<String, VecDeque<Option<f64>>>,
}

impl History {
    /// Looks for ever.
    pub(super) async fn watch(
        &self,
        host: watch::Receiver<Option<HostSample>>,
        gpus: watch::Receiver<Option<Gpus>>,
    ) -> Infallible {
        let mut look = tokio::time::interval(INTERVAL);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            look.tick().await;
            let cpu = host.borrow().as_ref().and_then(|host| host.cpu_utilization_ratio);
            let gpus = gpus.borrow().as_ref().map_or_else(Vec::new, |gpus| {
                gpus.visible.iter().map(|gpu| (gpu.uuid.clone(), gpu.utilization_ratio)).collect()
            });
            self.add(cpu, gpus);
        }
    }

    fn add(&self, cpu: Option<f64>, gpus: Vec<(String, Option<f64>)>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        push(&mut kept.cpu, cpu);
        for points in kept.gpus.values_mut() {
            push(points, None);
        }
        for (uuid, ratio) in gpus {
            let points = kept.gpus.entry(uuid).or_insert_with(|| VecDeque::from([None]));
            if let Some(newest) = points.back_mut() {
                *newest = ratio;
            }
        }
    }

    pub(super) fn cpu(&self) -> Points {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.cpu.iter().copied().collect()
    }

    pub(super) fn gpu(&self, uuid: &str) -> Points {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.gpus.get(uuid).map_or_else(Vec::new, |points| points.iter().copied().collect())
    }
}

fn push(points: &mut VecDeque<Option<f64>>, ratio: Option<f64>) {
    if points.len() == POINTS_MAX {
        points.pop_front();
    }
    points.push_back(ratio);
}

/// A graph's line: SVG path data in a box of 120 by 30, the newest point at the right.
pub(super) fn path(points: &Points) -> String {
    let mut path = String::new();
    let mut is_down = false;
    for (x, point) in (POINTS_MAX - points.len()..).zip(points) {
        match point {
            Some(ratio) => {
                let y = 29.0 - ratio.clamp(0.0, 1.0) * 28.0;
                path.push_str(&format!("{}{x} {y:.1}", if is_down { "L" } else { "M" }));
                is_down = true;
            }
            None => is_down = false,
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_breaks_the_line() {
        assert_eq!(path(&vec![Some(0.0), None, Some(0.5), Some(1.0)]), "M116 29.0M118 15.0L119 1.0");
        assert_eq!(path(&Vec::new()), "");
    }

    #[test]
    fn a_gpu_that_is_gone_leaves_a_gap() {
        let history = History::default();
        history.add(Some(0.1), vec![("GPU-1".to_owned(), Some(0.2))]);
        history.add(Some(0.3), Vec::new());
        history.add(None, vec![("GPU-1".to_owned(), Some(0.4))]);
        assert_eq!(history.cpu(), [Some(0.1), Some(0.3), None]);
        assert_eq!(history.gpu("GPU-1"), [Some(0.2), None, Some(0.4)]);
        assert_eq!(history.gpu("GPU-2"), []);
    }
}
