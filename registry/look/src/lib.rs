//! What both web faces, the registry's console and the agent's worker app, have in common: style, script and icon, the
//! document around every page, how figures read, and the stream that keeps a page up to date.

mod document;
pub mod live;
pub mod text;

pub use document::{Document, Said, Tab};

/// The style of all pages. What only one face has stands after it.
pub const STYLE: &str = include_str!("look.css");
/// The script of all pages, likewise.
pub const SCRIPT: &str = include_str!("look.js");
/// SVG.
pub const ICON: &str = include_str!("icon.svg");
