//! What a task needs besides a GPU: the config file, the data folder, room on the disk, Blender and the sandbox.

use std::path::Path;

use pictor_blender::{Installed, sandbox::Mode};
use pictor_protocol::Check;

use crate::{
    disk::{Disk, Room},
    finding::Finding,
    probe::{Data, Isolation, NoBlender},
    registry::Identity,
};

/// Whose worker this machine is.
pub(super) fn config(path: &Path, Identity(worker): &Identity) -> Finding {
    let whose = format!("{}: worker {} ({})", path.display(), worker.worker_name, worker.worker_id);
    Finding::ok(Check::Config, whose)
}

pub fn no_config(error: &dyn std::error::Error) -> Finding {
    let advice = "correct the file, or import the worker's config file again; then the rest can be checked";
    Finding::fail(Check::Config, error.to_string(), advice)
}

pub(super) fn data(Data { folder, written }: &Data) -> Finding {
    match written {
        Ok(()) => Finding::ok(Check::Data, format!("{} can be written", folder.display())),
        Err(error) => Finding::fail(
            Check::Data,
            format!("{} cannot be written: {error}", folder.display()),
            "choose another folder with --data, or run as a user who may write there",
        ),
    }
}

pub(super) fn disk(disk: &Disk) -> Finding {
    let make_room = "make room, or choose another disk with --data";
    match disk.room() {
        Room::None(free) => Finding::fail(Check::Disk, format!("{} MB free", free >> 20), make_room),
        Room::Low(free) => {
            Finding::warn(Check::Disk, format!("nearly full: {:.1} GB free", gigabytes(free)), make_room)
        }
        Room::Enough(free) => Finding::ok(Check::Disk, format!("{} GB free", free >> 30)),
        Room::Unknown => {
            Finding::warn(Check::Disk, "free space is not known", "see the check of the data folder")
        }
    }
}

// Sizes of disks are far below 2^53.
#[allow(clippy::cast_precision_loss)]
fn gigabytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 30)
}

pub(super) fn blender(chosen: Result<&Installed, &NoBlender>) -> Finding {
    match chosen {
        Ok(Installed { version, path }) => {
            Finding::ok(Check::Blender, format!("Blender {version} ({})", path.display()))
        }
        Err(gone @ NoBlender::Gone(_)) => Finding::fail(
            Check::Blender,
            gone.to_string(),
            "install it again, or name another with --blender",
        ),
        Err(named @ NoBlender::Named(_)) => {
            no_blender(format!("{named}: correct --blender, or `path` under [blender]"))
        }
        Err(nowhere @ NoBlender::Nowhere) => {
            let how = if cfg!(windows) {
                "with the installer from blender.org"
            } else {
                "`apt install blender`, or unpack one from blender.org in /opt"
            };
            no_blender(format!("{nowhere}: install it ({how}), or name one with --blender"))
        }
    }
}

pub(super) fn no_blender(found: String) -> Finding {
    let advice = "install Blender 3.4 or newer, or name one with --blender or `path` under [blender]";
    Finding::fail(Check::Blender, found, advice)
}

pub(super) fn sandbox(Isolation { mode, tried }: &Isolation) -> Finding {
    match tried {
        Ok(said) if *mode == Mode::Off => Finding::warn(
            Check::Sandbox,
            said,
            "write `mode = \"auto\"` under [sandbox], unless something else isolates this machine",
        ),
        Ok(said) => Finding::ok(Check::Sandbox, said),
        Err(error) => no_sandbox(error.clone()),
    }
}

pub(super) fn no_sandbox(found: String) -> Finding {
    Finding::fail(Check::Sandbox, found, "do what the message says; until then this machine takes no tasks")
}
