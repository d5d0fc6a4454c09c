//! torch.distributed.pipelining: the order, for `_PipelineScheduleRuntime`.

use super::cut::Cut;
use super::rules::Broken;
use super::{Engine, Export, File, schedule};

pub const PACKAGE: (&str, &str) = ("torch", "2.15.0");

/// An order says nothing of heads and layers; one tp for all stages is asked of every engine.
pub fn rules(_: &Cut) -> Vec<Broken> {
    vec![]
}

pub fn write(cut: &Cut) -> Export {
    let file = |name: &str, text| File { name: name.into(), text };
    Export {
        engine: Engine::TorchPipelining,
        environment: vec![],
        program: vec![],
        flags: vec![],
        files: vec![file("schedule.csv", schedule::step(cut)), file("forwards.csv", schedule::forwards(cut))],
        notes: vec![
            "schedule.csv: a row a pipeline rank, for _PipelineScheduleRuntime(stages, n_microbatches, …)._load_csv(\
             'schedule.csv'), a private function of PyTorch; the plan has no backward, so each forward's follows in the \
             same order, and schedule.eval() leaves them out"
                .into(),
            "forwards.csv: the same forwards with the sends and receives of the plan's program".into(),
            format!("layers of the stages are cut where the stages are made: {}", super::rules::joined(&cut.layers)),
        ],
    }
}
