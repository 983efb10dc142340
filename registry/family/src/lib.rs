//! A metric family, and how it reads in the exposition and in docs/metrics.md.

/// What kind of numbers a metric family holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FamilyKind {
    Gauge,
    Counter,
    Histogram,
}

impl FamilyKind {
    pub const fn as_str(self) -> &'static str {
        match self {
            FamilyKind::Gauge => "gauge",
            FamilyKind::Counter => "counter",
            FamilyKind::Histogram => "histogram",
        }
    }
}

/// A metric family, said once: the exposition and docs/metrics.md are both made of these.
#[derive(Debug, Clone, Copy)]
pub struct Family {
    pub name: &'static str,
    pub kind: FamilyKind,
    pub labels: &'static [&'static str],
    pub help: &'static str,
}

impl Family {
    pub const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Family {
        Family { name, kind: FamilyKind::Gauge, labels, help }
    }

    pub const fn counter(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Family {
        Family { name, kind: FamilyKind::Counter, labels, help }
    }

    pub const fn histogram(
        name: &'static str,
        labels: &'static [&'static str],
        help: &'static str,
    ) -> Family {
        Family { name, kind: FamilyKind::Histogram, labels, help }
    }

    /// The unit, which the end of the name says; `None` for what is counted or has none.
    pub fn unit(&self) -> Option<&'static str> {
        let name = self.name.strip_suffix("_total").unwrap_or(self.name);
        if name.ends_with("_timestamp_seconds") {
            return Some("seconds since 1970");
        }
        let last = name.rsplit('_').next().unwrap_or_default();
        match last {
            "ratio" => Some("ratio"),
            "earnings" | "cost" | "price" | "paid" => Some("units of currency"),
            _ => UNITS.iter().copied().find(|unit| *unit == last),
        }
    }
}

/// The base units that names end in.
const UNITS: [&str; 6] = ["seconds", "bytes", "celsius", "watts", "joules", "hertz"];

/// Families, each said once: its doc comment is the HELP text, its labels stand beside it, and the list has them all.
///
/// ```
/// pictor_family::families! {
///     pub FAMILIES:
///     /// Slots by status.
///     SLOTS = gauge("pictor_slots", ["status"]);
///     /// Bytes over a network device.
///     pub NETWORK = counter("pictor_network_bytes_total", ["device", "direction"]);
/// }
/// assert_eq!(FAMILIES.map(|family| family.help), ["Slots by status.", "Bytes over a network device."]);
/// assert_eq!((SLOTS.name, NETWORK.labels.len()), ("pictor_slots", 2));
/// ```
#[macro_export]
macro_rules! families {
    (
        $list_vis:vis $list:ident:
        $(
            $(#[doc = $help:literal])+
            $vis:vis $family:ident = $kind:ident($name:literal, [$($label:literal),*]);
        )+
    ) => {
        $(
            $vis const $family: $crate::Family =
                $crate::Family::$kind($name, &[$($label),*], concat!($($help),+).trim_ascii());
        )+
        $list_vis const $list: [$crate::Family; [$($name),+].len()] = [$($family),+];
    };
}
