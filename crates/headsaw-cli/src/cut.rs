//! The cut: its flags, once for every verb that takes one, and the plan they make.

use crate::error::Failure;
use crate::model::{Model, read_text};
use crate::place::Site;
use crate::steps::StepArgs;
use clap::ValueEnum;
use headsaw::plan::{self, CutRequest, HeadSteps, Plan};
use headsaw::spec::cluster::Link;
use headsaw::spec::model::ModelSpec;
use headsaw::spec::workload::{Activations, KvDtype, Numerics, Workload};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// How the model is cut.
#[derive(Debug, Clone, Default, PartialEq, clap::Args)]
#[command(next_help_heading = "The cut")]
pub struct CutArgs {
    /// Devices that share the heads of a stage [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub tp: Option<u32>,
    /// Stages: runs of layers, one after the other [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub pp: Option<u32>,
    /// Relative speeds of the devices of a stage, as 2:1:1: who is twice as fast takes twice the heads
    #[arg(long, value_name = "W:W…", value_parser = parse_weights)]
    pub device_weights: Option<Weights>,
    /// Compute lanes (threads) of a device [default: cores of this machine / devices; with --steps one for each]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub lanes: Option<u32>,
    /// Chunks and steps.
    #[command(flatten)]
    pub steps: StepArgs,
    /// How parts are brought together; both give the same bits. auto is the faster one by prediction [default: reduce]
    #[arg(long, value_name = "HOW")]
    pub exchange: Option<ExchangeArg>,
    /// Micro-batches one at a time, or following each other through the stages [default: pipelined]
    #[arg(long, value_name = "ORDER")]
    pub order: Option<OrderArg>,
    /// Micro-batches in flight [default: the number of stages]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(MICROS_MOST)))]
    pub micro_batches: Option<u32>,
    /// Tokens of a prompt that go through together [default: 512, at most the longest prompt]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(ROWS_MOST)))]
    pub prompt_chunk: Option<u32>,
    /// Tokens of a sequence that the KV cache has room for [default: what is needed, or the model's]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub context: Option<u32>,
    /// auto: 8-bit activations; f32: weights dequantised, activations and cache kept in f32; the others are those of
    /// GPUs, to plan and simulate with [default: auto; with a cluster of GPUs bf16]
    #[arg(long, value_name = "TYPE")]
    pub dtype: Option<DtypeArg>,
    /// How the KV cache keeps K and V [default: f16, or f32 with --dtype f32]
    #[arg(long, value_name = "TYPE")]
    pub kv_dtype: Option<KvDtypeArg>,
    /// A network between the devices, to be felt in runs and counted in predictions: rate and latency, as 1Gbit/s,50us
    /// [default: none, or what the cluster's file says]
    #[arg(long, value_name = "RATE,LATENCY")]
    pub link: Option<Link>,
    /// A plan file (- for standard input); the flags above override it
    #[arg(long, value_name = "FILE")]
    pub plan: Option<PathBuf>,
}

/// Micro-batches that a plan may have.
pub const MICROS_MOST: u32 = 1024;

/// Rows (tokens) that a micro-batch may have.
pub const ROWS_MOST: u32 = 65_536;

/// Relative speeds.
#[derive(Debug, Clone, PartialEq)]
pub struct Weights(pub Vec<f64>);

fn parse_weights(text: &str) -> Result<Weights, String> {
    let weight = |word: &str| word.trim().parse::<f64>().map_err(|_| format!("{word:?} is no number; write 2:1:1"));
    text.split(':').map(weight).collect::<Result<_, _>>().map(Weights)
}

/// `--exchange`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ExchangeArg {
    /// Partial sums are added in a fixed tree: two exchanges a layer
    Reduce,
    /// Quantised parts of vectors are gathered: four exchanges a layer
    Gather,
    /// The faster of the two by prediction, where there is something to foretell
    Auto,
}

/// `--order`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OrderArg {
    /// A micro-batch enters when the one before has left
    Sequential,
    /// Micro-batches follow each other through the stages
    Pipelined,
}

/// `--dtype`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DtypeArg {
    /// 8-bit activations in blocks of 32
    Auto,
    /// Single precision throughout
    F32,
    /// bfloat16, weights too
    Bf16,
    /// 8-bit floats, weights too
    Fp8,
    /// 8-bit floats with a scale per 32, weights too
    Mxfp8,
    /// 4-bit floats with a scale per 16, weights too
    Nvfp4,
}

/// `--kv-dtype`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum KvDtypeArg {
    /// Half precision
    F16,
    /// bfloat16: the range of f32, 8 bits of each number
    Bf16,
    /// Single precision
    F32,
}

/// What a verb wants to put through the model.
#[derive(Debug, Clone, Copy)]
pub struct Demand {
    /// Sequences at once.
    pub sequences: u32,
    /// Tokens of the longest prompt.
    pub prompt: u32,
    /// Tokens that a sequence may have in the end.
    pub context: u32,
}

/// A plan as `--json` shows it.
#[derive(Debug, Serialize)]
pub struct CutJson {
    tp: usize,
    pp: usize,
    devices: usize,
    device_weights: Vec<f64>,
    lanes: u32,
    exchange: plan::Exchange,
    order: plan::Order,
    micro_batches: u32,
    batch: u32,
    prompt_chunk: u32,
    context: u32,
    sequences: u32,
    activations: Activations,
    kv_dtype: KvDtype,
    steps: Option<HeadSteps>,
    cluster: Option<String>,
    link: Option<LinkJson>,
}

/// A link as `--json` shows it.
#[derive(Debug, Serialize)]
pub struct LinkJson {
    bytes_per_second: f64,
    latency_seconds: f64,
}

impl From<Link> for LinkJson {
    fn from(link: Link) -> LinkJson {
        LinkJson { bytes_per_second: link.rate.0, latency_seconds: link.latency.0 }
    }
}

impl CutJson {
    /// What a script wants to know of a plan; `tp` is the first stage's.
    pub fn of(plan: &Plan) -> CutJson {
        CutJson {
            tp: plan.stages.first().map_or(0, |stage| stage.slices.len()),
            pp: plan.stages.len(),
            devices: plan.devices.len(),
            device_weights: plan.devices.iter().map(|device| device.weight).collect(),
            lanes: plan.lanes,
            exchange: plan.exchange,
            order: plan.order,
            micro_batches: plan.workload.micros,
            batch: plan.workload.batch,
            prompt_chunk: plan.workload.tokens,
            context: plan.workload.context,
            sequences: plan.workload.sequences,
            activations: plan.workload.numerics.activations,
            kv_dtype: plan.workload.numerics.kv,
            steps: plan.steps.clone(),
            cluster: plan.cluster.clone(),
            link: None,
        }
    }

    /// The same over a link.
    pub fn over(self, link: Option<Link>) -> CutJson {
        CutJson { link: link.map(LinkJson::from), ..self }
    }

    /// The same where several sequences go through together: of each so many tokens.
    pub fn in_chunks_of(self, tokens: u32) -> CutJson {
        CutJson { prompt_chunk: tokens, ..self }
    }
}

impl CutArgs {
    /// The plan of `--plan`, held against the model.
    pub fn base(&self, model: &Model) -> Result<Option<Plan>, Failure> {
        let Some(path) = &self.plan else { return Ok(None) };
        let mut base = read_plan(path)?;
        fits(&base, model, &path.display().to_string())?;
        base.model = model.spec.clone();
        base.model_hash = model.hash().or(base.model_hash);
        Ok(Some(base))
    }

    /// Tokens that a sequence may have: as the flag says, or the plan, or the model.
    pub fn room(&self, model: &Model, base: Option<&Plan>) -> u32 {
        let planned = self.context.or(base.map(|plan| plan.workload.context));
        planned.unwrap_or(model.spec.context).min(model.spec.context)
    }

    /// The plan for a model: a base with the flags on top; without one the default cut of the flags.
    ///
    /// Without a `demand` the plan is for whatever the model was made for.
    pub fn plan(&self, model: &Model, base: Option<Plan>, demand: Option<Demand>) -> Result<Plan, Failure> {
        match base {
            Some(base) => self.over(base, demand, None),
            None => self.fresh(&model.spec, model.hash(), demand, None),
        }
    }

    /// The plan with the flags on top, on a cluster where there is one.
    pub fn over(&self, base: Plan, demand: Option<Demand>, site: Option<&Site>) -> Result<Plan, Failure> {
        let mut plan = base;
        if self.tp.is_some() || self.pp.is_some() || self.device_weights.is_some() {
            let request = self.request(Some(&plan));
            let again = cut(&plan.model, plan.workload, &request)?;
            plan = Plan { devices: again.devices, stages: again.stages, lanes: again.lanes, ..plan };
        }
        plan.lanes = self.lanes.unwrap_or(plan.lanes);
        plan.exchange = self.exchange.map_or(plan.exchange, ExchangeArg::meant);
        plan.order = self.order.map_or(plan.order, OrderArg::meant);
        let onto = Onto { stages: plan.stages.len() as u32, gpu: gpus(&plan, site) };
        plan.workload = self.workload(&plan.model, onto, Some(plan.workload), demand)?;
        self.finish(plan, site)
    }

    /// The default cut of the flags, on a cluster where there is one.
    pub fn fresh(
        &self,
        model: &ModelSpec,
        hash: Option<String>,
        demand: Option<Demand>,
        site: Option<&Site>,
    ) -> Result<Plan, Failure> {
        let request = self.request(None);
        let gpu = site.is_some_and(|site| site.gpu().is_some());
        let workload = self.workload(model, Onto { stages: request.pp, gpu }, None, demand)?;
        self.finish(Plan { model_hash: hash, ..cut(model, workload, &request)? }, site)
    }

    /// The second cut, and names of devices.
    fn finish(&self, mut plan: Plan, site: Option<&Site>) -> Result<Plan, Failure> {
        self.steps.lay(&mut plan, self.lanes, site)?;
        if let Some(site) = site {
            site.clone().sized(&plan)?.put(&mut plan);
        }
        Ok(plan)
    }

    /// The same flags, but for those that say which device holds what, which a plan has in it.
    pub fn without_shape(&self) -> CutArgs {
        let steps = StepArgs::default();
        CutArgs { tp: None, pp: None, device_weights: None, lanes: None, plan: None, steps, ..self.clone() }
    }

    fn request(&self, base: Option<&Plan>) -> CutRequest {
        let weights = self.device_weights.clone().map(|weights| weights.0);
        let stage = base.and_then(|plan| plan.stages.first());
        let tp = self.tp.or(weights.as_ref().map(|w| w.len() as u32));
        let tp = tp.or(stage.map(|stage| stage.slices.len() as u32)).unwrap_or(1);
        let pp = self.pp.or(base.map(|plan| plan.stages.len() as u32)).unwrap_or(1);
        CutRequest {
            tp,
            pp,
            device_weights: weights.unwrap_or_default(),
            lanes: self.lanes.or(base.map(|plan| plan.lanes)).unwrap_or_else(|| default_lanes(tp.saturating_mul(pp))),
            exchange: self
                .exchange
                .map(ExchangeArg::meant)
                .or(base.map(|plan| plan.exchange))
                .unwrap_or(plan::Exchange::Reduce),
            order: self.order.map(OrderArg::meant).or(base.map(|plan| plan.order)).unwrap_or(plan::Order::Pipelined),
        }
    }

    fn workload(
        &self,
        model: &ModelSpec,
        onto: Onto,
        base: Option<Workload>,
        demand: Option<Demand>,
    ) -> Result<Workload, Failure> {
        let micros = self.micros(onto.stages, base)?;
        // More prompts than that wait for their turn.
        let at_once = |d: Demand| d.sequences.clamp(1, SEQUENCES_AT_ONCE.max(micros));
        let sequences = base.map_or_else(|| demand.map_or(micros, at_once), |w| w.sequences);
        let batch = sequences.div_ceil(micros.max(1)).max(base.map_or(1, |w| w.batch));
        let context = self.context.or(base.map(|w| w.context)).or(demand.map(|d| d.context)).unwrap_or(model.context);
        if context > model.context {
            return Err(Failure::Input(format!(
                "--context {context}: {} was made for at most {} tokens",
                model.name, model.context
            )));
        }
        let longest = demand.map_or(context, |d| d.prompt).max(1);
        // More than the longest prompt would only take memory.
        let tokens = self.prompt_chunk.or(base.map(|w| w.tokens)).unwrap_or(512).min(longest);
        let numerics = self.numerics(base.map(|w| w.numerics), onto.gpu)?;
        Ok(Workload { batch, tokens, micros, context, sequences, numerics })
    }

    fn micros(&self, stages: u32, base: Option<Workload>) -> Result<u32, Failure> {
        let least = self.steps.micros_least();
        if let Some(given) = self.micro_batches.filter(|given| *given < least) {
            return Err(Failure::Input(format!(
                "--overlap tokens: one micro-batch hides behind another, and --micro-batches {given} is one; take 2"
            )));
        }
        let usual = base.map_or(stages.clamp(1, MICROS_MOST), |w| w.micros);
        let usual = if least > 1 { usual.max(least) } else { usual };
        Ok(self.micro_batches.unwrap_or(usual))
    }

    fn numerics(&self, base: Option<Numerics>, gpu: bool) -> Result<Numerics, Failure> {
        let auto = if gpu { Activations::Bf16 } else { Activations::Int8 };
        let activations = match self.dtype {
            Some(DtypeArg::Auto) => auto,
            Some(DtypeArg::F32) => Activations::F32,
            Some(DtypeArg::Bf16) => Activations::Bf16,
            Some(DtypeArg::Fp8) => Activations::Fp8,
            Some(DtypeArg::Mxfp8) => Activations::Mxfp8,
            Some(DtypeArg::Nvfp4) => Activations::Nvfp4,
            // What runs here is not what runs on GPUs.
            None => base.map_or(auto, |n| if gpu && n.activations == Activations::Int8 { auto } else { n.activations }),
        };
        let kv = match (self.kv_dtype, activations) {
            (Some(half @ (KvDtypeArg::F16 | KvDtypeArg::Bf16)), Activations::F32) => {
                let name = if half == KvDtypeArg::F16 { "f16" } else { "bf16" };
                return Err(Failure::Input(format!(
                    "--kv-dtype {name}: --dtype f32 keeps the cache in f32; leave one of them out"
                )));
            }
            (Some(KvDtypeArg::F16), _) => KvDtype::F16,
            (Some(KvDtypeArg::Bf16), _) => KvDtype::Bf16,
            (Some(KvDtypeArg::F32), _) | (None, Activations::F32) => KvDtype::F32,
            (None, _) => match (self.dtype, base) {
                (None, Some(base)) => base.kv,
                _ => KvDtype::F16,
            },
        };
        Ok(Numerics { activations, kv })
    }
}

/// What a workload is for.
#[derive(Debug, Clone, Copy)]
struct Onto {
    stages: u32,
    /// The plan comes onto GPUs.
    gpu: bool,
}

/// Does a plan that was not made for them come onto GPUs?
fn gpus(plan: &Plan, site: Option<&Site>) -> bool {
    site.is_some_and(|site| site.gpu().is_some() && site.is_new_to(plan))
}

/// Prompts that share the cache, where no plan says otherwise.
const SEQUENCES_AT_ONCE: u32 = 64;

/// Heads up to which the best cut is looked for; the largest models have some hundred.
const HEADS_MOST: u32 = 1024;

/// The default cut, of a model that can be.
pub fn cut(model: &ModelSpec, workload: Workload, request: &CutRequest) -> Result<Plan, Failure> {
    let problems = model.check();
    if !problems.is_empty() {
        return Err(Failure::Input(format!("{}: {}", model.name, problems.join("; "))));
    }
    if model.heads > HEADS_MOST {
        return Err(Failure::Input(format!("{}: {} heads; at most {HEADS_MOST} are cut", model.name, model.heads)));
    }
    plan::cut(model, workload, request).map_err(Failure::input)
}

impl ExchangeArg {
    fn meant(self) -> plan::Exchange {
        match self {
            ExchangeArg::Reduce | ExchangeArg::Auto => plan::Exchange::Reduce,
            ExchangeArg::Gather => plan::Exchange::Gather,
        }
    }
}

impl OrderArg {
    fn meant(self) -> plan::Order {
        match self {
            OrderArg::Sequential => plan::Order::Sequential,
            OrderArg::Pipelined => plan::Order::Pipelined,
        }
    }
}

/// The cores of this machine, shared out.
fn default_lanes(devices: u32) -> u32 {
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get() as u32);
    (cores / devices.max(1)).clamp(1, 256)
}

/// Reads a plan file, `-` for standard input.
pub fn read_plan(path: &Path) -> Result<Plan, Failure> {
    let text = read_text(path)?;
    parse_plan(&path.display().to_string(), &text)
}

/// A plan from its text.
pub fn parse_plan(name: &str, text: &str) -> Result<Plan, Failure> {
    serde_json::from_str(text).map_err(|e| {
        let what = e.to_string();
        let what = what.rsplit_once(" at line ").map_or(what.as_str(), |(what, _)| what);
        Failure::Input(format!("{name}: line {}, column {}: {}", e.line(), e.column(), plain(what)))
    })
}

/// The objects of plans and traces: as the program calls them, and what they are in the file.
const OBJECTS: [(&str, &str); 9] = [
    (
        "struct HeadSteps",
        r#"`steps`, as {"cut": "project|attend|merge", "lanes": [0, 1, 2], "chunk": 1, "overlap": "heads"}"#,
    ),
    ("struct Plan", "a plan, an object as `headsaw plan` writes it"),
    (
        "struct TraceFile",
        "a trace, an object with `format`, `source`, `plan`, `rounds` and `spans`, as `run --trace` writes it",
    ),
    ("struct ModelSpec", "`model`, an object as `headsaw plan` writes it"),
    ("struct Workload", "`workload`, an object as `headsaw plan` writes it"),
    ("struct Numerics", r#"`numerics`, as {"activations": "int8", "kv": "f16"}"#),
    ("struct Device", r#"one of `devices`, as {"name": "cpu 0", "weight": 1.0}"#),
    ("struct Stage", r#"one of `stages`, as {"layers": "0..2", "slices": […]}"#),
    ("struct Slice", "one of `slices`, an object as `headsaw plan` writes it"),
];

/// What is wrong with the file of a plan or a trace, in the words of the file.
pub fn plain(what: &str) -> String {
    let Some((before, wanted)) = what.split_once("struct ") else { return what.into() };
    let end = wanted.find(|c: char| !c.is_alphanumeric()).unwrap_or(wanted.len());
    let name = format!("struct {}", &wanted[..end]);
    let known = OBJECTS.iter().find(|(known, _)| *known == name);
    known.map_or_else(|| what.into(), |(_, words)| format!("{before}{words}"))
}

/// Is the plan for this model? Names and data types may differ: the shape decides, and the hash where both have one.
fn fits(plan: &Plan, model: &Model, path: &str) -> Result<(), Failure> {
    let differ = differences(&plan.model, &model.spec);
    if !differ.is_empty() {
        return Err(Failure::Input(format!(
            "{path}: a plan for {}, and {} is {}: {}; write a plan for it with `headsaw plan {} -o FILE`",
            plan.model.name,
            model.given,
            model.spec.name,
            differ.join(", "),
            model.given
        )));
    }
    match (&plan.model_hash, model.hash()) {
        (Some(planned), Some(hash)) if *planned != hash => Err(Failure::Input(format!(
            "{path}: a plan for {} with the hash {}, and {} has the hash {}; the shapes are the same, so without \
             `model_hash` in the plan it would do",
            plan.model.name,
            short(planned),
            model.given,
            short(&hash)
        ))),
        _ => Ok(()),
    }
}

fn short(hash: &str) -> String {
    hash.chars().take(12).chain(['…']).collect()
}

/// The figures in which two shapes differ: `30 layers (here 32)`.
fn differences(planned: &ModelSpec, given: &ModelSpec) -> Vec<String> {
    let figures = |m: &ModelSpec| {
        [
            ("layers", m.layers),
            ("width", m.width),
            ("heads", m.heads),
            ("KV heads", m.kv_heads),
            ("head width", m.head_width),
            ("MLP columns", m.ffn),
            ("vocabulary rows", m.vocab),
        ]
    };
    let pairs = figures(planned).into_iter().zip(figures(given));
    let differ = pairs.filter(|(a, b)| a.1 != b.1).map(|((what, a), (_, b))| format!("{what} {a} there and {b} here"));
    let mut found: Vec<String> = differ.collect();
    if planned.family != given.family {
        found.push(format!("family {:?} there and {:?} here", planned.family, given.family).to_lowercase());
    }
    if planned.tied != given.tied {
        found.push("the output matrix is the embedding in one of them only".into());
    }
    found
}
