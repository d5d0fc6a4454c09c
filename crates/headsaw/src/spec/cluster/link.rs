//! A network link of a stated rate and latency, as people write it: `1Gbit/s,50us`.

use super::{Cluster, DeviceId};
use crate::units::{Bytes, BytesPerSecond, Seconds};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// A link between devices. Every device has one port of that rate in each direction; what comes into a device goes
/// through its port one after another, and is there a latency later.
///
/// ```
/// # use headsaw::spec::cluster::Link;
/// let link: Link = "1Gbit/s,50us".parse().unwrap();
/// assert_eq!((link.rate.0, link.latency.0), (125e6, 50e-6));
/// assert_eq!(link.to_string(), "1 Gbit/s, 50 us");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// Of a device's port, in one direction.
    #[serde(with = "rate_text")]
    pub rate: BytesPerSecond,
    /// From the last byte's leaving to its being there.
    #[serde(with = "latency_text")]
    pub latency: Seconds,
}

/// Units of rates, largest first, with their bytes a second.
const RATES: [(&str, f64); 8] = [
    ("Gbit/s", 1e9 / 8.0),
    ("Mbit/s", 1e6 / 8.0),
    ("kbit/s", 1e3 / 8.0),
    ("GB/s", 1e9),
    ("MB/s", 1e6),
    ("kB/s", 1e3),
    ("bit/s", 1.0 / 8.0),
    ("B/s", 1.0),
];

/// Units of times, with their number in a second: so `50 us` is the number that `50e-6` is.
const TIMES: [(&str, f64); 5] = [("us", 1e6), ("ms", 1e3), ("ns", 1e9), ("µs", 1e6), ("s", 1.0)];

/// What a rate may be, in words.
pub(super) const RATE_WORDS: &str =
    "a rate as 1 Gbit/s, 200 Mbit/s, 1.25 GB/s or 10 MB/s, from 1 to 1e17 bytes a second";

/// What a latency may be, in words.
pub(super) const LATENCY_WORDS: &str = "a time as 50 us, 0.2 ms, 800 ns or 1 s, from 0 to 1000 s";

/// A number and its unit.
fn split(text: &str) -> Option<(f64, &str)> {
    let text = text.trim();
    let unit = |(_, letter): &(usize, char)| letter.is_alphabetic() && !matches!(letter, 'e' | 'E');
    let at = text.char_indices().find(unit)?.0;
    Some((text[..at].trim().parse().ok()?, text[at..].trim()))
}

/// A rate with its unit; none where it is none that a link may have.
pub(super) fn rate(text: &str) -> Option<BytesPerSecond> {
    let (number, unit) = split(text)?;
    let (_, bytes) = RATES.iter().find(|(name, _)| *name == unit)?;
    Some(BytesPerSecond(number * bytes)).filter(|rate| (1.0..=1e17).contains(&rate.0))
}

/// A time with its unit; none where it is none that a link may have.
pub(super) fn latency(text: &str) -> Option<Seconds> {
    let (number, unit) = split(text)?;
    let (_, per_second) = TIMES.iter().find(|(name, _)| *name == unit)?;
    Some(Seconds(number / per_second)).filter(|time| (0.0..=1e3).contains(&time.0))
}

/// The number and unit that read as exactly this, the shortest; of equally short ones the first unit's.
fn shortest(reads_as: impl Fn(&str) -> bool, units: impl Iterator<Item = (f64, &'static str)>) -> Option<String> {
    let texts = units.map(|(number, unit)| format!("{number} {unit}"));
    texts.filter(|text| reads_as(text)).min_by_key(String::len)
}

fn rate_words(value: BytesPerSecond) -> String {
    let units = RATES.iter().map(|(name, bytes)| (value.0 / bytes, *name));
    shortest(|text| rate(text) == Some(value), units).unwrap_or_else(|| format!("{} B/s", value.0))
}

fn latency_words(value: Seconds) -> String {
    let units = TIMES.iter().map(|(name, per_second)| (value.0 * per_second, *name));
    shortest(|text| latency(text) == Some(value), units).unwrap_or_else(|| format!("{} s", value.0))
}

impl fmt::Display for Link {
    /// Reads as the same link again.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}, {}", rate_words(self.rate), latency_words(self.latency)))
    }
}

impl FromStr for Link {
    type Err = String;

    fn from_str(text: &str) -> Result<Link, String> {
        let Some((first, second)) = text.split_once(',') else {
            return Err(format!("{text:?} is no link: write its rate and its latency, as 1Gbit/s,50us"));
        };
        let rate = rate(first).ok_or_else(|| format!("{first:?}: expected {RATE_WORDS}; as in 1Gbit/s,50us"))?;
        let latency =
            latency(second).ok_or_else(|| format!("{second:?}: expected {LATENCY_WORDS}; as in 1Gbit/s,50us"))?;
        Ok(Link { rate, latency })
    }
}

/// Reads and writes a quantity as text. A reader of files may look at the name of the newtype and check the text first.
macro_rules! as_text {
    ($module:ident, $unit:ty, $name:literal, $read:path, $write:path, $words:path) => {
        mod $module {
            use super::*;

            pub fn serialize<S: Serializer>(value: &$unit, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(&$write(*value))
            }

            pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<$unit, D::Error> {
                #[derive(Deserialize)]
                #[serde(rename = $name)]
                struct Text(String);
                let Text(text) = Text::deserialize(from)?;
                $read(&text).ok_or_else(|| serde::de::Error::custom(format!("{text:?}: expected {}", $words)))
            }
        }
    };
}
as_text!(rate_text, BytesPerSecond, "LinkRate", rate, rate_words, RATE_WORDS);
as_text!(latency_text, Seconds, "LinkLatency", latency, latency_words, LATENCY_WORDS);

/// What a text of that newtype may be, where the text is none of it; and what to go on with.
pub(super) fn wrong(newtype: &str, text: Option<&str>) -> Option<(&'static str, &'static str)> {
    match newtype {
        "LinkRate" if text.and_then(rate).is_none() => Some((RATE_WORDS, "1 GB/s")),
        "LinkLatency" if text.and_then(latency).is_none() => Some((LATENCY_WORDS, "1 s")),
        _ => None,
    }
}

impl Link {
    /// From when bytes leave for a device whose port is free to when they are there.
    pub fn seconds(&self, bytes: Bytes) -> Seconds {
        bytes / self.rate + self.latency
    }
}

/// Which devices a link lies between: level by level, from the closest neighbours outwards. None by default.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Links(Vec<(Option<u32>, Option<Link>)>);

impl Links {
    /// The same between all devices.
    pub fn all(link: Link) -> Links {
        Links(vec![(None, Some(link))])
    }

    /// A cluster's.
    pub fn of(cluster: &Cluster) -> Links {
        Links(cluster.levels.iter().map(|level| (level.devices, level.link)).collect())
    }

    /// Is there none at all?
    pub fn is_none(&self) -> bool {
        self.0.iter().all(|(_, link)| link.is_none())
    }

    /// Of devices, the first and last of which are these: that of the closest level that joins them. None where they
    /// are one and the same, or are joined by memory.
    pub fn between(&self, first: DeviceId, last: DeviceId) -> Option<Link> {
        closest(self.0.iter().copied(), first, last)
    }
}

/// The link of the first of some levels (devices that each joins, none for all; its link) that joins two devices.
pub(super) fn closest(
    mut levels: impl Iterator<Item = (Option<u32>, Option<Link>)>,
    first: DeviceId,
    last: DeviceId,
) -> Option<Link> {
    let joins = |(devices, _): &(Option<u32>, Option<Link>)| devices.is_none_or(|n| first.0 / n == last.0 / n);
    if first == last { None } else { levels.find(joins)?.1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_write_links_in_many_ways() {
        let same = ["1Gbit/s,50us", " 1 Gbit/s , 50 us", "1000Mbit/s,0.05ms", "125MB/s,50000ns", "0.125 GB/s,5e-5s"];
        for text in same {
            assert_eq!(text.parse::<Link>().unwrap().to_string(), "1 Gbit/s, 50 us", "{text}");
        }
    }

    #[test]
    fn what_is_wrong_says_what_would_work() {
        let error = |text: &str| text.parse::<Link>().unwrap_err();
        assert_eq!(error("fast"), "\"fast\" is no link: write its rate and its latency, as 1Gbit/s,50us");
        for text in
            ["1,50us", "1Gb/s,50us", "0Gbit/s,50us", "-1GB/s,1s", "NaNGB/s,1s", "infGB/s,1s", ",", "1e30GB/s,1s"]
        {
            assert!(error(text).contains("as 1 Gbit/s, 200 Mbit/s"), "{text}: {}", error(text));
        }
        for text in ["1GB/s,50", "1GB/s,", "1GB/s,-1us", "1GB/s,2000s", "1GB/s,1us,2us"] {
            assert!(error(text).contains("as 50 us, 0.2 ms"), "{text}: {}", error(text));
        }
    }

    #[test]
    fn the_closest_level_that_joins_two_devices_counts() {
        let (near, far): (Link, Link) = ("10GB/s,1us".parse().unwrap(), "1Gbit/s,50us".parse().unwrap());
        let links = Links(vec![(Some(2), Some(near)), (None, Some(far))]);
        let between = |a, b| links.between(DeviceId(a), DeviceId(b));
        assert_eq!(
            [between(0, 1), between(1, 2), between(2, 3), between(0, 0)],
            [Some(near), Some(far), Some(near), None]
        );
        assert!(Links::default().is_none() && Links::default().between(DeviceId(0), DeviceId(1)).is_none());
    }

    proptest::proptest! {
        #[test]
        fn a_link_reads_as_what_was_written(rate in 1.0f64..1e13, latency in 0.0f64..1e3) {
            let link = Link { rate: BytesPerSecond(rate), latency: Seconds(latency) };
            proptest::prop_assert_eq!(link.to_string().parse::<Link>(), Ok(link));
        }
    }
}
