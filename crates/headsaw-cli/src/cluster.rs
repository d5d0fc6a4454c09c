//! CLUSTER on the command line: a TOML file, a preset with a count (`h100x16`, `h100x8+a100x8`), or `local`.

use crate::error::Failure;
use crate::output::{BOLD, grouped, print, print_json, si, styled};
use crate::table::{Table, facts};
use headsaw::spec::cluster::{self, Cluster, DeviceGroup, DeviceKind, Gpu, Level, Precision, Prices, Wiring, presets};
use headsaw::spec::model::Dtype;
use headsaw::spec::short;
use headsaw::units::Bytes;
use serde::Serialize;
use std::io::Read;
use std::path::Path;

/// The preset whose devices are threads of this machine; without a count, as many as a plan has.
pub const LOCAL: &str = "local";

/// Largest file that is read; what is wrong with a larger one is its size.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Finds the cluster.
pub fn find(given: &str) -> Result<Cluster, Failure> {
    if is_file(given) {
        return read(given);
    }
    let cluster = presets::parse(given).map_err(Failure::Input)?;
    Ok(here(cluster))
}

/// Finds the cluster that a plan names. A plan comes from anywhere: it reads no file but a cluster's.
pub fn find_planned(given: &str) -> Result<Cluster, Failure> {
    if is_toml(given) {
        return read(given);
    }
    if given.contains(['/', '\\']) {
        let given = short(given);
        return Err(Failure::Input(format!(
            "{given}: expected a preset with a count, as h100x8, or a path that ends in .toml"
        )));
    }
    presets::parse(given).map(here).map_err(Failure::Input)
}

fn is_file(given: &str) -> bool {
    is_toml(given) || given.contains(['/', '\\']) || Path::new(given).is_file()
}

/// Is it the name of a cluster file?
pub fn is_toml(given: &str) -> bool {
    Path::new(given).extension().is_some_and(|extension| extension.eq_ignore_ascii_case("toml"))
}

fn read(path: &str) -> Result<Cluster, Failure> {
    let mut bytes = Vec::new();
    let given: &str = &short(path);
    let file = std::fs::File::open(path).map_err(|e| Failure::reading(given, &e))?;
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|e| Failure::reading(given, &e))?;
    let text = String::from_utf8(bytes)
        .map_err(|e| Failure::Input(format!("{given}: byte {}: not UTF-8 text", e.utf8_error().valid_up_to())))?;
    let name = Path::new(path).file_stem().map_or(given.into(), |stem| stem.to_string_lossy());
    cluster::read(&name, &text).map_err(|problems| {
        let lines: Vec<String> = problems.iter().map(|problem| format!("{given}: {problem}")).collect();
        Failure::Input(lines.join("\n"))
    })
}

/// Local devices share the cores and the memory of this machine.
pub fn here(mut cluster: Cluster) -> Cluster {
    let local = |group: &&mut DeviceGroup| group.kind.name == LOCAL;
    let devices: u32 = cluster.groups.iter_mut().filter(local).map(|group| group.count).sum();
    for group in cluster.groups.iter_mut().filter(local) {
        if let Prices::Table(table) = &mut group.kind.prices {
            table.cores = std::thread::available_parallelism().map_or(1, |n| n.get() as u32);
        }
        if let Some(memory) = headsaw_run::machine::memory() {
            group.kind.memory_bytes = Bytes(memory.0 / u64::from(devices));
        }
    }
    cluster
}

#[derive(Serialize)]
struct Json<'a> {
    cluster: &'a str,
    title: &'a str,
    devices: u32,
    memory_bytes: Bytes,
    groups: Vec<GroupJson<'a>>,
    levels: &'a [Level],
}

#[derive(Serialize)]
struct GroupJson<'a> {
    kind: &'a str,
    count: u32,
    #[serde(flatten)]
    description: &'a DeviceKind,
}

impl GroupJson<'_> {
    fn from(group: &DeviceGroup) -> GroupJson<'_> {
        GroupJson { kind: &group.kind.name, count: group.count, description: &group.kind }
    }
}

/// Shows a cluster.
pub fn show(cluster: &Cluster, json: bool) -> Result<(), Failure> {
    if !json {
        return print(&human(cluster));
    }
    print_json(&Json {
        cluster: &cluster.name,
        title: &cluster.title,
        devices: cluster.devices(),
        memory_bytes: memory(cluster),
        groups: cluster.groups.iter().map(GroupJson::from).collect(),
        levels: &cluster.levels,
    })
}

fn memory(cluster: &Cluster) -> Bytes {
    cluster.groups.iter().map(|group| group.kind.memory_bytes * u64::from(group.count)).sum()
}

fn human(cluster: &Cluster) -> String {
    let what = [
        ("what", cluster.title.clone()),
        ("devices", grouped(u64::from(cluster.devices()))),
        ("memory", memory(cluster).to_string()),
    ];
    let mut text = format!("{}\n{}", styled(BOLD, &cluster.name), facts(&what));
    let kinds = kinds(cluster);
    let part = |title: &str, table: Table| format!("\n{}\n{}", styled(BOLD, title), table.show());
    text += &part("Devices", figures(cluster, &kinds));
    text += &part("Lanes (steps on one lane take turns)", lanes(&kinds));
    text += &part("Links, from the closest neighbours outwards", links(cluster));
    text
}

/// Each kind once.
fn kinds(cluster: &Cluster) -> Vec<&DeviceKind> {
    let mut kinds: Vec<&DeviceKind> = Vec::new();
    for group in &cluster.groups {
        if kinds.iter().all(|kind| kind.name != group.kind.name) {
            kinds.push(&group.kind);
        }
    }
    kinds
}

/// A table with a column a kind.
fn by_kind(kinds: &[&DeviceKind], align: &str) -> Table {
    let names: Vec<String> = kinds.iter().map(|kind| format!("{align}{}", kind.name)).collect();
    let columns: Vec<&str> = ["<"].into_iter().chain(names.iter().map(String::as_str)).collect();
    Table::new(&columns)
}

fn figures(cluster: &Cluster, kinds: &[&DeviceKind]) -> Table {
    let mut table = by_kind(kinds, "");
    let mut row = |name: &str, cell: &dyn Fn(&DeviceKind) -> Option<String>| {
        let cells: Vec<Option<String>> = kinds.iter().map(|kind| cell(kind)).collect();
        if cells.iter().any(Option::is_some) {
            let cells = cells.into_iter().map(|cell| cell.unwrap_or("–".into()));
            table.row([name.to_string()].into_iter().chain(cells).collect());
        }
    };
    let count = |kind: &DeviceKind| -> u32 {
        cluster.groups.iter().filter(|group| group.kind.name == kind.name).map(|group| group.count).sum()
    };
    row("count", &|kind| Some(grouped(u64::from(count(kind)))));
    row("memory", &|kind| Some(kind.memory_bytes.to_string()));
    row("memory rate", &|kind| Some(si(memory_rate(kind), "B/s")));
    row("cache", &|kind| Some(cache(kind).to_string()));
    row("cores", &|kind| Some(measured(kind)?.cores.to_string()));
    row("memory rate of a lane", &|kind| Some(si(measured(kind)?.lane_bytes_per_second.0, "B/s")));
    row("multiprocessors", &|kind| Some(gpu(kind)?.units.to_string()));
    row("clock", &|kind| Some(si(gpu(kind)?.clock_hertz, "Hz")));
    for precision in Precision::ALL {
        let name = format!("{}, tensor cores", precision.name());
        row(&name, &|kind| Some(si(gpu(kind)?.tensor(precision)?.0, "FLOP/s")));
    }
    row("f32, vector units", &|kind| Some(si(gpu(kind)?.vector_flops_per_second.0, "FLOP/s")));
    row("exponentials", &|kind| Some(si(gpu(kind)?.exponentials_per_second, "/s")));
    for dtype in Dtype::ALL {
        let name = format!("{}, a lane", dtype.name());
        row(&name, &|kind| Some(si(fastest(measured(kind)?, dtype)?, "FLOP/s")));
    }
    row("overlap of lanes", &|kind| Some(format!("{:.2}", kind.overlap)));
    row("overlap of exchanges", &|kind| Some(format!("{:.2}", kind.exchange_overlap)));
    table
}

fn gpu(kind: &DeviceKind) -> Option<&Gpu> {
    if let Prices::Gpu(gpu) = &kind.prices { Some(gpu) } else { None }
}

fn measured(kind: &DeviceKind) -> Option<&cluster::Table> {
    if let Prices::Table(table) = &kind.prices { Some(table) } else { None }
}

fn memory_rate(kind: &DeviceKind) -> f64 {
    match &kind.prices {
        Prices::Gpu(gpu) => gpu.memory_bytes_per_second.0,
        Prices::Table(table) => table.bytes_per_second.0,
    }
}

fn cache(kind: &DeviceKind) -> Bytes {
    match &kind.prices {
        Prices::Gpu(gpu) => gpu.cache_bytes,
        Prices::Table(table) => table.cache_bytes,
    }
}

/// The highest rate of products with weights of that type that was measured.
fn fastest(table: &cluster::Table, dtype: Dtype) -> Option<f64> {
    let rates = table.products.iter().filter(|point| point.weights == dtype).map(|point| point.flops_per_second.0);
    rates.reduce(f64::max)
}

fn lanes(kinds: &[&DeviceKind]) -> Table {
    let mut table = by_kind(kinds, "<");
    let each: Vec<_> = kinds.iter().map(|kind| kind.lanes.each()).collect();
    for (i, (step, _)) in each[0].iter().enumerate() {
        let cells = each.iter().map(|lanes| lanes[i].1.to_string());
        table.row([step.to_string()].into_iter().chain(cells).collect());
    }
    table
}

fn links(cluster: &Cluster) -> Table {
    let mut table = Table::new(&["<level", "joins", "latency", "rate of a device, one way", "efficiency", "<wiring"]);
    for level in &cluster.levels {
        table.row(vec![
            level.name.clone(),
            level.devices.map_or("all".into(), |devices| grouped(u64::from(devices))),
            si(level.latency_seconds.0, "s"),
            si(level.bytes_per_second.0, "B/s"),
            format!("{:.0} %", 100.0 * level.efficiency),
            wiring(level).into(),
        ]);
        if let Some(link) = level.link {
            let held = format!("  held to {link}");
            table.row([held].into_iter().chain(std::iter::repeat_n(String::new(), 5)).collect());
        }
    }
    table
}

fn wiring(level: &Level) -> &'static str {
    match level.wiring {
        Wiring::Switch => "switch",
        Wiring::Multicast => "switch that adds up",
        Wiring::Mesh(_) => "mesh (rate of a link)",
        Wiring::Bus => "bus",
        Wiring::Rails => "rails",
    }
}
