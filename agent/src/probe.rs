//! One look at the machine: facts, and not a word on what they mean or what to do. Whoever wants to know how the machine
//! stands looks through here.

mod blender;
mod gpus;
mod line;
mod running;

use std::{
    fs,
    path::{Path, PathBuf},
};

use pictor_blender::{Installed, Places, Sandbox, sandbox};

use crate::{devices::DeviceChoice, disk::Disk, registry::Identity};

pub use blender::{Blenders, NoBlender, still_there};
pub use gpus::{Inventory, Silence};
pub use line::{Line, TokenWord};
pub use running::{Agent, Watched};

/// Where to look.
#[derive(Clone)]
pub struct Probe {
    /// The config file, and what it says of whose this machine is.
    pub config: PathBuf,
    pub worker: Identity,
    pub agent: Agent,
    pub data: PathBuf,
    pub places: Places,
    pub sandbox: sandbox::Settings,
    pub device: DeviceChoice,
    pub nvml_library: Option<PathBuf>,
}

/// What a look at the machine itself came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    pub data: Data,
    pub disk: Disk,
    pub blender: Blenders,
    pub sandbox: Isolation,
}

/// One fact.
#[derive(Debug, Clone, Copy)]
pub enum Fact<'a> {
    /// Where the config file is, and whose worker this machine is.
    Config(&'a Path, &'a Identity),
    Data(&'a Data),
    Disk(&'a Disk),
    Blender(&'a Blenders),
    Sandbox(&'a Isolation),
    Gpus(&'a Inventory),
    /// What a running agent has watched.
    Watched(&'a Watched),
    Line(&'a Line),
}

/// Whether the data folder can be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Data {
    pub folder: PathBuf,
    pub written: Result<(), String>,
}

/// Whether a program could be run in the sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Isolation {
    pub mode: sandbox::Mode,
    /// What isolates, or why nothing does.
    pub tried: Result<String, String>,
}

/// What a task is rendered with.
#[derive(Debug)]
pub struct Tools {
    pub blender: Installed,
    pub sandbox: Sandbox,
}

/// The facts, and what can be rendered with if they are good enough for that.
#[derive(Debug)]
pub struct Look {
    pub facts: Facts,
    pub tools: Option<Tools>,
}

impl Probe {
    /// Looks at everything that a worker needs, and names each fact as soon as it is known.
    pub async fn everything(&self, mut named: impl FnMut(Fact<'_>)) -> (Look, Inventory) {
        named(Fact::Config(&self.config, &self.worker));
        let look = self.machine(&mut named).await;
        let gpus = self.gpus().await;
        named(Fact::Gpus(&gpus));
        if self.device != DeviceChoice::Cpu {
            named(Fact::Watched(&self.agent.ask().await));
        }
        named(Fact::Line(&Line::look(&self.worker.0).await));
        (look, gpus)
    }

    /// Looks at the machine itself.
    pub async fn machine(&self, mut named: impl FnMut(Fact<'_>)) -> Look {
        let data = Data::look(&self.data);
        named(Fact::Data(&data));
        let disk = Disk::look(&self.data);
        named(Fact::Disk(&disk));
        let blender = Blenders::look(&self.places).await;
        named(Fact::Blender(&blender));
        let (sandbox, holding) = Isolation::look(self.sandbox.clone()).await;
        named(Fact::Sandbox(&sandbox));
        let tools = match (&blender.chosen, holding) {
            (Ok(blender), Some(sandbox)) => Some(Tools { blender: blender.clone(), sandbox }),
            _ => None,
        };
        Look { facts: Facts { data, disk, blender, sandbox }, tools }
    }

    /// Looks at the GPUs, unless none is to be used.
    pub async fn gpus(&self) -> Inventory {
        Inventory::look(self.device, self.nvml_library.clone(), &self.data).await
    }
}

impl Data {
    /// Makes the folder where there is none.
    fn look(folder: &Path) -> Data {
        let written = fs::create_dir_all(folder).and_then(|()| tempfile::tempfile_in(folder).map(drop));
        Data { folder: folder.to_owned(), written: written.map_err(|error| error.to_string()) }
    }
}

impl Isolation {
    /// With the sandbox itself, where it holds.
    async fn look(settings: sandbox::Settings) -> (Isolation, Option<Sandbox>) {
        let mode = settings.mode;
        match Sandbox::probe(settings).await {
            Ok(sandbox) => (Isolation::of(&sandbox), Some(sandbox)),
            Err(error) => (Isolation { mode, tried: Err(error.to_string()) }, None),
        }
    }

    /// Of one that was tried out.
    pub fn of(sandbox: &Sandbox) -> Isolation {
        Isolation { mode: sandbox.mode(), tried: Ok(sandbox.describe()) }
    }
}
