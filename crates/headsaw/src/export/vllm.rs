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
    let (dtype, quantization) = serve::dtype(cut);
    flags.extend(dtype.map(|dtype| Flag::with("--dtype", dtype)));
    flags.extend(quantization.map(|how| Flag::with("--quantization", how)));
    if request.nodes > 1 {
        flags.push(Flag::with("--nnodes", request.nodes));
        flags.push(Flag::with("--node-rank", "$NODE_RANK"));
        flags.push(Flag::with("--master-addr", "$MASTER_ADDR"));
    }
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
        environment: vec![],
        program: vec!["vllm".into(), "serve".into(), request.model.clone().unwrap_or_else(|| "$MODEL".into())],
        flags,
        files: vec![],
        notes,
    };
    if cut.pp() > 1 {
        export.environment.push(("VLLM_PP_LAYER_PARTITION".into(), serve::partition(cut)));
    }
    export.files.push(export.yaml("vllm.yaml"));
    export
}
