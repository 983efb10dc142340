//! The machine without its GPUs, and the agent itself.

use pictor_measure::{
    agent_process,
    host::{self, Host},
};

use super::Entry;
use crate::program::VERSION;

pub(super) const ENTRY: Entry = Entry {
    name: host::NAME,
    families: || vec![(host::NAME, [&host::FAMILIES[..], &agent_process::FAMILIES[..]].concat())],
    make: |sources| {
        let (hostname, os) = (sources.hostname.clone(), sources.os.clone());
        let host = Host::new(&sources.settings.measured, sources.host.clone(), VERSION, hostname, os)?;
        Ok(Box::new(host))
    },
};
