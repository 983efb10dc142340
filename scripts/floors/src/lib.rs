//! The floors of the workspace's crates. A room is a top-level module; `floors.txt` beside a crate's `Cargo.toml` lists
//! its rooms from top to bottom, and a room imports only what stands below it.

mod circles;
mod floors;
mod house;
mod paths;

pub use floors::{Floors, NAME};
pub use house::{House, Import, crates};
