//! No slot takes tasks for a moment: an update waits for those under way.

use std::pin::pin;

use pictor_protocol::{ReasonCode, SlotReason};

use super::{Holder, SlotState, Slots, Source};

impl Slots {
    /// No slot takes a task from now on; those under way go on.
    pub fn close(&self) {
        self.set_closed(true);
    }

    /// Slots take tasks again, as far as nothing else keeps them from it.
    pub fn reopen(&self) {
        self.set_closed(false);
    }

    /// Waits until no slot has a task or renders a test scene.
    pub async fn emptied(&self) {
        loop {
            let mut left = pin!(self.left.notified());
            left.as_mut().enable();
            if self.lock().slots.iter().all(|slot| matches!(slot.doing, SlotState::Free)) {
                return;
            }
            left.await;
        }
    }

    fn set_closed(&self, is_closed: bool) {
        let update = Holder::draining(Source::Update, SlotReason::new(ReasonCode::Updating));
        self.change_holders(|state| state.holders.set(Source::Update, is_closed.then_some(update)));
    }
}

#[cfg(test)]
mod tests {
    use crate::slots::{Slots, tests::lease};
    use pictor_blender::Device;
    use pictor_protocol::{ReasonCode, SlotReason, SlotStatus};

    #[tokio::test]
    async fn closed_slots_finish_their_tasks_and_take_none() {
        let slots = Slots::new(vec![Device::Cpu, Device::Cpu]);
        let _signal = slots.take(&lease(0)).unwrap();
        slots.close();
        assert!(slots.free().is_empty() && slots.take(&lease(1)).is_none());
        let reported = slots.reported();
        assert_eq!([reported[0].status, reported[1].status], [SlotStatus::Busy, SlotStatus::Draining]);
        assert_eq!(reported[1].reasons, [SlotReason::new(ReasonCode::Updating)]);
        let ended = async {
            tokio::task::yield_now().await;
            slots.leave(0);
        };
        tokio::join!(slots.emptied(), ended);
        slots.reopen();
        assert_eq!(slots.free(), [0, 1]);
    }
}
