//! vLLM: `vllm serve`, its YAML, and `VLLM_PP_LAYER_PARTITION`.

use super::cut::Cut;
use super::{Engine, Export, Flag, Request, serve};

pub const PACKAGE: (&str, &str) = ("vllm", "0.33.0");

pub fn write(cut: &Cut, request: &Request) -> Export {
    let w = &cut.plan.workload;
    // A step's budget is at least one token for each sequence.
    let budget = w.rows().max(w.sequences);
    let mut flags = vec![
        Flag::with("--tensor-parallel-size", cut.tp),
        Flag::with("--pipeline-parallel-size", cut.pp()),
        Flag::with("--max-model-len", w.context),
        Flag::with("--max-num-seqs", w.sequences),
        Flag::with("--max-num-batched-tokens", budget),
    ];
    flags.extend(serve::dtype(cut));
    flags.extend(serve::nodes(request, Flag::with("--master-addr", "$MASTER_ADDR")));
    let mut notes = serve::notes(cut, Engine::Vllm.title());
    if budget > w.rows() {
        notes.push(format!(
            "--max-num-batched-tokens is {budget}, one for each of {} sequences; the plan's micro-batches have {}",
            w.sequences,
            w.rows()
        ));
    }
    let mut export = Export {
        engine: Engine::Vllm,
        environment: serve::partition(cut, "VLLM_PP_LAYER_PARTITION"),
        program: vec!["vllm".into(), "serve".into(), request.model.clone().unwrap_or_else(|| "$MODEL".into())],
        flags,
        files: vec![],
        notes,
    };
    export.files.push(export.yaml("vllm.yaml"));
    export
}
