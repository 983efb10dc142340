//! Counters that only rise, made of NVML's, which begin again when a GPU is reset or its driver loaded again.

use std::collections::HashMap;

use super::sample::GpuSample;

#[derive(Default)]
struct Monotonic {
    /// What was counted before the last reset.
    offset: f64,
    last: f64,
}

impl Monotonic {
    fn next(&mut self, raw: f64) -> f64 {
        if raw < self.last {
            self.offset += self.last;
        }
        self.last = raw;
        self.offset + raw
    }
}

/// The counters of every GPU seen, by uuid, then by name and parts.
#[derive(Default)]
pub(super) struct Counters(HashMap<String, HashMap<[&'static str; 3], Monotonic>>);

impl Counters {
    /// Puts the risen counts in the place of those just read.
    pub(super) fn raise(&mut self, gpu: &mut GpuSample) {
        if !self.0.contains_key(&gpu.uuid) {
            self.0.insert(gpu.uuid.clone(), HashMap::new());
        }
        let Some(counters) = self.0.get_mut(&gpu.uuid) else { return };
        let mut raise = |key: [&'static str; 3], value: &mut f64| {
            *value = counters.entry(key).or_default().next(*value);
        };
        if let Some(joules) = &mut gpu.energy_joules {
            raise(["energy", "", ""], joules);
        }
        if let Some(replays) = &mut gpu.pcie_replays {
            raise(["replays", "", ""], replays);
        }
        for (reason, seconds) in &mut gpu.throttle_seconds {
            raise(["throttle", reason, ""], seconds);
        }
        for (direction, bytes) in &mut gpu.pcie_bytes {
            raise(["bytes", direction, ""], bytes);
        }
        for (severity, scope, errors) in &mut gpu.ecc_errors {
            raise(["ecc", severity, scope], errors);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(uuid: &str, joules: f64, errors: f64) -> GpuSample {
        GpuSample {
            uuid: uuid.to_owned(),
            energy_joules: Some(joules),
            ecc_errors: vec![("corrected", "volatile", errors)],
            ..GpuSample::default()
        }
    }

    #[test]
    fn counts_go_on_after_a_reset() {
        let mut counters = Counters::default();
        let mut raised = |uuid: &str, joules: f64, errors: f64| {
            let mut gpu = sample(uuid, joules, errors);
            counters.raise(&mut gpu);
            (gpu.energy_joules.unwrap(), gpu.ecc_errors[0].2)
        };
        assert_eq!(raised("a", 1_000.5, 7.0), (1_000.5, 7.0));
        assert_eq!(raised("a", 1_001.5, 7.0), (1_001.5, 7.0));
        assert_eq!(raised("b", 5.0, 0.0), (5.0, 0.0), "each GPU counts for itself");
        assert_eq!(raised("a", 2.0, 7.0), (1_003.5, 7.0), "energy began again, errors did not");
        assert_eq!(raised("a", 3.0, 1.0), (1_004.5, 8.0));
        assert_eq!(raised("a", 0.0, 0.0), (1_004.5, 8.0), "and again");
    }
}
