//! Megatron-LM: flags of `pretrain_gpt.py`. Uneven stages are a first or last stage of its own, else a layout string.

use super::cut::Cut;
use super::rules::{self, Broken};
use super::{Engine, Export, Flag, Request, notes};
use crate::spec::model::{Family, ModelSpec, RopeScaling};

pub const PACKAGE: (&str, &str) = ("megatron-core", "0.19.2");

/// Its vocabulary is filled up to a multiple of 128 times tp, so that always divides.
pub fn rules(cut: &Cut) -> Vec<Broken> {
    let vocabulary = rules::even(cut, &cut.vocabulary(), rules::Rule::Vocabulary);
    let all =
        [rules::heads(cut), rules::kv_heads_or_copies(cut), rules::columns(cut), vocabulary, rules::tokens(cut, 1)];
    all.into_iter().flatten().collect()
}

pub fn write(cut: &Cut, request: &Request) -> Export {
    let mut program = request.torchrun(cut.devices());
    program.push("pretrain_gpt.py".into());
    let mut notes = notes::of_cuts(cut, Engine::Megatron.title());
    notes.extend(notes::of_training(cut, Engine::Megatron.title()));
    if cut.pp() > 1 {
        notes.push("the order is Megatron-LM's own, 1F1B; no flag takes another".into());
    }
    if let Some(scaling) = cut.plan.model.rope.and_then(|rope| rope.scaling) {
        notes.extend(unsaid(&scaling));
    }
    Export {
        engine: Engine::Megatron,
        environment: vec![("CUDA_DEVICE_MAX_CONNECTIONS".into(), "1".into())],
        program,
        flags: [cuts(cut), shape(&cut.plan.model), steps(cut)].concat(),
        files: vec![],
        notes,
    }
}

fn cuts(cut: &Cut) -> Vec<Flag> {
    let mut flags = vec![
        Flag::with("--tensor-model-parallel-size", cut.tp),
        Flag::with("--pipeline-model-parallel-size", cut.pp()),
    ];
    if cut.tp > 1 {
        flags.push(Flag::bare("--sequence-parallel"));
    }
    flags.extend(stages(&cut.layers));
    flags
}

/// What is said of the stages beside their number: nothing where they are equal.
fn stages(layers: &[u32]) -> Vec<Flag> {
    let first = |count| Flag::with("--decoder-first-pipeline-num-layers", count);
    let last = |count| Flag::with("--decoder-last-pipeline-num-layers", count);
    let equal = |layers: &[u32]| layers.windows(2).all(|pair| pair[0] == pair[1]);
    match layers {
        _ if equal(layers) => vec![],
        [one, rest @ ..] if equal(rest) => vec![first(one)],
        [rest @ .., one] if equal(rest) => vec![last(one)],
        [one, rest @ .., other] if equal(rest) => vec![first(one), last(other)],
        _ => vec![Flag::with("--pipeline-model-parallel-layout", layout(layers))],
    }
}

/// `Et*3|t*2|t*5L`: embedding, layers of each stage, loss.
fn layout(layers: &[u32]) -> String {
    let stages: Vec<String> = layers.iter().map(|count| format!("t*{count}")).collect();
    format!("E{}L", stages.join("|"))
}

fn shape(model: &ModelSpec) -> Vec<Flag> {
    let mut flags = vec![
        Flag::with("--num-layers", model.layers),
        Flag::with("--hidden-size", model.width),
        Flag::with("--ffn-hidden-size", model.ffn),
        Flag::with("--num-attention-heads", model.heads),
        Flag::with("--kv-channels", model.head_width),
    ];
    if model.kv_heads != model.heads {
        flags.push(Flag::bare("--group-query-attention"));
        flags.push(Flag::with("--num-query-groups", model.kv_heads));
    }
    flags.extend(family(model));
    if !model.tied {
        flags.push(Flag::bare("--untie-embeddings-and-output-weights"));
    }
    flags.push(Flag::with("--vocab-size", model.vocab));
    flags.push(Flag::with("--max-position-embeddings", model.context));
    flags
}

fn family(model: &ModelSpec) -> Vec<Flag> {
    let mut flags = Vec::new();
    if let Some(rope) = model.rope {
        flags.push(Flag::with("--position-embedding-type", "rope"));
        flags.push(Flag::with("--rotary-base", rope.theta));
        if let Some(RopeScaling::Llama3 { factor, .. }) = rope.scaling {
            flags.push(Flag::bare("--use-rope-scaling"));
            flags.push(Flag::with("--rope-scaling-factor", factor));
        }
    } else {
        flags.push(Flag::with("--position-embedding-type", "learned_absolute"));
    }
    if model.family != Family::Gpt {
        let llama = ["--swiglu", "--disable-bias-linear"].map(Flag::bare);
        flags.extend(llama);
        flags.push(Flag::with("--normalization", "RMSNorm"));
    }
    match model.family {
        Family::Qwen2 => flags.push(Flag::bare("--add-qkv-bias")),
        Family::Qwen3 => flags.push(Flag::bare("--qk-layernorm")),
        Family::Llama | Family::Gpt => {}
    }
    flags.push(Flag::with("--norm-epsilon", model.norm_epsilon));
    flags
}

/// What of a scaling of rotary frequencies has no flag.
fn unsaid(scaling: &RopeScaling) -> Option<String> {
    match *scaling {
        RopeScaling::Linear { factor } => {
            Some(format!("the model stretches rotary frequencies by {factor}; no flag says that"))
        }
        RopeScaling::Llama3 { low_freq_factor, high_freq_factor, original_context, .. } => {
            let usual = low_freq_factor == 1.0 && high_freq_factor == 4.0 && original_context == 8192;
            (!usual).then(|| "of the model's rotary scaling only the factor can be said".into())
        }
    }
}

fn steps(cut: &Cut) -> Vec<Flag> {
    let w = &cut.plan.workload;
    let mut flags = vec![
        Flag::with("--seq-length", w.context),
        Flag::with("--micro-batch-size", w.batch),
        Flag::with("--global-batch-size", w.batch * w.micros),
    ];
    if w.numerics.activations != crate::spec::workload::Activations::F32 {
        flags.push(Flag::bare("--bf16"));
    }
    flags
}
