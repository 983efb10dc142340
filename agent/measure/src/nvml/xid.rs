//! Xid errors, as the driver announces them. One thread a GPU waits for them: a GPU that hangs must not keep the
//! others' from being heard.

use std::{
    collections::BTreeMap,
    io,
    sync::mpsc::{self, Receiver, Sender},
    thread,
    time::Duration,
};

use nvml_wrapper::{Nvml, error::NvmlError};

/// A GPU that cannot be listened to may have come back after this long.
const LISTEN_AGAIN: Duration = Duration::from_secs(10);

/// An error that a GPU's driver announced.
#[derive(Debug, Clone, PartialEq)]
pub struct XidEvent {
    pub uuid: String,
    pub index: u32,
    pub xid: u64,
    /// Unix time.
    pub at_seconds: f64,
}

/// One kind of error of one GPU.
pub(super) struct Tally {
    pub(super) index: u32,
    pub(super) count: u64,
    pub(super) last_seconds: f64,
}

/// All errors since the agent started.
pub(super) struct Xids {
    announce: Sender<XidEvent>,
    announced: Receiver<XidEvent>,
    /// How many GPUs are listened to.
    listening: u32,
    /// By uuid and number.
    pub(super) tallies: BTreeMap<(String, u64), Tally>,
}

impl Xids {
    pub(super) fn new() -> Xids {
        let (announce, announced) = mpsc::channel();
        Xids { announce, announced, listening: 0, tallies: BTreeMap::new() }
    }

    /// Listens to as many GPUs, those of before included.
    pub(super) fn listen(&mut self, nvml: &'static Nvml, gpus: u32) -> io::Result<()> {
        for index in self.listening..gpus {
            let announce = self.announce.clone();
            thread::Builder::new()
                .name(format!("xid-{index}"))
                .spawn(move || listen_for_ever(nvml, index, &announce))?;
            self.listening = index + 1;
        }
        Ok(())
    }

    /// Counts what has been announced.
    pub(super) fn hear(&mut self) {
        while let Ok(event) = self.announced.try_recv() {
            let key = (event.uuid.clone(), event.xid);
            let tally = self.tallies.entry(key).or_insert(Tally { index: 0, count: 0, last_seconds: 0.0 });
            tally.index = event.index;
            tally.count += 1;
            tally.last_seconds = event.at_seconds;
        }
    }

    pub(super) fn last_of(&self, uuid: &str) -> Option<u64> {
        let of_gpu = self.tallies.iter().filter(|((other, _), _)| other == uuid);
        of_gpu.max_by(|(_, a), (_, b)| a.last_seconds.total_cmp(&b.last_seconds)).map(|((_, xid), _)| *xid)
    }

    /// The last of each kind and GPU: a storm of one kind must not hide another.
    pub(super) fn latest(&self) -> Vec<XidEvent> {
        let event = |((uuid, xid), tally): (&(String, u64), &Tally)| XidEvent {
            uuid: uuid.clone(),
            index: tally.index,
            xid: *xid,
            at_seconds: tally.last_seconds,
        };
        self.tallies.iter().map(event).collect()
    }
}

/// Ends when nobody hears any more, or when the GPU has no such events.
fn listen_for_ever(nvml: &Nvml, index: u32, announce: &Sender<XidEvent>) {
    loop {
        match listen(nvml, index, announce) {
            Ok(()) => return,
            Err(NvmlError::NotSupported | NvmlError::FailedToLoadSymbol(_) | NvmlError::NoPermission) => {
                tracing::debug!(index, "a GPU does not announce its errors");
                return;
            }
            Err(error) => tracing::debug!(index, %error, "a GPU cannot be listened to now"),
        }
        thread::sleep(LISTEN_AGAIN);
    }
}

#[cfg(target_os = "linux")]
fn listen(nvml: &Nvml, index: u32, announce: &Sender<XidEvent>) -> Result<(), NvmlError> {
    use nvml_wrapper::{bitmasks::event::EventTypes, enums::event::XidError};

    use pictor_ground::clock;

    /// NVML wants a limit; an event ends the wait at once.
    const WAIT_MS: u32 = 5_000;
    /// NVML's number for an error that has none.
    const XID_UNKNOWN: u64 = 999;

    let device = nvml.device_by_index(index)?;
    let uuid = device.uuid()?;
    let xids = EventTypes::CRITICAL_XID_ERROR;
    if !device.supported_event_types()?.contains(xids) {
        return Err(NvmlError::NotSupported);
    }
    let events = device.register_events(xids, nvml.create_event_set()?).map_err(|error| error.error)?;
    loop {
        let xid = match events.wait(WAIT_MS) {
            Ok(event) => event.event_data,
            Err(NvmlError::Timeout) => None,
            Err(error) => return Err(error),
        };
        let Some(xid) = xid else { continue };
        let xid = match xid {
            XidError::Value(xid) => xid,
            XidError::Unknown => XID_UNKNOWN,
        };
        let event = XidEvent { uuid: uuid.clone(), index, xid, at_seconds: clock::unix_seconds() };
        if announce.send(event).is_err() {
            return Ok(());
        }
    }
}

/// NVML announces events on Linux alone.
#[cfg(windows)]
fn listen(_: &Nvml, _: u32, _: &Sender<XidEvent>) -> Result<(), NvmlError> {
    Err(NvmlError::NotSupported)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storm_of_one_kind_does_not_hide_another() {
        let mut xids = Xids::new();
        for (xid, at_seconds) in std::iter::once((79, 1.0)).chain((0..100).map(|at| (31, f64::from(at)))) {
            xids.announce.send(XidEvent { uuid: "GPU-1".to_owned(), index: 0, xid, at_seconds }).unwrap();
        }
        xids.hear();
        let latest: Vec<_> = xids.latest().into_iter().map(|event| (event.xid, event.at_seconds)).collect();
        assert_eq!(latest, [(31, 99.0), (79, 1.0)]);
    }
}
