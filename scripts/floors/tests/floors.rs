//! The workspace's own crates, and copies of them with an import that goes up.

#![allow(clippy::unwrap_used)]

use std::{
    fs,
    path::{Path, PathBuf},
};

use pictor_floors::{Floors, House, NAME, crates};

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn houses() -> Vec<House> {
    crates(&workspace()).unwrap().iter().map(|folder| House::read(folder).unwrap()).collect()
}

/// A crate's source and list, where they can be changed.
fn copy(house: &House) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for name in ["Cargo.toml", NAME] {
        fs::copy(house.folder.join(name), copy.path().join(name)).unwrap();
    }
    copy_folder(&house.folder.join("src"), &copy.path().join("src"));
    copy
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let copy = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_folder(&path, &copy);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            fs::copy(&path, copy).unwrap();
        }
    }
}

/// The file that a room begins with.
fn file_of(folder: &Path, room: &str) -> PathBuf {
    let file = folder.join(format!("src/{room}.rs"));
    if file.is_file() { file } else { folder.join(format!("src/{room}/mod.rs")) }
}

#[test]
fn every_crate_keeps_its_floors() {
    let mut broken = Vec::new();
    for house in houses().iter().filter(|house| house.rooms().len() > 1) {
        let name = house.folder.file_name().unwrap().to_string_lossy().into_owned();
        match Floors::read(house) {
            Ok(floors) => broken.extend(floors.broken(house).iter().map(|line| format!("{name}: {line}"))),
            Err(error) => broken.push(format!("{name}: {error:#}")),
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn an_import_planted_upwards_is_named_in_every_crate() {
    for house in houses().iter().filter(|house| house.folder.join(NAME).is_file()) {
        let list = fs::read_to_string(house.folder.join(NAME)).unwrap();
        let rooms = list.lines().filter(|line| !line.starts_with('#') && !line.starts_with("everywhere:"));
        let rooms: Vec<&str> =
            rooms.filter_map(|line| Some(line.split_once(':')?.1)).flat_map(str::split_whitespace).collect();
        // A crate of one room has nothing that could be above another.
        let Some(top) = rooms.iter().find(|room| !["lib", "main"].contains(room)) else { continue };
        let bottom = rooms.last().unwrap();
        for planted in [
            format!("use crate::{top}::Planted;"),
            format!("use crate::{{{top}::Planted}};"),
            format!("pub(crate) use super::{top} as planted;"),
            format!("fn planted() {{ let _ = vec![crate::{top}::Planted]; }}"),
            format!("fn planted() {{ super::{top}::planted(); }}"),
        ] {
            let copy = copy(house);
            let file = file_of(copy.path(), bottom);
            let text = fs::read_to_string(&file).unwrap();
            fs::write(&file, format!("{text}\n{planted}\n")).unwrap();
            let house = House::read(copy.path()).unwrap();
            let broken = Floors::read(&house).unwrap().broken(&house);
            assert!(
                broken.iter().any(|line| line.contains(&format!("{bottom} imports {top} "))),
                "{planted} in {bottom}: {broken:?}"
            );
        }
    }
}

#[test]
fn a_room_that_no_list_knows_is_named() {
    let houses = houses();
    let house = houses.iter().find(|house| house.folder.join(NAME).is_file()).unwrap();
    let copy = copy(house);
    fs::write(copy.path().join("src/annexe.rs"), "//! Built without asking.\n").unwrap();
    let house = House::read(copy.path()).unwrap();
    let broken = Floors::read(&house).unwrap().broken(&house);
    assert!(broken.iter().any(|line| line.contains("annexe")), "{broken:?}");
}
