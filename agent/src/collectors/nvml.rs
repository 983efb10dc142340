//! GPUs, as NVML shows them.

use std::sync::Arc;

use pictor_measure::nvml::{self, Nvml};

use super::Entry;

pub(super) const ENTRY: Entry = Entry {
    name: nvml::NAME,
    families: || {
        vec![
            (nvml::NAME, nvml::FAMILIES.to_vec()),
            ("nvml, with `dcgm_names = true`", nvml::dcgm::families()),
        ]
    },
    make: |sources| {
        let (slots, gpus) = (Arc::clone(&sources.slots), sources.gpus.clone());
        let is_working = move || slots.is_working();
        let measured = &sources.settings.measured;
        Ok(Box::new(Nvml::new(measured, &sources.data, &sources.hostname, is_working, gpus)?))
    },
};
