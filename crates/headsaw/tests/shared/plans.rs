//! Plans of random models.

use headsaw::lower::work;
use headsaw::plan::{CutRequest, Exchange, HeadSteps, Order, Overlap, Plan, cut};
use headsaw::spec::model::{Dtype, Family, ModelSpec, Rope};
use headsaw::spec::workload::{Activations, KvDtype, Numerics, Workload};
use proptest::prelude::*;

/// A model of these sizes.
pub fn model(layers: u32, groups: u32, group: u32, head_width: u32, ffn: u32, vocab: u32) -> ModelSpec {
    ModelSpec {
        name: "random".into(),
        family: Family::Llama,
        layers,
        width: groups * group * head_width,
        heads: groups * group,
        kv_heads: groups,
        head_width,
        ffn,
        vocab,
        context: 4096,
        norm_epsilon: 1e-5,
        rope: Some(Rope { theta: 10_000.0, scaling: None }),
        tied: true,
        dtype: Dtype::Q8_0,
        mixed: vec![],
    }
}

/// Two sequences a micro-batch.
pub fn workload(tokens: u32, micros: u32) -> Workload {
    let numerics = Numerics { activations: Activations::Int8, kv: KvDtype::F16 };
    Workload { batch: 2, tokens, micros, context: 64, sequences: 2, numerics }
}

prop_compose! {
    /// A default plan.
    pub fn any_plan()(
        layers in 1u32..6, groups in 1u32..5, group in 1u32..4, width in prop::sample::select(vec![8u32, 32, 40, 64]),
        ffn in 1u32..200, vocab in 1u32..300,
    )(
        tp in 1..=groups * group, pp in 1..=layers, lanes in 1u32..4, micros in 1u32..4, tokens in 1u32..9,
        gather in any::<bool>(), pipelined in any::<bool>(), weights in prop::collection::vec(1u32..5, 12),
        weighted in any::<bool>(),
        model in Just(model(layers, groups, group, width, ffn, vocab)),
    ) -> Plan {
        let request = CutRequest {
            tp, pp, lanes,
            device_weights: if weighted { weights[..tp as usize].iter().map(|w| f64::from(*w)).collect() } else { vec![] },
            exchange: if gather { Exchange::Gather } else { Exchange::Reduce },
            order: if pipelined { Order::Pipelined } else { Order::Sequential },
        };
        cut(&model, workload(tokens, micros), &request).expect("within the model's limits")
    }
}

prop_compose! {
    /// A plan whose devices cut their work into units.
    pub fn any_units()(
        plan in any_plan(),
        cut in prop::sample::select(vec!["1", "2", "3", "5", "project+score|softmax|context+merge"]),
        lanes in prop::collection::vec(0u32..4, 5), others in prop::option::of(0u32..4),
        chunk in 1u32..5, interleave in 1u32..4, how in 0u8..3,
    ) -> Plan {
        let cut: headsaw::plan::StepCut = cut.parse().unwrap();
        let overlap = [Overlap::None, Overlap::Heads, Overlap::Tokens][usize::from(how)];
        let fits = |lane: &u32| lane % plan.lanes;
        let mut steps = HeadSteps {
            lanes: lanes[..cut.parts().len()].iter().map(fits).collect(),
            others: others.as_ref().map(fits),
            interleave: interleave.min(plan.workload.micros),
            cut, overlap, chunk: chunk.min(work::heads_most(&plan)),
        };
        if plan.order == Order::Sequential || overlap == Overlap::None {
            steps.interleave = 1;
        }
        if steps.interleave == 1 && overlap == Overlap::Tokens {
            steps.overlap = Overlap::Heads;
        }
        Plan { steps: Some(steps), ..plan }
    }
}
