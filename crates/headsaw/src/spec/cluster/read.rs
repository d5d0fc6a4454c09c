//! Cluster files (TOML): read with all that is wrong at once, and written.

use super::problem::Findings;
use super::rules::DEVICES_MAX;
use super::walk::Place;
use super::{Cluster, DeviceGroup, DeviceKind, Level, Problem, presets};
use crate::spec::names;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use toml::de::{DeTable, DeValue};

/// Largest text that is read; real ones have some kilobytes.
pub const TEXT_BYTES_MAX: usize = 1 << 20;

/// A cluster file.
#[derive(Serialize, Deserialize)]
struct File {
    format: u32,
    title: String,
    devices: Vec<Run>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kinds: Option<BTreeMap<String, DeviceKind>>,
    levels: Vec<Level>,
}

/// A run of equal devices.
#[derive(Serialize, Deserialize)]
struct Run {
    /// A kind of the file, or the first one of a preset.
    kind: String,
    count: u32,
}

/// Reads a cluster file; `name` is what to call the cluster. All problems, by line.
///
/// ```
/// # use headsaw::spec::cluster::read;
/// let problems = read("mine", "format = 1\ntitle = 'two'\ndevices = [{ kind = 'h10', count = -2 }]\nlevels = []").unwrap_err();
/// assert_eq!(problems[0].to_string(), "line 3: devices[0].count: expected a number of devices from 1 to 1048576, got -2");
/// assert_eq!(problems[1].to_string(), "line 3: devices[0].kind: expected one of [kinds] or a preset (did you mean h100?), got \"h10\"");
/// ```
pub fn read(name: &str, text: &str) -> Result<Cluster, Vec<Problem>> {
    if text.len() > TEXT_BYTES_MAX {
        let (expected, got) = (format!("at most {TEXT_BYTES_MAX} bytes"), format!("{}", text.len()));
        return Err(vec![Problem { line: 1, field: "size".into(), expected, got }]);
    }
    let found = Findings::new(text);
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        found.add_syntax(error.span().map_or(0, |span| span.start), error.message());
    }
    let table = DeValue::Table(table.into_inner());
    let cluster = match File::deserialize(Place::root(&found, &table)) {
        Ok(file) => Checked { file, found: &found, table: &table }.cluster(name),
        Err(error) => {
            found.add(0, "file", error.to_string(), "another");
            None
        }
    };
    let problems = found.into_sorted();
    match cluster {
        Some(cluster) if problems.is_empty() => Ok(cluster),
        _ => Err(problems),
    }
}

/// The text of a file that reads as this cluster.
pub fn write(cluster: &Cluster) -> String {
    let kinds = cluster.groups.iter().map(|group| (group.kind.name.clone(), group.kind.clone()));
    let run = |group: &DeviceGroup| Run { kind: group.kind.name.clone(), count: group.count };
    let file = File {
        format: 1,
        title: cluster.title.clone(),
        devices: cluster.groups.iter().map(run).collect(),
        kinds: Some(kinds.collect()),
        levels: cluster.levels.clone(),
    };
    toml::to_string(&file).expect("a cluster is plain data")
}

/// A file whose fields are sound one by one, or noted; here they are held against each other.
struct Checked<'a> {
    file: File,
    found: &'a Findings<'a>,
    table: &'a DeValue<'a>,
}

impl Checked<'_> {
    fn cluster(self, name: &str) -> Option<Cluster> {
        self.count();
        self.levels();
        let groups: Option<Vec<DeviceGroup>> =
            self.file.devices.iter().enumerate().map(|(i, run)| self.group(i, run)).collect();
        Some(Cluster { name: name.into(), title: self.file.title, groups: groups?, levels: self.file.levels })
    }

    fn group(&self, i: usize, run: &Run) -> Option<DeviceGroup> {
        let own = self.file.kinds.iter().flatten().find(|(name, _)| **name == run.kind);
        let own = own.map(|(name, kind)| DeviceKind { name: name.clone(), ..kind.clone() });
        let kind = own.or_else(|| Some(presets::find(&run.kind)?.groups.swap_remove(0).kind));
        if kind.is_none() && !self.found.within(&format!("devices[{i}].kind")) {
            let mut known: Vec<&str> = presets::names().collect();
            known.extend(self.file.kinds.iter().flatten().map(|(name, _)| &name[..]));
            let near = names::nearest(&run.kind, known);
            let hint = near.map_or(String::new(), |near| format!(" (did you mean {near}?)"));
            self.wrong(
                &["devices", &i.to_string(), "kind"],
                format!("one of [kinds] or a preset{hint}"),
                format!("{:?}", run.kind),
            );
        }
        Some(DeviceGroup { kind: kind?, count: run.count })
    }

    fn count(&self) {
        let total: u64 = self.file.devices.iter().map(|run| u64::from(run.count)).sum();
        if total > u64::from(DEVICES_MAX) && !self.found.within("devices") {
            self.wrong(&["devices"], format!("at most {DEVICES_MAX} devices in all"), total.to_string());
        }
    }

    /// Levels grow, and the last one joins all devices.
    fn levels(&self) {
        if self.found.within("devices") || self.found.within("levels") {
            return; // there is nothing to hold them against
        }
        let total = self.file.devices.iter().map(|run| run.count).fold(0, u32::saturating_add);
        let joins = |level: &Level| level.devices.unwrap_or(u32::MAX);
        for (i, pair) in self.file.levels.windows(2).enumerate() {
            let [inner, outer] = [&pair[0], &pair[1]].map(joins);
            if outer <= inner {
                let i = (i + 1).to_string();
                let expected = match pair[0].devices {
                    Some(devices) => format!("more than the {devices} of the level before"),
                    None => "no level after one of all devices".into(),
                };
                self.wrong(
                    &["levels", &i, "devices"],
                    expected,
                    pair[1].devices.map_or("all devices".into(), |n| n.to_string()),
                );
            }
        }
        match self.file.levels.last().map(joins) {
            None if total > 1 => {
                self.wrong(&["levels"], format!("a level that joins all {total} devices"), "none".into())
            }
            Some(last) if last < total => {
                let i = (self.file.levels.len() - 1).to_string();
                self.wrong(
                    &["levels", &i, "devices"],
                    format!("all {total} devices in the last level (leave devices out)"),
                    last.to_string(),
                );
            }
            _ => {}
        }
    }

    fn wrong(&self, path: &[&str], expected: String, got: String) {
        let (mut at, mut value, mut shown) = (0, Some(self.table), String::new());
        for part in path {
            let next = match value {
                Some(DeValue::Table(table)) => table.get(*part),
                Some(DeValue::Array(list)) => part.parse::<usize>().ok().and_then(|i| list.get(i)),
                _ => None,
            };
            at = next.map_or(at, |next| next.span().start);
            shown += &match part.parse::<usize>() {
                Ok(i) => format!("[{i}]"),
                Err(_) if shown.is_empty() => part.to_string(),
                Err(_) => format!(".{part}"),
            };
            value = next.map(|next| next.get_ref());
        }
        self.found.add(at, &shown, expected, got);
    }
}
