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
