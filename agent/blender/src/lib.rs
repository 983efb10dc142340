//! Blender: found, confined, driven, watched, and its output checked.
//!
//! [`detect`] finds installations, [`Sandbox::probe`] tries out isolation, [`Session`] is one Blender with one
//! scene that renders the frames asked for, and [`output::check`] says whether a frame can be trusted.
//!
//! The step into the sandbox is the program that uses this crate, started once more: its `main` calls [`inner`] first. See
//! `examples/render.rs`.

pub mod detect;
pub mod output;
pub mod progress;
pub mod sandbox;
pub mod settings;

mod channel;
mod command;
mod process;
mod session;
mod watch;

pub use command::{Device, frame_name};
pub use detect::{Detection, Installed, Places, detect};
pub use sandbox::{Mode, Sandbox, inner};
pub use session::{BlenderError, Event, Launch, Loaded, Session};
pub use watch::{Breach, Limits};
