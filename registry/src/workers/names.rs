//! Names of many workers at once: `rack-{01..125}`.

use pictor_protocol::WorkerName;

use crate::error::{Error, Result};

pub const WORKERS_MAX: usize = 1_000;

/// The names that a text with one range of numbers stands for, in order. Numbers are as wide as the wider
/// end when one of them begins with a zero.
pub fn expand(text: &str) -> Result<Vec<WorkerName>> {
    let refused = || {
        Error::Invalid(format!(
            "names: write one range of numbers in braces, such as rack-{{01..125}}, with at most {WORKERS_MAX} numbers"
        ))
    };
    let (before, rest) = text.split_once('{').ok_or_else(refused)?;
    let (range, after) = rest.split_once('}').ok_or_else(refused)?;
    let (first_text, last_text) = range.split_once("..").ok_or_else(refused)?;
    let number = |digits: &str| -> Result<usize> {
        let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        if is_number { digits.parse().map_err(|_| refused()) } else { Err(refused()) }
    };
    let (first, last) = (number(first_text)?, number(last_text)?);
    if last < first || last - first >= WORKERS_MAX || after.contains(['{', '}']) {
        return Err(refused());
    }
    let is_padded = |digits: &str| digits.len() > 1 && digits.starts_with('0');
    let width =
        if is_padded(first_text) || is_padded(last_text) { first_text.len().max(last_text.len()) } else { 0 };
    (first..=last)
        .map(|number| {
            let name = format!("{before}{number:0width$}{after}");
            name.parse().map_err(|error| Error::Invalid(format!("names: {error}")))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::expand;

    fn names(text: &str) -> Vec<String> {
        expand(text).unwrap().into_iter().map(String::from).collect()
    }

    #[test]
    fn a_range_stands_for_its_numbers() {
        assert_eq!(names("rack-{9..11}"), ["rack-9", "rack-10", "rack-11"]);
        assert_eq!(names("{08..10}.hall"), ["08.hall", "09.hall", "10.hall"]);
        let many = names("rack-{01..125}");
        assert_eq!((many.len(), &*many[0], &*many[124]), (125, "rack-001", "rack-125"));
        assert_eq!(names("a{1..1000}").len(), 1_000);
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "rack",
            "rack-{1..}",
            "rack-{2..1}",
            "a{1..1001}",
            "{1..2}{3..4}",
            "{a..b}",
            "{-1..2}",
            "a/{1..2}",
            "x{1..99999999999999999999}",
        ] {
            assert!(expand(text).is_err(), "{text}");
        }
        assert!(expand(&format!("{}{{1..2}}", "x".repeat(64))).is_err());
    }
}
