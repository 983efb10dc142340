//! The order that a crate's `floors.txt` gives its rooms, and what breaks it.

use std::fs;

use anyhow::{Context, bail};

use crate::house::{House, Import};

/// The list beside a crate's `Cargo.toml`.
pub const NAME: &str = "floors.txt";

/// The rooms of a crate from top to bottom.
///
/// A line of the list is a floor, `name: room room …`; `everywhere: Name …` are names of the root that any room may
/// say, such as the state that handlers take.
#[derive(Debug)]
pub struct Floors {
    rooms: Vec<String>,
    everywhere: Vec<String>,
}

impl Floors {
    pub fn read(house: &House) -> anyhow::Result<Floors> {
        let path = house.folder.join(NAME);
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Floors::parse(&text).with_context(|| path.display().to_string())
    }

    fn parse(text: &str) -> anyhow::Result<Floors> {
        let (mut rooms, mut everywhere) = (Vec::new(), Vec::new());
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let Some((floor, names)) = line.split_once(':') else { bail!("no floor: {line}") };
            let list = if floor == "everywhere" { &mut everywhere } else { &mut rooms };
            list.extend(names.split_whitespace().map(str::to_owned));
        }
        Ok(Floors { rooms, everywhere })
    }

    /// One line for each thing that is not as the list says.
    pub fn broken(&self, house: &House) -> Vec<String> {
        let there = house.rooms();
        let mut broken: Vec<String> = Vec::new();
        let unlisted = there.iter().filter(|room| !self.rooms.iter().any(|listed| listed == *room));
        broken.extend(unlisted.map(|room| format!("room {room} is not in {NAME}")));
        for (at, room) in self.rooms.iter().enumerate() {
            if !there.contains(&room.as_str()) {
                broken.push(format!("{NAME} lists {room}, which is not there"));
            }
            if self.rooms[..at].contains(room) {
                broken.push(format!("{NAME} lists {room} twice"));
            }
        }
        broken.extend(house.imports().iter().filter(|import| self.is_upward(import)).map(|import| {
            format!(
                "{}: {} imports {} (`{}`), which stands above it",
                import.place, import.from, import.to, import.path
            )
        }));
        broken.extend(
            house.file_circles().iter().map(|files| format!("import each other: {}", files.join(", "))),
        );
        broken.extend(house.long_files());
        broken.extend(house.silent_files());
        broken
    }

    fn is_upward(&self, import: &Import) -> bool {
        let height = |room: &str| self.rooms.iter().position(|listed| listed == room);
        let first = import.path.split("::").next().unwrap_or_default();
        let is_open = self.everywhere.iter().any(|name| name == first);
        match (height(&import.from), height(&import.to)) {
            (Some(from), Some(to)) => to < from && !is_open,
            _ => false,
        }
    }
}
