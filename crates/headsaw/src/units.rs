//! Quantities with units: only arithmetic that makes sense compiles (`Bytes / BytesPerSecond = Seconds`).

use serde::{Deserialize, Serialize};
use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Div, Mul};

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Bytes(pub u64);

/// A number of floating-point (or integer multiply-add) operations; a multiply and an add are two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Flops(pub u64);

/// A duration in seconds.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seconds(pub f64);

/// A rate in bytes per second.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BytesPerSecond(pub f64);

/// A rate in operations per second.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FlopsPerSecond(pub f64);

macro_rules! additive {
    ($($unit:ident $add:expr),*) => {$(
        impl Add for $unit {
            type Output = $unit;
            fn add(self, other: $unit) -> $unit {
                $unit($add(self.0, other.0))
            }
        }
        impl AddAssign for $unit {
            fn add_assign(&mut self, other: $unit) {
                *self = *self + other;
            }
        }
        impl Sum for $unit {
            fn sum<I: Iterator<Item = $unit>>(items: I) -> $unit {
                items.fold($unit::default(), Add::add)
            }
        }
    )*};
}
// Counts stay at the largest number: what a hostile plan asks for is refused, not wrapped around.
additive!(Bytes u64::saturating_add, Flops u64::saturating_add, Seconds f64::add);

impl Mul<u64> for Bytes {
    type Output = Bytes;
    fn mul(self, times: u64) -> Bytes {
        Bytes(self.0.saturating_mul(times))
    }
}

impl Mul<u64> for Flops {
    type Output = Flops;
    fn mul(self, times: u64) -> Flops {
        Flops(self.0.saturating_mul(times))
    }
}

impl Div<BytesPerSecond> for Bytes {
    type Output = Seconds;
    fn div(self, rate: BytesPerSecond) -> Seconds {
        Seconds(self.0 as f64 / rate.0)
    }
}

impl Div<FlopsPerSecond> for Flops {
    type Output = Seconds;
    fn div(self, rate: FlopsPerSecond) -> Seconds {
        Seconds(self.0 as f64 / rate.0)
    }
}

impl fmt::Display for Bytes {
    /// Binary multiples, three significant digits: `96.1 MiB`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut value = self.0 as f64;
        let mut unit = "B";
        for next in ["KiB", "MiB", "GiB", "TiB", "PiB"] {
            if value < 1024.0 {
                break;
            }
            value /= 1024.0;
            unit = next;
        }
        let digits = if unit == "B" || value >= 100.0 {
            0
        } else if value >= 10.0 {
            1
        } else {
            2
        };
        f.pad(&format!("{value:.digits$} {unit}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_read_like_people_write_them() {
        assert_eq!(Bytes(12).to_string(), "12 B");
        assert_eq!(Bytes(100_804_608).to_string(), "96.1 MiB");
        assert_eq!(Bytes(3 << 40).to_string(), "3.00 TiB");
    }

    #[test]
    fn bytes_over_a_rate_are_seconds() {
        assert_eq!(Bytes(10) / BytesPerSecond(4.0), Seconds(2.5));
        assert_eq!(Flops(10) / FlopsPerSecond(4.0), Seconds(2.5));
    }
}
