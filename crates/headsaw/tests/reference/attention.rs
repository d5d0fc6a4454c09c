//! Attention against the heads on the device: the tables of aiconfigurator, A100 and H100, prompts and generation.
//!
//! Head counts in `LEFT_OUT` take no part in the fit of the constants; errors are those of their rows.

use crate::data::{Csv, Errors};
use crate::kinds;
use crate::search::minimise;
use headsaw::cost::{AttentionShape, attention};
use headsaw::spec::cluster::{AttentionFit, DeviceKind, Prices};
use headsaw::units::Seconds;
use std::collections::BTreeMap;

const LEFT_OUT: [u32; 7] = [2, 5, 12, 20, 32, 48, 96];
const PHASES: [&str; 2] = ["context", "generation"];

/// A measured call.
#[derive(Clone, Copy)]
pub struct Row {
    pub shape: AttentionShape,
    pub seconds: f64,
}

impl Row {
    fn is_left_out(&self) -> bool {
        LEFT_OUT.contains(&self.shape.heads)
    }

    fn pair(&self, kind: &DeviceKind) -> (f64, f64) {
        (attention(kind, &self.shape).0, self.seconds)
    }

    /// What tells calls apart; heads come last.
    fn key(&self) -> [u32; 6] {
        let shape = &self.shape;
        [shape.head_width, shape.kv_heads, shape.sequences, shape.tokens, shape.past, shape.heads]
    }
}

/// The rows of a table, the faster one where a call was measured twice; none where the data is absent.
pub fn rows(kind: &str, phase: &str) -> Option<Vec<Row>> {
    let version = if kind == "a100" { "0.14.0" } else { "0.24.0" };
    let csv = Csv::read(&format!("aiconfigurator/{kind}_sxm__vllm_{version}__{phase}_attention_perf.csv.gz"))?;
    let heading = ["head_dim", "num_key_value_heads", "batch_size", "isl", "step", "num_heads", "latency"];
    let columns = heading.map(|name| csv.column(name));
    let mut found = BTreeMap::new();
    for cells in &csv.rows {
        let row = row(columns.map(|column| cells[column].parse().expect("a number")));
        let seconds = found.entry(row.key()).or_insert((row.shape, row.seconds));
        seconds.1 = seconds.1.min(row.seconds);
    }
    Some(found.into_values().map(|(shape, seconds)| Row { shape, seconds }).collect())
}

fn row([width, kv_heads, sequences, tokens, past, heads, milliseconds]: [f64; 7]) -> Row {
    let shape = AttentionShape {
        sequences: sequences as u32,
        tokens: tokens as u32,
        past: past as u32,
        heads: heads as u32,
        kv_heads: kv_heads as u32,
        head_width: width as u32,
        kv_element_bytes: 2,
    };
    Row { shape, seconds: milliseconds * 1e-3 }
}

/// Time of the fitted row that is nearest in ratios of all sizes: what a lookup would say.
fn nearest(fitted: &[Row], row: &Row) -> f64 {
    let logs = |row: &Row| row.key().map(|size| f64::from(size + 1).ln());
    let at = logs(row);
    let distance = |other: &Row| logs(other).iter().zip(at).map(|(a, b)| (a - b).abs()).sum::<f64>();
    fitted.iter().map(|other| (distance(other), other.seconds)).min_by(|a, b| a.0.total_cmp(&b.0)).expect("a row").1
}

#[test]
fn left_out_head_counts_are_predicted() {
    for kind in [kinds::a100(), kinds::h100()] {
        for phase in PHASES {
            let Some(rows) = rows(&kind.name, phase) else { return };
            let (left, fitted): (Vec<Row>, Vec<Row>) = rows.into_iter().partition(Row::is_left_out);
            let errors = Errors::of(left.iter().map(|row| row.pair(&kind)));
            let lookup = Errors::of(left.iter().step_by(11).map(|row| (nearest(&fitted, row), row.seconds)));
            eprintln!("{} {phase:10} left out {errors}", kind.name);
            eprintln!("{} {phase:10} fitted   {}", kind.name, Errors::of(fitted.iter().map(|row| row.pair(&kind))));
            eprintln!("{} {phase:10} lookup   {lookup}", kind.name);
            assert!(errors.median <= 0.1, "{} {phase}: {errors}", kind.name);
        }
    }
}

/// Heads from which a call takes a quarter longer than with the fewest heads of its series, between measured counts on
/// a line over the logarithm of heads; none where it never does.
fn knee(series: &[(f64, f64)]) -> Option<f64> {
    let limit = 1.25 * series[0].1;
    let after = series.iter().position(|point| point.1 >= limit)?;
    let ((h0, t0), (h1, t1)) = (series[after - 1], series[after]);
    Some(h0 * (h1 / h0).powf((limit - t0) / (t1 - t0)))
}

/// Predicted and measured knees of all series with four head counts or more.
fn knees(kind: &DeviceKind, rows: &[Row]) -> Vec<[Option<f64>; 2]> {
    rows.chunk_by(|a, b| a.key()[..5] == b.key()[..5])
        .filter(|series| series.len() >= 4)
        .map(|series| {
            let points = |time: &dyn Fn(&Row) -> f64| -> Vec<(f64, f64)> {
                series.iter().map(|row| (f64::from(row.shape.heads), time(row))).collect()
            };
            [knee(&points(&|row| row.pair(kind).0)), knee(&points(&|row| row.seconds))]
        })
        .collect()
}

/// Share of knees within one doubling; a knee that is not there counts as one at the largest head count.
fn right(knees: &[[Option<f64>; 2]], most: f64) -> f64 {
    let near = |[a, b]: &&[Option<f64>; 2]| (a.unwrap_or(most) / b.unwrap_or(most)).log2().abs() <= 1.0;
    knees.iter().filter(near).count() as f64 / knees.len().max(1) as f64
}

#[test]
fn knees_are_at_the_right_number_of_heads() {
    for kind in [kinds::a100(), kinds::h100()] {
        let mut seen = Vec::new();
        for phase in PHASES {
            let Some(rows) = rows(&kind.name, phase) else { return };
            let all = knees(&kind, &rows);
            let some: Vec<_> = all.iter().copied().filter(|pair| *pair != [None, None]).collect();
            let (of_all, of_some) = (right(&all, 64.0), right(&some, 64.0));
            eprintln!(
                "{} {phase:10} {} series, {} with a knee: {:.1} % and {:.1} % within one doubling",
                kind.name,
                all.len(),
                some.len(),
                100.0 * of_all,
                100.0 * of_some
            );
            assert!(of_all >= 0.9, "{} {phase}: {of_all}", kind.name);
            seen.extend(some);
        }
        assert!(right(&seen, 64.0) >= 0.9, "{}: {}", kind.name, right(&seen, 64.0));
    }
}

fn constants(fit: &AttentionFit) -> [f64; 5] {
    [
        fit.launch_seconds.0,
        fit.further_launch_seconds.0,
        fit.serial_efficiency,
        fit.block_seconds.0,
        fit.memory_efficiency,
    ]
}

fn with_constants(kind: &DeviceKind, values: &[f64]) -> DeviceKind {
    let mut kind = kind.clone();
    let Prices::Gpu(gpu) = &mut kind.prices else { panic!("{} has no formulas", kind.name) };
    gpu.attention = AttentionFit {
        kernel: gpu.attention.kernel,
        resident_tiles: gpu.attention.resident_tiles,
        launch_seconds: Seconds(values[0]),
        further_launch_seconds: Seconds(values[1]),
        serial_efficiency: values[2],
        block_seconds: Seconds(values[3]),
        memory_efficiency: values[4],
    };
    kind
}

/// Mean absolute logarithm of predicted over measured time, both phases alike.
fn loss(kind: &DeviceKind, phases: &[Vec<Row>]) -> f64 {
    let ratio = |row: &Row| {
        let (predicted, measured) = row.pair(kind);
        (predicted / measured).ln().abs()
    };
    phases.iter().map(|rows| rows.iter().map(ratio).sum::<f64>() / rows.len() as f64).sum()
}

#[test]
#[ignore = "fits the constants of the cluster files anew"]
fn refit_attention() {
    for kind in [kinds::a100(), kinds::h100()] {
        let fitted =
            |phase| rows(&kind.name, phase).map(|rows| rows.into_iter().filter(|row| !row.is_left_out()).collect());
        let Some(phases) = PHASES.iter().map(|phase| fitted(phase)).collect::<Option<Vec<Vec<Row>>>>() else { return };
        let Prices::Gpu(gpu) = &kind.prices else { panic!("{} has no formulas", kind.name) };
        let found = minimise(&constants(&gpu.attention), |values| loss(&with_constants(&kind, values), &phases));
        let fit = with_constants(&kind, &found);
        let Prices::Gpu(gpu) = &fit.prices else { unreachable!() };
        eprintln!("{}: loss {:.4}, {:?}", kind.name, loss(&fit, &phases), gpu.attention);
    }
}
