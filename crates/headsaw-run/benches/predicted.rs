//! How right predictions of whole runs are: calibrates once, then runs many cuts of two models in turn, round by round, and
//! plays the same programs against what was calibrated.
//!
//! `HEADSAW_SMOLLM2=model.gguf cargo bench -p headsaw-run --bench predicted [-- ROUNDS] [-- steps]`. Prints the tables of
//! docs/accuracy.md; `steps` adds what each step takes. Other processes disturb both.

use headsaw::cost::{Load, Priced};
use headsaw::lower::lower;
use headsaw::plan::{CutRequest, Exchange, Flow as HeadFlow, HeadSteps, Order, Overlap, Plan, cut};
use headsaw::simulate::{Rounds, simulate};
use headsaw::spec::cluster::{Cluster, Link, Links};
use headsaw::spec::model::Dtype;
use headsaw::spec::workload::{Activations, KvDtype, Numerics, Workload};
use headsaw::trace::Trace;
use headsaw_run::calibrate::{BUDGET, Scope, calibrate};
use headsaw_run::compute;
use headsaw_run::generate::{Engine, Flow, Options, Report};
use headsaw_run::testing::{random_model, wide_spec};
use headsaw_run::weights::ModelFile;
use std::collections::BTreeMap;
use std::path::Path;

const PROMPT: u32 = 256;
/// Rounds where nobody says how many.
const ROUNDS: usize = 9;
const LINK: &str = "2Gbit/s,50us";

/// A cut to be tried: devices, stages, lanes, exchange, steps with chunk and overlap, micro-batches, over the link or not.
type Cut = (u32, u32, u32, Exchange, Option<(&'static str, u32, Overlap)>, u32, bool);

const REDUCE: Exchange = Exchange::Reduce;
const GATHER: Exchange = Exchange::Gather;

const CUTS: [Cut; 22] = [
    (1, 1, 1, REDUCE, None, 1, false),
    (1, 1, 1, REDUCE, None, 2, false),
    (1, 1, 2, REDUCE, None, 1, false),
    (2, 1, 1, REDUCE, None, 1, false),
    (2, 1, 1, GATHER, None, 1, false),
    (3, 1, 1, REDUCE, None, 1, false),
    (4, 1, 1, REDUCE, None, 1, false),
    (4, 1, 1, GATHER, None, 1, false),
    (2, 1, 2, REDUCE, None, 1, false),
    (1, 2, 1, REDUCE, None, 1, false),
    (1, 2, 1, REDUCE, None, 4, false),
    (2, 2, 1, REDUCE, None, 2, false),
    (1, 1, 2, REDUCE, Some(("2", 1, Overlap::Heads)), 1, false),
    (1, 1, 2, REDUCE, Some(("3", 1, Overlap::Heads)), 1, false),
    (1, 1, 2, GATHER, Some(("3", 2, Overlap::Heads)), 1, false),
    (1, 1, 1, REDUCE, Some(("3", 1, Overlap::None)), 1, false),
    (2, 1, 1, GATHER, Some(("1", 2, Overlap::Heads)), 1, false),
    (2, 1, 1, REDUCE, Some(("1", 4, Overlap::Tokens)), 2, false),
    (2, 1, 1, REDUCE, None, 1, true),
    (2, 1, 1, GATHER, None, 1, true),
    (2, 1, 1, GATHER, Some(("1", 2, Overlap::Heads)), 1, true),
    (2, 1, 1, REDUCE, Some(("1", 4, Overlap::Tokens)), 2, true),
];

/// A cut in memory.
struct Stand {
    cut: Cut,
    engine: Engine,
    predicted: f64,
    seconds: Vec<f64>,
}

fn main() {
    let words: Vec<String> = std::env::args().collect();
    let rounds = words.iter().find_map(|word| word.parse().ok()).unwrap_or(ROUNDS).max(1);
    let scope = Scope { title: "this machine", weights: &Dtype::ALL, budget: BUDGET };
    let cluster = calibrate(&scope, &*compute::cpu(None).expect("kernels"), &mut |_| {});
    let mut errors = Vec::new();
    for (name, file) in models() {
        let mut stands: Vec<Stand> = CUTS.iter().map(|cut| Stand::new(*cut, &file, &cluster)).collect();
        for round in 0..=rounds {
            for stand in &mut stands {
                let seconds = stand.run(None).prefill.seconds;
                if round > 0 {
                    stand.seconds.push(seconds); // the first is to warm up
                }
            }
        }
        errors.extend(show(&name, &stands));
        if words.iter().any(|word| word == "steps") {
            stands.iter_mut().for_each(|stand| stand.steps(&cluster));
        }
    }
    println!("\n{}", spread(errors));
}

/// SmolLM2 where it is there, and a wider Llama of random weights in 8 bits.
fn models() -> Vec<(String, ModelFile)> {
    let smollm2 = std::env::var_os("HEADSAW_SMOLLM2").map(|path| ModelFile::open(Path::new(&path)).expect("a model"));
    let spec = wide_spec(12);
    let random = ModelFile::from_reader("random", random_model(&spec, 1, Dtype::Q8_0)).expect("a model");
    let first = smollm2.map(|file| ("SmolLM2 135M, Q4_1".to_string(), file));
    first.into_iter().chain([("12 layers, width 1024, 8 heads, Q8_0, random".to_string(), random)]).collect()
}

impl Stand {
    fn new(cut: Cut, file: &ModelFile, cluster: &Cluster) -> Stand {
        let plan = plan(file, cut);
        let engine = Engine::load(file, &plan, compute::cpu(None).expect("kernels"), &mut |_| {}).expect("it loads");
        let mut stand = Stand { cut, engine, predicted: 0.0, seconds: Vec::new() };
        stand.predicted = stand.foretold(cluster).seconds().0;
        stand
    }

    fn links(&self) -> Option<Link> {
        self.cut.6.then(|| LINK.parse().expect("a link"))
    }

    fn foretold(&self, cluster: &Cluster) -> Trace {
        let plan = self.engine.plan();
        let mut cluster = cluster.clone();
        cluster.groups[0].count = cluster.groups[0].count.max(plan.devices.len() as u32);
        cluster.levels.iter_mut().for_each(|level| level.link = self.links());
        simulate(&lower(plan), &Priced::new(plan, &cluster), &rounds(plan)).expect("it ends")
    }

    fn run(&mut self, trace: Option<usize>) -> Report {
        let vocab = self.engine.plan().model.vocab;
        let ids: Vec<u32> = (0..PROMPT).map(|i| (i * 7919) % vocab).collect();
        let links = self.links().map_or_else(Links::default, Links::all);
        let options = Options { digest: false, links, trace, ..Options::greedy(1) };
        self.engine.generate(&[ids], &options, &mut |_| Flow::Continue).expect("it runs")
    }

    /// The rounds' quarter mark, as the table's.
    fn measured(&self) -> f64 {
        let mut seconds = self.seconds.clone();
        seconds.sort_by(f64::total_cmp);
        seconds[seconds.len() / 4]
    }

    fn error(&self) -> f64 {
        self.predicted / self.measured() - 1.0
    }

    fn name(&self) -> String {
        let (tp, pp, lanes, exchange, steps, micros, link) = self.cut;
        let steps = steps.map_or(String::new(), |(cut, chunk, overlap)| {
            format!(", steps {cut}, chunk {chunk}, overlap {}", format!("{overlap:?}").to_lowercase())
        });
        let exchange = format!("{exchange:?}").to_lowercase();
        let micros = if micros > 1 { format!(", {micros} micro-batches") } else { "".into() };
        let link = if link { format!(", {LINK}") } else { "".into() };
        format!("tp {tp} pp {pp} lanes {lanes}, {exchange}{steps}{micros}{link}")
    }

    /// What each step takes, of all lanes together: predicted, and in the best of some runs.
    fn steps(&mut self, cluster: &Cluster) {
        let program = lower(self.engine.plan());
        let sums = |trace: &Trace| {
            let mut sums: BTreeMap<String, f64> = BTreeMap::new();
            for span in &trace.spans {
                let action = &program.lanes[span.lane as usize].actions[span.action as usize];
                let name = headsaw::program::text::word(&program, action.op).to_string();
                let name = name.trim_end_matches(|c: char| c.is_ascii_digit()).to_string();
                *sums.entry(name).or_default() += span.end.0 - span.start.0;
            }
            sums
        };
        let predicted = sums(&self.foretold(cluster));
        let mut best: BTreeMap<String, f64> = BTreeMap::new();
        for _ in 0..7 {
            let recorded = self.run(Some(1 << 16)).recorded.expect("a trace");
            for (step, seconds) in sums(&recorded.trace) {
                let least = best.entry(step).or_insert(f64::INFINITY);
                *least = least.min(seconds);
            }
        }
        println!("\n{}: ms of all lanes, predicted and measured", self.name());
        for (step, seconds) in &best {
            let foretold = predicted.get(step).copied().unwrap_or(0.0);
            println!(
                "  {step:20} {:8.2} {:8.2}  {:+.0} %",
                1e3 * foretold,
                1e3 * seconds,
                100.0 * (foretold / seconds - 1.0)
            );
        }
    }
}

fn plan(file: &ModelFile, (tp, pp, lanes, exchange, steps, micros, _): Cut) -> Plan {
    let numerics = Numerics { activations: Activations::Int8, kv: KvDtype::F16 };
    let workload = Workload { batch: 1, tokens: PROMPT / micros, micros, context: PROMPT + 1, sequences: 1, numerics };
    let request = CutRequest { tp, pp, device_weights: vec![], lanes, exchange, order: Order::Pipelined };
    let mut plan = cut(file.spec(), workload, &request).expect("a cut");
    let flow = |(cut, chunk, overlap): (&str, u32, Overlap)| {
        let interleave = if overlap == Overlap::Tokens { micros } else { 1 };
        let most = plan.slices().map(|(_, slice)| slice.heads.len() as u32).max().unwrap_or(1);
        let chunk = if overlap == Overlap::Tokens { most } else { chunk };
        HeadFlow { cut: cut.parse().expect("a cut"), chunk, interleave, overlap }
    };
    plan.steps = steps.map(|steps| HeadSteps::in_turn(flow(steps), lanes));
    plan
}

/// The prompt, a chunk a slot.
fn rounds(plan: &Plan) -> Rounds {
    let Workload { tokens, micros, .. } = plan.workload;
    Rounds(vec![(0..micros).map(|i| Load { sequences: 1, tokens, past: i * tokens }).collect()])
}

/// The table of a model; the errors.
fn show(name: &str, stands: &[Stand]) -> Vec<f64> {
    println!("\n{name}, a prompt of {PROMPT} tokens\n");
    println!("| cut | predicted ms | measured ms | error |\n|---|---|---|---|");
    for stand in stands {
        let (predicted, measured) = (1e3 * stand.predicted, 1e3 * stand.measured());
        println!("| {} | {predicted:.0} | {measured:.0} | {:+.1} % |", stand.name(), 100.0 * stand.error());
    }
    let least = |of: fn(&Stand) -> f64| stands.iter().min_by(|a, b| of(a).total_cmp(&of(b))).expect("a cut");
    let (foretold, found) = (least(|stand| stand.predicted), least(Stand::measured));
    let behind = 100.0 * (foretold.measured() / found.measured() - 1.0);
    println!(
        "\nfastest by prediction: {}; by measurement: {}; {behind:.1} % between them",
        foretold.name(),
        found.name()
    );
    stands.iter().map(Stand::error).collect()
}

fn spread(mut errors: Vec<f64>) -> String {
    errors.iter_mut().for_each(|error| *error = error.abs());
    errors.sort_by(f64::total_cmp);
    let (count, within) = (errors.len(), errors.iter().filter(|error| **error <= 0.10).count());
    let percent = |at: usize| 100.0 * errors[at];
    format!(
        "{count} cuts: median error {:.1} %, worst {:.1} %, {within} of {count} within 10 %",
        percent(count / 2),
        percent(count - 1)
    )
}
