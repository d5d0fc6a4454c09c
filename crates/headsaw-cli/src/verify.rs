//! `headsaw verify`: does a plan hold together, and what does each device hold?

use crate::cut::{CutArgs, CutJson, parse_plan};
use crate::error::Failure;
use crate::model::{Model, read_text};
use crate::output::{BAD, BOLD, GOOD, complain, grouped, print, print_json, styled};
use crate::table::{Table, facts};
use headsaw::lower::lower;
use headsaw::plan::{Exchange, Plan, Slice};
use headsaw::program::{Op, Program, text};
use headsaw::spec::cluster::DeviceId;
use headsaw::units::Bytes;
use headsaw::verify::{self, Violation};
use serde::Serialize;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

/// Check a plan, and show what each device holds
///
/// Checks a plan file, or the plan that a cut of a model makes: each head, column, row and layer exactly once, order
/// against data dependencies, every send with its receive, no deadlock, memory. Says all that is wrong at once.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  headsaw verify plan.json
  headsaw verify smollm2-135m --tp 4 --pp 3
  headsaw verify model.gguf --plan plan.json     does the plan fit the model?
  headsaw plan llama-3.1-8b --tp 8 | headsaw verify - --json")]
pub struct Args {
    /// A plan file (- for standard input); or a GGUF file, Hugging Face folder, config.json or preset
    #[arg(value_name = "PLAN|MODEL")]
    subject: String,
    /// Print every action of every lane
    #[arg(long)]
    program: bool,
    /// Print what crosses stages, a row a device, as torch.distributed.pipelining writes it
    #[arg(long)]
    ranks: bool,
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

#[derive(Serialize)]
struct ViolationJson {
    at: String,
    expected: String,
    got: String,
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
    let plan = find(args)?;
    let mut violations = verify::plan(&plan);
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
    let lines: String = violations.iter().map(|v| format!("\n  {} {v}", styled(BAD, "✗"))).collect();
    let things = if violations.len() == 1 { "1 thing is" } else { &format!("{} things are", violations.len()) };
    complain(&format!("{}: {things} wrong with the plan{lines}", args.subject));
    Err(Failure::Told(2))
}

/// The plan: from the file if it is one, else from the model and the cut.
fn find(args: &Args) -> Result<Plan, Failure> {
    let path = Path::new(&args.subject);
    let text = plan_text(path)?;
    let Some(text) = text else {
        let model = Model::find(&args.subject)?;
        return args.cut.plan(&model, args.cut.base(&model)?, None);
    };
    if let Some(other) = &args.cut.plan {
        return Err(Failure::Input(format!("{}: a plan already; leave out --plan {}", args.subject, other.display())));
    }
    args.cut.over(parse_plan(&args.subject, &text)?, None)
}

/// The text of a plan file; none for what can only be a model. A `.json` file is a plan unless it is a model's config.
fn plan_text(path: &Path) -> Result<Option<String>, Failure> {
    if path.as_os_str() != "-" {
        let json = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("json"));
        if !json || path.is_dir() || path.file_name().is_some_and(|name| name == "config.json") {
            return Ok(None);
        }
    }
    let text = read_text(path)?;
    let config = serde_json::from_str::<BTreeMap<String, serde_json::Value>>(&text)
        .is_ok_and(|keys| !keys.contains_key("stages") && keys.contains_key("architectures"));
    Ok((!config).then_some(text))
}

fn report<'a>(args: &Args, plan: &'a Plan, program: Option<&Program>, violations: &[Violation]) -> Json<'a> {
    let json = |v: &Violation| ViolationJson { at: v.at.clone(), expected: v.expected.clone(), got: v.got.clone() };
    Json {
        model: &plan.model.name,
        cut: CutJson::of(plan),
        sound: violations.is_empty(),
        memory_followed: program.is_some_and(verify::follows_memory),
        violations: violations.iter().map(json).collect(),
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
    let Some(lane) = program.lanes.first() else { return 0 };
    let alone = program.lanes.iter().filter(|l| l.stage == lane.stage).all(|l| l.device == lane.device);
    let collective = |op: &Op| matches!(op, Op::AllReduce(_) | Op::AllGather(..));
    let inside = lane.actions.iter().filter(|a| a.micro.0 == 0 && a.layer == Some(0) && collective(&a.op));
    if alone { 0 } else { inside.count() }
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
    let range = if sent.min == sent.max {
        grouped(sent.max)
    } else {
        format!("{} to {}", grouped(sent.min), grouped(sent.max))
    };
    vec![
        ("lanes", format!("{} ({} a device)", facts.lanes, plan.lanes)),
        ("actions", format!("{} a round of {} micro-batch(es)", grouped(facts.actions as u64), w.micros)),
        ("channels", facts.channels.to_string()),
        ("exchange", exchange.into()),
        ("exchanges", format!("{} a layer", facts.exchanges_per_layer)),
        ("sent", format!("{range} bytes a token, layer and device")),
        ("workload", format!("{} sequence(s) of {} tokens, prompts in chunks of {}", w.sequences, w.context, w.tokens)),
    ]
}
