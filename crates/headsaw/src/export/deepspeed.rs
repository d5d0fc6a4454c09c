//! DeepSpeed: `ds_config.json`. It has no key for the cut of stages; `PipelineModule` makes them equal.

use super::cut::Cut;
use super::rules::{self, Broken, Rule, unless};
use super::{Engine, Export, File, Flag, Request, notes};
use crate::spec::workload::Activations;
use serde_json::{Value, json};

pub const PACKAGE: (&str, &str) = ("deepspeed", "0.19.8");

pub fn rules(cut: &Cut) -> Vec<Broken> {
    let vocabulary = rules::even(cut, &cut.vocabulary(), Rule::Vocabulary);
    let layers = unless(cut.is_even(), Rule::Layers, || {
        format!(
            "arbitrary cuts of stages can not be said in JSON, and PipelineModule's method type:… makes them equal, the \
             first ones taking what is left over; the plan's have {} layers",
            rules::joined(&cut.layers)
        )
    });
    let both = unless(cut.tp == 1 || cut.pp() == 1, Rule::Both, || {
        format!(
            "tensor_parallel.autotp_size cuts models that are no PipelineModule, so either tp or pp is 1; they are {} \
             and {}",
            cut.tp,
            cut.pp()
        )
    });
    let all = [rules::heads(cut), rules::kv_heads(cut), rules::columns(cut), vocabulary, layers, both];
    all.into_iter().flatten().collect()
}

pub fn write(cut: &Cut, request: &Request) -> Export {
    let mut program = vec!["deepspeed".into(), format!("--num_gpus={}", cut.devices() / request.nodes.max(1))];
    if request.nodes > 1 {
        program.push(format!("--num_nodes={}", request.nodes));
        program.push("--hostfile=$HOSTFILE".into());
    }
    program.push("$SCRIPT".into());
    let mut notes = notes::of_cuts(cut, Engine::Deepspeed.title());
    notes.extend(notes::of_training(cut, Engine::Deepspeed.title()));
    if cut.pp() > 1 {
        notes.push(format!(
            "stages are made in Python, not in JSON: PipelineModule(layers, num_stages={}, partition_method='type:NAME'), \
             NAME being the class of a layer; the order is its own, 1F1B",
            cut.pp()
        ));
    }
    notes.push("$SCRIPT is your training script".into());
    let text = serde_json::to_string_pretty(&config(cut)).expect("JSON of numbers and names") + "\n";
    Export {
        engine: Engine::Deepspeed,
        environment: vec![],
        program,
        flags: vec![Flag::bare("--deepspeed"), Flag::with("--deepspeed_config", "ds_config.json")],
        files: vec![File { name: "ds_config.json".into(), text }],
        notes,
    }
}

fn config(cut: &Cut) -> Value {
    let w = &cut.plan.workload;
    let mut config = json!({
        "train_batch_size": w.batch * w.micros,
        "train_micro_batch_size_per_gpu": w.batch,
        "gradient_accumulation_steps": w.micros,
        "bf16": { "enabled": w.numerics.activations != Activations::F32 },
        "zero_optimization": { "stage": 0 },
    });
    if cut.tp > 1 {
        config["tensor_parallel"] = json!({ "autotp_size": cut.tp });
    }
    if cut.pp() > 1 {
        config["pipeline"] = json!({ "stages": cut.pp() });
    }
    config
}
