//! What each event set listens to.

/// A set's handle is its place here plus one.
pub(crate) type EventSets = Vec<Option<EventSet>>;

#[derive(Default)]
pub(crate) struct EventSet {
    pub(crate) listened: Vec<Listened>,
}

pub(crate) struct Listened {
    pub(crate) uuid: String,
    pub(crate) types: u64,
    /// How many of its Xid errors were told, or came before.
    pub(crate) told: usize,
}
