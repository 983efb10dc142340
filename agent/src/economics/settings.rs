//! `[economics]` of the config file: what electricity and the machine cost its owner.

use jiff::{
    civil::{Date, DateTime, Time, Weekday},
    tz::TimeZone,
};
use serde::Deserialize;

/// What a desktop machine without its GPUs draws, when its owner did not measure it.
const HOST_IDLE_WATTS: f64 = 50.0;
const HOST_BUSY_WATTS: f64 = 150.0;

/// The table as written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    price_per_kwh: Option<f64>,
    currency: Option<String>,
    amortisation_per_hour: Option<f64>,
    exchange_rate: Option<f64>,
    rate_at: Option<Date>,
    host_idle_watts: Option<f64>,
    host_busy_watts: Option<f64>,
    #[serde(default)]
    tariff: Vec<Period>,
}

/// A time of day with a price of its own.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Period {
    from: Time,
    to: Time,
    /// The days on which it begins; all if empty.
    #[serde(default)]
    days: Vec<Day>,
    price_per_kwh: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Day {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

/// Units of the owner's currency for one of the network's.
#[derive(Debug, Clone, PartialEq)]
pub struct Exchange {
    pub rate: f64,
    /// Unix time of the day it was true.
    pub at_seconds: f64,
}

/// What was understood.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Of every price and cost here.
    pub currency: Option<String>,
    pub amortisation_per_hour: Option<f64>,
    pub exchange: Option<Exchange>,
    price_per_kwh: Option<f64>,
    tariff: Vec<Period>,
    host_idle_watts: f64,
    host_busy_watts: f64,
}

impl Table {
    /// Checks the table; the error is for its owner.
    pub fn settings(self) -> Result<Settings, String> {
        let prices = self.tariff.iter().map(|period| ("price_per_kwh", Some(period.price_per_kwh)));
        let named = [
            ("price_per_kwh", self.price_per_kwh),
            ("amortisation_per_hour", self.amortisation_per_hour),
            ("exchange_rate", self.exchange_rate),
            ("host_idle_watts", self.host_idle_watts),
            ("host_busy_watts", self.host_busy_watts),
        ];
        for (key, value) in named.into_iter().chain(prices) {
            if value.is_some_and(|value| !value.is_finite() || value < 0.0) {
                return Err(format!("`{key}` under [economics] is not an amount"));
            }
        }
        let has_cost =
            self.price_per_kwh.is_some() || self.amortisation_per_hour.is_some() || !self.tariff.is_empty();
        if !self.tariff.is_empty() && self.price_per_kwh.is_none() {
            return Err("`tariff` under [economics] needs a `price_per_kwh` for the other hours".to_owned());
        }
        match &self.currency {
            None if has_cost => {
                return Err("[economics] has a price and no `currency`, such as \"EUR\"".to_owned());
            }
            Some(text) if text.len() != 3 || !text.bytes().all(|byte| byte.is_ascii_uppercase()) => {
                return Err("`currency` under [economics] is three capital letters such as EUR".to_owned());
            }
            _ => {}
        }
        let exchange = match (self.exchange_rate, self.rate_at) {
            (None, None) => None,
            (Some(rate), Some(date)) if rate > 0.0 => {
                let at = date.to_zoned(TimeZone::UTC).map_err(|error| format!("`rate_at`: {error}"))?;
                // Exact: a day's seconds are far below 2^53.
                #[allow(clippy::cast_precision_loss)]
                let at_seconds = at.timestamp().as_second() as f64;
                Some(Exchange { rate, at_seconds })
            }
            _ => {
                return Err(
                    "`exchange_rate` under [economics] is above 0 and has its day beside it: rate_at = \"2026-01-31\""
                        .to_owned(),
                );
            }
        };
        Ok(Settings {
            currency: self.currency,
            amortisation_per_hour: self.amortisation_per_hour,
            exchange,
            price_per_kwh: self.price_per_kwh,
            tariff: self.tariff,
            host_idle_watts: self.host_idle_watts.unwrap_or(HOST_IDLE_WATTS),
            host_busy_watts: self.host_busy_watts.unwrap_or(HOST_BUSY_WATTS),
        })
    }
}

impl Settings {
    /// The first period of the tariff that holds, else the one price.
    pub fn price_at(&self, now: DateTime) -> Option<f64> {
        let period = self.tariff.iter().find(|period| period.holds(now));
        period.map(|period| period.price_per_kwh).or(self.price_per_kwh)
    }

    /// The machine without its GPUs, estimated from how busy its processor is.
    pub fn host_watts(&self, cpu_utilization_ratio: f64) -> f64 {
        self.host_idle_watts + (self.host_busy_watts - self.host_idle_watts) * cpu_utilization_ratio
    }
}

impl Period {
    fn holds(&self, now: DateTime) -> bool {
        let (day, time) = (now.date().weekday(), now.time());
        let begins_on = |day: Weekday| self.days.is_empty() || self.days.contains(&day.into());
        if self.from < self.to {
            return begins_on(day) && (self.from..self.to).contains(&time);
        }
        // Over midnight: its morning belongs to the day before.
        (time >= self.from && begins_on(day)) || (time < self.to && begins_on(day.previous()))
    }
}

impl From<Weekday> for Day {
    fn from(day: Weekday) -> Day {
        match day {
            Weekday::Monday => Day::Mon,
            Weekday::Tuesday => Day::Tue,
            Weekday::Wednesday => Day::Wed,
            Weekday::Thursday => Day::Thu,
            Weekday::Friday => Day::Fri,
            Weekday::Saturday => Day::Sat,
            Weekday::Sunday => Day::Sun,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> Result<Settings, String> {
        toml::from_str::<Table>(text).unwrap().settings()
    }

    #[test]
    fn the_first_period_that_holds_sets_the_price() {
        let settings = settings(
            "currency = 'EUR'\nprice_per_kwh = 0.30\n\
             [[tariff]]\nfrom = '22:00'\nto = '06:00'\ndays = ['fri']\nprice_per_kwh = 0.10\n\
             [[tariff]]\nfrom = '17:00'\nto = '20:00'\nprice_per_kwh = 0.45",
        )
        .unwrap();
        // 2026-11-27 is a Friday.
        for (at, price) in [
            ("2026-11-27T16:59:59", 0.30),
            ("2026-11-27T17:00:00", 0.45),
            ("2026-11-27T20:00:00", 0.30),
            ("2026-11-27T22:00:00", 0.10),
            ("2026-11-28T05:59:59", 0.10),
            ("2026-11-28T06:00:00", 0.30),
            ("2026-11-28T23:00:00", 0.30),
            ("2026-11-27T03:00:00", 0.30),
        ] {
            assert_eq!(settings.price_at(at.parse().unwrap()), Some(price), "{at}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (text, says) in [
            ("price_per_kwh = 0.3", "no `currency`"),
            ("price_per_kwh = -1\ncurrency = 'EUR'", "price_per_kwh"),
            ("price_per_kwh = nan\ncurrency = 'EUR'", "price_per_kwh"),
            (
                "currency = 'EUR'\n[[tariff]]\nfrom = '22:00'\nto = '06:00'\nprice_per_kwh = 0.1",
                "other hours",
            ),
            ("currency = 'euro'", "three capital letters"),
            ("currency = 'USD'\nexchange_rate = 1.1", "rate_at"),
            ("currency = 'USD'\nexchange_rate = 0\nrate_at = '2026-11-01'", "above 0"),
        ] {
            let error = settings(text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
        let whole = settings("currency = 'USD'\nexchange_rate = 1.1\nrate_at = '1970-01-02'").unwrap();
        assert_eq!(whole.exchange, Some(Exchange { rate: 1.1, at_seconds: 86_400.0 }));
        assert_eq!(whole.price_at("2026-11-27T03:00:00".parse().unwrap()), None);
    }
}
