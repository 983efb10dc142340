//! Whether the worker app starts with the session: a file in the folder that desktops look into.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};

const FILE: &str = "pictor-agent.desktop";

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Autostart {
    On,
    Off,
}

/// Writes or removes the file; what it came to, for the person who asked.
pub(super) fn set(
    wanted: Autostart,
    folder: &Path,
    program: &Path,
    words: &[String],
) -> anyhow::Result<String> {
    if cfg!(windows) {
        bail!("on Windows the service starts with the machine: pictor-agent service install");
    }
    let file = folder.join(FILE);
    match wanted {
        Autostart::On => write(&file, &entry(program, words))
            .map(|()| format!("The worker app starts with the session, by {}.", file.display())),
        Autostart::Off => {
            remove(&file).map(|()| "The worker app does not start with the session.".to_owned())
        }
    }
    .with_context(|| format!("cannot change {}", file.display()))
}

fn write(file: &Path, text: &str) -> io::Result<()> {
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(file, text)
}

fn remove(file: &PathBuf) -> io::Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn entry(program: &Path, words: &[String]) -> String {
    let program = program.to_string_lossy();
    let options = ["app".to_owned(), "--hidden".to_owned()];
    let line: Vec<String> = std::iter::once(&*program)
        .chain(options.iter().chain(words).map(String::as_str))
        .map(quoted)
        .collect();
    format!(
        "[Desktop Entry]\nType=Application\nName=My Workers\nComment=Renders for the network, shown in the tray\n\
         Exec={}\nIcon=pictor-agent\nTerminal=false\nX-GNOME-Autostart-enabled=true\n",
        line.join(" ")
    )
}

/// A word of an Exec line: it is quoted for the command, and the value it stands in escapes once more.
fn quoted(word: &str) -> String {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "/._-+=:,@".contains(letter);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    let mut text = String::from("\"");
    for letter in word.chars() {
        match letter {
            '"' | '`' | '$' => text.extend(["\\\\", letter.encode_utf8(&mut [0; 4])]),
            '\\' => text.push_str("\\\\\\\\"),
            '%' => text.push_str("%%"),
            _ => text.push(letter),
        }
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_switched_on_and_off_and_off_again() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("autostart");
        set(Autostart::On, &folder, Path::new("/usr/bin/pictor-agent"), &[]).unwrap();
        let text = fs::read_to_string(folder.join(FILE)).unwrap();
        assert!(text.contains("\nExec=/usr/bin/pictor-agent app --hidden\n"), "{text}");
        for _ in 0..2 {
            set(Autostart::Off, &folder, Path::new("/usr/bin/pictor-agent"), &[]).unwrap();
            assert!(!folder.join(FILE).exists());
        }
    }

    #[test]
    fn words_of_a_command_are_quoted_where_they_must_be() {
        for (word, written) in [
            ("/usr/bin/pictor-agent", "/usr/bin/pictor-agent"),
            ("/opt/my tools/agent", "\"/opt/my tools/agent\""),
            ("50%", "\"50%%\""),
            ("a\"b$c", r#""a\\"b\\$c""#),
            (r"a\b", r#""a\\\\b""#),
            ("", "\"\""),
        ] {
            assert_eq!(quoted(word), written);
        }
    }
}
