//! `pictor-floors [FOLDER]`: says of each crate below a folder how many rooms it has, which of them (and which files)
//! import each other, and what breaks its list of floors. Exits 1 if anything does.

use std::{path::Path, process::ExitCode};

use pictor_floors::{Floors, House, NAME, crates};

fn main() -> anyhow::Result<ExitCode> {
    let folder = std::env::args_os().nth(1).unwrap_or_else(|| ".".into());
    let mut is_broken = false;
    for folder in crates(Path::new(&folder))? {
        let house = House::read(&folder)?;
        let (imports, circles, files) = (house.imports(), house.room_circles(), house.file_circles());
        let in_circles: usize = circles.iter().map(Vec::len).sum();
        let files_in_circles: usize = files.iter().map(Vec::len).sum();
        println!(
            "{}: {} rooms, {} paths between them; in circles: {in_circles} rooms, {files_in_circles} files",
            folder.display(),
            house.rooms().len(),
            imports.len()
        );
        for (what, circle) in
            circles.iter().map(|circle| ("rooms", circle)).chain(files.iter().map(|circle| ("files", circle)))
        {
            println!("  {} {what} import each other: {}", circle.len(), circle.join(", "));
        }
        let broken = match folder.join(NAME).is_file() {
            true => Floors::read(&house)?.broken(&house),
            false if house.rooms().len() > 1 => vec![format!("has no {NAME}")],
            false => Vec::new(),
        };
        for line in &broken {
            println!("  {line}");
        }
        is_broken |= !broken.is_empty();
    }
    Ok(ExitCode::from(u8::from(is_broken)))
}
