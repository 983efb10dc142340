//! Who holds a slot. It takes tasks when nobody does, and all that is said of it names those who do.

use std::cmp::Reverse;

use pictor_protocol::{DesiredState, SlotReason};

/// Who holds it, in the order in which they are named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Source {
    /// The worker's owner, in the console or through the API.
    Console,
    /// The worker's owner on this machine, in the worker app or the terminal.
    App,
    /// What is watched on this machine says that the slot is of no use.
    Health,
    /// Its last task showed that.
    Task,
    /// An update that is about to be installed, or tried.
    Update,
    /// A test render that waits until it is free.
    TestRender,
}

impl Source {
    /// Whether it is what the worker's owner wants, and not what the machine needs.
    pub(super) fn is_owner(self) -> bool {
        matches!(self, Source::Console | Source::App)
    }
}

/// What a holder wants of it, the stricter the greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Wants {
    /// It finishes its task and takes no other.
    Draining,
    /// It ends its task as well.
    Paused,
}

impl Wants {
    fn of(desired: DesiredState) -> Option<Wants> {
        match desired {
            DesiredState::Active => None,
            DesiredState::Draining => Some(Wants::Draining),
            DesiredState::Paused => Some(Wants::Paused),
        }
    }

    /// What is wanted of a slot with these holders.
    pub(super) fn desired(strictest: Option<Wants>) -> DesiredState {
        match strictest {
            None => DesiredState::Active,
            Some(Wants::Draining) => DesiredState::Draining,
            Some(Wants::Paused) => DesiredState::Paused,
        }
    }
}

/// One who holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Holder {
    pub(super) source: Source,
    pub(super) wants: Wants,
    pub(super) reason: SlotReason,
}

impl Holder {
    /// The console's word; none for `active`.
    pub(super) fn console(desired: DesiredState) -> Option<Holder> {
        let (wants, reason) = Wants::of(desired).zip(SlotReason::of_console(desired))?;
        Some(Holder { source: Source::Console, wants, reason })
    }

    /// The word of this machine's owner; none for `active`.
    pub(super) fn app(desired: DesiredState) -> Option<Holder> {
        let (wants, reason) = Wants::of(desired).zip(SlotReason::of_machine(desired))?;
        Some(Holder { source: Source::App, wants, reason })
    }

    /// One that lets its task go on.
    pub(super) fn draining(source: Source, reason: SlotReason) -> Holder {
        Holder { source, wants: Wants::Draining, reason }
    }
}

/// Those who hold one slot, or a whole worker: one of each source.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Holders(Vec<Holder>);

impl Holders {
    /// The source holds it so from now on, or not any more.
    pub(super) fn set(&mut self, source: Source, holder: Option<Holder>) {
        self.0.retain(|holder| holder.source != source);
        self.0.extend(holder);
        self.0.sort_by_key(|holder| holder.source);
    }

    /// These and those of the whole worker. Of two of one source, the stricter.
    pub(super) fn and(&self, of_worker: &Holders) -> Holders {
        let mut all: Vec<Holder> = self.0.iter().chain(&of_worker.0).cloned().collect();
        all.sort_by_key(|holder| (holder.source, Reverse(holder.wants)));
        all.dedup_by_key(|holder| holder.source);
        Holders(all)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Holder> {
        self.0.iter()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn of(&self, source: Source) -> Option<&Holder> {
        self.0.iter().find(|holder| holder.source == source)
    }

    /// What the strictest of them wants.
    pub(super) fn wants(&self) -> Option<Wants> {
        self.0.iter().map(|holder| holder.wants).max()
    }

    /// What the strictest of its owner's wants.
    pub(super) fn owner_wants(&self) -> Option<Wants> {
        self.0.iter().filter(|holder| holder.source.is_owner()).map(|holder| holder.wants).max()
    }
}

#[cfg(test)]
mod tests {
    use pictor_protocol::{Check, ReasonCode};

    use super::*;

    fn codes(holders: &Holders) -> Vec<ReasonCode> {
        holders.iter().map(|holder| holder.reason.code).collect()
    }

    #[test]
    fn a_source_holds_once_and_the_stricter_of_its_words_counts() {
        let (mut worker, mut slot) = (Holders::default(), Holders::default());
        slot.set(
            Source::Health,
            Some(Holder::draining(Source::Health, SlotReason::found(Check::Gpus, "lost"))),
        );
        slot.set(Source::Console, Holder::console(DesiredState::Paused));
        worker.set(Source::Console, Holder::console(DesiredState::Draining));
        worker.set(Source::App, Holder::app(DesiredState::Draining));
        let all = slot.and(&worker);
        assert_eq!(codes(&all), [ReasonCode::PausedByConsole, ReasonCode::DrainedHere, ReasonCode::Health]);
        assert_eq!((all.wants(), all.owner_wants()), (Some(Wants::Paused), Some(Wants::Paused)));
        slot.set(Source::Console, Holder::console(DesiredState::Active));
        let all = slot.and(&worker);
        assert_eq!(codes(&all)[0], ReasonCode::DrainedByConsole);
        assert_eq!(all.wants(), Some(Wants::Draining));
        worker.set(Source::Console, None);
        worker.set(Source::App, None);
        assert_eq!(slot.and(&worker).owner_wants(), None);
        slot.set(Source::Health, None);
        assert!(slot.is_empty() && Wants::desired(slot.wants()) == DesiredState::Active);
    }
}
