//! Which slots take no task because of what was found: the one place where a finding holds a slot.

use pictor_blender::Device;
use pictor_protocol::SlotReason;

use crate::{
    finding::Finding,
    findings::{self, Moment},
    slots::Slots,
};

pub(super) fn hold(slots: &Slots, now: &Moment) {
    // What was never measured says nothing about a slot.
    if now.gpus.is_some() {
        slots.set_health(of(slots.devices(), now));
    }
}

/// In the order of the slots.
pub(super) fn of(devices: &[Device], now: &Moment) -> Vec<Option<SlotReason>> {
    let useless = |device: &Device| match device {
        Device::Cpu => None,
        Device::Gpu { uuid, index, .. } => findings::useless_gpu(now, uuid, *index),
    };
    let hold = |Finding { check, found, .. }| SlotReason::found(check, found);
    devices.iter().map(|device| useless(device).map(hold)).collect()
}
