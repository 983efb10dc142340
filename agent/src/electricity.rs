//! Counts what this machine uses, once a second, whoever looks at the totals and however often.

use std::{convert::Infallible, sync::Arc, time::Duration};

use pictor_measure::{
    host::HostSample,
    nvml::{GpuSample, Gpus},
};
use tokio::{sync::watch, time::MissedTickBehavior};

use crate::{
    economics::{Economics, GpuReading, Reading},
    slots::Slots,
};

const TICK: Duration = Duration::from_secs(1);

/// What is read, and what counts it.
#[derive(Debug)]
pub struct Electricity {
    pub gpus: watch::Receiver<Option<Gpus>>,
    pub host: watch::Receiver<Option<HostSample>>,
    pub slots: Arc<Slots>,
    pub economics: Arc<Economics>,
}

impl Electricity {
    /// Counts for ever. What was used between two ticks is counted at the second one, however late it comes.
    pub async fn run(&self) -> Infallible {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let (economics, reading) = (Arc::clone(&self.economics), self.reading());
            // Now and then it writes to the disk, which may be slow.
            if let Err(error) = tokio::task::spawn_blocking(move || economics.advance(&reading)).await {
                tracing::error!(%error, "what this machine uses was not counted");
            }
        }
    }

    /// Counts what was used until now, and keeps it for the next start.
    pub fn close(&self) {
        self.economics.advance(&self.reading());
        self.economics.save();
    }

    fn reading(&self) -> Reading {
        let gpus = self.gpus.borrow();
        let gpu = |gpu: &GpuSample| GpuReading {
            uuid: gpu.uuid.clone(),
            energy_joules: gpu.energy_joules,
            power_watts: gpu.power_average_watts,
        };
        Reading {
            gpus: gpus.iter().flat_map(|gpus| &gpus.visible).map(gpu).collect(),
            cpu_utilization_ratio: self.host.borrow().as_ref().and_then(|host| host.cpu_utilization_ratio),
            is_busy: self.slots.is_working(),
        }
    }
}

#[cfg(test)]
mod tests {
    use pictor_blender::Device;

    use super::*;
    use crate::economics::Table;

    #[tokio::test]
    async fn what_is_used_is_counted_though_nobody_looks() {
        let folder = tempfile::tempdir().unwrap();
        let counted = |energy_joules| {
            let gpu = GpuSample { uuid: "GPU-1".to_owned(), energy_joules, ..GpuSample::default() };
            Some(Gpus { visible: vec![gpu], ..Gpus::default() })
        };
        let (gpus, host) = (watch::Sender::new(counted(Some(1_000.0))), watch::Sender::new(None));
        let electricity = Arc::new(Electricity {
            gpus: gpus.subscribe(),
            host: host.subscribe(),
            slots: Arc::new(Slots::new(vec![Device::Cpu])),
            economics: Arc::new(Economics::open(Table::default().settings().unwrap(), folder.path())),
        });
        let counting = Arc::clone(&electricity);
        let counting = tokio::spawn(async move { counting.run().await });
        let first = async {
            while electricity.economics.totals().gpu_joules.is_none() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), first).await.unwrap();
        counting.abort();
        gpus.send_replace(counted(Some(3_000.0)));
        electricity.close();
        assert_eq!(electricity.economics.totals().gpu_joules, Some(2_000.0));
        let again = Economics::open(Table::default().settings().unwrap(), folder.path());
        assert_eq!(again.totals().gpu_joules, Some(2_000.0), "kept for the next start");
    }
}
