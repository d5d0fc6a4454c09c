//! Plans that each engine takes and plans that it must never see. `cargo xtask export-check` asks the engines about them.

use headsaw::export::{Engine, Export, Request, Rule, draft};
use headsaw::plan::{CutRequest, Exchange, HeadSteps, Order, Overlap, Plan, cut};
use headsaw::spec::model::Dtype;
use headsaw::spec::presets;
use headsaw::spec::workload::{Activations, KvDtype, Numerics, Workload};

/// A plan for an engine, and the rule that it breaks where it does.
pub struct Case {
    pub engine: Engine,
    pub name: String,
    pub plan: Plan,
    pub request: Request,
    pub breaks: Option<Rule>,
}

impl Case {
    /// What the engine is given, rules or not; none for what is no plan.
    pub fn draft(&self) -> Option<Export> {
        (self.breaks != Some(Rule::Plan)).then(|| draft(&self.plan, self.engine, &self.request))
    }

    /// Layers of each stage.
    pub fn layers(&self) -> Vec<u32> {
        self.plan.stages.iter().map(|stage| stage.layers.len() as u32).collect()
    }
}

/// All that an engine reads, as one text. What is said beside it is not part of it.
pub fn text(export: &Export) -> String {
    let mut text = export.script().unwrap_or_default();
    for file in &export.files {
        text += &format!("== {}\n{}", file.name, file.text);
    }
    text
}

/// What a case changes of the plan.
type Change = fn(&mut Plan);

const fn same(_: &mut Plan) {}

/// The default cut of a preset, in bfloat16, with 4,096 tokens of each of 8 sequences.
pub fn plan(preset: &str, tp: u32, pp: u32) -> Plan {
    weighted(preset, tp, pp, vec![])
}

fn weighted(preset: &str, tp: u32, pp: u32, device_weights: Vec<f64>) -> Plan {
    let model = presets::find(preset).expect("a preset");
    let numerics = Numerics { activations: Activations::Bf16, kv: KvDtype::F16 };
    let context = model.context.min(4096);
    let workload = Workload { batch: 1, tokens: 512, micros: pp.max(2), context, sequences: 8, numerics };
    let (exchange, order) = (Exchange::Reduce, Order::Pipelined);
    cut(&model, workload, &CutRequest { tp, pp, device_weights, lanes: 1, exchange, order }).expect("a cut")
}

/// Writes the stages' layers.
pub fn with_layers(plan: &mut Plan, layers: &[u32]) {
    let mut start = 0;
    for (stage, count) in plan.stages.iter_mut().zip(layers) {
        stage.layers = start..start + count;
        start += count;
    }
}

type Good = (&'static str, u32, u32, &'static [u32], Change);

/// Plans that an engine accepts.
pub fn good(engine: Engine) -> Vec<Case> {
    let list: &[Good] = match engine {
        Engine::Vllm | Engine::Sglang => SERVED,
        Engine::Megatron => MEGATRON,
        Engine::Torchtitan => TITAN,
        Engine::Deepspeed => DEEPSPEED,
        Engine::TorchPipelining => ORDERS,
    };
    let case = |(i, &(preset, tp, pp, layers, change)): (usize, &Good)| {
        let mut plan = plan(preset, tp, pp);
        if !layers.is_empty() {
            with_layers(&mut plan, layers);
        }
        change(&mut plan);
        let nodes = if tp * pp >= 16 && engine != Engine::TorchPipelining { 2 } else { 1 };
        let request = Request { model: None, nodes };
        Case { engine, name: format!("{i}: {preset} tp {tp} pp {pp} {layers:?}"), plan, request, breaks: None }
    };
    list.iter().enumerate().map(case).collect()
}

const SERVED: &[Good] = &[
    ("llama-3.1-8b", 1, 1, &[], same),
    ("llama-3.1-8b", 2, 1, &[], same),
    ("llama-3.1-8b", 8, 1, &[], gathered),
    ("llama-3.1-8b", 16, 1, &[], same),
    ("llama-3.1-8b", 1, 2, &[], same),
    ("llama-3.1-8b", 4, 2, &[], sequential),
    ("llama-3.1-8b", 4, 4, &[9, 8, 8, 7], same),
    ("llama-3.1-8b", 1, 3, &[], same),
    ("llama-3.1-70b", 8, 1, &[], same),
    ("llama-3.1-70b", 8, 2, &[43, 37], same),
    ("llama-3.1-405b", 8, 2, &[], same),
    ("qwen2-7b", 4, 1, &[], same),
    ("qwen2-7b", 2, 2, &[15, 13], same),
    ("qwen2-1.5b", 4, 1, &[], same),
    ("smollm2-135m", 3, 1, &[], in_steps),
    ("smollm2-135m", 3, 4, &[3, 9, 9, 9], same),
    ("smollm2-1.7b", 8, 1, &[], quantised),
    ("qwen3-32b", 8, 2, &[], same),
    ("mistral-7b", 4, 1, &[], in_eight_bits),
    ("llama-2-7b", 2, 1, &[], in_single_precision),
];

const MEGATRON: &[Good] = &[
    ("llama-3.1-8b", 1, 1, &[], same),
    ("llama-3.1-8b", 2, 1, &[], same),
    ("llama-3.1-8b", 16, 1, &[], same),
    ("llama-3.1-8b", 1, 2, &[], same),
    ("llama-3.1-8b", 2, 2, &[15, 17], same),
    ("llama-3.1-8b", 1, 4, &[8, 8, 8, 8], sequential),
    ("llama-3.1-8b", 1, 4, &[5, 9, 9, 9], same),
    ("llama-3.1-8b", 1, 4, &[9, 9, 9, 5], same),
    ("llama-3.1-8b", 2, 4, &[7, 9, 9, 7], same),
    ("llama-3.1-8b", 2, 4, &[7, 10, 9, 6], same),
    ("llama-3.1-70b", 8, 4, &[], same),
    ("llama-3.1-70b", 8, 8, &[9, 10, 10, 10, 10, 10, 10, 11], same),
    ("llama-3.1-405b", 8, 16, &[], same),
    ("gpt3-175b", 8, 8, &[], same),
    ("megatron-22b", 8, 1, &[], same),
    ("megatron-530b", 8, 35, &[], same),
    ("qwen2-7b", 4, 1, &[], same),
    ("qwen3-32b", 8, 2, &[33, 31], in_single_precision),
    ("smollm2-135m", 3, 3, &[9, 12, 9], tokens_for_three),
    ("mistral-7b", 4, 1, &[], in_eight_bits),
];

const TITAN: &[Good] = &[
    ("llama-3.1-8b", 1, 1, &[], same),
    ("llama-3.1-8b", 2, 1, &[], same),
    ("llama-3.1-8b", 4, 1, &[], gathered),
    ("llama-3.1-8b", 8, 1, &[], same),
    ("llama-3.1-8b", 1, 2, &[], same),
    ("llama-3.1-8b", 1, 3, &[], same),
    ("llama-3.1-8b", 2, 4, &[], sequential),
    ("llama-3.1-8b", 2, 4, &[7, 9, 9, 7], same),
    ("llama-3.1-8b", 1, 2, &[15, 17], same),
    ("llama-3.1-8b", 2, 8, &[3, 4, 4, 5, 4, 4, 4, 4], same),
    ("llama-3.1-70b", 8, 1, &[], same),
    ("llama-3.1-70b", 8, 4, &[], same),
    ("llama-3.1-70b", 4, 4, &[21, 20, 20, 19], same),
    ("llama-3.1-405b", 8, 9, &[], same),
    ("llama-3.1-405b", 8, 16, &[], same),
    ("qwen3-0.6b", 4, 1, &[], same),
    ("qwen3-1.7b", 8, 1, &[], same),
    ("qwen3-14b", 8, 2, &[], same),
    ("qwen3-32b", 8, 2, &[33, 31], same),
    ("qwen3-32b", 1, 4, &[], sequential),
];

const DEEPSPEED: &[Good] = &[
    ("llama-3.1-8b", 1, 1, &[], same),
    ("llama-3.1-8b", 2, 1, &[], same),
    ("llama-3.1-8b", 4, 1, &[], gathered),
    ("llama-3.1-8b", 8, 1, &[], same),
    ("llama-3.1-8b", 1, 2, &[], same),
    ("llama-3.1-8b", 1, 3, &[], same),
    ("llama-3.1-8b", 1, 4, &[], sequential),
    ("llama-3.1-8b", 1, 5, &[], same),
    ("llama-3.1-70b", 8, 1, &[], same),
    ("llama-3.1-70b", 1, 16, &[], same),
    ("llama-3.1-405b", 8, 1, &[], same),
    ("gpt3-175b", 1, 8, &[], same),
    ("megatron-22b", 8, 1, &[], same),
    ("megatron-22b", 1, 8, &[], same),
    ("qwen2-7b", 4, 1, &[], same),
    ("qwen2-7b", 1, 8, &[], same),
    ("qwen3-32b", 8, 1, &[], in_single_precision),
    ("smollm2-135m", 3, 1, &[], tokens_for_three),
    ("smollm2-135m", 1, 7, &[], same),
    ("mistral-7b", 4, 1, &[], in_eight_bits),
];

const ORDERS: &[Good] = &[
    ("smollm2-135m", 1, 1, &[], same),
    ("smollm2-135m", 1, 2, &[], same),
    ("smollm2-135m", 1, 2, &[20, 10], same),
    ("smollm2-135m", 1, 2, &[], sequential),
    ("smollm2-135m", 1, 2, &[], many),
    ("smollm2-135m", 1, 3, &[], same),
    ("smollm2-135m", 1, 3, &[9, 11, 10], many),
    ("smollm2-135m", 1, 3, &[], sequential),
    ("smollm2-135m", 2, 2, &[], same),
    ("smollm2-135m", 3, 2, &[], gathered),
    ("smollm2-135m", 4, 2, &[], many),
    ("smollm2-135m", 1, 4, &[], same),
    ("smollm2-135m", 1, 4, &[], many),
    ("smollm2-135m", 1, 4, &[3, 9, 9, 9], sequential),
    ("smollm2-135m", 1, 5, &[], same),
    ("smollm2-135m", 1, 2, &[], in_steps),
    ("smollm2-135m", 1, 4, &[], in_steps),
    ("smollm2-135m", 1, 6, &[], few),
    ("smollm2-135m", 1, 8, &[], same),
    ("smollm2-135m", 1, 8, &[], many),
];

fn gathered(plan: &mut Plan) {
    plan.exchange = Exchange::Gather;
}

fn sequential(plan: &mut Plan) {
    plan.order = Order::Sequential;
}

fn quantised(plan: &mut Plan) {
    plan.model.dtype = Dtype::Q8_0;
    plan.workload.numerics.activations = Activations::Int8;
}

fn in_eight_bits(plan: &mut Plan) {
    plan.workload.numerics.activations = Activations::Fp8;
}

fn in_single_precision(plan: &mut Plan) {
    plan.workload.numerics = Numerics { activations: Activations::F32, kv: KvDtype::F32 };
}

fn tokens_for_three(plan: &mut Plan) {
    plan.workload.context = 1536;
}

fn many(plan: &mut Plan) {
    plan.workload.micros = 12;
}

fn few(plan: &mut Plan) {
    plan.workload.micros = 2;
}

/// Two micro-batches go through each layer together, heads in a small pipeline.
fn in_steps(plan: &mut Plan) {
    plan.lanes = 3;
    plan.steps = Some(HeadSteps {
        cut: "3".parse().expect("a step cut"),
        lanes: vec![0, 1, 2],
        others: Some(0),
        chunk: 1,
        interleave: 2,
        overlap: Overlap::Tokens,
    });
}

/// Plans that are refused before the engine sees them, each with the rule.
pub fn bad(engine: Engine) -> Vec<Case> {
    let shared = shared_faults();
    let own = match engine {
        Engine::Vllm | Engine::Sglang => vec![
            fault("KV heads 4 over 7", Rule::KvHeads, plan("qwen2-7b", 7, 1)),
            fault("MLP columns 1536 over 9", Rule::Columns, plan("smollm2-135m", 9, 1)),
            fault("vocabulary 49152 over 5", Rule::Vocabulary, plan("smollm2-360m", 5, 1)),
            fault("blocks of 256 cut", Rule::Blocks, changed(plan("llama-3.1-8b", 16, 1), blocks_of_256)),
        ],
        Engine::Megatron => vec![
            fault("KV heads 4 over 7", Rule::KvHeads, changed(plan("qwen2-7b", 7, 1), tokens_for_seven)),
            fault("MLP columns 1536 over 9", Rule::Columns, changed(plan("smollm2-135m", 9, 1), tokens_for_three)),
            fault("tokens 1001 over 2", Rule::Tokens, changed(plan("llama-3.1-8b", 2, 1), odd_tokens)),
        ],
        Engine::Torchtitan => vec![
            fault("KV heads 8 over 16", Rule::KvHeads, plan("llama-3.1-8b", 16, 1)),
            fault("tokens 1001 over 2", Rule::Tokens, changed(plan("llama-3.1-8b", 2, 1), odd_tokens)),
            fault("tied, two stages", Rule::Tied, plan("qwen3-0.6b", 1, 2)),
            fault("no such configuration", Rule::Model, plan("qwen3-4b", 1, 1)),
        ],
        Engine::Deepspeed => vec![
            fault("KV heads 8 over 16", Rule::KvHeads, plan("llama-3.1-8b", 16, 1)),
            fault("MLP columns 1536 over 9", Rule::Columns, changed(plan("smollm2-135m", 9, 1), many_kv_heads)),
            fault("stages 17 + 15", Rule::Layers, changed(plan("llama-3.1-8b", 1, 2), uneven_stages)),
            fault("tp and pp", Rule::Both, plan("llama-3.1-8b", 2, 2)),
        ],
        Engine::TorchPipelining => return orders_faults().into_iter().map(|fault| fault.of(engine)).collect(),
    };
    shared.into_iter().chain(own).map(|fault| fault.of(engine)).collect()
}

struct Fault(&'static str, Rule, Plan, u32);

impl Fault {
    fn of(self, engine: Engine) -> Case {
        let Fault(name, rule, plan, nodes) = self;
        let request = Request { model: None, nodes };
        Case { engine, name: name.into(), plan, request, breaks: Some(rule) }
    }
}

fn fault(name: &'static str, rule: Rule, plan: Plan) -> Fault {
    Fault(name, rule, plan, 1)
}

fn changed(mut plan: Plan, change: Change) -> Plan {
    change(&mut plan);
    plan
}

/// What no engine that cuts heads can take.
fn shared_faults() -> Vec<Fault> {
    let in_nodes = |name, plan, nodes| Fault(name, Rule::Nodes, plan, nodes);
    vec![
        fault("9 heads over 2: 5 + 4", Rule::Heads, plan("smollm2-135m", 2, 1)),
        fault("28 heads over 8", Rule::Heads, plan("qwen2-7b", 8, 1)),
        fault("28 heads over 3", Rule::Heads, plan("qwen2-7b", 3, 1)),
        fault("device weights 2:1", Rule::Heads, weighted("llama-3.1-8b", 2, 1, vec![2.0, 1.0])),
        fault("MLP columns 48:16", Rule::Columns, changed(plan("llama-3.1-8b", 2, 1), uneven_columns)),
        fault("tp 4, then 2", Rule::OneTp, uneven_tp("llama-3.1-8b", 4, 2)),
        in_nodes("4 devices in 3 nodes", plan("llama-3.1-8b", 4, 1), 3),
    ]
}

fn orders_faults() -> Vec<Fault> {
    let two = || plan("smollm2-135m", 1, 2);
    vec![
        fault("tp 2, then 1", Rule::OneTp, uneven_tp("smollm2-135m", 2, 1)),
        fault("tp 3, then 1", Rule::OneTp, uneven_tp("smollm2-135m", 3, 1)),
        fault("tp 1, then 9", Rule::OneTp, uneven_tp("smollm2-135m", 1, 9)),
        Fault("2 devices in 3 nodes", Rule::Nodes, two(), 3),
        Fault("no nodes", Rule::Nodes, two(), 0),
        fault("a layer held by nobody", Rule::Plan, changed(two(), |plan| plan.stages[1].layers.start += 1)),
        fault("a layer held twice", Rule::Plan, changed(two(), |plan| plan.stages[1].layers.start -= 1)),
        fault("a stage without layers", Rule::Plan, changed(two(), |plan| with_layers(plan, &[30, 0]))),
        fault("a device in two stages", Rule::Plan, changed(two(), one_device)),
        fault("no micro-batch", Rule::Plan, changed(two(), |plan| plan.workload.micros = 0)),
    ]
}

fn one_device(plan: &mut Plan) {
    plan.stages[1].slices[0].device = plan.stages[0].slices[0].device;
}

/// Two stages of different tp.
fn uneven_tp(preset: &str, first: u32, second: u32) -> Plan {
    let mut mixed = plan(preset, first, 2);
    let other = plan(preset, second, 2);
    mixed.stages[1].slices = other.stages[1].slices.clone();
    for (slice, device) in mixed.stages[1].slices.iter_mut().zip(first..) {
        slice.device.0 = device;
    }
    mixed.devices = headsaw::spec::cluster::Device::equal(first + second);
    mixed
}

fn uneven_columns(plan: &mut Plan) {
    let middle = plan.model.ffn / 4 * 3;
    let [one, other] = &mut plan.stages[0].slices[..] else { panic!("two devices") };
    (one.ffn.end, other.ffn.start) = (middle, middle);
}

fn uneven_stages(plan: &mut Plan) {
    with_layers(plan, &[17, 15]);
}

fn blocks_of_256(plan: &mut Plan) {
    plan.model.dtype = Dtype::Q4K;
    plan.workload.numerics.activations = Activations::Int8;
}

fn odd_tokens(plan: &mut Plan) {
    plan.workload.context = 1001;
}

fn tokens_for_seven(plan: &mut Plan) {
    plan.workload.context = 3584;
}

fn many_kv_heads(plan: &mut Plan) {
    plan.model.kv_heads = plan.model.heads;
}
