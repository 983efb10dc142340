//! What is looked at to tell whether a worker is well, and what each check is called.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::status::{UnknownWord, words};

words!(
    /// What is looked at: by the agent on its machine, or by the registry at its workers.
    Check {
        Config = "config",
        Data = "data",
        Disk = "disk",
        Blender = "blender",
        Sandbox = "sandbox",
        /// Whether the GPUs that the machine has had are there.
        Gpus = "gpus",
        /// Whether tasks ran on the GPU they were meant for.
        GpuFallback = "gpu_fallback",
        GpuThrottling = "gpu_throttling",
        GpuXid = "gpu_xid",
        Registry = "registry",
        Clock = "clock",
        Token = "token",
        /// Whether another machine works under the same config file. The registry alone sees that.
        DuplicateWorker = "duplicate_worker",
    }
);

impl Check {
    /// What it looks at, for people: true of what is well and of what is not.
    pub const fn title(self) -> &'static str {
        match self {
            Check::Config => "Config file",
            Check::Data => "Data folder",
            Check::Disk => "Disk",
            Check::Blender => "Blender",
            Check::Sandbox => "Sandbox",
            Check::Gpus => "GPUs",
            Check::GpuFallback => "GPU used",
            Check::GpuThrottling => "GPU speed",
            Check::GpuXid => "GPU errors",
            Check::Registry => "Registry",
            Check::Clock => "Clock",
            Check::Token => "Token",
            Check::DuplicateWorker => "Two machines, one worker",
        }
    }
}

/// Something that is wrong with a worker, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HealthFinding {
    /// As `pictor_health{check}` names it.
    pub check: String,
    pub found: String,
    pub advice: String,
}
