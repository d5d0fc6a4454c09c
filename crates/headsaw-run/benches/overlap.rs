//! What hiding exchanges behind work gains where they take 30 to 50 % of the time: SmolLM2, a prompt of 512 tokens, tp 2, over
//! a shaped link whose rate is chosen on the spot. All ways in turn, round by round; predicted beside measured.
//!
//! `HEADSAW_SMOLLM2=model.gguf cargo bench -p headsaw-run --bench overlap [-- ROUNDS]`. Prints tables for docs/performance.md. Other
//! processes disturb the figures.

use headsaw::cost::{Load, Priced};
use headsaw::lower::lower;
use headsaw::plan::{CutRequest, Exchange, Flow as HeadFlow, HeadSteps, Order, Overlap, Plan, cut};
use headsaw::program::{Op, Program};
use headsaw::simulate::{Rounds, simulate};
use headsaw::spec::cluster::{Cluster, DeviceId, Link, Links};
use headsaw::spec::model::Dtype;
use headsaw::spec::workload::{Activations, KvDtype, Numerics, Workload};
use headsaw::trace::Trace;
use headsaw::units::{BytesPerSecond, Seconds};
use headsaw_run::calibrate::{BUDGET, Scope, calibrate};
use headsaw_run::compute;
use headsaw_run::generate::{Engine, Flow, Options, Report, not_yet};
use headsaw_run::weights::ModelFile;
use std::path::Path;

const PROMPT: u32 = 512;
const DEVICES: u32 = 2;
/// Rounds where nobody says how many.
const ROUNDS: usize = 15;
/// Share of the time that exchanges take in the way that hides nothing.
const SHARE: f64 = 0.40;
const LATENCY: Seconds = Seconds(50e-6);

/// A way to run the prompt.
struct Way {
    exchange: Exchange,
    overlap: Overlap,
    /// Heads at a time; none: all.
    chunk: Option<u32>,
    engine: Engine,
    predicted: f64,
    seconds: Vec<f64>,
}

fn main() {
    let Some(path) = std::env::var_os("HEADSAW_SMOLLM2") else {
        println!("skipped: HEADSAW_SMOLLM2 names no model");
        return;
    };
    let file = ModelFile::open(Path::new(&path)).expect("a model");
    let scope = Scope { title: "this machine", weights: &Dtype::ALL, budget: BUDGET };
    let mut cluster = calibrate(&scope, &*compute::cpu(None).expect("kernels"), &mut |_| {});
    let (link, alone) = chosen(&file);
    println!("link {link}: {:.0} ms without it\n", 1e3 * alone);
    cluster.levels.iter_mut().for_each(|level| level.link = Some(link));
    let mut ways = ways(&file, &cluster);
    let rounds = std::env::args().find_map(|word| word.parse().ok()).unwrap_or(ROUNDS);
    measure(&mut ways, &Links::all(link), rounds.max(1));
    show(&ways, alone);
    stages(&file, &cluster, rounds);
}

/// Two stages, a prompt in so many chunks that follow each other: the idle share, predicted and measured.
fn stages(file: &ModelFile, cluster: &Cluster, rounds: usize) {
    println!("\n| two stages, chunks | bubble predicted | measured, min / median |\n|---|---|---|");
    for micros in [4, 8] {
        let workload = Workload { tokens: PROMPT / micros, micros, ..plain(PROMPT) };
        let order = Order::Pipelined;
        let request = CutRequest { tp: 1, pp: 2, device_weights: vec![], lanes: 1, exchange: Exchange::Reduce, order };
        let plan = cut(file.spec(), workload, &request).expect("a cut");
        let foretold = simulated(&plan, cluster).occupancy().bubble;
        let mut engine = load(file, &plan);
        let mut found: Vec<f64> = (0..=rounds).map(|_| first_round(&mut engine).occupancy().bubble).skip(1).collect();
        let middle = median(&mut found);
        println!("| {micros} | {foretold:.3} | {:.3} / **{middle:.3}** |", found[0]);
    }
}

/// What was measured of the prompt's round.
fn first_round(engine: &mut Engine) -> Trace {
    let recorded = run(engine, &Links::default(), Some(1 << 16)).recorded.expect("it was asked for");
    let spans = recorded.trace.spans.iter().filter(|span| span.round == 0).copied().collect();
    Trace { spans, ..recorded.trace }
}

fn plain(tokens: u32) -> Workload {
    let numerics = Numerics { activations: Activations::Int8, kv: KvDtype::F16 };
    Workload { batch: 1, tokens, micros: 1, context: PROMPT + 1, sequences: 1, numerics }
}

/// A link at which exchanges take [`SHARE`] of the plainest way; and the seconds of that without it.
fn chosen(file: &ModelFile) -> (Link, f64) {
    let plan = plan(file, Exchange::Reduce, Overlap::None, None);
    let mut engine = load(file, &plan);
    let mut seconds: Vec<f64> =
        (0..=5).map(|_| run(&mut engine, &Links::default(), None).prefill.seconds).skip(1).collect();
    let alone = median(&mut seconds);
    let (bytes, exchanges) = incoming(&lower(&plan));
    let wire = alone * SHARE / (1.0 - SHARE) - f64::from(exchanges) * LATENCY.0;
    let megabit = 1e6 / 8.0;
    let rate = (bytes / wire.max(1e-3) / megabit).round().max(1.0) * megabit;
    (Link { rate: BytesPerSecond(rate), latency: LATENCY }, alone)
}

/// Bytes that come into the first device, and in how many exchanges.
fn incoming(program: &Program) -> (f64, u32) {
    let others = program.lanes.iter().filter(|lane| lane.device != DeviceId(0)).flat_map(|lane| &lane.actions);
    let exchanges = others.filter(|action| matches!(action.op, Op::AllReduce(..) | Op::AllGather(..)));
    exchanges
        .fold((0.0, 0), |(bytes, count), action| (bytes + action.work.sent.0 as f64 * f64::from(PROMPT), count + 1))
}

fn ways(file: &ModelFile, cluster: &Cluster) -> Vec<Way> {
    let mut ways = Vec::new();
    for exchange in [Exchange::Reduce, Exchange::Gather] {
        let chunks = [Some(1), Some(2)].map(|chunk| (Overlap::Heads, chunk));
        for (overlap, chunk) in [(Overlap::None, None)].into_iter().chain(chunks).chain([(Overlap::Tokens, None)]) {
            let plan = plan(file, exchange, overlap, chunk);
            if !not_yet(&plan).is_empty() {
                println!("left out, does not run yet: {exchange:?} {overlap:?} {chunk:?}");
                continue;
            }
            let predicted = predicted(&plan, cluster);
            ways.push(Way { exchange, overlap, chunk, engine: load(file, &plan), predicted, seconds: Vec::new() });
        }
    }
    ways
}

fn plan(file: &ModelFile, exchange: Exchange, overlap: Overlap, chunk: Option<u32>) -> Plan {
    let micros = if overlap == Overlap::Tokens { 2 } else { 1 };
    let workload = Workload { micros, ..plain(PROMPT / micros) };
    let order = Order::Pipelined;
    let request = CutRequest { tp: DEVICES, pp: 1, device_weights: vec![], lanes: 1, exchange, order };
    let mut plan = cut(file.spec(), workload, &request).expect("a cut");
    if overlap != Overlap::None {
        let most = plan.slices().map(|(_, slice)| slice.heads.end - slice.heads.start).max().expect("a slice");
        let (cut, chunk) = ("1".parse().expect("a cut"), chunk.unwrap_or(most));
        plan.steps = Some(HeadSteps::in_turn(HeadFlow { cut, chunk, interleave: micros, overlap }, 1));
    }
    plan
}

fn load(file: &ModelFile, plan: &Plan) -> Engine {
    Engine::load(file, plan, compute::cpu(None).expect("kernels"), &mut |_| {}).expect("it loads")
}

fn predicted(plan: &Plan, cluster: &Cluster) -> f64 {
    simulated(plan, cluster).seconds().0
}

fn simulated(plan: &Plan, cluster: &Cluster) -> Trace {
    let Workload { tokens, micros, .. } = plan.workload;
    let loads = (0..micros).map(|i| Load { sequences: 1, tokens, past: i * tokens }).collect();
    simulate(&lower(plan), &Priced::new(plan, cluster), &Rounds(vec![loads])).expect("it ends")
}

fn run(engine: &mut Engine, links: &Links, trace: Option<usize>) -> Report {
    let vocab = engine.plan().model.vocab;
    let ids: Vec<u32> = (0..PROMPT).map(|i| (i * 7919) % vocab).collect();
    let options = Options { links: links.clone(), trace, ..Options::greedy(1) };
    engine.generate(&[ids], &options, &mut |_| Flow::Continue).expect("it runs")
}

/// All ways in turn, so that what disturbs one disturbs all; the first round is to warm up, and for the bits.
fn measure(ways: &mut [Way], links: &Links, rounds: usize) {
    let mut digest = None;
    for round in 0..=rounds {
        for way in ways.iter_mut() {
            let report = run(&mut way.engine, links, None);
            assert_eq!(
                *digest.get_or_insert(report.logits_digest),
                report.logits_digest,
                "every way gives the same bits"
            );
            if round > 0 {
                way.seconds.push(report.prefill.seconds);
            }
        }
    }
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// How much faster one way is than another: predicted, and in the median of the rounds.
fn gain(slow: &Way, fast: &Way) -> (f64, f64) {
    let mut ratios: Vec<f64> = slow.seconds.iter().zip(&fast.seconds).map(|(slow, fast)| slow / fast).collect();
    (slow.predicted / fast.predicted, median(&mut ratios))
}

fn show(ways: &[Way], alone: f64) {
    let plain = &ways[0];
    println!("| exchange | overlap | predicted ms | measured ms, min / median | off | gain predicted | measured |");
    println!("|---|---|---|---|---|---|---|");
    for way in ways {
        let middle = median(&mut way.seconds.clone());
        let least = way.seconds.iter().copied().fold(f64::INFINITY, f64::min);
        let (foretold, found) = gain(plain, way);
        let off = 100.0 * (way.predicted / middle - 1.0);
        println!(
            "| {:?} | {} | {:.0} | {:.0} / **{:.0}** | {off:+.0} % | {foretold:.2} x | **{found:.2} x** |",
            way.exchange,
            name(way),
            1e3 * way.predicted,
            1e3 * least,
            1e3 * middle,
        );
    }
    let share = 1.0 - alone / median(&mut plain.seconds.clone());
    println!("\nexchanges take {:.0} % of {:?} {}", 100.0 * share, plain.exchange, name(plain));
    parts(ways);
}

/// The part due to fewer bytes, and the part due to hiding them.
fn parts(ways: &[Way]) {
    let find = |exchange, overlap| ways.iter().find(|way| way.exchange == exchange && way.overlap == overlap);
    let best = ways.iter().min_by(|a, b| a.predicted.total_cmp(&b.predicted)).expect("a way");
    let (plain, same) = (&ways[0], find(best.exchange, Overlap::None).expect("a plain way"));
    println!("\n`auto` takes {:?} {}\n", best.exchange, name(best));
    println!("| part | predicted | measured |\n|---|---|---|");
    for (what, slow, fast) in [("fewer bytes", plain, same), ("overlap", same, best), ("both", plain, best)] {
        let (foretold, found) = gain(slow, fast);
        println!("| {what} | {foretold:.2} x | {found:.2} x |");
    }
}

fn name(way: &Way) -> String {
    let chunk = way.chunk.map_or("".into(), |chunk| format!(", {chunk} at a time"));
    format!("{}{chunk}", way.overlap.name())
}
