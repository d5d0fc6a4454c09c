//! Cluster files (TOML): read with all that is wrong at once, and written.

use super::place::Place;
use super::problem::{Findings, NOTHING};
use super::rules::DEVICES_MAX;
use super::{Cluster, DeviceGroup, DeviceKind, Level, Problem, presets};
use crate::spec::names;
use Part::{Field, Item};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Largest text that is read; real ones have some kilobytes.
pub const TEXT_BYTES_MAX: usize = 1 << 20;

/// Kinds of a file up to which a wrong name is compared with them.
const KINDS_COMPARED: usize = 64;

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
        if !self.found.within("devices") {
            self.total();
            if !self.found.within("levels") {
                self.levels_grow();
                self.last_level();
            }
        }
        let groups = self.file.devices.iter().enumerate().filter_map(|(i, run)| self.group(i, run));
        Some(Cluster { name: name.into(), groups: groups.collect(), title: self.file.title, levels: self.file.levels })
    }

    fn group(&self, i: usize, run: &Run) -> Option<DeviceGroup> {
        let own = self.file.kinds.as_ref().and_then(|kinds| kinds.get(&run.kind));
        let own = own.map(|kind| DeviceKind { name: run.kind.clone(), ..kind.clone() });
        let kind = own.or_else(|| Some(presets::find(&run.kind)?.groups.swap_remove(0).kind));
        if kind.is_none() && !run.kind.is_empty() {
            let mut known: Vec<&str> = presets::names().collect();
            known.extend(self.file.kinds.iter().flatten().map(|(name, _)| &name[..]).take(KINDS_COMPARED));
            let near = names::nearest(&run.kind, known);
            let hint = near.map_or(String::new(), |near| format!(" (did you mean {near}?)"));
            let expected = format!("one of [kinds] or a preset{hint}");
            self.wrong(&[Field("devices"), Item(i), Field("kind")], expected, format!("{:?}", run.kind));
        }
        Some(DeviceGroup { kind: kind?, count: run.count })
    }

    fn devices(&self) -> u64 {
        self.file.devices.iter().map(|run| u64::from(run.count)).sum()
    }

    fn total(&self) {
        let total = self.devices();
        if total > u64::from(DEVICES_MAX) {
            self.wrong(&[Field("devices")], format!("at most {DEVICES_MAX} devices in all"), total.to_string());
        }
    }

    fn levels_grow(&self) {
        for (i, pair) in self.file.levels.windows(2).enumerate() {
            let expected = match (pair[0].devices, pair[1].devices) {
                (Some(_), None) => continue,
                (Some(inner), Some(outer)) if outer > inner => continue,
                (Some(inner), _) => format!("more than the {inner} of the level before"),
                (None, _) => "no level after one of all devices".into(),
            };
            self.wrong(&[Field("levels"), Item(i + 1), Field("devices")], expected, joins(&pair[1]));
        }
    }

    fn last_level(&self) {
        let total = self.devices();
        let Some(last) = self.file.levels.last() else {
            if total > 1 {
                self.wrong(&[Field("levels")], format!("a level that joins all {total} devices"), NOTHING.into());
            }
            return;
        };
        if last.devices.is_some_and(|devices| u64::from(devices) < total) {
            let path = [Field("levels"), Item(self.file.levels.len() - 1), Field("devices")];
            self.wrong(&path, format!("all {total} devices in the last level (leave devices out)"), joins(last));
        }
    }

    fn wrong(&self, path: &[Part], expected: String, got: String) {
        let (mut at, mut value, mut shown) = (0, Some(self.table), String::new());
        for part in path {
            let next = match (part, value) {
                (Field(name), Some(DeValue::Table(table))) => table.get(*name),
                (Item(i), Some(DeValue::Array(list))) => list.get(*i),
                _ => None,
            };
            at = next.map_or(at, |next| next.span().start);
            shown += &match part {
                Item(i) => format!("[{i}]"),
                Field(name) if shown.is_empty() => name.to_string(),
                Field(name) => format!(".{name}"),
            };
            value = next.map(Spanned::get_ref);
        }
        self.found.add(at, &shown, expected, got);
    }
}

/// Part of a path.
enum Part {
    Field(&'static str),
    Item(usize),
}

fn joins(level: &Level) -> String {
    level.devices.map_or("all devices".into(), |devices| devices.to_string())
}
