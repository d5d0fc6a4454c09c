//! Clusters by name, the TOML files of `specs/clusters`, and by names with counts: `h100x16`, `h100x8+a100x8`.

use super::rules::DEVICES_MAX;
use super::{Cluster, Level, read};
use crate::spec::names;
use crate::units::Seconds;

macro_rules! presets {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../../specs/clusters/", $name, ".toml")))),*]
    };
}

/// Name and TOML text; small and old ones first within a family.
const PRESETS: &[(&str, &str)] = presets![
    "local",
    "v100",
    "a100-40gb",
    "a100",
    "h100",
    "h200",
    "b200",
    "gb200",
    "gb300",
    "l40s",
    "rtx4090",
    "mi300x",
];

/// Other names, and the presets that they mean.
const ALIASES: &[(&str, &str)] = &[
    ("v100-32gb", "v100"),
    ("v100-sxm", "v100"),
    ("a100-40", "a100-40gb"),
    ("a100-80", "a100"),
    ("a100-80gb", "a100"),
    ("a100-sxm", "a100"),
    ("h100-80gb", "h100"),
    ("h100-sxm", "h100"),
    ("h200-sxm", "h200"),
    ("b200-sxm", "b200"),
    ("gb200-nvl72", "gb200"),
    ("gb300-nvl72", "gb300"),
    ("4090", "rtx4090"),
    ("rtx-4090", "rtx4090"),
    ("mi300", "mi300x"),
];

/// Most parts of a mix.
const PARTS_MAX: usize = 64;

/// The names of all presets.
pub fn names() -> impl Iterator<Item = &'static str> {
    PRESETS.iter().map(|(name, _)| *name)
}

/// The preset of that name, as its file counts it; case does not matter.
///
/// ```
/// # use headsaw::spec::cluster::presets;
/// assert_eq!(presets::find("H100-SXM").unwrap().name, "h100");
/// ```
pub fn find(name: &str) -> Option<Cluster> {
    let (name, text) = entry(name)?;
    Some(read(name, text).unwrap_or_else(|problems| panic!("preset {name}: {problems:?}")))
}

/// The file of that preset, to copy and change.
pub fn text(name: &str) -> Option<&'static str> {
    entry(name).map(|(_, text)| text)
}

fn entry(name: &str) -> Option<(&'static str, &'static str)> {
    let alias = ALIASES.iter().find(|(alias, _)| alias.eq_ignore_ascii_case(name));
    let name = alias.map_or(name, |(_, name)| name);
    PRESETS.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).copied()
}

/// The preset, or other name of one, that is closest to `name`; none where nothing is close.
pub fn nearest(name: &str) -> Option<&'static str> {
    names::nearest(name, names().chain(ALIASES.iter().map(|(alias, _)| *alias)))
}

/// A cluster by name: a preset as its file counts it, with a count, or several with a `+` between them.
///
/// Of a mix each level is the slower one of both: the lower rate with what belongs to it, the higher latency, the fewer
/// devices. Where one part has fewer levels its last one stands for those that it lacks.
///
/// ```
/// # use headsaw::spec::cluster::presets;
/// assert_eq!(presets::parse("h100x16384").unwrap().devices(), 16384);
/// assert_eq!(presets::parse("h100x8+a100x8").unwrap().groups.len(), 2);
/// assert!(presets::parse("h10x8").unwrap_err().contains("did you mean h100x8?"));
/// ```
pub fn parse(given: &str) -> Result<Cluster, String> {
    if given.split('+').count() > PARTS_MAX {
        return Err(format!("more than {PARTS_MAX} parts in one cluster; write a file"));
    }
    let parts = given.split('+').map(|part| counted(part.trim())).collect::<Result<Vec<_>, _>>()?;
    let mixed = parts.into_iter().reduce(mix).expect("a split has a part");
    if mixed.groups.iter().map(|group| u64::from(group.count)).sum::<u64>() > u64::from(DEVICES_MAX) {
        return Err(format!("{}: more than {DEVICES_MAX} devices in all", names::short(given)));
    }
    Ok(mixed)
}

/// One part of a name.
fn counted(part: &str) -> Result<Cluster, String> {
    if let Some(cluster) = find(part) {
        return Ok(cluster);
    }
    let Some((cluster, count)) = split(part).and_then(|(name, count)| Some((find(name)?, count))) else {
        return Err(unknown(part));
    };
    match count.parse() {
        Ok(count @ 1..=DEVICES_MAX) => Ok(times(cluster, count)),
        _ => Err(format!(
            "{}: a count from 1 to {DEVICES_MAX} comes after the x, as in {}x8",
            names::short(part),
            cluster.name
        )),
    }
}

/// Name and count: presets' names may have an x too.
fn split(part: &str) -> Option<(&str, &str)> {
    part.rfind(['x', 'X']).map(|at| (&part[..at], &part[at + 1..]))
}

fn times(mut cluster: Cluster, count: u32) -> Cluster {
    cluster.name = format!("{}x{count}", cluster.name);
    cluster.groups.truncate(1);
    cluster.groups[0].count = count;
    cluster
}

/// What was likely meant by a name that is none; none where nothing is close.
///
/// ```
/// # use headsaw::spec::cluster::presets;
/// assert_eq!(presets::meant("h10x8").as_deref(), Some("h100x8"));
/// ```
pub fn meant(part: &str) -> Option<String> {
    let counted = split(part).and_then(|(name, count)| Some(format!("{}x{count}", nearest(name)?)));
    counted.or_else(|| nearest(part).map(String::from))
}

fn unknown(part: &str) -> String {
    let meant = meant(part);
    let part = names::short(part);
    match meant {
        Some(meant) => format!("{part}: no such cluster; did you mean {meant}?"),
        None => {
            let names = self::names().collect::<Vec<_>>().join(", ");
            format!("{part}: no such cluster; write a preset and a count, as h100x16; the presets are {names}")
        }
    }
}

fn mix(mut one: Cluster, other: Cluster) -> Cluster {
    one.levels = levels(&one.levels, &other.levels);
    one.name = format!("{}+{}", one.name, other.name);
    if !one.title.contains(&other.title) {
        one.title = format!("{} + {}", one.title, other.title);
    }
    one.groups.extend(other.groups);
    one
}

fn levels(one: &[Level], other: &[Level]) -> Vec<Level> {
    let level = |list: &[Level], i: usize| list.get(i).or(list.last()).cloned();
    let both = |i| Some(slower(level(one, i)?, level(other, i)?));
    let mut levels: Vec<Level> = (0..one.len().max(other.len())).filter_map(both).collect();
    let all = levels.iter().position(|level| level.devices.is_none()).map_or(levels.len(), |last| last + 1);
    levels.truncate(all);
    levels
}

fn slower(one: Level, other: Level) -> Level {
    let devices = [one.devices, other.devices].into_iter().flatten().min();
    let latency = one.latency_seconds.0.max(other.latency_seconds.0);
    let rate = |level: &Level| level.bytes_per_second.0 * level.efficiency * level.rings(u32::MAX);
    let slow = if rate(&one) <= rate(&other) { one } else { other };
    Level { devices, latency_seconds: Seconds(latency), ..slow }
}
