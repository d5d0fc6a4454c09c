//! `headsaw calibrate`: measures this machine and writes a cluster file.

use crate::engine::ComputeArgs;
use crate::error::Failure;
use crate::output::{self, BOLD, Screen, say, styled};
use crate::progress::Progress;
use crate::table::{Table, facts};
use headsaw::spec::cluster::{self, Cluster, Level, Prices};
use headsaw::spec::model::Dtype;
use headsaw::units::{Bytes, Seconds};
use headsaw_run::{calibrate, machine};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Measure what this machine does, for predictions
///
/// Measures this machine with the kernels that run models: products by type of the weights and tokens, attention,
/// element-wise work, memory and cache, what it takes to hand over between threads. Other busy processes make it less
/// exact. The file is a cluster of kind local, for every verb that takes a cluster.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  headsaw calibrate                        shows what was measured
  headsaw calibrate -o here.toml
  headsaw calibrate --quick --json
  headsaw calibrate --dtypes Q4_K,Q6_K           only what a model in Q4_K_M has
  headsaw calibrate --isa avx2 -o - | less")]
pub struct Args {
    /// Where to write the cluster file; - is standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Take a second or two instead of fifteen; less exact
    #[arg(long)]
    quick: bool,
    /// Types of weights that products are measured with, as Q4_1,Q8_0 [default: all]; predictions take the most similar
    /// one for what is missing
    #[arg(long, value_name = "NAMES", value_delimiter = ',', value_parser = dtype)]
    dtypes: Vec<Dtype>,
    #[command(flatten)]
    compute: ComputeArgs,
}

#[derive(Serialize)]
struct Json<'a> {
    title: &'a str,
    kernels: &'a str,
    file: Option<&'a Path>,
    memory_bytes: Bytes,
    table: &'a cluster::Table,
    level: &'a Level,
}

/// Measures, writes the file, shows the figures.
pub fn act(args: &Args, json: bool) -> Result<(), Failure> {
    let file = args.output.as_deref().filter(|path| path.as_os_str() != "-");
    file.map_or(Ok(()), output::writable)?;
    let compute = args.compute.compute()?;
    let mut bar = Progress::new("measuring {bar:40} {percent} %");
    let title = title(compute.name());
    let budget = if args.quick { calibrate::QUICK } else { calibrate::BUDGET };
    let asked = |dtype: &Dtype| args.dtypes.is_empty() || args.dtypes.contains(dtype);
    let weights: Vec<Dtype> = Dtype::ALL.into_iter().filter(asked).collect();
    let scope = calibrate::Scope { title: &title, weights: &weights, budget };
    let measured = calibrate::calibrate(&scope, &*compute, &mut |at| bar.at(at.done, at.total));
    bar.end();
    let kind = &measured.groups[0].kind;
    let (Prices::Table(table), level) = (&kind.prices, &measured.levels[0]) else { unreachable!("it was measured") };
    let (kernels, memory_bytes) = (compute.name(), kind.memory_bytes);
    let shown = human(&title, memory_bytes, table, level);
    write(args.output.as_deref(), file, &measured, &Screen { json }, &shown)?;
    if json {
        output::print_json(&Json { title: &title, kernels, file, memory_bytes, table, level })?;
    }
    Ok(())
}

/// A type of weights by its name, in letters of either case.
fn dtype(name: &str) -> Result<Dtype, String> {
    let named = |dtype: &Dtype| dtype.name().eq_ignore_ascii_case(name.trim());
    Dtype::ALL.into_iter().find(named).ok_or_else(|| {
        let names: Vec<&str> = Dtype::ALL.iter().map(|dtype| dtype.name()).collect();
        format!("no type of weights; those that run here are {}", names.join(", "))
    })
}

/// The file to where it was asked for, the figures to where they are not in its way.
fn write(
    asked: Option<&Path>,
    file: Option<&Path>,
    measured: &Cluster,
    screen: &Screen,
    shown: &str,
) -> Result<(), Failure> {
    let text = cluster::write(measured);
    match (asked, file) {
        (None, _) => screen.show(shown),
        (Some(_), None) => {
            say(shown);
            screen.show(&text)
        }
        (Some(_), Some(path)) => {
            screen.show(shown)?;
            output::write_file(path, |file| file.write_all(text.as_bytes()))?;
            say(&format!("wrote {}\n", path.display()));
            Ok(())
        }
    }
}

/// What was measured, by what.
pub fn title(kernels: &str) -> String {
    let processor = machine::processor().unwrap_or_else(|| std::env::consts::ARCH.into());
    let version = env!("CARGO_PKG_VERSION");
    format!("{processor}, {} core(s), {kernels} kernels of headsaw {version}", calibrate::cores())
}

fn human(title: &str, memory: Bytes, table: &cluster::Table, level: &Level) -> String {
    let rate = |bytes: f64| format!("{:.1} GB/s", bytes / 1e9);
    let nanoseconds = |seconds: Seconds| format!("{:.0} ns", seconds.0 * 1e9);
    let figures = facts(&[
        (
            "memory",
            format!(
                "{memory}; {} by one lane, {} by all",
                rate(table.lane_bytes_per_second.0),
                rate(table.bytes_per_second.0)
            ),
        ),
        ("cache", format!("{}; {}", table.cache_bytes, rate(table.cached_bytes_per_second.0))),
        ("cores", format!("{}{}", table.cores, together(table))),
        ("an action", nanoseconds(table.action_seconds)),
        (
            "hand-over",
            format!(
                "{}, with more lanes than cores {}{}",
                nanoseconds(table.hand_over_seconds),
                nanoseconds(table.crowded_hand_over_seconds),
                table.wake_seconds.map_or("".into(), |wake| format!(", to a lane that sleeps {}", nanoseconds(wake)))
            ),
        ),
        ("exchange", format!("{} and {}", nanoseconds(level.latency_seconds), rate(level.bytes_per_second.0))),
    ]);
    format!("{}\n{figures}{}{}{}", styled(BOLD, title), products(table), attention(table), elements(table))
}

/// What a core does while all are busy.
fn together(table: &cluster::Table) -> String {
    table.together.map_or("".into(), |share| format!("; each does {:.0} % while all are busy", 100.0 * share))
}

fn products(table: &cluster::Table) -> String {
    let mut tokens: Vec<u32> = table.products.iter().map(|point| point.tokens).collect();
    tokens.sort_unstable();
    tokens.dedup();
    let heads: Vec<String> = tokens.iter().map(u32::to_string).collect();
    let columns: Vec<&str> = ["<GOP/s by tokens"].into_iter().chain(heads.iter().map(String::as_str)).collect();
    let mut shown = Table::new(&columns);
    let measured = |dtype: &Dtype| table.products.iter().any(|point| point.weights == *dtype);
    for weights in Dtype::ALL.into_iter().filter(measured) {
        let at = |tokens: &u32| table.products.iter().find(|point| point.weights == weights && point.tokens == *tokens);
        let rate = |tokens| at(tokens).map_or(String::new(), |point| giga(point.flops_per_second.0));
        shown.row([weights.name().to_string()].into_iter().chain(tokens.iter().map(rate)).collect());
    }
    format!("\n{}", shown.show())
}

fn attention(table: &cluster::Table) -> String {
    let points = &table.attention.products;
    let heads: Vec<String> = points.iter().map(|point| point.queries.to_string()).collect();
    let columns: Vec<&str> = ["<GFLOP/s by queries"].into_iter().chain(heads.iter().map(String::as_str)).collect();
    let mut shown = Table::new(&columns);
    let rates = points.iter().map(|point| giga(point.flops_per_second.0));
    shown.row(["attention".to_string()].into_iter().chain(rates).collect());
    let rest =
        [("exponentials", table.attention.exponentials_per_second), ("queries", table.attention.queries_per_second)];
    format!("\n{}{}", shown.show(), facts(&rest.map(|(name, rate)| (name, each(rate)))))
}

fn elements(table: &cluster::Table) -> String {
    let rates = &table.elements;
    let rates = [
        ("norm", rates.norm_per_second),
        ("quantise", rates.quantise_per_second),
        ("rotate", rates.rotate_per_second),
        ("activate", rates.activate_per_second),
        ("store K, V", rates.store_per_second),
        ("add", rates.add_per_second),
        ("lay out", rates.lay_per_second),
        ("sample", rates.sample_per_second),
    ];
    format!("\n{}", facts(&rates.map(|(name, rate)| (name, each(rate)))))
}

fn giga(rate: f64) -> String {
    format!("{:.1}", rate / 1e9)
}

fn each(rate: f64) -> String {
    format!("{:.2} ns each", 1e9 / rate)
}
