//! `headsaw inspect`: what a model is, and which cuts of it are even; what a cluster is.

use crate::cluster;
use crate::cut::cut;
use crate::error::Failure;
use crate::model::{Model, family, is_path};
use crate::output::{BOLD, grouped, print, print_json, styled};
use crate::table::{Table, facts};
use headsaw::lower::work;
use headsaw::plan::{self, CutRequest, Exchange, Order, Plan};
use headsaw::shard::{self, BLOCK};
use headsaw::spec::cluster::{Cluster, presets as clusters};
use headsaw::spec::model::{ModelSpec, Rope, RopeScaling};
use headsaw::spec::presets;
use headsaw::spec::workload::{Activations, KvDtype, Numerics, Workload};
use headsaw::units::Bytes;
use headsaw_run::weights::TensorInfo;
use serde::Serialize;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

/// Show a model's shape and which cuts of it are even, or a cluster
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  headsaw inspect smollm2-135m
  headsaw inspect model.gguf --tensors
  headsaw inspect llama-3.1-405b --tp 8,16,32 --json
  headsaw inspect h100x16")]
pub struct Args {
    /// A model: GGUF file, Hugging Face folder, config.json or preset; or a cluster: TOML file, preset with a count
    /// (h100x16, h100x8+a100x8), local
    #[arg(value_name = "MODEL|CLUSTER")]
    given: String,
    /// Show only these numbers of devices [default: 1 to 16, or to the number of heads]
    #[arg(long, value_name = "N,…", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..))]
    tp: Vec<u32>,
    /// List all tensors of the file
    #[arg(long)]
    tensors: bool,
}

/// Devices up to which the table goes by itself.
const TP_SHOWN: u32 = 16;

#[derive(Serialize)]
struct Json<'a> {
    model: &'a ModelSpec,
    parameters: u64,
    runs: bool,
    file: Option<FileJson>,
    kv_bytes_per_token: Bytes,
    cuts: Vec<Cut>,
    notes: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tensors: Option<Vec<TensorJson>>,
}

#[derive(Serialize)]
struct FileJson {
    bytes: u64,
    hash: String,
    bytes_by_dtype: BTreeMap<&'static str, u64>,
}

#[derive(Serialize)]
struct TensorJson {
    name: String,
    dtype: &'static str,
    shape: Vec<u64>,
    bytes: u64,
}

/// How a model falls apart over `tp` devices; lists have an entry a device.
#[derive(Serialize)]
struct Cut {
    tp: u32,
    heads: Vec<u32>,
    kv_heads: Vec<u32>,
    ffn: Vec<u32>,
    vocab: Vec<u32>,
    even: bool,
    kv_replication: f64,
    vectors_sent: Vectors,
    imbalance: Imbalance,
}

/// Vectors of the width that all devices together send in a reduction.
#[derive(Serialize)]
struct Vectors {
    attention: usize,
    mlp: usize,
}

/// How much more than the mean the busiest device holds, as a fraction.
#[derive(Serialize)]
struct Imbalance {
    heads: f64,
    weights: f64,
}

/// Shows the model or the cluster.
pub fn act(args: &Args, json: bool) -> Result<(), Failure> {
    match find(&args.given)? {
        Subject::Model(model) => show(&model, args, json),
        Subject::Cluster(_) if args.tensors || !args.tp.is_empty() => {
            Err(Failure::Input(format!("{}: a cluster; --tp and --tensors are for models", args.given)))
        }
        Subject::Cluster(cluster) => cluster::show(&cluster, json),
    }
}

/// What can be inspected.
enum Subject {
    Model(Box<Model>),
    Cluster(Box<Cluster>),
}

/// A model's name wins.
fn find(given: &str) -> Result<Subject, Failure> {
    if cluster::is_toml(given) {
        return Ok(Subject::Cluster(Box::new(cluster::find(given)?)));
    }
    match Model::find(given) {
        Ok(model) => Ok(Subject::Model(Box::new(model))),
        Err(failure) if is_path(given) || Path::new(given).exists() => Err(failure),
        Err(failure) => match cluster::find(given) {
            Ok(cluster) => Ok(Subject::Cluster(Box::new(cluster))),
            Err(other) => Err(neither(given, failure, other)),
        },
    }
}

/// What to say of a name that is neither: what was likely meant, or what there is of both.
fn neither(given: &str, no_model: Failure, no_cluster: Failure) -> Failure {
    match (no_model, no_cluster) {
        (Failure::Input(model), Failure::Input(cluster)) => Failure::Input(match presets::nearest(given) {
            Some(_) => model,
            None if clusters::meant(given).is_some() => cluster,
            None => format!("{model}\n{cluster}"),
        }),
        (failure, _) => failure,
    }
}

fn show(model: &Model, args: &Args, json: bool) -> Result<(), Failure> {
    let spec = &model.spec;
    let default: Vec<u32> = (1..=spec.heads.min(TP_SHOWN)).collect();
    let wanted = if args.tp.is_empty() { &default } else { &args.tp };
    let cuts = wanted.iter().map(|tp| cut_over(spec, *tp)).collect::<Result<Vec<_>, _>>()?;
    let tensors = args.tensors.then(|| tensors(model));
    if json {
        return print_json(&Json {
            model: spec,
            parameters: spec.parameters(),
            runs: runs(spec),
            file: file(model),
            kv_bytes_per_token: spec.kv_bytes_per_token(KvDtype::F16.bytes()),
            cuts,
            notes: notes(spec),
            tensors,
        });
    }
    print(&human(model, &cuts, tensors.as_deref()))
}

fn runs(spec: &ModelSpec) -> bool {
    spec.family.runs()
}

fn file(model: &Model) -> Option<FileJson> {
    let file = model.file.as_ref()?;
    let mut bytes_by_dtype = BTreeMap::new();
    for tensor in file.tensors() {
        *bytes_by_dtype.entry(tensor.dtype.name()).or_insert(0) += tensor.bytes;
    }
    Some(FileJson { bytes: file.bytes(), hash: crate::output::hex(&file.hash()), bytes_by_dtype })
}

fn tensors(model: &Model) -> Vec<TensorJson> {
    let json = |TensorInfo { name, dtype, shape, bytes }| TensorJson { name, dtype: dtype.name(), shape, bytes };
    model.file.iter().flat_map(|file| file.tensors().map(json)).collect()
}

fn cut_over(spec: &ModelSpec, tp: u32) -> Result<Cut, Failure> {
    let plan = cut(spec, any_workload(), &request(tp))?;
    let slices = &plan.stages[0].slices;
    let length = |range: &Range<u32>| range.end - range.start;
    let each =
        |part: fn(&plan::Slice) -> &Range<u32>| slices.iter().map(|slice| length(part(slice))).collect::<Vec<_>>();
    let heads = each(|s| &s.heads);
    let ffn = each(|s| &s.ffn);
    let kv_heads: Vec<u32> = slices.iter().map(|slice| length(&slice.kv_heads(spec))).collect();
    let held: u32 = kv_heads.iter().sum();
    let all_same = |list: &[u32]| list.iter().all(|n| *n == list[0]);
    let vectors = |pieces: fn(&ModelSpec, &plan::Slice) -> Vec<Range<u32>>| {
        slices.iter().map(|slice| pieces(spec, slice).len()).sum()
    };
    Ok(Cut {
        tp,
        even: all_same(&heads) && all_same(&ffn) && held == spec.kv_heads,
        kv_replication: f64::from(held) / f64::from(spec.kv_heads),
        vectors_sent: Vectors { attention: vectors(work::head_pieces), mlp: vectors(work::ffn_pieces) },
        imbalance: Imbalance { heads: imbalance(heads.iter().map(|n| f64::from(*n))), weights: weights(&plan) },
        vocab: each(|s| &s.vocab),
        heads,
        kv_heads,
        ffn,
    })
}

fn weights(plan: &Plan) -> f64 {
    let held = plan.stages[0].slices.iter().map(|slice| work::slice_weights(plan, 0, slice));
    imbalance(held.map(|bytes| bytes.0 as f64))
}

fn imbalance(values: impl Iterator<Item = f64> + Clone) -> f64 {
    let mean = values.clone().sum::<f64>() / values.clone().count() as f64;
    values.fold(0.0, f64::max) / mean - 1.0
}

fn request(tp: u32) -> CutRequest {
    CutRequest { tp, pp: 1, device_weights: Vec::new(), lanes: 1, exchange: Exchange::Reduce, order: Order::Pipelined }
}

/// What a cut of heads does not depend on.
fn any_workload() -> Workload {
    let numerics = Numerics { activations: Activations::Int8, kv: KvDtype::F16 };
    Workload { batch: 1, tokens: 1, micros: 1, context: 1, sequences: 1, numerics }
}

/// What costs more than one would think.
fn notes(spec: &ModelSpec) -> Vec<String> {
    let mut notes = Vec::new();
    let mut note = |unaligned: bool, text: String| {
        if unaligned {
            notes.push(text);
        }
    };
    let off = |n: u32| !n.is_multiple_of(BLOCK);
    let (block, stored) = (spec.dtype.block().min(BLOCK), spec.dtype.name()); // of 256: 32 are as good as a block
    note(
        off(spec.head_width),
        format!("head width {} is no multiple of {BLOCK}: a head's last block is padded", spec.head_width),
    );
    note(
        !spec.head_width.is_multiple_of(block),
        format!("{stored} blocks of {block} straddle heads of width {}: cut heads take a slower path", spec.head_width),
    );
    note(off(spec.ffn), format!("MLP width {} is no multiple of {BLOCK}: the last leaf is shorter", spec.ffn));
    note(off(spec.width), format!("width {} is no multiple of {BLOCK}: the last block of rows is shorter", spec.width));
    note(
        off(spec.vocab),
        format!("vocabulary {} is no multiple of {BLOCK}: the last device has fewer rows", spec.vocab),
    );
    note(!runs(spec), "this family can be planned with; it does not run yet".into());
    notes
}

fn human(model: &Model, cuts: &[Cut], tensors: Option<&[TensorJson]>) -> String {
    let spec = &model.spec;
    let mut text = format!("{}\n{}", styled(BOLD, &spec.name), facts(&shape(model)));
    let (leaf, leaves) = (shard::mlp_leaf(spec), shard::mlp_leaves(spec));
    text += &format!(
        "\n{} (heads one by one; the MLP in {leaves} leaves of {leaf} columns)\n{}",
        styled(BOLD, "Cuts over tp devices"),
        table(spec, cuts).show()
    );
    text += "  vectors sent: all devices' partial sums of one token in one layer, attention + MLP; tp is best\n";
    text += "  imbalance: what the busiest device has above the mean, heads and weights\n";
    for note in notes(spec) {
        text += &format!("  note: {note}\n");
    }
    if let Some(tensors) = tensors {
        text += &format!("\n{}\n{}", styled(BOLD, "Tensors"), tensor_table(tensors).show());
    }
    text
}

fn shape(model: &Model) -> Vec<(&'static str, String)> {
    let spec = &model.spec;
    let shared = match spec.heads / spec.kv_heads {
        1 => "each Q head has its own".to_string(),
        group => format!("{group} Q heads share one"),
    };
    let tied = if spec.tied { "the output matrix is the embedding" } else { "the output matrix is another" };
    let mut shape = vec![
        ("family", family(spec).to_string()),
        ("layers", spec.layers.to_string()),
        ("C  width", spec.width.to_string()),
        ("H  heads", spec.heads.to_string()),
        ("K  KV heads", format!("{} ({shared})", spec.kv_heads)),
        ("D  head width", spec.head_width.to_string()),
        ("F  MLP width", spec.ffn.to_string()),
        ("V  vocabulary", format!("{} ({tied})", spec.vocab)),
        ("context", format!("{} tokens", spec.context)),
        ("positions", spec.rope.map_or("learned".to_string(), rope)),
        ("parameters", grouped(spec.parameters())),
    ];
    match file(model) {
        Some(file) => {
            let types = file.bytes_by_dtype.iter().map(|(name, bytes)| format!("{name} {}", Bytes(*bytes)));
            shape.push(("file", format!("{}: {}", Bytes(file.bytes), types.collect::<Vec<_>>().join(", "))));
            shape.push(("hash", file.hash));
        }
        None => shape.push(("data type", format!("{} (no weights at hand)", spec.dtype.name()))),
    }
    shape.push(("KV cache", format!("{} a token (f16)", spec.kv_bytes_per_token(KvDtype::F16.bytes()))));
    shape
}

fn rope(rope: Rope) -> String {
    match rope.scaling {
        None => format!("rotary, θ {}", rope.theta),
        Some(RopeScaling::Linear { factor }) => format!("rotary, θ {}, stretched {factor} ×", rope.theta),
        Some(RopeScaling::Llama3 { factor, original_context, .. }) => {
            format!("rotary, θ {}, stretched {factor} × beyond {original_context} tokens as Llama 3", rope.theta)
        }
    }
}

fn table(spec: &ModelSpec, cuts: &[Cut]) -> Table {
    let columns =
        ["tp", "<heads", "<KV heads", "<MLP columns", "<vocabulary rows", "<even", "vectors sent", "imbalance"];
    let mut table = Table::new(&columns);
    for cut in cuts {
        let held: u32 = cut.kv_heads.iter().sum();
        let copies =
            if held == spec.kv_heads { String::new() } else { format!(" ({:.2} × replicated)", cut.kv_replication) };
        table.row(vec![
            cut.tp.to_string(),
            runs_of(&cut.heads),
            format!("{}{copies}", runs_of(&cut.kv_heads)),
            runs_of(&cut.ffn),
            runs_of(&cut.vocab),
            if cut.even { "yes" } else { "no" }.into(),
            format!("{} + {}", cut.vectors_sent.attention, cut.vectors_sent.mlp),
            format!("{} {}", percent(cut.imbalance.heads), percent(cut.imbalance.weights)),
        ]);
    }
    table
}

fn percent(fraction: f64) -> String {
    format!("{:.0} %", 100.0 * fraction)
}

/// Counts by device, equal ones together, most first: `3 × 2, 2 × 1` for three devices with 2 and two with 1.
fn runs_of(counts: &[u32]) -> String {
    let mut by_count: BTreeMap<u32, usize> = BTreeMap::new();
    for count in counts {
        *by_count.entry(*count).or_default() += 1;
    }
    let mut run = by_count.iter().rev().map(|(count, devices)| match devices {
        1 => count.to_string(),
        _ => format!("{devices}×{count}"),
    });
    let shown: Vec<String> = run.by_ref().take(3).collect();
    if run.next().is_some() { format!("{}, …", shown.join(", ")) } else { shown.join(", ") }
}

fn tensor_table(tensors: &[TensorJson]) -> Table {
    let mut table = Table::new(&["<name", "<type", "<shape", "bytes"]);
    for tensor in tensors {
        let shape = tensor.shape.iter().map(u64::to_string).collect::<Vec<_>>().join(" × ");
        table.row(vec![tensor.name.clone(), tensor.dtype.into(), shape, grouped(tensor.bytes)]);
    }
    table
}
