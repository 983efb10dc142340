//! The Blender installations of this machine, and the one of them that tasks are rendered with.

use std::path::PathBuf;

use pictor_blender::{Detection, Installed, Places, detect};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blenders {
    /// Newest first.
    pub installed: Vec<Installed>,
    /// The configured one and no other, or the newest.
    pub chosen: Result<Installed, NoBlender>,
}

/// Why there is none to render with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoBlender {
    #[error("there is no Blender")]
    Nowhere,
    /// The owner named one, which cannot be used.
    #[error("{0}")]
    Named(String),
    /// It was there when it was chosen.
    #[error("Blender is gone from {}", .0.display())]
    Gone(PathBuf),
}

impl Blenders {
    /// Asks each installation for its version.
    pub async fn look(places: &Places) -> Blenders {
        let detection = detect(places).await;
        let chosen = choose(places, &detection);
        Blenders { installed: detection.installed, chosen }
    }
}

/// A glance at the one that was chosen.
pub fn still_there(chosen: &Installed) -> Result<Installed, NoBlender> {
    if chosen.path.exists() { Ok(chosen.clone()) } else { Err(NoBlender::Gone(chosen.path.clone())) }
}

fn choose(places: &Places, detection: &Detection) -> Result<Installed, NoBlender> {
    let Some(configured) = &places.configured else {
        return detection.installed.first().cloned().ok_or(NoBlender::Nowhere);
    };
    let path = dunce::canonicalize(configured).unwrap_or_else(|_| configured.clone());
    if let Some(found) = detection.installed.iter().find(|found| found.path == path) {
        return Ok(found.clone());
    }
    let failure = detection.failed.iter().find(|failed| failed.path == path || failed.path == *configured);
    let said = failure.map_or_else(|| format!("{} is no Blender", path.display()), ToString::to_string);
    Err(NoBlender::Named(said))
}
