//! torchtitan: flags over one of its own configurations, the order as a CSV; uneven stages as a configuration in Python.

use super::cut::Cut;
use super::rules::{self, Broken, Rule, unless};
use super::{Engine, Export, File, Flag, Request, notes, schedule};
use crate::spec::model::ModelSpec;
use crate::spec::presets;

pub const PACKAGE: (&str, &str) = ("torchtitan", "0.3.0");

/// Its configurations of models that headsaw knows: preset, module, configuration.
const CONFIGS: [(&str, &str, &str); 7] = [
    ("llama-3.1-8b", "llama3", "llama3_8b"),
    ("llama-3.1-70b", "llama3", "llama3_70b"),
    ("llama-3.1-405b", "llama3", "llama3_405b"),
    ("qwen3-0.6b", "qwen3", "qwen3_0_6b"),
    ("qwen3-1.7b", "qwen3", "qwen3_1_7b"),
    ("qwen3-14b", "qwen3", "qwen3_14b"),
    ("qwen3-32b", "qwen3", "qwen3_32b"),
];

/// Only heads, KV heads and the tied embedding are known to its configuration.
pub fn rules(cut: &Cut, request: &Request) -> Vec<Broken> {
    let model = unless(config(cut, request).is_some(), Rule::Model, || match &request.model {
        Some(given) => format!("{given} is MODULE:CONFIG, as llama3:llama3_8b"),
        None => {
            let known: Vec<&str> = CONFIGS.iter().map(|(_, _, config)| *config).collect();
            format!(
                "it has a configuration of this shape ({}); {} is none of them: --model MODULE:CONFIG names your own",
                known.join(", "),
                cut.plan.model.name
            )
        }
    });
    let tied = unless(!cut.plan.model.tied || cut.pp() == 1, Rule::Tied, || {
        format!("the output matrix is the embedding, so both are in one stage; pp is {}", cut.pp())
    });
    let vocabulary = rules::even(cut, &cut.vocabulary(), Rule::Vocabulary);
    let all =
        [model, rules::heads(cut), rules::kv_heads(cut), rules::columns(cut), vocabulary, rules::tokens(cut, 2), tied];
    all.into_iter().flatten().collect()
}

/// Module and configuration of the model.
fn config(cut: &Cut, request: &Request) -> Option<(String, String)> {
    if let Some(given) = &request.model {
        let is_name = |name: &str| !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || "_.".contains(c));
        let (module, config) = given.split_once(':')?;
        return (is_name(module) && is_name(config)).then(|| (module.into(), config.into()));
    }
    let alike = |(preset, _, _): &&(&str, &str, &str)| presets::find(preset).is_some_and(|p| same(&p, &cut.plan.model));
    CONFIGS.iter().find(alike).map(|(_, module, config)| ((*module).into(), (*config).into()))
}

fn same(one: &ModelSpec, other: &ModelSpec) -> bool {
    let shape =
        |m: &ModelSpec| (m.family, m.layers, m.width, m.heads, m.kv_heads, m.head_width, (m.ffn, m.vocab, m.tied));
    shape(one) == shape(other)
}

pub fn write(cut: &Cut, request: &Request) -> Export {
    let engine = Engine::Torchtitan;
    let (module, config) = config(cut, request).unwrap_or_else(|| ("$MODULE".into(), "$CONFIG".into()));
    let w = &cut.plan.workload;
    let mut program = request.torchrun(cut.devices());
    program.extend(["-m", "torchtitan.train"].map(String::from));
    let mut notes = notes::of_cuts(cut, engine.title());
    notes.extend(notes::of_training(cut, engine.title()));
    let mut files = vec![];
    let parallelism = |key: &str, value: &dyn ToString| Flag::with(&format!("--parallelism.{key}"), value.to_string());
    let mut flags = vec![
        parallelism("tensor_parallel_degree", &cut.tp),
        parallelism("pipeline_parallel_degree", &cut.pp()),
        parallelism("data_parallel_shard_degree", &1),
        Flag::with("--training.local_batch_size", w.batch * w.micros),
        Flag::with("--training.seq_len", w.context),
    ];
    let (mut from, mut named) = (module.clone(), config.clone());
    if cut.pp() > 1 {
        flags.push(Flag::bare("--training.disable_cuda_graphs"));
        flags.push(parallelism("pipeline_parallel_microbatch_size", &w.batch));
        flags.push(parallelism("pipeline_parallel_schedule", &"GPipe"));
        flags.push(parallelism("pipeline_parallel_schedule_csv", &"schedule.csv"));
        files.push(File { name: "schedule.csv".into(), text: schedule::step(cut) });
        notes.push(
            "schedule.csv holds the plan's order and is what runs; with it --parallelism.pipeline_parallel_schedule only \
             says that a rank has one stage. Its backwards follow in the order of the forwards"
                .into(),
        );
        if cut.is_even() {
            flags.push(parallelism("pipeline_parallel_first_stage_less_layers", &0));
            flags.push(parallelism("pipeline_parallel_last_stage_less_layers", &0));
        } else {
            files.push(File { name: "headsaw_cut.py".into(), text: python(cut, &module, &config) });
            (from, named) = ("headsaw_cut".into(), "cut".into());
            notes
                .push("headsaw_cut.py has the uneven stages, which no flag says; it lies where Python finds it".into());
        }
    }
    flags.splice(0..0, [Flag::with("--module", from), Flag::with("--config", named)]);
    let environment = if files.len() > 1 { vec![("PYTHONPATH".into(), ".".into())] } else { vec![] };
    Export { engine, environment, program, flags, files, notes }
}

/// A configuration with the plan's stages.
fn python(cut: &Cut, module: &str, config: &str) -> String {
    let module = if module.contains('.') { module.into() } else { format!("torchtitan.models.{module}") };
    let last = cut.plan.stages.len() - 1;
    let stage = |(i, layers): (usize, &crate::plan::Stage)| {
        let (first, end) = (layers.layers.start, layers.layers.end);
        let before = if i == 0 { "[\"tok_embeddings\"] + " } else { "" };
        let after = if i == last { " + [\"norm\", \"lm_head\"]" } else { "" };
        format!("        {before}[f\"layers.{{i}}\" for i in range({first}, {end})]{after},\n")
    };
    let stages: String = cut.plan.stages.iter().enumerate().map(|(i, s)| stage((i, s))).collect();
    format!(
        "\"\"\"{config} with the stages of a plan of headsaw.\"\"\"\n\nfrom {module} import config_registry\n\n\n\
         def cut():\n    config = config_registry.{config}()\n    \
         config.parallelism.module_fqns_per_model_part = [\n{stages}    ]\n    return config\n"
    )
}
