//! Two roads to one time: the closed form, and the simulation.

use headsaw::cost::{Collective, CostModel, Domain, HandOver, Load, Price, predict};
use headsaw::lower::{lower, work};
use headsaw::plan::{CutRequest, Exchange, HeadSteps, Order, Overlap, Plan, cut};
use headsaw::program::{Step, Work};
use headsaw::simulate::{Rounds, simulate};
use headsaw::spec::cluster::DeviceId;
use headsaw::spec::model::{Dtype, Family, ModelSpec, Rope};
use headsaw::spec::workload::{Activations, KvDtype, Numerics, Workload};
use headsaw::units::{Bytes, Seconds};
use headsaw::verify;
use proptest::prelude::*;

/// Prices that tell every kind of work and every size apart.
struct Made(u64);

impl Made {
    fn rate(&self, salt: u64) -> f64 {
        let mixed = (self.0 ^ salt.wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        1.0 + (mixed >> 40) as f64 / (1u64 << 24) as f64
    }
}

impl CostModel for Made {
    fn compute(&self, _: DeviceId, step: Step, work: &Work, load: Load) -> Price {
        let salt = headsaw::program::text::step_word(step).bytes().map(u64::from).sum::<u64>();
        let rows = f64::from(load.rows());
        let [n, k] = work.product.map(f64::from);
        let size = 1.0
            + n * k * rows
            + f64::from(work.heads[0]) * rows * f64::from(load.past + load.tokens)
            + f64::from(work.normed + work.elements) * rows;
        Price { seconds: Seconds(self.rate(salt) * size), streamed: Bytes(0) }
    }
    fn transfer(&self, _: DeviceId, _: DeviceId, bytes: Bytes) -> Seconds {
        Seconds(self.rate(7) * (1.0 + bytes.0 as f64))
    }
    fn collective(&self, what: Collective, devices: &[DeviceId], work: &Work, load: Load) -> Seconds {
        let each = if what == Collective::AllReduce { 2.0 } else { 1.0 };
        Seconds(
            self.rate(11) * (each * (devices.len() - 1) as f64) * (1.0 + work.sent.0 as f64 * f64::from(load.rows())),
        )
    }
    fn hand_over(&self, _: DeviceId) -> HandOver {
        HandOver::default()
    }
    fn kind(&self, _: DeviceId) -> u32 {
        0
    }
    fn domain(&self, device: DeviceId) -> Domain {
        Domain::undisturbed(device)
    }
}

/// All that is shared out has a multiple of this many units, so that two, three and four devices get equal slices.
const EVEN: u32 = 12;

fn model(layers: u32, group: u32, ffn: u32) -> ModelSpec {
    ModelSpec {
        name: "even".into(),
        family: Family::Llama,
        layers: 12 * layers,
        width: EVEN * group * 32,
        heads: EVEN * group,
        kv_heads: EVEN,
        head_width: 32,
        ffn: EVEN * 32 * ffn,
        vocab: EVEN * 32,
        context: 4096,
        norm_epsilon: 1e-5,
        rope: Some(Rope { theta: 10_000.0, scaling: None }),
        tied: true,
        dtype: Dtype::F16,
        mixed: vec![],
    }
}

prop_compose! {
    fn even_plan()(
        layers in 1u32..3, group in 1u32..3, ffn in 1u32..4, tp in 1u32..5, pp in 1u32..5, micros in 1u32..5,
        gather in any::<bool>(), sequential in any::<bool>(), float in any::<bool>(),
        cut_at in prop::option::of(prop::sample::select(vec!["1", "2", "3", "5"])), chunk in 1u32..7, heads in any::<bool>(),
    ) -> Plan {
        let activations = if float { Activations::Bf16 } else { Activations::Int8 };
        let numerics = Numerics { activations, kv: KvDtype::F16 };
        let overlap = if heads && cut_at.is_some() { Overlap::Heads } else { Overlap::None };
        let (micros, gather) = if overlap == Overlap::Heads { (1, false) } else { (micros, gather) };
        let workload = Workload { batch: 2, tokens: 8, micros, context: 64, sequences: 2, numerics };
        let parts = cut_at.map_or(1, |text| text.parse::<headsaw::plan::StepCut>().unwrap().parts().len() as u32);
        let request = CutRequest {
            tp, pp, device_weights: vec![], lanes: if cut_at.is_some() { parts } else { 1 },
            exchange: if gather { Exchange::Gather } else { Exchange::Reduce },
            order: if sequential { Order::Sequential } else { Order::Pipelined },
        };
        let plan = cut(&model(layers, group, ffn), workload, &request).unwrap();
        let chunk = chunk.min(work::heads_most(&plan));
        let steps = cut_at.map(|text| HeadSteps {
            cut: text.parse().unwrap(), lanes: (0..parts).collect(), others: Some(0), chunk, interleave: 1, overlap,
        });
        Plan { steps, ..plan }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn the_closed_form_is_the_simulation(plan in even_plan(), seed in any::<u64>(), past in 0u32..32) {
        prop_assert_eq!(verify::plan(&plan), vec![]);
        let (cost, load) = (Made(seed), Load { sequences: 1, tokens: 8, past });
        let closed = predict(&plan, &cost, load).expect("a closed form").0;
        let played = simulate(&lower(&plan), &cost, &Rounds::equal(load, plan.workload.micros)).unwrap().seconds().0;
        prop_assert!((closed / played - 1.0).abs() < 1e-12, "{} in closed form, {} played", closed, played);
    }
}
