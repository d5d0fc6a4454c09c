//! `headsaw verify`: does a plan hold together, and what does each device hold?

use crate::cut::{CutArgs, CutJson};
use crate::error::Failure;
use crate::form::is_trace;
use crate::output::{BAD, BOLD, GOOD, complain, counted, grouped, print, print_json, styled};
use crate::place::{self, ClusterArgs, Site};
use crate::subject::Subject;
use crate::table::{Table, facts};
use crate::verify_trace;
use headsaw::lower::lower;
use headsaw::plan::{Exchange, Plan, Slice};
use headsaw::program::{Lane, Op, Program, text};
use headsaw::spec::cluster::DeviceId;
use headsaw::units::Bytes;
use headsaw::verify::{self, Violation};
use serde::Serialize;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

/// Check a plan and show what each device holds, or check a trace
///
/// Checks a plan file, or the plan that a cut of a model makes: each head, column, row and layer exactly once, order
/// against data dependencies, every send with its receive, no deadlock, memory. Of a trace file: every action of every lane
/// once a round, in order, and none before what it waits for. Says all that is wrong at once.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  headsaw verify plan.json
  headsaw verify smollm2-135m --tp 4 --pp 3
  headsaw verify model.gguf --plan plan.json     does the plan fit the model?
  headsaw verify measured.trace
  headsaw plan llama-3.1-8b --tp 8 | headsaw verify - --json")]
pub struct Args {
    /// A plan file (- for standard input) or a .trace file; or a GGUF file, Hugging Face folder, config.json or preset
    #[arg(value_name = "PLAN|TRACE|MODEL")]
    subject: String,
    /// Print every action of every lane
    #[arg(long)]
    program: bool,
    /// Print what crosses stages, a row a device, as torch.distributed.pipelining writes it
    #[arg(long)]
    ranks: bool,
    #[command(flatten)]
    cluster: ClusterArgs,
    #[command(flatten)]
    cut: CutArgs,
}

#[derive(Serialize)]
struct Json<'a> {
    model: &'a str,
    cut: CutJson,
    sound: bool,
    /// False where there are too many lanes to follow whether memory is reused too early.
    memory_followed: bool,
    violations: Vec<ViolationJson>,
    devices: Vec<DeviceJson>,
    program: Option<Facts>,
    #[serde(skip_serializing_if = "Option::is_none")]
    listing: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ranks: Option<String>,
}

/// One thing that is wrong, for scripts.
#[derive(Serialize)]
pub struct ViolationJson {
    at: String,
    expected: String,
    got: String,
}

impl ViolationJson {
    /// That of a violation.
    pub fn of(violation: &Violation) -> ViolationJson {
        let Violation { at, expected, got } = violation.clone();
        ViolationJson { at, expected, got }
    }
}

#[derive(Serialize)]
struct DeviceJson {
    device: u32,
    name: String,
    stage: usize,
    layers: [u32; 2],
    heads: [u32; 2],
    kv_heads: [u32; 2],
    ffn: [u32; 2],
    vocab: [u32; 2],
    weight_bytes: Bytes,
    cache_bytes: Bytes,
    value_bytes: Bytes,
    memory_bytes: Bytes,
}

/// What there is to know of a program.
#[derive(Serialize)]
struct Facts {
    lanes: usize,
    actions: usize,
    channels: usize,
    places: usize,
    exchanges_per_layer: usize,
    bytes_sent_per_token_layer_device: SentJson,
}

#[derive(Serialize)]
struct SentJson {
    min: u64,
    max: u64,
}

/// Checks and shows.
pub fn act(args: &Args, json: bool) -> Result<(), Failure> {
    if is_trace(Path::new(&args.subject)) {
        if args.program || args.ranks || args.cluster.cluster.is_some() {
            let words = "--program, --ranks, --cluster: of a plan, and this is a trace; leave them out";
            return Err(Failure::Input(format!("{}: {words}", args.subject)));
        }
        return verify_trace::act(&args.subject, &args.cut, json);
    }
    let (plan, site) = find(args)?;
    let mut violations = place::violations(&plan, site.as_ref(), &args.cut);
    let program = violations.is_empty().then(|| lower(&plan));
    violations.extend(program.iter().flat_map(verify::program));
    if json {
        print_json(&report(args, &plan, program.as_ref(), &violations))?;
    } else if let Some(program) = program.as_ref().filter(|_| violations.is_empty()) {
        print(&human(args, &plan, program))?;
    }
    if violations.is_empty() {
        return Ok(());
    }
    Err(refuse(&args.subject, &violations))
}

/// Says all that is wrong with a plan.
pub fn refuse(subject: &str, violations: &[Violation]) -> Failure {
    refuse_as(subject, "plan", violations)
}

/// Says all that is wrong with a plan, or a trace.
pub fn refuse_as(subject: &str, what: &str, violations: &[Violation]) -> Failure {
    let lines: String =
        violations.chunk_by(alike).map(|run| format!("\n  {} {}", styled(BAD, "✗"), told_of(run))).collect();
    let things = if violations.len() == 1 { "1 thing is" } else { &format!("{} things are", violations.len()) };
    complain(&format!("{subject}: {things} wrong with the {what}{lines}"));
    Failure::Told(2)
}

/// Do two devices lack the same?
fn alike(one: &Violation, other: &Violation) -> bool {
    let memory = |violation: &Violation| violation.at.starts_with(place::MEMORY);
    memory(one) && memory(other) && one.expected == other.expected && one.got == other.got
}

fn told_of(run: &[Violation]) -> String {
    let (first, last) = (&run[0], &run[run.len() - 1]);
    let to = if run.len() > 1 { format!(" to {}", last.at.trim_start_matches(place::MEMORY)) } else { "".into() };
    format!("{}{to}: expected {}, got {}", first.at, first.expected, first.got)
}

/// The plan, and the cluster that it is for.
fn find(args: &Args) -> Result<(Plan, Option<Site>), Failure> {
    Subject::find(&args.subject, &args.cut)?.placed(&args.cut, &args.cluster)
}

fn report<'a>(args: &Args, plan: &'a Plan, program: Option<&Program>, violations: &[Violation]) -> Json<'a> {
    Json {
        model: &plan.model.name,
        cut: CutJson::of(plan).over(args.cut.link),
        sound: violations.is_empty(),
        memory_followed: program.is_some_and(verify::follows_memory),
        violations: violations.iter().map(ViolationJson::of).collect(),
        devices: program.map(|program| devices(plan, program)).unwrap_or_default(),
        program: program.map(|program| program_facts(plan, program)),
        listing: program.filter(|_| args.program).map(text::listing),
        ranks: program.filter(|_| args.ranks).map(text::ranks),
    }
}

fn devices(plan: &Plan, program: &Program) -> Vec<DeviceJson> {
    let memory = verify::memory(plan, program);
    let bytes = |slice: &Slice| {
        let held = &memory[&slice.device];
        [held.weights, held.cache, held.values, held.total()]
    };
    plan.slices().map(|(stage, slice)| device(plan, stage, slice, bytes(slice))).collect()
}

/// Stage and slice of each device, stage by stage.
fn device(plan: &Plan, stage: usize, slice: &Slice, bytes: [Bytes; 4]) -> DeviceJson {
    let ends = |range: &Range<u32>| [range.start, range.end];
    DeviceJson {
        device: slice.device.0,
        name: plan.devices[slice.device.0 as usize].name.clone(),
        stage,
        layers: ends(&plan.stages[stage].layers),
        heads: ends(&slice.heads),
        kv_heads: ends(&slice.kv_heads(&plan.model)),
        ffn: ends(&slice.ffn),
        vocab: ends(&slice.vocab),
        weight_bytes: bytes[0],
        cache_bytes: bytes[1],
        value_bytes: bytes[2],
        memory_bytes: bytes[3],
    }
}

fn program_facts(plan: &Plan, program: &Program) -> Facts {
    let sent = sent(plan, program);
    Facts {
        lanes: program.lanes.len(),
        actions: program.lanes.iter().map(|lane| lane.actions.len()).sum(),
        channels: program.chans.len(),
        places: program.places.len(),
        exchanges_per_layer: exchanges(program),
        bytes_sent_per_token_layer_device: SentJson {
            min: sent.values().copied().min().unwrap_or(0),
            max: sent.values().copied().max().unwrap_or(0),
        },
    }
}

/// Collectives of one lane in the first layer, where it shares the layer with other devices.
fn exchanges(program: &Program) -> usize {
    let Some(first) = program.lanes.first() else { return 0 };
    let alone = program.lanes.iter().filter(|lane| lane.stage == first.stage).all(|lane| lane.device == first.device);
    let collective = |op: &Op| matches!(op, Op::AllReduce(..) | Op::AllGather(..));
    let inside =
        |lane: &Lane| lane.actions.iter().filter(|a| a.micro.0 == 0 && a.layer == Some(0) && collective(&a.op)).count();
    let most = program.lanes.iter().filter(|lane| lane.device == first.device).map(inside).max();
    if alone { 0 } else { most.unwrap_or(0) }
}

/// Bytes that each device offers to the others per token, in the first layer of its stage.
fn sent(plan: &Plan, program: &Program) -> BTreeMap<DeviceId, u64> {
    let mut sent = BTreeMap::new();
    for lane in &program.lanes {
        let layer = plan.stages[lane.stage.index()].layers.start;
        let inside = lane.actions.iter().filter(|action| action.micro.0 == 0 && action.layer == Some(layer));
        *sent.entry(lane.device).or_insert(0) += inside.map(|action| action.work.sent.0).sum::<u64>();
    }
    sent
}

fn human(args: &Args, plan: &Plan, program: &Program) -> String {
    let mut text = format!("{}\n{}", styled(BOLD, &plan.model.name), holdings(plan, program).show());
    text += &format!("\n{}\n{}", styled(BOLD, "Program"), facts(&told(plan, program)));
    if args.ranks {
        text += &format!("\n{}\n{}", styled(BOLD, "What crosses stages, a row a device"), text::ranks(program));
    }
    if args.program {
        text += &format!("\n{}\n{}", styled(BOLD, "Actions"), text::listing(program));
    }
    text += &format!("\n{}\n", styled(GOOD, "program sound: no deadlock even when every send waits"));
    if !verify::follows_memory(program) {
        text += "(too many lanes to follow whether memory is reused too early; that was not checked)\n";
    }
    text
}

fn holdings(plan: &Plan, program: &Program) -> Table {
    let columns = [
        "<device",
        "stage",
        "layers",
        "heads",
        "KV heads",
        "MLP columns",
        "vocabulary",
        "weights",
        "cache",
        "values",
        "total",
    ];
    let mut table = Table::new(&columns);
    for device in devices(plan, program) {
        let span = |[start, end]: [u32; 2]| format!("{start}..{end}");
        let spans = [device.layers, device.heads, device.kv_heads, device.ffn, device.vocab].map(span);
        let sizes = [device.weight_bytes, device.cache_bytes, device.value_bytes, device.memory_bytes];
        let sizes = sizes.map(|bytes| bytes.to_string());
        table.row([vec![device.name, device.stage.to_string()], spans.to_vec(), sizes.to_vec()].concat());
    }
    table
}

fn told(plan: &Plan, program: &Program) -> Vec<(&'static str, String)> {
    let facts = program_facts(plan, program);
    let sent = facts.bytes_sent_per_token_layer_device;
    let exchange = match plan.exchange {
        Exchange::Reduce => "reduce: partial sums in a fixed tree",
        Exchange::Gather => "gather: quantised parts of vectors",
    };
    let w = &plan.workload;
    let sequences = counted(u64::from(w.sequences), "sequence");
    let context = counted(u64::from(w.context), "token");
    let range = if sent.min == sent.max {
        grouped(sent.max)
    } else {
        format!("{} to {}", grouped(sent.min), grouped(sent.max))
    };
    vec![
        ("lanes", format!("{} ({} a device)", facts.lanes, facts.lanes / plan.devices.len().max(1))),
        (
            "actions",
            format!("{} a round of {}", grouped(facts.actions as u64), counted(u64::from(w.micros), "micro-batch")),
        ),
        ("channels", facts.channels.to_string()),
        ("exchange", exchange.into()),
        ("exchanges", format!("{} a layer", facts.exchanges_per_layer)),
        ("sent", format!("{range} bytes a token, layer and device")),
        ("workload", format!("{sequences} of {context}, prompts in chunks of {}", grouped(u64::from(w.tokens)))),
    ]
}
