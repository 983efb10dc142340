//! Money is integer micros of the network's one currency; no float touches it.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, Neg, Sub};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

const MICROS_PER_UNIT: i64 = 1_000_000;

/// An amount of money in millionths of the currency's unit.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(transparent)]
pub struct Micros(pub i64);

/// Why a text is not an amount.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not an amount such as 0.05 (at most six decimals)")]
pub struct MoneyError(String);

impl Micros {
    pub const ZERO: Micros = Micros(0);

    /// This amount `times` over, or `None` where that leaves the range.
    pub fn checked_times(self, times: i64) -> Option<Micros> {
        self.0.checked_mul(times).map(Micros)
    }

    /// Whole units, for display and for metrics only.
    pub fn units(self) -> f64 {
        #[allow(clippy::cast_precision_loss)]
        let micros = self.0 as f64;
        micros / 1_000_000.0
    }
}

impl Add for Micros {
    type Output = Micros;
    fn add(self, other: Micros) -> Micros {
        Micros(self.0 + other.0)
    }
}

impl Sub for Micros {
    type Output = Micros;
    fn sub(self, other: Micros) -> Micros {
        Micros(self.0 - other.0)
    }
}

impl Neg for Micros {
    type Output = Micros;
    fn neg(self) -> Micros {
        Micros(-self.0)
    }
}

impl Sum for Micros {
    fn sum<I: Iterator<Item = Micros>>(amounts: I) -> Micros {
        Micros(amounts.map(|amount| amount.0).sum())
    }
}

impl fmt::Display for Micros {
    /// At least two decimals, at most six, exactly.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (units, micros) = (self.0.unsigned_abs() / 1_000_000, self.0.unsigned_abs() % 1_000_000);
        let decimals = format!("{micros:06}");
        let kept = decimals.trim_end_matches('0').len().max(2);
        write!(f, "{}{units}.{}", if self.0 < 0 { "-" } else { "" }, &decimals[..kept])
    }
}

impl FromStr for Micros {
    type Err = MoneyError;

    fn from_str(text: &str) -> Result<Micros, MoneyError> {
        let refused = || MoneyError(text.chars().take(40).collect());
        let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (units, decimals) = digits.split_once('.').unwrap_or((digits, "0"));
        let plain = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if !plain(units) || !plain(decimals) || decimals.len() > 6 {
            return Err(refused());
        }
        let units: i64 = units.parse().map_err(|_| refused())?;
        let micros: i64 = format!("{decimals:0<6}").parse().map_err(|_| refused())?;
        let amount = units
            .checked_mul(MICROS_PER_UNIT)
            .and_then(|whole| whole.checked_add(micros))
            .ok_or_else(refused)?;
        Ok(Micros(if negative { -amount } else { amount }))
    }
}

/// The part of a task's cost that the network keeps, in parts per million.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FeeRatio(u32);

impl FeeRatio {
    pub fn from_ppm(ppm: i64) -> Option<FeeRatio> {
        u32::try_from(ppm).ok().filter(|ppm| *ppm <= 1_000_000).map(FeeRatio)
    }

    pub fn ppm(self) -> i64 {
        i64::from(self.0)
    }

    /// Splits a cost into (reward, fee): the fee rounded down, the two always summing to the cost.
    pub fn split(self, cost: Micros) -> (Micros, Micros) {
        // Fits: cost × ppm ≤ i64::MAX × 10^6 < i128::MAX, and the quotient is at most the cost.
        let fee = i128::from(cost.0) * i128::from(self.0) / 1_000_000;
        let fee = Micros(i64::try_from(fee).unwrap_or(cost.0));
        (cost - fee, fee)
    }
}

impl FromStr for FeeRatio {
    type Err = String;

    /// A decimal from 0 to 1 such as `0.2`.
    fn from_str(text: &str) -> Result<FeeRatio, String> {
        let refused = || format!("'{text}' is not a ratio from 0 to 1 such as 0.2");
        let ratio: Micros = text.parse().map_err(|_| refused())?;
        FeeRatio::from_ppm(ratio.0).ok_or_else(refused)
    }
}

impl fmt::Display for FeeRatio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Micros(self.ppm()).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::{FeeRatio, Micros};

    #[test]
    fn decimal_text_round_trips_exactly() {
        for (text, micros) in [("0.05", 50_000), ("1", 1_000_000), ("-2.5", -2_500_000), ("0.000001", 1)] {
            assert_eq!(text.parse(), Ok(Micros(micros)));
        }
        assert_eq!(Micros(50_000).to_string(), "0.05");
        assert_eq!(Micros(-2_500_001).to_string(), "-2.500001");
        assert_eq!(Micros(3_000_000).to_string(), "3.00");
        for text in ["", "-", ".5", "1.", "1e3", "0.0000001", "+1", "1,5", "9999999999999999999"] {
            assert!(text.parse::<Micros>().is_err(), "{text}");
        }
    }

    #[test]
    fn fee_is_rounded_down_and_nothing_is_lost() {
        let ratio: FeeRatio = "0.2".parse().unwrap();
        for cost in [0, 1, 4, 5, 50_000, 99_999, i64::MAX] {
            let (reward, fee) = ratio.split(Micros(cost));
            assert_eq!(reward + fee, Micros(cost));
            assert!(fee.0 >= 0 && reward >= fee);
        }
        assert_eq!(ratio.split(Micros(4)).1, Micros(0));
        assert!("1.1".parse::<FeeRatio>().is_err() && "-0.1".parse::<FeeRatio>().is_err());
    }
}
