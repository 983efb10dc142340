//! What is wrong with the machine and what to do about it: facts in, findings out. No clock, no I/O, and nothing is done
//! about it here.

mod gpus;
mod line;
mod machine;
mod running;

use pictor_protocol::Check;

use crate::{
    finding::Finding,
    probe::{Fact, Facts, Inventory, NoBlender},
};

pub use gpus::WatchedGpus;
pub use machine::no_config;
pub use running::{Moment, of_moment, useless_gpu};

/// Why this machine takes no tasks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub check: Check,
    /// With what to do about it.
    pub reason: String,
}

/// What one fact means.
pub fn of(fact: Fact<'_>) -> Vec<Finding> {
    vec![match fact {
        Fact::Config(path, worker) => machine::config(path, worker),
        Fact::Data(data) => machine::data(data),
        Fact::Disk(disk) => machine::disk(disk),
        Fact::Blender(blender) => machine::blender(blender.chosen.as_ref()),
        Fact::Sandbox(sandbox) => machine::sandbox(sandbox),
        Fact::Gpus(gpus) => gpus::at_a_look(gpus),
        Fact::Watched(watched) => return running::told(watched),
        Fact::Line(line) => return line::at_a_look(line),
    }]
}

/// That the Blender in use is not there any more.
pub fn gone(error: &NoBlender) -> Finding {
    machine::blender(Err(error))
}

/// What keeps a scene from being rendered at all, be it of a task or not.
pub fn no_tools(facts: &Facts) -> Option<String> {
    let needed = [Fact::Blender(&facts.blender), Fact::Sandbox(&facts.sandbox)];
    needed.into_iter().flat_map(of).find(Finding::is_failure).map(|failure| failure.found)
}

/// What keeps this machine from taking tasks. Only a finding that is a failure can: whoever asks doctor hears it too.
/// `gpus` are those that the slots were made of.
pub fn refusal(facts: &Facts, gpus: &Inventory) -> Option<Refusal> {
    let needed = [
        Fact::Blender(&facts.blender),
        Fact::Gpus(gpus),
        Fact::Disk(&facts.disk),
        Fact::Data(&facts.data),
        Fact::Sandbox(&facts.sandbox),
    ];
    let failure = |fact: Fact<'_>| of(fact).into_iter().find(Finding::is_failure);
    needed.into_iter().find_map(|fact| refusal_for(fact, failure(fact)?))
}

fn refusal_for(fact: Fact<'_>, finding: Finding) -> Option<Refusal> {
    let reason = match fact {
        Fact::Blender(_) | Fact::Sandbox(_) => finding.found,
        Fact::Config(..) | Fact::Watched(_) | Fact::Line(_) => return None,
        Fact::Data(_) => format!("{}: {}", finding.found, finding.advice.unwrap_or_default()),
        Fact::Disk(disk) => disk.shortage()?,
        // A GPU that is missing holds its own slot, and no other.
        Fact::Gpus(gpus) if !gpus.devices().is_empty() => return None,
        Fact::Gpus(_) => {
            "NVML shows no GPU, and `device = \"gpu\"` under [blender] allows nothing else: install the \
                          NVIDIA driver, or write `device = \"cpu\"`; then restart the agent"
                .to_owned()
        }
    };
    Some(Refusal { check: finding.check, reason })
}

#[cfg(test)]
mod tests {
    use pictor_blender::{Installed, sandbox::Mode};
    use pictor_measure::nvml::GpuSample;
    use semver::Version;

    use super::*;
    use crate::{
        devices::DeviceChoice,
        disk::Disk,
        probe::{Blenders, Data, Isolation, Silence},
    };

    fn blenders() -> Vec<Blenders> {
        let installed = Installed { version: Version::new(4, 2, 0), path: "/opt/blender".into() };
        let named = NoBlender::Named("/nowhere: the configured Blender cannot be opened".to_owned());
        let chosen = [
            Ok(installed.clone()),
            Err(NoBlender::Nowhere),
            Err(named),
            Err(NoBlender::Gone("/opt/blender".into())),
        ];
        chosen.into_iter().map(|chosen| Blenders { installed: vec![installed.clone()], chosen }).collect()
    }

    fn disks() -> Vec<Disk> {
        let free = [None, Some(0), Some((256 << 20) - 1), Some(256 << 20), Some(1 << 40)];
        free.into_iter().map(|free_bytes| Disk { folder: "/data".into(), free_bytes }).collect()
    }

    fn sandboxes() -> Vec<Isolation> {
        let tried = [
            (Mode::Auto, Ok("bubblewrap holds".to_owned())),
            (Mode::Off, Ok("it is off".to_owned())),
            (Mode::Auto, Err("bubblewrap is not there".to_owned())),
        ];
        tried.into_iter().map(|(mode, tried)| Isolation { mode, tried }).collect()
    }

    fn inventories() -> Vec<Inventory> {
        let gpu = |uuid: &str| GpuSample { uuid: uuid.to_owned(), ..GpuSample::default() };
        let mut all = Vec::new();
        for choice in [DeviceChoice::Auto, DeviceChoice::Cpu, DeviceChoice::Gpu] {
            for (visible, remembered) in
                [(vec![], vec![]), (vec![gpu("a")], vec![]), (vec![], vec![gpu("a")])]
            {
                for silence in [None, Some(Silence::NoAnswer), Some(Silence::Error("no driver".to_owned()))] {
                    let (visible, remembered) = (visible.clone(), remembered.clone());
                    all.push(Inventory { choice, visible, remembered, silence });
                }
            }
        }
        all
    }

    fn everything() -> Vec<(Facts, Inventory)> {
        let data = [Ok(()), Err("Read-only file system".to_owned())];
        let mut all = Vec::new();
        for written in data {
            for disk in disks() {
                for blender in blenders() {
                    for sandbox in sandboxes() {
                        for gpus in inventories() {
                            let data = Data { folder: "/data".into(), written: written.clone() };
                            let (disk, blender, sandbox) = (disk.clone(), blender.clone(), sandbox.clone());
                            all.push((Facts { data, disk, blender, sandbox }, gpus));
                        }
                    }
                }
            }
        }
        all
    }

    /// What doctor says, of the same facts.
    fn examined(facts: &Facts, gpus: &Inventory) -> Vec<Finding> {
        let Facts { data, disk, blender, sandbox } = facts;
        let facts = [
            Fact::Data(data),
            Fact::Disk(disk),
            Fact::Blender(blender),
            Fact::Sandbox(sandbox),
            Fact::Gpus(gpus),
        ];
        facts.into_iter().flat_map(of).collect()
    }

    #[test]
    fn doctor_never_says_yes_where_readiness_says_no() {
        for (facts, gpus) in everything() {
            let failures: Vec<_> = examined(&facts, &gpus)
                .into_iter()
                .filter(Finding::is_failure)
                .map(|said| said.check)
                .collect();
            let refused = refusal(&facts, &gpus).map(|refusal| refusal.check);
            assert!(refused.is_none_or(|check| failures.contains(&check)), "{refused:?}: {failures:?}");
            // Nor the other way round, but for GPUs that are missing: the others may render.
            let for_all = failures.iter().any(|check| *check != Check::Gpus || gpus.devices().is_empty());
            assert_eq!(refused.is_some(), for_all, "{facts:?} {gpus:?}");
        }
    }

    #[test]
    fn a_refusal_says_what_to_do() {
        for (facts, gpus) in everything() {
            let Some(Refusal { check, reason }) = refusal(&facts, &gpus) else { continue };
            let expected = match check {
                Check::Blender => ["--blender", "there is no Blender: install it", "is gone from"].as_slice(),
                Check::Gpus => &["install the NVIDIA driver"],
                Check::Disk => &["the disk is full: ", "Make room"],
                Check::Data => &["choose another folder with --data"],
                Check::Sandbox => &["bubblewrap is not there"],
                other => panic!("{other:?} keeps nobody from tasks"),
            };
            assert!(expected.iter().any(|words| reason.contains(words)), "{reason}");
        }
    }
}
