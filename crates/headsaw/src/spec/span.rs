//! Ranges as people write them: `"0..5"`.

use serde::{Deserialize, Deserializer, Serializer, de::Error};
use std::ops::Range;

/// A range of a text.
pub fn parse(text: &str) -> Result<Range<u32>, String> {
    let ends = text.split_once("..").and_then(|(a, b)| Some(a.trim().parse().ok()?..b.trim().parse().ok()?));
    ends.filter(|range| range.start <= range.end).ok_or_else(|| format!("{text:?} is no range; write it as \"0..5\""))
}

/// For `#[serde(with)]`.
pub fn serialize<S: Serializer>(range: &Range<u32>, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(&format_args!("{}..{}", range.start, range.end))
}

/// For `#[serde(with)]`.
pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Range<u32>, D::Error> {
    parse(&String::deserialize(from)?).map_err(D::Error::custom)
}
