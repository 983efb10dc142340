//! Blender's own command line, and the commands and events of `driver.py`.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

/// What renders inside Blender.
pub(super) const DRIVER: &str = include_str!("driver.py");
/// What makes the scene of a test render, before the driver.
pub(super) const TEST_SCENE: &str = include_str!("test_scene.py");

/// What Cycles renders on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Device {
    Cpu,
    Gpu {
        /// NVML's, for `CUDA_VISIBLE_DEVICES`.
        uuid: String,
        /// As metrics number it.
        index: u32,
        /// NVML's minor number, which names the device node; not its index.
        minor: u32,
    },
}

impl Device {
    /// `None` of the CPU.
    pub fn gpu_uuid(&self) -> Option<&str> {
        match self {
            Device::Cpu => None,
            Device::Gpu { uuid, .. } => Some(uuid),
        }
    }
}

#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum DeviceSetting {
    Cpu,
    Gpu { backends: &'static [&'static str] },
}

#[derive(Serialize)]
struct Settings {
    device: DeviceSetting,
}

/// Everything after the program: no user configuration, no scripts of the scene, our driver.
pub(super) fn arguments(scene: Option<&Path>, driver: &Path, device: &Device) -> Vec<OsString> {
    let device = match device {
        Device::Cpu => DeviceSetting::Cpu,
        Device::Gpu { .. } => DeviceSetting::Gpu { backends: &["OPTIX", "CUDA"] },
    };
    let settings = serde_json::json!(Settings { device }).to_string();
    let mut arguments: Vec<OsString> = ["-b", "--factory-startup", "-Y"].map(OsString::from).into();
    arguments.extend(scene.map(OsString::from));
    arguments.extend(["--python-exit-code", "1", "--python"].map(OsString::from));
    arguments.push(driver.into());
    arguments.extend([OsString::from("--"), settings.into()]);
    arguments
}

/// The name of a frame's file in the output folder: `frame_000001.png`, `frame_-00005.png`.
pub fn frame_name(frame: i32) -> String {
    format!("frame_{frame:06}.png")
}

/// A frame the driver is asked for, one line of JSON each. The end of its stdin means stop.
#[derive(Debug, Serialize)]
pub(super) struct RenderCommand {
    pub(super) frame: i32,
    /// As Blender sees it.
    pub(super) path: PathBuf,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) width: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) height: Option<u32>,
}

/// What the driver says. A scene that runs code can say it too, so none of it is believed without a check.
#[derive(Debug, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(super) enum DriverEvent {
    Loaded {
        version: String,
        engine: String,
        device: Option<String>,
        lacks: Vec<String>,
    },
    /// Statistics, on versions that hand them to Python.
    Stats {
        text: String,
    },
    Frame {
        frame: i32,
    },
    Error {
        kind: RefusalKind,
        message: String,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum RefusalKind {
    NoCamera,
    NoDenoiser,
    NoGpu,
    #[serde(other)]
    Render,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frame_names() {
        assert_eq!(frame_name(1), "frame_000001.png");
        assert_eq!(frame_name(-5), "frame_-00005.png");
        assert_eq!(frame_name(1_048_574), "frame_1048574.png");
    }

    #[test]
    fn an_event_that_makes_no_sense_does_not_parse() {
        for text in [r#"{"event":"frame","frame":99999999999}"#, r#"{"event":"boom"}"#, "[]", "\u{7}"] {
            assert!(serde_json::from_str::<DriverEvent>(text).is_err(), "{text}");
        }
        let unknown = serde_json::from_str(r#"{"event":"error","kind":"new","message":"m"}"#).unwrap();
        assert!(matches!(unknown, DriverEvent::Error { kind: RefusalKind::Render, .. }));
    }
}
