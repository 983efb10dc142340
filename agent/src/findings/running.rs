//! What a running agent knows of its machine at one moment, and what that means.

use pictor_blender::{Installed, sandbox::Mode};
use pictor_protocol::{Check, SlotReason};

use super::{
    Refusal,
    gpus::{self, WatchedGpus},
    line, machine,
};
use crate::{
    connection::Connection,
    disk::Disk,
    finding::Finding,
    probe::{Isolation, Watched},
};

#[derive(Debug, Clone, Default)]
pub struct Moment {
    /// What it renders with, once it is ready to.
    pub tools: Option<(Installed, Isolation)>,
    /// What keeps it from taking tasks.
    pub refusal: Option<Refusal>,
    /// The slots that their last tasks showed to be of no use.
    pub faults: Vec<(u32, SlotReason)>,
    pub connection: Connection,
    /// `None` until they were measured.
    pub gpus: Option<WatchedGpus>,
    /// `None` until it was looked at.
    pub disk: Option<Disk>,
}

/// Everything that is to be said of it.
pub fn of_moment(now: &Moment) -> Vec<Finding> {
    let mut found = Vec::new();
    if let Some((blender, sandbox)) = &now.tools {
        found.extend([machine::blender(Ok(blender)), accepted(sandbox)]);
    }
    found.extend(now.refusal.as_ref().and_then(of_tools));
    found.extend(line::watched(&now.connection));
    found.extend(now.gpus.iter().flat_map(gpus::watched));
    found.extend(now.disk.as_ref().map(machine::disk));
    if let Some(Refusal { check, reason }) = &now.refusal {
        add_refusal(&mut found, *check, reason);
    }
    for (slot, fault) in &now.faults {
        if let (Some(check), Some(what)) = (fault.check, &fault.detail) {
            add_refusal(&mut found, check, &format!("slot {slot}: {what}"));
        }
    }
    found
}

/// Whatever keeps the machine or one of its slots from taking tasks is found, also where its check looks at something else.
fn add_refusal(found: &mut Vec<Finding>, check: Check, reason: &str) {
    if found.iter().all(|finding| finding.check != check || finding.advice.is_none()) {
        found.retain(|finding| finding.check != check);
        let advice = "do what it says; this machine tries again every minute";
        found.push(Finding::fail(check, reason, advice));
    }
}

/// What makes this GPU of no use for tasks.
pub fn useless_gpu(now: &Moment, uuid: &str, index: u32) -> Option<Finding> {
    gpus::useless(now.gpus.as_ref()?, uuid, index)
}

/// What it told another process. The rest that one sees for itself.
pub(super) fn told(watched: &Watched) -> Vec<Finding> {
    let only = [Check::GpuFallback, Check::GpuThrottling, Check::GpuXid];
    match watched {
        Watched::Found(found) => {
            found.iter().filter(|finding| only.contains(&finding.check)).cloned().collect()
        }
        Watched::NoAnswer(listen) => vec![Finding::warn(
            Check::GpuXid,
            format!("not looked at: this worker's agent does not answer at {listen}"),
            "start it: only a running agent sees errors, throttling and unused GPUs as they happen",
        )],
    }
}

fn accepted(sandbox: &Isolation) -> Finding {
    if sandbox.mode == Mode::Off {
        // Doctor reminds its owner; here it is as it should be.
        return Finding::ok(Check::Sandbox, "off, as its owner said");
    }
    machine::sandbox(sandbox)
}

fn of_tools(refusal: &Refusal) -> Option<Finding> {
    match refusal.check {
        Check::Blender => Some(machine::no_blender(refusal.reason.clone())),
        Check::Sandbox => Some(machine::no_sandbox(refusal.reason.clone())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use semver::Version;

    use super::*;
    use crate::finding::Grade;

    #[test]
    fn what_keeps_it_from_tasks_is_said_once() {
        for check in [Check::Blender, Check::Sandbox, Check::Disk, Check::Gpus, Check::Registry] {
            let refusal = Some(Refusal { check, reason: "it is so".to_owned() });
            let found = of_moment(&Moment { refusal: refusal.clone(), ..Moment::default() });
            assert!(
                matches!(&found[..], [one] if one.check == check && one.found == "it is so"),
                "{found:?}"
            );
        }
        let full = Disk { folder: "/data".into(), free_bytes: Some(0) };
        let refusal = Some(Refusal { check: Check::Disk, reason: "a frame cannot be kept".to_owned() });
        let found = of_moment(&Moment { refusal, disk: Some(full), ..Moment::default() });
        assert!(matches!(&found[..], [one] if one.found == "0 MB free"), "{found:?}");
    }

    #[test]
    fn a_slot_that_is_of_no_use_is_said_with_its_number() {
        let fault = SlotReason::found(Check::GpuFallback, "it rendered on the CPU");
        let found = of_moment(&Moment { faults: vec![(3, fault)], ..Moment::default() });
        assert!(
            matches!(&found[..], [one] if one.check == Check::GpuFallback && one.found == "slot 3: it rendered on the CPU"),
            "{found:?}"
        );
    }

    #[test]
    fn an_owners_choice_is_no_fault() {
        let off = Isolation { mode: Mode::Off, tried: Ok("it is off".to_owned()) };
        let blender = Installed { version: Version::new(4, 2, 0), path: "/opt/blender".into() };
        assert_eq!(machine::sandbox(&off).status, Grade::Warn, "doctor reminds of it");
        let found = of_moment(&Moment { tools: Some((blender, off)), ..Moment::default() });
        assert_eq!([found[0].check, found[1].check], [Check::Blender, Check::Sandbox]);
        assert!(found.iter().all(|finding| finding.status == Grade::Ok), "{found:?}");
    }

    #[test]
    fn of_what_an_agent_told_only_what_it_has_watched_is_passed_on() {
        let told_of = |check| Finding::fail(check, "it is so", "do something");
        let found = told(&Watched::Found(vec![told_of(Check::Disk), told_of(Check::GpuXid)]));
        assert!(matches!(&found[..], [one] if one.check == Check::GpuXid), "{found:?}");
    }
}
