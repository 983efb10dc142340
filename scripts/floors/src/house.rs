//! A crate as it is written: its files, their rooms, and who imports whom.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, anyhow};

use crate::{
    circles::circles,
    paths::{self, Written},
};

/// A longer file is more than one thing.
const LINES_MAX: usize = 600;

/// The room of what stands in the crate's root itself.
const ROOT: &str = "lib";

/// One crate.
#[derive(Debug)]
pub struct House {
    pub folder: PathBuf,
    files: Vec<File>,
}

#[derive(Debug)]
struct File {
    path: PathBuf,
    /// Empty for the root.
    module: Vec<String>,
    room: String,
    written: Vec<Written>,
    lines: usize,
    says_what_it_is: bool,
}

/// One path that leaves the room it is written in.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Import {
    pub from: String,
    pub to: String,
    /// As written, from the crate's root.
    pub path: String,
    pub place: String,
}

/// The folders of the crates below one, target folders and hidden ones aside.
pub fn crates(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    if folder.join("src").is_dir() && folder.join("Cargo.toml").is_file() {
        found.push(folder.to_owned());
    }
    for entry in sorted(folder)? {
        let name = entry.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if entry.is_dir() && !name.starts_with('.') && !["target", "src", "tests"].contains(&name.as_str()) {
            found.extend(crates(&entry)?);
        }
    }
    Ok(found)
}

impl House {
    pub fn read(folder: &Path) -> anyhow::Result<House> {
        let manifest = fs::read_to_string(folder.join("Cargo.toml"))?;
        let name = manifest
            .lines()
            .find_map(|line| line.strip_prefix("name = "))
            .ok_or_else(|| anyhow!("{}: no name", folder.display()))?;
        let own_name = name.trim().trim_matches('"').replace('-', "_");
        let source = folder.join("src");
        let has_library = source.join("lib.rs").is_file();
        let (mut files, mut test_modules) = (Vec::new(), Vec::new());
        for path in rust_files(&source)? {
            let module = module_of(&source, &path)?;
            let text = fs::read_to_string(&path)?;
            let (lines, says_what_it_is) = (text.lines().count(), text.starts_with("//!"));
            let tokens = text.parse().map_err(|error| anyhow!("{}: {error}", path.display()))?;
            let text = paths::read(tokens, &module, &own_name);
            test_modules.extend(text.test_modules);
            // The program beside a library is a room of its own.
            let is_program = has_library && path == source.join("main.rs");
            let room = match module.first() {
                Some(first) => first.clone(),
                None if is_program => "main".to_owned(),
                None => ROOT.to_owned(),
            };
            files.push(File { path, module, room, written: text.written, lines, says_what_it_is });
        }
        files.retain(|file| !test_modules.iter().any(|tests| file.module.starts_with(tests)));
        let mut house = House { folder: folder.to_owned(), files };
        house.resolve();
        Ok(house)
    }

    /// What the root lends on counts as what it is: `crate::Name` leads to the room that has it.
    fn resolve(&mut self) {
        let roots = self.files.iter().filter(|file| file.room == ROOT);
        let lent: BTreeMap<String, Vec<String>> = roots
            .flat_map(|file| &file.written)
            .filter(|written| written.names.len() > 1)
            .filter_map(|written| Some((written.names.last()?.clone(), written.names.clone())))
            .collect();
        let rooms: Vec<String> = self.rooms().into_iter().map(str::to_owned).collect();
        let paths = self.files.iter_mut().filter(|file| file.room != ROOT).flat_map(|file| &mut file.written);
        for written in paths {
            let Some((first, rest)) = written.names.split_first() else { continue };
            if let (false, Some(whole)) = (rooms.contains(first), lent.get(first)) {
                written.names = [whole.as_slice(), rest].concat();
            }
        }
    }

    /// The rooms, by name.
    pub fn rooms(&self) -> Vec<&str> {
        let mut rooms: Vec<&str> = self.files.iter().map(|file| file.room.as_str()).collect();
        rooms.sort_unstable();
        rooms.dedup();
        rooms
    }

    /// Every path from one room into another.
    pub fn imports(&self) -> Vec<Import> {
        let rooms = self.rooms();
        let mut imports = Vec::new();
        for file in &self.files {
            for written in &file.written {
                let Some(to) = self.room_of(&written.names, &rooms) else { continue };
                if to != file.room {
                    imports.push(Import {
                        from: file.room.clone(),
                        to: to.to_owned(),
                        path: written.names.join("::"),
                        place: format!("{}:{}", self.inside(file), written.line),
                    });
                }
            }
        }
        imports
    }

    /// Files that are more than one thing by their length.
    pub fn long_files(&self) -> impl Iterator<Item = String> {
        let long = self.files.iter().filter(|file| file.lines > LINES_MAX);
        long.map(|file| format!("{}: {} lines in one file", self.inside(file), file.lines))
    }

    /// Files whose first line does not say what they are.
    pub fn silent_files(&self) -> impl Iterator<Item = String> {
        let silent = self.files.iter().filter(|file| !file.says_what_it_is);
        silent.map(|file| format!("{}: its first line does not say what it is", self.inside(file)))
    }

    fn inside<'a>(&self, file: &'a File) -> std::path::Display<'a> {
        file.path.strip_prefix(&self.folder).unwrap_or(&file.path).display()
    }

    /// Rooms that import each other, in one circle or several that hang together; the largest first.
    pub fn room_circles(&self) -> Vec<Vec<String>> {
        let imports = self.imports();
        // Whoever names something of the root, such as its state, does not import the list of rooms.
        let between = imports.iter().filter(|import| import.to != ROOT);
        circles(between.map(|import| (import.from.as_str(), import.to.as_str())))
    }

    /// Files that import each other. What a module lends its own children is no circle.
    pub fn file_circles(&self) -> Vec<Vec<String>> {
        let by_module: BTreeMap<&[String], &File> = self
            .files
            .iter()
            .filter(|file| !file.module.is_empty())
            .map(|file| (file.module.as_slice(), file))
            .collect();
        let mut edges = Vec::new();
        for file in self.files.iter().filter(|file| !file.module.is_empty()) {
            for written in &file.written {
                let lengths = (1..=written.names.len()).rev();
                let target = lengths.filter_map(|length| by_module.get(&written.names[..length])).next();
                if let Some(target) = target
                    && !file.module.starts_with(&target.module)
                {
                    edges.push((file.module.join("/"), target.module.join("/")));
                }
            }
        }
        circles(edges.iter().map(|(from, to)| (from.as_str(), to.as_str())))
    }

    /// `None` for a path into another crate.
    fn room_of<'a>(&self, names: &[String], rooms: &[&'a str]) -> Option<&'a str> {
        let first = names.first()?;
        if let Some(room) = rooms.iter().find(|room| *room == first && first != ROOT && first != "main") {
            return Some(room);
        }
        // A relative path was put below its own module, which is a room of its own.
        rooms.contains(&ROOT).then_some(ROOT)
    }
}

fn sorted(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

fn rust_files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in sorted(folder)? {
        if path.is_dir() {
            files.extend(rust_files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(files)
}

fn module_of(source: &Path, path: &Path) -> anyhow::Result<Vec<String>> {
    let inside = path.strip_prefix(source)?.with_extension("");
    let mut names: Vec<String> =
        inside.components().map(|part| part.as_os_str().to_string_lossy().into_owned()).collect();
    let is_root = names.len() == 1 && names.iter().all(|name| name == "lib" || name == "main");
    if is_root || names.last().is_some_and(|name| name == "mod") {
        names.pop();
    }
    Ok(names)
}
