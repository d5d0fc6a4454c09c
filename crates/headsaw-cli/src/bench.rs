//! `headsaw bench`: how fast prompts and generation go, in two separate tests.

use crate::auto::Auto;
use crate::cut::{CutArgs, CutJson, Demand};
use crate::engine::{self, ComputeArgs};
use crate::error::Failure;
use crate::foretell::{Expected, Ground};
use crate::interrupt::{self, Cleanly};
use crate::model::Model;
use crate::output::{BOLD, print, print_json, say, si, styled};
use crate::place::ClusterArgs;
use crate::report::{DEVICE_COLUMNS, DeviceJson, devices_json, devices_table};
use crate::table::{Table, facts};
use headsaw::lower::{lower, work};
use headsaw::plan::Plan;
use headsaw::spec::cluster::Links;
use headsaw::spec::workload::Activations;
use headsaw::trace::{self, STEPS};
use headsaw::units::Bytes;
use headsaw_run::calibrate;
use headsaw_run::generate::{Engine, Flow, Options, Phase, Report};
use headsaw_run::weights::{ModelFile, Weight};
use serde::Serialize;
use std::time::Duration;

/// Measure how fast prompts and generation go
///
/// Two separate tests: a prompt of pseudo-random tokens, and generation from an empty context (greedy, going on after
/// an end of text). One warm-up round, then min, median and max of the rounds; one more round of each is traced and tells
/// where the time of the lanes goes. At the end the machine's limits are measured: memory that is only read, products of
/// integers alone.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  headsaw bench model.gguf --lanes 2
  headsaw bench model.gguf -p 128 -n 32 -r 3 --tp 2 --lanes 1 --json
  headsaw bench model.gguf -n 0 --tp 2 --link 1Gbit/s,50us --exchange auto --overlap auto
  headsaw bench demo -n 0                        the prompt test only")]
pub struct Args {
    /// GGUF file or Hugging Face folder; demo is the model inside headsaw
    model: String,
    /// Tokens of the prompt; 0 leaves the test out
    #[arg(short, long, value_name = "N", default_value_t = 512)]
    prompt: u32,
    /// Tokens to generate; 0 leaves the test out
    #[arg(short = 'n', long, value_name = "N", default_value_t = 128)]
    tokens: u32,
    /// Rounds of each test
    #[arg(short, long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    #[command(flatten)]
    cluster: ClusterArgs,
    #[command(flatten)]
    cut: CutArgs,
    #[command(flatten)]
    compute: ComputeArgs,
}

#[derive(Serialize)]
struct Json<'a> {
    model: &'a str,
    cut: CutJson,
    auto: Option<Auto>,
    kernels: &'a str,
    load_seconds: f64,
    prompt: Option<Test>,
    generation: Option<Test>,
    weight_bytes_per_token: Bytes,
    limits: LimitsJson,
    devices: Vec<DeviceJson>,
}

/// One test's outcome.
#[derive(Serialize)]
struct Test {
    tokens: u32,
    tokens_per_second: Spread,
    /// Weights read, in the median round; only where each token reads them all.
    #[serde(skip_serializing_if = "Option::is_none")]
    gigabytes_per_second: Option<f64>,
    /// Of the limit that matters: of the rate of products for a prompt, of the memory's for generation.
    #[serde(skip_serializing_if = "Option::is_none")]
    share_of_limit: Option<f64>,
    rounds: Vec<f64>,
    /// Where the time of all lanes went in a traced round.
    steps: Vec<StepJson>,
}

/// A step of a traced round.
#[derive(Serialize)]
struct StepJson {
    step: &'static str,
    /// Of all lanes.
    seconds: f64,
    /// Of the lanes' time.
    share: f64,
}

/// What threads reach that do nothing else.
#[derive(Serialize)]
struct LimitsJson {
    threads: u32,
    memory_bytes_per_second: f64,
    product_flops_per_second: f64,
}

#[derive(Serialize)]
struct Spread {
    min: f64,
    median: f64,
    max: f64,
}

/// Measures.
pub fn act(args: &Args, json: bool) -> Result<(), Failure> {
    if args.prompt == 0 && args.tokens == 0 {
        return Err(Failure::input("-p 0 -n 0: nothing to measure"));
    }
    let model = Model::find(&args.model)?;
    let file = engine::weights(&model)?;
    let ground = Ground::find(&args.cluster, &args.cut)?;
    let (plan, auto) = plan(args, &model, &ground)?;
    let plan = engine::runnable(plan);
    let compute = args.compute.compute()?;
    let kernels = compute.name();
    engine::tell_crowded(&plan, json);
    let engine = engine::load(file, &plan, compute.clone())?;
    let bytes = weights_per_token(file, &engine)?;
    let mut bed = Bed { engine, links: ground.links() };
    let cleanly = Cleanly::begin();
    let mut prompt = (args.prompt > 0).then(|| prompt_test(args, &plan, &mut bed)).transpose()?.flatten();
    let mut generation = (args.tokens > 0).then(|| generation_test(args, &plan, &mut bed)).transpose()?.flatten();
    let interrupted = interrupt::asked();
    drop(cleanly);
    let limits = calibrate::limits(&*compute, threads(&plan), bytes, plan.model.dtype, LIMIT);
    if let Some(test) = &mut generation {
        let read = bytes.0 as f64 * test.tokens_per_second.median;
        test.gigabytes_per_second = Some(read / 1e9);
        test.share_of_limit = Some(read / limits.bytes_per_second.0);
    }
    let integers = plan.workload.numerics.activations == Activations::Int8;
    if let Some(test) = prompt.as_mut().filter(|_| integers) {
        let seconds = f64::from(test.tokens) / test.tokens_per_second.median;
        test.share_of_limit = Some(operations(&plan, test.tokens) / seconds / limits.flops_per_second.0);
    }
    let limits = LimitsJson {
        threads: limits.threads,
        memory_bytes_per_second: limits.bytes_per_second.0,
        product_flops_per_second: limits.flops_per_second.0,
    };
    let result = Json {
        model: &plan.model.name,
        cut: CutJson::of(&plan).over(ground.link()),
        auto,
        kernels,
        load_seconds: bed.engine.load_seconds(),
        prompt,
        generation,
        weight_bytes_per_token: bytes,
        limits,
        devices: devices_json(&bed.engine.devices()),
    };
    if json {
        print_json(&result)?
    } else {
        print(&human(&result, &plan, &bed.engine))?
    }
    if interrupted { Err(Failure::Interrupted) } else { Ok(()) }
}

fn plan(args: &Args, model: &Model, ground: &Ground) -> Result<(Plan, Option<Auto>), Failure> {
    let context = args.prompt.max(args.tokens.saturating_add(1));
    let base = args.cut.base(model)?;
    let room = args.cut.room(model, base.as_ref());
    if context > room {
        return Err(Failure::Input(format!(
            "-p {} -n {}: the context holds {room} tokens ({} was made for {}); take fewer",
            args.prompt, args.tokens, model.spec.name, model.spec.context
        )));
    }
    let demand = Demand { sequences: 1, prompt: args.prompt.max(1), context };
    let expected = Expected { sequences: 1, prompt: args.prompt, tokens: args.tokens, past: args.tokens / 2 };
    ground.plan(&args.cut, expected, |cut| cut.plan(model, base.clone(), Some(demand)))
}

/// Actions of each lane that a traced round keeps.
const TRACED: usize = 1 << 17;

/// How long each limit is measured.
const LIMIT: Duration = Duration::from_millis(200);

/// Threads that compute at once.
fn threads(plan: &Plan) -> u32 {
    let lanes = plan.devices.len() as u32 * work::compute_lanes(plan);
    lanes.min(calibrate::cores())
}

/// Operations of the products of a prompt: every weight of the layers for each token, the output for the last one.
fn operations(plan: &Plan, tokens: u32) -> f64 {
    let m = &plan.model;
    let layers = u64::from(m.layers) * (m.attention_parameters() + m.mlp_parameters());
    2.0 * (layers as f64 * f64::from(tokens) + f64::from(m.vocab) * f64::from(m.width))
}

/// Where it is measured.
struct Bed {
    engine: Engine,
    links: Links,
}

fn prompt_test(args: &Args, plan: &Plan, bed: &mut Bed) -> Result<Option<Test>, Failure> {
    let prompt = random_tokens(args.prompt, plan.model.vocab);
    let measured = test("prompt", args, args.prompt, || round(bed, &prompt, 1, None).map(|report| report.prefill))?;
    measured.map(|test| traced(test, bed, &prompt, 1)).transpose()
}

fn generation_test(args: &Args, plan: &Plan, bed: &mut Bed) -> Result<Option<Test>, Failure> {
    let prompt = random_tokens(1, plan.model.vocab);
    // The first token comes of the prompt; the others are generated.
    let tokens = args.tokens + 1;
    let measured =
        test("generation", args, args.tokens, || round(bed, &prompt, tokens, None).map(|report| report.decode))?;
    measured.map(|test| traced(test, bed, &prompt, tokens)).transpose()
}

/// The test with where the time goes, of one more round.
fn traced(test: Test, bed: &mut Bed, prompt: &[u32], tokens: u32) -> Result<Test, Failure> {
    if interrupt::asked() {
        return Ok(test);
    }
    let program = lower(bed.engine.plan());
    let recorded = round(bed, prompt, tokens, Some(TRACED))?.recorded.expect("it was asked for");
    let windows = trace::whole_rounds(&program, &recorded.rounds, &recorded.trace);
    let figures = trace::figures(&program, &recorded.trace, &windows);
    let lanes = program.lanes.iter().filter(|lane| !lane.actions.is_empty()).count() as f64;
    let all = lanes * figures.iter().map(|figures| figures.seconds).sum::<f64>();
    let of = |i: usize| figures.iter().map(|figures| figures.steps[i]).sum::<f64>();
    let mut steps: Vec<(&str, f64)> = STEPS.into_iter().enumerate().map(|(i, step)| (step, of(i))).collect();
    let busy: f64 = steps.iter().map(|(_, seconds)| seconds).sum();
    steps.push(("waiting", (all - busy).max(0.0)));
    let steps = steps.into_iter().filter(|(_, seconds)| *seconds > 0.0);
    Ok(Test { steps: steps.map(|(step, seconds)| StepJson { step, seconds, share: seconds / all }).collect(), ..test })
}

fn round(bed: &mut Bed, prompt: &[u32], tokens: u32, trace: Option<usize>) -> Result<Report, Failure> {
    let options = Options { digest: false, links: bed.links.clone(), trace, ..Options::greedy(tokens as usize) };
    let mut listen = |_| if interrupt::asked() { Flow::Cancel } else { Flow::Continue };
    Ok(bed.engine.generate(&[prompt.to_vec()], &options, &mut listen)?)
}

/// None where it was interrupted before the first round was done.
fn test(
    name: &str,
    args: &Args,
    tokens: u32,
    mut round: impl FnMut() -> Result<Phase, Failure>,
) -> Result<Option<Test>, Failure> {
    let mut rates = Vec::new();
    for i in 0..=args.rounds {
        let rate = round()?.tokens_per_second();
        if interrupt::asked() {
            break; // what was measured before counts, this round does not
        }
        if i > 0 {
            rates.push(rate); // the first was to warm up
            say(&format!("{name} round {i} of {}: {rate:.1} tokens/s\n", args.rounds));
        }
    }
    let test = |rates: Vec<f64>| Test {
        tokens,
        tokens_per_second: spread(&rates),
        gigabytes_per_second: None,
        share_of_limit: None,
        rounds: rates,
        steps: Vec::new(),
    };
    Ok((!rates.is_empty()).then(|| test(rates)))
}

fn spread(rates: &[f64]) -> Spread {
    let mut sorted = rates.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let median =
        if sorted.len().is_multiple_of(2) { (sorted[middle - 1] + sorted[middle]) / 2.0 } else { sorted[middle] };
    Spread { min: sorted[0], median, max: sorted[sorted.len() - 1] }
}

/// The same tokens in every run (SplitMix64, Steele et al. 2014).
pub fn random_tokens(count: u32, vocab: u32) -> Vec<u32> {
    let mut state = 0u64;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    (0..count).map(|_| (next() % u64::from(vocab)) as u32).collect()
}

/// All that the devices hold, but of a separate embedding only one row is read.
fn weights_per_token(file: &ModelFile, engine: &Engine) -> Result<Bytes, Failure> {
    let held: Bytes = engine.devices().iter().map(|device| device.weight_bytes).sum();
    let spec = file.spec();
    if spec.tied {
        return Ok(held);
    }
    let dtype = file.dtype(Weight::Embedding).map_err(Failure::failed)?;
    let elements = u64::from(spec.vocab) * u64::from(spec.width);
    let embedding = elements / u64::from(dtype.block()) * u64::from(dtype.block_bytes());
    Ok(Bytes(held.0.saturating_sub(embedding)))
}

fn human(result: &Json, plan: &Plan, engine: &Engine) -> String {
    let mut table = Table::new(&["<test", "tokens", "min", "median", "max", "<"]);
    for (name, test) in [("prompt", &result.prompt), ("generation", &result.generation)] {
        let Some(test) = test else { continue };
        let Spread { min, median, max } = test.tokens_per_second;
        let rates = [min, median, max].map(|rate| format!("{rate:.1}"));
        table.row([vec![name.into(), test.tokens.to_string()], rates.to_vec(), vec!["tokens/s".into()]].concat());
    }
    let mut read = vec![
        ("kernels", format!("{}, {} device(s) of {} lane(s)", result.kernels, plan.devices.len(), plan.lanes)),
        ("weights read", format!("{} a generated token", result.weight_bytes_per_token)),
    ];
    if let Some(rate) = result.generation.as_ref().and_then(|test| test.gigabytes_per_second) {
        read.push(("", format!("{rate:.2} GB/s in the median round")));
    }
    read.extend(limits(result));
    read.push(("loaded in", format!("{:.2} s", result.load_seconds)));
    let devices = devices_table(&DEVICE_COLUMNS, &engine.devices());
    let title = styled(BOLD, "Where the time of the lanes goes, in a traced round");
    format!(
        "{}\n{}{}{devices}\n{title}\n{}",
        styled(BOLD, result.model),
        table.show(),
        facts(&read),
        steps_table(result).show()
    )
}

/// What the machine could do at most, and how much of it was done.
fn limits(result: &Json) -> [(&'static str, String); 2] {
    let limits = &result.limits;
    let share = |test: &Option<Test>, name| {
        let share = test.as_ref().and_then(|test| test.share_of_limit);
        share.map_or(String::new(), |share| format!("; {name} takes {:.0} % of it", 100.0 * share))
    };
    let by = format!("by {} thread(s)", limits.threads);
    [
        (
            "memory at most",
            format!(
                "{} read {by}{}",
                si(limits.memory_bytes_per_second, "B/s"),
                share(&result.generation, "generation")
            ),
        ),
        (
            "products at most",
            format!(
                "{} of integers {by}{}",
                si(limits.product_flops_per_second, "OP/s"),
                share(&result.prompt, "the prompt")
            ),
        ),
    ]
}

fn steps_table(result: &Json) -> Table {
    let tests = [("prompt", &result.prompt), ("generation", &result.generation)];
    let tests: Vec<(&str, &Test)> = tests.into_iter().filter_map(|(name, test)| Some((name, test.as_ref()?))).collect();
    let columns = ["<step"].into_iter().chain(tests.iter().flat_map(|(name, _)| [*name, "<"]));
    let mut table = Table::new(&columns.collect::<Vec<_>>());
    let has = |step: &str| tests.iter().any(|(_, test)| test.steps.iter().any(|of| of.step == step));
    for step in STEPS.into_iter().chain(["waiting"]).filter(|step| has(step)) {
        let cells = |(_, test): &(&str, &Test)| match test.steps.iter().find(|of| of.step == step) {
            Some(of) => [format!("{:.3} ms", 1e3 * of.seconds), format!("{:.1} %", 100.0 * of.share)],
            None => [String::new(), String::new()],
        };
        table.row([step.to_string()].into_iter().chain(tests.iter().flat_map(cells)).collect());
    }
    table
}
