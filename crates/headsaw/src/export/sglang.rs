//! SGLang: `python -m sglang.launch_server`, its YAML, and `SGLANG_PP_LAYER_PARTITION`.

use super::cut::Cut;
use super::{Engine, Export, Flag, Request, serve};

pub const PACKAGE: (&str, &str) = ("sglang", "0.5.23");

pub fn write(cut: &Cut, request: &Request) -> Export {
    let w = &cut.plan.workload;
    let mut flags = vec![
        Flag::with("--model-path", request.model.as_deref().unwrap_or("$MODEL")),
        Flag::with("--tp-size", cut.tp),
        Flag::with("--pp-size", cut.pp()),
        Flag::with("--context-length", w.context),
        Flag::with("--max-running-requests", w.sequences),
        Flag::with("--chunked-prefill-size", w.tokens),
    ];
    flags.extend(serve::dtype(cut));
    flags.extend(serve::nodes(request, Flag::with("--dist-init-addr", "$MASTER_ADDR:5000")));
    let mut export = Export {
        engine: Engine::Sglang,
        environment: serve::partition(cut, "SGLANG_PP_LAYER_PARTITION"),
        program: ["python3", "-m", "sglang.launch_server"].map(String::from).to_vec(),
        flags,
        files: vec![],
        notes: serve::notes(cut, Engine::Sglang.title()),
    };
    export.files.push(export.yaml("sglang.yaml"));
    export
}
