//! Text of a creator's scene without what is the creator's alone: paths and names of files.

/// What stands where a path or the name of a file stood.
const HIDDEN: &str = "[path]";
/// The endings of what scenes name: themselves, and the files that they are made of.
const ENDINGS: &[&str] = &[
    ".abc", ".avi", ".bake", ".blend", ".blend1", ".bmp", ".bphys", ".cin", ".dae", ".dds", ".dpx", ".exr",
    ".fbx", ".flac", ".gif", ".glb", ".gltf", ".hdr", ".ies", ".jp2", ".jpeg", ".jpg", ".mdd", ".mkv",
    ".mov", ".mp3", ".mp4", ".mtl", ".obj", ".ogg", ".osl", ".oso", ".otf", ".pc2", ".ply", ".png", ".psd",
    ".py", ".rgb", ".sgi", ".stl", ".svg", ".tga", ".tif", ".tiff", ".ttf", ".usd", ".usda", ".usdc",
    ".usdz", ".vdb", ".wav", ".webm", ".webp", ".x3d",
];

/// The text without paths and names of files: they are the creator's alone.
pub(super) fn redacted(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let (line, end) = line.strip_suffix('\n').map_or((line, ""), |line| (line, "\n"));
        redact_line(line, &mut shown);
        shown.push_str(end);
    }
    shown
}

/// Quoted text is judged whole, for a path may hold blanks; what is not quoted, word by word, and a path
/// that begins there hides the rest of its line, for the same reason.
fn redact_line(line: &str, shown: &mut String) {
    let mut rest = line;
    loop {
        let Some(at) = rest.find(['\'', '"', '`', '“']) else { return redact_words(rest, shown) };
        let quote = if rest[at..].starts_with('“') { '”' } else { char::from(rest.as_bytes()[at]) };
        let inside_at = at + if quote == '”' { '“'.len_utf8() } else { 1 };
        let Some(inside) = rest[inside_at..].find(quote) else { return redact_words(rest, shown) };
        let (before, inside_text) = (&rest[..at], &rest[inside_at..inside_at + inside]);
        if let Some(path_at) = path_start(before) {
            shown.push_str(&before[..path_at]);
            shown.push_str(HIDDEN);
            return;
        }
        redact_words(before, shown);
        shown.push_str(&rest[at..inside_at]);
        shown.push_str(if inside_text.contains(['/', '\\']) || names_a_file(inside_text) {
            HIDDEN
        } else {
            inside_text
        });
        shown.push(quote);
        rest = &rest[inside_at + inside + quote.len_utf8()..];
    }
}

fn redact_words(text: &str, shown: &mut String) {
    let (words, is_path) = match path_start(text) {
        Some(at) => (&text[..at], true),
        None => (text, false),
    };
    for word in words.split_inclusive(char::is_whitespace) {
        let bare = word.trim_end();
        if names_a_file(bare) {
            shown.push_str(HIDDEN);
            shown.push_str(&word[bare.len()..]);
        } else {
            shown.push_str(word);
        }
    }
    if is_path {
        shown.push_str(HIDDEN);
    }
}

/// Where a path begins: at a slash or a drive in front of more of it.
fn path_start(text: &str) -> Option<usize> {
    let begins = |at: usize| {
        let (before, from) = (text[..at].chars().next_back(), &text[at..]);
        let mut next = from.chars().skip(1);
        let second = next.next();
        let is_drive = from.starts_with(|first: char| first.is_ascii_alphabetic())
            && second == Some(':')
            && matches!(next.next(), Some('/' | '\\'))
            && !before.is_some_and(char::is_alphanumeric);
        let is_slash = from.starts_with(['/', '\\']) && second.is_some_and(|next| !next.is_whitespace());
        is_drive || (is_slash && !is_fraction(text, at))
    };
    let at = text.char_indices().map(|(at, _)| at).find(|at| begins(*at))?;
    // The folder in front of the first slash is a part of it.
    Some(text[..at].rfind(char::is_whitespace).map_or(0, |blank| blank + 1))
}

/// Whether the word around this place is a figure: `1/4`.
fn is_fraction(text: &str, at: usize) -> bool {
    let from = text[..at].rfind(char::is_whitespace).map_or(0, |blank| blank + 1);
    let word = text[from..].split(char::is_whitespace).next().unwrap_or_default();
    word.starts_with(|first: char| first.is_ascii_digit())
        && word.chars().all(|letter| letter.is_ascii_digit() || matches!(letter, '/' | '.' | ','))
}

fn names_a_file(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    ENDINGS.iter().any(|ending| {
        lower.match_indices(ending).any(|(at, _)| {
            at > 0 && !lower[at + ending.len()..].starts_with(|next: char| next.is_ascii_alphanumeric())
        })
    })
}

#[cfg(test)]
mod tests {
    use super::redacted;

    #[test]
    fn paths_and_file_names_are_hidden() {
        for (log, shown) in [
            ("Read blend: /pictor/scene.blend", "Read blend: [path]"),
            ("Warning: Path '/home/bob/my film/wood.png' not found", "Warning: Path '[path]' not found"),
            ("Unable to open \"//textures\\rust.exr\", sorry", "Unable to open \"[path]\", sorry"),
            ("cannot read C:\\Users\\bob\\secret film\\a.tif", "cannot read [path]"),
            ("cannot read D:/film/a.tif", "cannot read [path]"),
            ("LIB: film/props/chair.blend: missing", "LIB: [path]"),
            ("Image hero.PNG: not found", "Image [path] not found"),
            ("Saved: “geheim”", "Saved: “geheim”"),
            ("it's in /home/bob's film/x", "it'[path]'s [path]"),
            ("File \"/usr/share/x.py\", line 3, in render", "File \"[path]\", line 3, in render"),
        ] {
            assert_eq!(redacted(log), shown);
        }
    }

    #[test]
    fn what_tells_no_path_stays() {
        let log = "Blender 3.4.1\nFra:1 Mem:22.66M (Peak 23.20M) | Time:00:00.10 | Sample 1/4\n\nRendering 1 / 4 samples\r\n";
        assert_eq!(redacted(log), log);
    }
}
