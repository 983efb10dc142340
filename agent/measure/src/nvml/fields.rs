//! What NVML tells by number: all of it in one call for each GPU.

use nvml_wrapper::{
    Device,
    enums::device::SampleValue,
    structs::device::FieldId,
    sys_exports::field_id::{
        NVML_FI_DEV_CLOCKS_EVENT_REASON_HW_POWER_BRAKE_SLOWDOWN as HW_POWER_BRAKE,
        NVML_FI_DEV_CLOCKS_EVENT_REASON_HW_THERM_SLOWDOWN as HW_THERMAL,
        NVML_FI_DEV_CLOCKS_EVENT_REASON_SW_THERM_SLOWDOWN as SW_THERMAL,
        NVML_FI_DEV_GET_GPU_RECOVERY_ACTION as RECOVERY_ACTION,
        NVML_FI_DEV_MEMORY_TEMP as MEMORY_TEMPERATURE, NVML_FI_DEV_PCIE_COUNT_RX_BYTES as PCIE_RX,
        NVML_FI_DEV_PCIE_COUNT_TX_BYTES as PCIE_TX, NVML_FI_DEV_PERF_POLICY_BOARD_LIMIT as BOARD_LIMIT,
        NVML_FI_DEV_PERF_POLICY_POWER as POWER_CAP, NVML_FI_DEV_PERF_POLICY_RELIABILITY as RELIABILITY,
        NVML_FI_DEV_PERF_POLICY_SYNC_BOOST as SYNC_BOOST, NVML_FI_DEV_PERF_POLICY_THERMAL as THERMAL,
        NVML_FI_DEV_POWER_INSTANT as POWER_INSTANT, NVML_FI_DEV_REMAPPED_COR as REMAPPED_CORRECTED,
        NVML_FI_DEV_REMAPPED_FAILURE as REMAPPED_FAILURE, NVML_FI_DEV_REMAPPED_PENDING as REMAPPED_PENDING,
        NVML_FI_DEV_REMAPPED_UNC as REMAPPED_UNCORRECTED,
    },
};

use super::{
    float,
    sample::{GpuSample, Part},
};

/// Nanoseconds of throttling, by reason.
const THROTTLE: [(&str, u32); 8] = [
    ("sw_power_cap", POWER_CAP),
    ("sync_boost", SYNC_BOOST),
    ("sw_thermal", SW_THERMAL),
    ("hw_thermal", HW_THERMAL),
    ("hw_power_brake", HW_POWER_BRAKE),
    ("thermal", THERMAL),
    ("board_limit", BOARD_LIMIT),
    ("reliability", RELIABILITY),
];
const OTHERS: [u32; 7] = [
    MEMORY_TEMPERATURE,
    POWER_INSTANT,
    REMAPPED_CORRECTED,
    REMAPPED_UNCORRECTED,
    REMAPPED_PENDING,
    REMAPPED_FAILURE,
    RECOVERY_ACTION,
];
/// Only when asked for: counting it may cost the GPU time.
const PCIE: [u32; 2] = [PCIE_RX, PCIE_TX];

/// False for those that stand for "not known" or "not supported": the greatest ones, signed and unsigned.
pub(super) fn is_number32(value: u32) -> bool {
    value < 0x7fff_fff0
}

pub(super) fn is_number64(value: u64) -> bool {
    value < 0x7fff_ffff_ffff_fff0
}

/// The values that the GPU has, by number; empty also when the driver knows no fields at all.
pub(super) struct Fields(Vec<(u32, f64)>);

impl Fields {
    pub(super) fn read(device: &Device<'_>, pcie: bool) -> Fields {
        let pcie = if pcie { PCIE.as_slice() } else { &[] };
        let numbers: Vec<u32> =
            THROTTLE.iter().map(|(_, field)| field).chain(&OTHERS).chain(pcie).copied().collect();
        let ids: Vec<FieldId> = numbers.iter().copied().map(FieldId).collect();
        let values = device.field_values_for(&ids).unwrap_or_default();
        // The answers stand in the order of the questions; the numbers in them are those of the driver's version.
        let known = numbers.into_iter().zip(values).filter_map(|(number, answer)| {
            let value = answer.ok()?.value.ok()?;
            Some((number, number_of(&value)?))
        });
        Fields(known.collect())
    }

    fn get(&self, number: u32) -> Option<f64> {
        self.0.iter().find(|(other, _)| *other == number).map(|(_, value)| *value)
    }

    fn parts<const N: usize>(&self, parts: [(&'static str, u32); N]) -> Vec<Part> {
        parts.into_iter().filter_map(|(name, number)| Some((name, self.get(number)?))).collect()
    }

    pub(super) fn throttle_seconds(&self) -> Vec<Part> {
        let mut parts = self.parts(THROTTLE);
        for (_, value) in &mut parts {
            *value /= 1e9;
        }
        parts
    }

    pub(super) fn put_into(&self, gpu: &mut GpuSample) {
        // Memory without a sensor has 0 degrees on some GPUs.
        gpu.memory_temperature_celsius = self.get(MEMORY_TEMPERATURE).filter(|celsius| *celsius > 0.0);
        gpu.power_instant_watts = self.get(POWER_INSTANT).map(|milliwatts| milliwatts / 1_000.0);
        gpu.remapped_rows =
            self.parts([("corrected", REMAPPED_CORRECTED), ("uncorrected", REMAPPED_UNCORRECTED)]);
        gpu.remapped_rows_pending = self.get(REMAPPED_PENDING);
        gpu.remapped_rows_failed = self.get(REMAPPED_FAILURE);
        gpu.recovery_action = self.get(RECOVERY_ACTION);
        gpu.pcie_bytes = self.parts([("rx", PCIE_RX), ("tx", PCIE_TX)]);
    }
}

fn number_of(value: &SampleValue) -> Option<f64> {
    match *value {
        SampleValue::U32(value) => is_number32(value).then(|| f64::from(value)),
        SampleValue::U64(value) => is_number64(value).then(|| float(value)),
        SampleValue::I64(value) => u64::try_from(value).ok().filter(|value| is_number64(*value)).map(float),
        SampleValue::F64(value) => (value.is_finite() && value >= 0.0).then_some(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_for_unknown_is_absent() {
        for unknown in [
            SampleValue::U32(u32::MAX),
            SampleValue::U32(0x7fff_ffff),
            SampleValue::U64(u64::MAX),
            SampleValue::U64(9_223_372_036_854_775_794),
            SampleValue::I64(i64::MAX),
            SampleValue::I64(-1),
            SampleValue::F64(f64::NAN),
            SampleValue::F64(-1.0),
        ] {
            assert_eq!(number_of(&unknown), None, "{unknown:?}");
        }
        assert_eq!(number_of(&SampleValue::U32(0)), Some(0.0));
        assert_eq!(number_of(&SampleValue::U64(1 << 40)), Some(1_099_511_627_776.0));
        assert_eq!(number_of(&SampleValue::I64(7)), Some(7.0));
    }
}
