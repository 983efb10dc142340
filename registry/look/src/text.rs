//! How figures read: one way for each kind, on every page.

use std::fmt;
use std::time::Duration;

use askama::filters::HtmlSafe;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use pictor_protocol::{Micros, UnixMillis};

/// What is not known.
pub const UNKNOWN: &str = "–";

/// A moment as a `time` element.
pub struct Moment {
    machine: String,
    exact: String,
    text: String,
    ages: bool,
}

impl Moment {
    pub fn at(at: UnixMillis, now: UnixMillis, zone: &TimeZone) -> Moment {
        let (there, today) = (zoned(at, zone), zoned(now, zone));
        let text = if there.date() == today.date() {
            there.strftime("today %H:%M").to_string()
        } else if there.year() == today.year() {
            there.strftime("%-d %b %H:%M").to_string()
        } else {
            there.strftime("%-d %b %Y %H:%M").to_string()
        };
        Moment { machine: at.to_string(), exact: exact(at, zone), text, ages: false }
    }

    pub fn ago(at: UnixMillis, now: UnixMillis, zone: &TimeZone) -> Moment {
        let text = match now.seconds_since(at) {
            seconds if seconds < 5.0 => "just now".to_owned(),
            seconds => format!("{} ago", rough(seconds)),
        };
        Moment { machine: at.to_string(), exact: exact(at, zone), text, ages: true }
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ages = if self.ages { " data-ages" } else { "" };
        // Digits, letters, colons and slashes only: nothing that a caller sent.
        write!(f, "<time datetime=\"{}\" title=\"{}\"{ages}>{}</time>", self.machine, self.exact, self.text)
    }
}

impl HtmlSafe for Moment {}

pub fn zoned(at: UnixMillis, zone: &TimeZone) -> jiff::Zoned {
    Timestamp::from_millisecond(at.0).unwrap_or(Timestamp::UNIX_EPOCH).to_zoned(zone.clone())
}

/// With the zone's name, to the second.
pub fn exact(at: UnixMillis, zone: &TimeZone) -> String {
    zoned(at, zone).strftime("%Y-%m-%d %H:%M:%S %Q").to_string()
}

/// A day that is one everywhere, such as that of an exchange rate.
pub fn day(at: &UnixMillis) -> String {
    zoned(*at, &TimeZone::UTC).strftime("%-d %b %Y").to_string()
}

/// The largest unit alone.
fn rough(seconds: f64) -> String {
    let whole = seconds.max(0.0) as i64;
    match whole {
        0..60 => format!("{whole} s"),
        60..3_600 => format!("{} min", whole / 60),
        3_600..86_400 => format!("{} h", whole / 3_600),
        _ => format!("{} d", whole / 86_400),
    }
}

/// The two largest units, as they stand in a sentence or a table.
pub fn duration(seconds: &f64) -> String {
    let whole = seconds.round().max(0.0) as i64;
    match whole {
        0..60 => format!("{whole} s"),
        60..3_600 => format!("{} min {} s", whole / 60, whole % 60),
        3_600..86_400 => format!("{} h {} min", whole / 3_600, whole % 3_600 / 60),
        _ => format!("{} d {} h", whole / 86_400, whole % 86_400 / 3_600),
    }
}

/// Hours, minutes and seconds of something that goes on, in a place of its own: digits that run.
pub fn clock(seconds: &Option<f64>) -> String {
    let Some(Ok(whole)) = seconds.map(Duration::try_from_secs_f64) else { return UNKNOWN.to_owned() };
    let whole = whole.as_secs();
    let (hours, minutes, seconds) = (whole / 3_600, whole / 60 % 60, whole % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
}

pub fn duration_or_unknown(seconds: &Option<f64>) -> String {
    seconds.as_ref().map_or_else(|| UNKNOWN.to_owned(), duration)
}

/// An amount with its currency, to the cent, or to as many places as it takes to tell it from zero.
pub fn money(amount: &Micros, currency: &str) -> String {
    let cents = amount.0 / 10_000;
    let is_small = amount.0 != 0 && amount.0.abs() < 10_000;
    if is_small {
        return format!("{amount} {currency}");
    }
    let sign = if amount.0 < 0 { "−" } else { "" };
    format!("{sign}{}.{:02} {currency}", thousands(cents.abs() / 100), cents.abs() % 100)
}

/// A whole number, its thousands apart.
pub fn thousands(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    if number < 0 { format!("−{text}") } else { text }
}

pub fn percent(ratio: &f64) -> String {
    format!("{:.0} %", ratio * 100.0)
}

pub fn percent_or_unknown(ratio: &Option<f64>) -> String {
    ratio.as_ref().map_or_else(|| UNKNOWN.to_owned(), percent)
}

pub fn bytes(size: &u64) -> String {
    let (scale, unit) = scale_of(*size);
    format!("{} {unit}", scaled(*size, scale))
}

/// `20 of 128 GiB`: both in the unit of the whole.
pub fn part_of(part: &Option<u64>, whole: &Option<u64>) -> String {
    let Some(whole) = *whole else { return bytes_or_unknown(part) };
    let (scale, unit) = scale_of(whole);
    let part = part.map_or_else(|| UNKNOWN.to_owned(), |part| scaled(part, scale));
    format!("{part} of {} {unit}", scaled(whole, scale))
}

fn scale_of(size: u64) -> (f64, &'static str) {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut scale = 1.0;
    let mut unit = 0;
    while size as f64 / scale >= 1_024.0 && unit + 1 < UNITS.len() {
        scale *= 1_024.0;
        unit += 1;
    }
    (scale, UNITS[unit])
}

/// One place after the point, where it is not 0.
fn scaled(size: u64, scale: f64) -> String {
    let text = format!("{:.1}", size as f64 / scale);
    text.strip_suffix(".0").map(str::to_owned).unwrap_or(text)
}

pub fn bytes_or_unknown(size: &Option<u64>) -> String {
    size.as_ref().map_or_else(|| UNKNOWN.to_owned(), bytes)
}

pub fn celsius(degrees: &f64) -> String {
    format!("{degrees:.0} °C")
}

pub fn celsius_or_unknown(degrees: &Option<f64>) -> String {
    degrees.as_ref().map_or_else(|| UNKNOWN.to_owned(), celsius)
}

pub fn watts(power: &f64) -> String {
    format!("{power:.0} W")
}

pub fn watts_or_unknown(power: &Option<f64>) -> String {
    power.as_ref().map_or_else(|| UNKNOWN.to_owned(), watts)
}

/// `1 worker`, `2 workers`.
pub fn count(number: i64, one: &str, many: &str) -> String {
    format!("{} {}", thousands(number), if number == 1 { one } else { many })
}

/// A text as a sentence begins.
pub fn capitalised(words: &str) -> String {
    let mut letters = words.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;
    use pictor_protocol::{Micros, UnixMillis};

    use super::{Moment, UNKNOWN, bytes, clock, duration, money, part_of, percent, thousands};

    #[test]
    fn figures_read_one_way() {
        assert_eq!(money(&Micros(1_234_567_890), "EUR"), "1\u{202f}234.56 EUR");
        assert_eq!(money(&Micros(-400_000), "EUR"), "−0.40 EUR");
        assert_eq!(money(&Micros(0), "EUR"), "0.00 EUR");
        assert_eq!(money(&Micros(40), "EUR"), format!("{} EUR", Micros(40)));
        assert_eq!(thousands(-1_000_000), "−1\u{202f}000\u{202f}000");
        assert_eq!(duration(&3_725.0), "1 h 2 min");
        assert_eq!(bytes(&(25_769_803_776)), "24 GiB");
        assert_eq!(part_of(&Some(3 << 29), &Some(24 << 30)), "1.5 of 24 GiB");
        assert_eq!(part_of(&None, &Some(24 << 30)), "– of 24 GiB");
        assert_eq!(
            (part_of(&Some(3 << 29), &None), part_of(&None, &None)),
            ("1.5 GiB".to_owned(), UNKNOWN.to_owned())
        );
        assert_eq!(percent(&0.426), "43 %");
        assert_eq!((clock(&Some(59.9)), clock(&Some(3_725.0))), ("0:59".to_owned(), "1:02:05".to_owned()));
        assert_eq!((clock(&None), clock(&Some(-1.0))), (UNKNOWN.to_owned(), UNKNOWN.to_owned()));
    }

    #[test]
    fn times_are_the_visitors() {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        let (at, now) = (UnixMillis(1_764_000_000_000), UnixMillis(1_764_000_600_000));
        let moment = Moment::at(at, now, &zone).to_string();
        assert_eq!(
            moment,
            "<time datetime=\"2025-11-24T16:00:00.000Z\" title=\"2025-11-24 17:00:00 Europe/Berlin\">today 17:00</time>"
        );
        assert!(Moment::ago(at, now, &zone).to_string().contains("data-ages>10 min ago<"));
    }
}
