//! What two devices of a thread each gain over one, eight prompts over one, and what a busy neighbour costs.
//!
//! `HEADSAW_SMOLLM2=model.gguf cargo bench -p headsaw-run --bench scaling [-- ROUNDS]`. All arms in turn, round by round; prints
//! tables for docs/performance.md. Other processes disturb the figures.

use headsaw::cost::{Load, Priced};
use headsaw::lower::lower;
use headsaw::plan::{CutRequest, Exchange, Order, Plan, cut};
use headsaw::simulate::{Rounds, simulate};
use headsaw::spec::cluster::Cluster;
use headsaw::spec::model::Dtype;
use headsaw::spec::workload::{Activations, KvDtype, Numerics, Workload};
use headsaw_run::calibrate::{BUDGET, Scope, calibrate};
use headsaw_run::compute;
use headsaw_run::generate::{Engine, Flow, Options, Report};
use headsaw_run::testing::{random_model, wide_spec};
use headsaw_run::weights::ModelFile;
use std::path::Path;
use std::process::{Child, Command};

const PROMPT: u32 = 512;
const TOKENS: usize = 64;
/// Prompts at once, and tokens of each.
const PROMPTS: u32 = 8;
const SHORT: u32 = 32;
/// Rounds where nobody says how many.
const ROUNDS: usize = 9;

fn main() {
    let words: Vec<String> = std::env::args().collect();
    if words.iter().any(|word| word == "spin") {
        loop {
            std::hint::spin_loop();
        }
    }
    let rounds = words.iter().find_map(|word| word.parse().ok()).unwrap_or(ROUNDS).max(1);
    let scope = Scope { title: "this machine", weights: &Dtype::ALL, budget: BUDGET };
    let cluster = calibrate(&scope, &*compute::cpu(None).expect("kernels"), &mut |_| {});
    exchange(&cluster);
    let models = models();
    devices(&models, &cluster, rounds);
    batch(&models, rounds);
    neighbour(&models, rounds);
}

/// SmolLM2 where it is there, and a wider Llama of random weights.
fn models() -> Vec<(&'static str, ModelFile)> {
    let smollm2 = std::env::var_os("HEADSAW_SMOLLM2").map(|path| ModelFile::open(Path::new(&path)).expect("a model"));
    let spec = wide_spec(16);
    let random = ModelFile::from_reader("random", random_model(&spec, 1, Dtype::Q4_0)).expect("a model");
    smollm2.map(|file| ("SmolLM2", file)).into_iter().chain([("8 heads, random, Q4_0", random)]).collect()
}

fn exchange(cluster: &Cluster) {
    let level = &cluster.levels[0];
    let (meeting, reading) = (level.latency_seconds.0, 4.0 * 576.0 / level.bytes_per_second.0);
    println!(
        "exchange of 576 floats between two threads, median: {:.2} us ({:.2} to meet, {:.2} to read)",
        1e6 * (meeting + reading),
        1e6 * meeting,
        1e6 * reading
    );
}

fn workload(batch: u32, tokens: u32) -> Workload {
    let numerics = Numerics { activations: Activations::Int8, kv: KvDtype::F16 };
    Workload { batch, tokens, micros: 1, context: tokens + TOKENS as u32, sequences: batch, numerics }
}

fn planned(file: &ModelFile, devices: u32, lanes: u32, workload: Workload) -> Plan {
    let order = Order::Pipelined;
    let request = CutRequest { tp: devices, pp: 1, device_weights: vec![], lanes, exchange: Exchange::Reduce, order };
    cut(file.spec(), workload, &request).expect("a cut")
}

fn load(file: &ModelFile, plan: &Plan) -> Engine {
    Engine::load(file, plan, compute::cpu(None).expect("kernels"), &mut |_| {}).expect("it loads")
}

/// So many prompts of so many tokens, and [`TOKENS`] more for each.
fn run(engine: &mut Engine, prompts: u32, tokens: u32) -> Report {
    let vocab = engine.plan().model.vocab;
    let prompt = |number: u32| (0..tokens).map(|i| ((i + 31 * number) * 7919) % vocab).collect();
    let prompts: Vec<Vec<u32>> = (0..prompts).map(prompt).collect();
    engine.generate(&prompts, &Options::greedy(TOKENS), &mut |_| Flow::Continue).expect("it runs")
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The median of `a / b`, round by round.
fn ratio(a: &[f64], b: &[f64]) -> f64 {
    median(a.iter().zip(b).map(|(a, b)| a / b).collect())
}

fn predicted(plan: &Plan, cluster: &Cluster, load: Load) -> f64 {
    simulate(&lower(plan), &Priced::new(plan, cluster), &Rounds(vec![vec![load]])).expect("it ends").seconds().0
}

/// One device against two, a thread each.
fn devices(models: &[(&str, ModelFile)], cluster: &Cluster, rounds: usize) {
    println!("\n| model, heads | test | 1 device, ms | 2 devices, ms | ratio | simulated | measured / simulated |");
    println!("|---|---|---|---|---|---|---|");
    for (name, file) in models {
        let plans = [1, 2].map(|devices| planned(file, devices, 1, workload(1, PROMPT)));
        let mut engines = plans.each_ref().map(|plan| load(file, plan));
        let mut seconds: [[Vec<f64>; 2]; 2] = Default::default();
        for round in 0..=rounds {
            for (engine, seconds) in engines.iter_mut().zip(&mut seconds) {
                let report = run(engine, 1, PROMPT);
                if round > 0 {
                    seconds[0].push(report.prefill.seconds); // the first is to warm up
                    seconds[1].push(report.decode.seconds / report.decode.tokens as f64);
                }
            }
        }
        let heads: Vec<_> = plans[1].slices().map(|(_, slice)| slice.heads.len().to_string()).collect();
        let loads = [
            Load { sequences: 1, tokens: PROMPT, past: 0 },
            Load { sequences: 1, tokens: 1, past: PROMPT + TOKENS as u32 / 2 },
        ];
        for (i, test) in ["prompt 512", "a token"].into_iter().enumerate() {
            let [one, two] = seconds.each_ref().map(|seconds| median(seconds[i].clone()));
            let foretold = predicted(&plans[1], cluster, loads[i]);
            println!(
                "| {name}, {} | {test} | {:.2} | {:.2} | **{:.3}** | {:.2} | {:.2} |",
                heads.join(" + "),
                1e3 * one,
                1e3 * two,
                ratio(&seconds[1][i], &seconds[0][i]),
                1e3 * foretold,
                two / foretold
            );
        }
    }
}

/// Generated tokens a second, of all prompts together.
fn rate(report: &Report) -> f64 {
    report.decode.tokens_per_second()
}

/// Several prompts at once against each alone; the bits of each must be those that it has alone.
fn batch(models: &[(&str, ModelFile)], rounds: usize) {
    println!("\n| model | lanes | 1 prompt, tokens/s | {PROMPTS} at once | ratio |\n|---|---|---|---|---|");
    for (name, file) in models {
        for lanes in [1, 2] {
            let mut engines = [1, PROMPTS].map(|n| load(file, &planned(file, 1, lanes, workload(n, SHORT))));
            let mut rates: [Vec<f64>; 2] = Default::default();
            let mut first = Vec::new();
            for round in 0..=rounds {
                for ((engine, rates), prompts) in engines.iter_mut().zip(&mut rates).zip([1, PROMPTS]) {
                    let report = run(engine, prompts, SHORT);
                    first.push(report.outputs[0].logits_digest);
                    if round > 0 {
                        rates.push(rate(&report));
                    }
                }
            }
            assert!(first.iter().all(|digest| *digest == first[0]), "company in a batch changed the bits");
            let [alone, together] = rates.each_ref().map(|rates| median(rates.clone()));
            let ratio = ratio(&rates[1], &rates[0]);
            println!("| {name} | {lanes} | {alone:.0} | {together:.0} | **{ratio:.2} x** |");
        }
    }
}

/// A process that does nothing but keep a core busy, until it is dropped.
struct Busy(Child);

impl Busy {
    fn new() -> Busy {
        let exe = std::env::current_exe().expect("this program");
        Busy(Command::new(exe).arg("spin").spawn().expect("another process"))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.kill().expect("it can be ended");
        self.0.wait().expect("it ends");
    }
}

/// Generation with as many lanes as cores beside a process that keeps one of them busy.
fn neighbour(models: &[(&str, ModelFile)], rounds: usize) {
    println!("\n| model | cut | alone, tokens/s | beside a busy process | ratio |\n|---|---|---|---|---|");
    for (name, file) in models {
        for (cut, devices, lanes) in [("2 lanes", 1, 2), ("tp 2 x 1 lane", 2, 1)] {
            let mut engine = load(file, &planned(file, devices, lanes, workload(1, SHORT)));
            run(&mut engine, 1, SHORT);
            let mut rates: [Vec<f64>; 2] = Default::default();
            for _ in 0..rounds {
                rates[0].push(rate(&run(&mut engine, 1, SHORT)));
                let busy = Busy::new();
                std::thread::sleep(std::time::Duration::from_millis(50)); // it is at work by then
                rates[1].push(rate(&run(&mut engine, 1, SHORT)));
                drop(busy);
            }
            let [alone, beside] = rates.each_ref().map(|rates| median(rates.clone()));
            println!("| {name} | {cut} | {alone:.0} | {beside:.0} | **{:.2} x** |", ratio(&rates[1], &rates[0]));
        }
    }
}
