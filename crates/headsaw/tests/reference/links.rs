//! Collectives and sends between devices of one node: vTrain's, vidur's and aiconfigurator's tables, A100, H100 and V100.
//!
//! Whole group sizes are left out of the fit of a fabric's constants, once one half and once the other; where group sizes
//! lie on different levels, every other octave of message sizes. Errors are those of the rows left out.
//!
//! The constants that all kinds share (`cost/collective.rs`) have seen all rows. Fitted with the others on the first
//! halves alone, they leave medians of 1 to 9 % on the rest, and 10.6 % on vidur's four A100s, which take 15 % longer than
//! vTrain's for the same sums.

use crate::data::{Csv, Errors};
use crate::search::minimise;
use headsaw::cost::{GroupShape, Kernels, all_gather, all_reduce_by, all_to_all, reduce_scatter, send};
use headsaw::spec::cluster::{Level, Wiring, presets};
use headsaw::units::{Bytes, BytesPerSecond, Seconds};

/// Largest median error of an all-reduce that may be left.
const BAR: f64 = 0.10;
/// A table has this many rows at least in a fit: longer ones are thinned.
const FIT_ROWS: usize = 300;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Call {
    AllReduce(Kernels),
    AllGather,
    ReduceScatter,
    AllToAll,
    Send,
}

/// A measured call.
#[derive(Clone, Copy)]
struct Row {
    devices: u32,
    bytes: u64,
    seconds: f64,
}

/// Rows of one call from one source.
struct Table {
    name: &'static str,
    call: Call,
    /// No sums in the switch: integers, or a library without.
    plain: bool,
    /// Group sizes of the first half of the rows; empty where octaves of message sizes are halved.
    halved_by: &'static [u32],
    rows: Vec<Row>,
}

impl Table {
    fn predict(&self, levels: &[Level], row: &Row) -> f64 {
        let (group, bytes) = (GroupShape::neighbours(row.devices), Bytes(row.bytes));
        let seconds = match self.call {
            Call::AllReduce(kernels) => all_reduce_by(kernels, levels, group, bytes),
            Call::AllGather => all_gather(levels, group, bytes),
            Call::ReduceScatter => reduce_scatter(levels, group, bytes),
            Call::AllToAll => all_to_all(levels, group, bytes),
            Call::Send => send(levels, group, bytes),
        };
        seconds.0
    }

    fn is_first(&self, row: &Row) -> bool {
        match self.halved_by {
            [] => row.bytes.ilog2().is_multiple_of(2),
            sizes => sizes.contains(&row.devices),
        }
    }

    fn half(&self, first: bool) -> Vec<Row> {
        self.rows.iter().filter(|row| self.is_first(row) == first).copied().collect()
    }
}

/// Machines of one make, and what was measured on them.
struct Fabric {
    name: &'static str,
    levels: Vec<Level>,
    tables: Vec<Table>,
}

impl Fabric {
    /// Its levels with other constants: latency and efficiency of each.
    fn with(&self, constants: &[f64]) -> Vec<Level> {
        let mut levels = self.levels.clone();
        for (level, pair) in levels.iter_mut().zip(constants.chunks(2)) {
            (level.latency_seconds, level.efficiency) = (Seconds(pair[0]), pair[1].min(1.0));
        }
        levels
    }

    /// Latency and efficiency of each level, from one half of the rows.
    fn fitted(&self, first: bool) -> Vec<f64> {
        let start =
            self.levels.iter().flat_map(|level| [level.latency_seconds.0, level.efficiency]).collect::<Vec<_>>();
        let tables: Vec<(&Table, Vec<Row>)> = self.tables.iter().map(|t| (t, thinned(t.half(first)))).collect();
        minimise(&start, |constants| {
            let levels = self.with(constants);
            tables.iter().map(|(table, rows)| mean_error(table, &seen(table, &levels), rows).powi(2)).sum()
        })
    }
}

/// Levels as a table's calls see them.
fn seen(table: &Table, levels: &[Level]) -> Vec<Level> {
    let wiring = |level: &Level| match level.wiring {
        Wiring::Multicast if table.plain => Wiring::Switch,
        _ => level.wiring.clone(),
    };
    levels.iter().map(|level| Level { wiring: wiring(level), ..level.clone() }).collect()
}

/// Rows that stand for all: of sizes spread over all octaves.
fn thinned(mut rows: Vec<Row>) -> Vec<Row> {
    let every = (rows.len() / FIT_ROWS).max(1);
    rows.sort_by_key(|row| row.bytes);
    rows.into_iter().step_by(every).collect()
}

/// Mean of |ln(predicted ÷ measured)|, an outlier no more than 0.6.
fn mean_error(table: &Table, levels: &[Level], rows: &[Row]) -> f64 {
    let error = |row: &Row| (table.predict(levels, row) / row.seconds).ln().abs().min(0.6);
    rows.iter().map(error).sum::<f64>() / rows.len() as f64
}

/// What the closest row of the other half took: distance in the logarithms of group size and bytes.
fn nearest(rows: &[Row], row: &Row) -> f64 {
    let distance = |other: &Row| {
        let (devices, bytes) = (row.devices as f64 / other.devices as f64, row.bytes as f64 / other.bytes as f64);
        devices.ln().powi(2) + bytes.ln().powi(2)
    };
    rows.iter().min_by(|a, b| distance(a).total_cmp(&distance(b))).expect("a fitted row").seconds
}

fn level(name: &str, devices: u32, latency: f64, rate: f64, efficiency: f64, wiring: Wiring) -> Level {
    Level {
        name: name.into(),
        devices: Some(devices),
        latency_seconds: Seconds(latency),
        bytes_per_second: BytesPerSecond(rate),
        efficiency,
        wiring,
        link: None,
    }
}

/// The levels inside a node of a preset.
fn node(preset: &str) -> Vec<Level> {
    let mut levels = presets::find(preset).expect(preset).levels;
    levels.retain(|level| level.devices.is_some());
    levels
}

/// Boxes of four with an NVLink bridge between two: not the kinds' own clusters.
fn pairs(latency: [f64; 2], efficiency: [f64; 2], bus: f64) -> Vec<Level> {
    vec![
        level("NVLink bridge", 2, latency[0], 300e9, efficiency[0], Wiring::Switch),
        level("PCIe", 4, latency[1], bus, efficiency[1], Wiring::Bus),
    ]
}

const LIBRARY: Call = Call::AllReduce(Kernels::Library);

fn vtrain(kind: &'static str, name: &'static str) -> Option<Table> {
    let mut rows = Vec::new();
    for devices in 2..=8 {
        let csv = Csv::read(&format!("vtrain/trace/{kind}/AR_GPU{devices}_1M_1024M_LUT"))?;
        let [bytes, time] = ["size(B)", "time(ns)"].map(|name| csv.column(name)); // the first time is out of place
        let number = |cells: &[String], at: usize| cells[at].parse::<f64>().expect("a number");
        rows.extend(csv.rows.iter().map(|cells| Row {
            devices,
            bytes: number(cells, bytes) as u64,
            seconds: number(cells, time) * 1e-9,
        }));
    }
    Some(Table { name, call: LIBRARY, plain: true, halved_by: &[2, 4, 8], rows })
}

/// Within nodes; the tables have eight kilobytes of message sizes between rows, milliseconds of three calls' median.
fn vidur(folder: &'static str, name: &'static str, call: Call) -> Option<Table> {
    let halved_by: &[u32] = if folder.ends_with("dgx") { &[2, 8] } else { &[] };
    let op = if call == Call::Send { "send_recv" } else { "all_reduce" };
    let csv = Csv::read(&format!("vidur/network/{folder}/{op}.csv"))?;
    let time = format!("time_stats.{op}.median");
    let [devices, node, bytes, time] =
        ["num_workers", "devices_per_node", "size", &time[..]].map(|name| csv.column(name));
    let inside = csv.rows.iter().filter(|cells| cells[devices] == cells[node]);
    let row = |cells: &Vec<String>| Row {
        devices: cells[devices].parse().expect("a number"),
        bytes: cells[bytes].parse().expect("a number"),
        seconds: cells[time].parse::<f64>().expect("a number") * 1e-3,
    };
    Some(Table { name, call, plain: true, halved_by, rows: inside.map(row).collect() })
}

/// Message sizes are elements: 512 Mi of half precision take what 1 GiB takes elsewhere.
fn nccl(file: &str, name: &'static str, op: &str, call: Call, dtype: &str) -> Option<Table> {
    let csv = Csv::read(&format!("aiconfigurator/{file}__nccl_perf.csv.gz"))?;
    let columns = ["op_name", "nccl_dtype", "num_gpus", "message_size", "latency"].map(|name| csv.column(name));
    let width = if dtype == "half" { 2 } else { 1 };
    let fits = csv.rows.iter().filter(|cells| cells[columns[0]] == op && cells[columns[1]] == dtype);
    let rows = fits.map(|cells| row([2, 3, 4].map(|at| &cells[columns[at]][..]), width)).collect();
    Some(Table { name, call, plain: dtype != "half", halved_by: &[2, 8], rows })
}

/// vLLM's kernels in a graph; from 8 MiB on the table shows the library's.
fn direct(file: &str, name: &'static str) -> Option<Table> {
    let csv = Csv::read(&format!("aiconfigurator/{file}__custom_allreduce_perf.csv.gz"))?;
    let columns = ["num_gpus", "message_size", "latency", "backend"].map(|name| csv.column(name));
    let graph = csv.rows.iter().filter(|cells| cells[columns[3]] == "vllm_graph");
    let rows = graph.map(|cells| row([0, 1, 2].map(|at| &cells[columns[at]][..]), 2)).collect();
    Some(Table { name, call: Call::AllReduce(Kernels::Direct), plain: false, halved_by: &[2, 8], rows })
}

fn row([devices, elements, milliseconds]: [&str; 3], width: u64) -> Row {
    Row {
        devices: devices.parse().expect("a number"),
        bytes: elements.parse::<u64>().expect("a number") * width,
        seconds: milliseconds.parse::<f64>().expect("a number") * 1e-3,
    }
}

/// All that was measured; none where the data is absent.
fn fabrics() -> Option<Vec<Fabric>> {
    let (a100, h100) = ("a100_sxm__nccl_2.27.3", "h100_sxm__nccl_2.29.2");
    let fabric = |name, levels, tables| Fabric { name, levels, tables };
    Some(vec![
        fabric(
            "a100",
            node("a100"),
            vec![
                vtrain("a100", "vTrain A100 all-reduce")?,
                vidur("a100_dgx", "vidur A100 DGX all-reduce", LIBRARY)?,
                nccl(a100, "aiconfigurator A100 all-reduce", "all_reduce", LIBRARY, "half")?,
                nccl(a100, "aiconfigurator A100 all-reduce int8", "all_reduce", LIBRARY, "int8")?,
                direct("a100_sxm__vllm_0.14.0", "aiconfigurator A100 all-reduce, vLLM's")?,
                nccl(a100, "aiconfigurator A100 all-gather", "all_gather", Call::AllGather, "half")?,
                nccl(a100, "aiconfigurator A100 reduce-scatter", "reduce_scatter", Call::ReduceScatter, "half")?,
                nccl(a100, "aiconfigurator A100 all-to-all", "alltoall", Call::AllToAll, "half")?,
            ],
        ),
        fabric(
            "h100",
            node("h100"),
            vec![
                vidur("h100_dgx", "vidur H100 DGX all-reduce", LIBRARY)?,
                nccl(h100, "aiconfigurator H100 all-reduce", "all_reduce", LIBRARY, "half")?,
                nccl(h100, "aiconfigurator H100 all-reduce int8", "all_reduce", LIBRARY, "int8")?,
                direct("h100_sxm__vllm_0.24.0", "aiconfigurator H100 all-reduce, vLLM's")?,
                nccl(h100, "aiconfigurator H100 all-gather", "all_gather", Call::AllGather, "half")?,
                nccl(h100, "aiconfigurator H100 reduce-scatter", "reduce_scatter", Call::ReduceScatter, "half")?,
                nccl(h100, "aiconfigurator H100 all-to-all", "alltoall", Call::AllToAll, "half")?,
            ],
        ),
        fabric("v100", node("v100"), vec![vtrain("v100", "vTrain V100 all-reduce")?]),
        fabric(
            "a100 pairs",
            pairs([0.83e-6, 0.91e-6], [0.823, 0.745], 32e9),
            vec![vidur("a100_pairwise_nvlink", "vidur A100 pairs all-reduce", LIBRARY)?],
        ),
        fabric(
            "h100 pairs",
            pairs([0.48e-6, 1.09e-6], [0.875, 0.83], 64e9),
            vec![vidur("h100_pairwise_nvlink", "vidur H100 pairs all-reduce", LIBRARY)?],
        ),
    ])
}

/// Prints the errors of the rows that took no part in a fit; those of all-reduces.
fn report(fabric: &Fabric, first: bool, constants: &[f64]) -> Vec<(&'static str, f64)> {
    let mut reduced = Vec::new();
    for table in &fabric.tables {
        let (fitted, rest) = (table.half(first), table.half(!first));
        let levels = seen(table, &fabric.with(constants));
        let errors = Errors::of(rest.iter().map(|row| (table.predict(&levels, row), row.seconds)));
        let lookup = Errors::of(thinned(rest).iter().map(|row| (nearest(&fitted, row), row.seconds)));
        println!("{:38} {errors}  nearest {:5.1} %", table.name, 100.0 * lookup.median);
        if matches!(table.call, Call::AllReduce(_)) {
            reduced.push((table.name, errors.median));
        }
    }
    reduced
}

/// The constants of the presets, over all rows.
#[test]
fn all_rows_with_the_constants_of_the_presets() {
    let mut wrong = Vec::new();
    for fabric in fabrics().unwrap_or_default() {
        for table in fabric.tables.iter().filter(|table| matches!(table.call, Call::AllReduce(_))) {
            let levels = seen(table, &fabric.levels);
            let errors = Errors::of(table.rows.iter().map(|row| (table.predict(&levels, row), row.seconds)));
            println!("{:38} {errors}", table.name);
            wrong.extend((errors.median > BAR).then_some((table.name, errors.median)));
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}

/// Prints latency and efficiency of each level, fitted on all rows: what the cluster files have.
#[test]
#[ignore = "prints what to put into the cluster files"]
fn refit_links() {
    for mut fabric in fabrics().unwrap_or_default() {
        fabric.tables.iter_mut().for_each(|table| table.halved_by = &[2, 3, 4, 5, 6, 7, 8]);
        println!("{:12} {:?}", fabric.name, fabric.fitted(true));
    }
}

/// Fits each half in turn and holds the other one against it.
#[test]
fn group_sizes_left_out_of_the_fit() {
    let Some(fabrics) = fabrics() else { return };
    let mut wrong = Vec::new();
    for fabric in &fabrics {
        for first in [true, false] {
            let constants = fabric.fitted(first);
            println!("-- {} fitted on {}: {constants:?}", fabric.name, if first { "one half" } else { "the other" });
            wrong.extend(report(fabric, first, &constants).into_iter().filter(|(_, median)| *median > BAR));
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}
