//! The small pipeline inside a device, to the slot: simulation against the closed forms.

use headsaw::cost::{Capacity, Collective, CostModel, Domain, Load, Price};
use headsaw::lower::lower;
use headsaw::plan::{CutRequest, Exchange, HeadSteps, Order, Overlap, Plan, cut};
use headsaw::program::{Step, Work};
use headsaw::simulate::{Rounds, simulate};
use headsaw::spec::cluster::DeviceId;
use headsaw::spec::presets;
use headsaw::spec::workload::{Activations, KvDtype, Numerics, Workload};
use headsaw::trace::Trace;
use headsaw::units::{Bytes, BytesPerSecond, Seconds};
use headsaw::verify;
use proptest::prelude::*;

/// Seconds a head of `project`, `attend` and `merge`; all else takes no time.
struct PerHead([f64; 3]);

impl CostModel for PerHead {
    fn compute(&self, _: DeviceId, step: Step, work: &Work, _: Load) -> Price {
        let [project, attend, merge] = self.0;
        let seconds = match step {
            Step::Project => project * f64::from(work.product[0]) / 96.0, // Q, K and V of a head of 32
            Step::Attend => attend * f64::from(work.heads[0]),
            Step::Merge => merge * f64::from(work.product[1]) / 32.0,
            _ => 0.0,
        };
        Price { seconds: Seconds(seconds), streamed: Bytes(0) }
    }
    fn transfer(&self, _: DeviceId, _: DeviceId, _: Bytes) -> Seconds {
        Seconds(0.0)
    }
    fn collective(&self, _: Collective, _: &[DeviceId], _: &Work, _: Load) -> Seconds {
        Seconds(0.0)
    }
    fn hand_over(&self, _: DeviceId) -> Seconds {
        Seconds(0.0)
    }
    fn kind(&self, _: DeviceId) -> u32 {
        0
    }
    fn domain(&self, device: DeviceId) -> Domain {
        Domain {
            id: device.0,
            bytes_per_second: BytesPerSecond(1.0),
            capacity: Capacity::Overlap { lanes: 1.0, exchange: 1.0 },
        }
    }
}

/// One layer of a model with as many KV heads as heads, `heads` on each of `devices`.
struct Case {
    heads: u32,
    devices: u32,
    lanes: [u32; 3],
    chunk: u32,
    micros: u32,
    overlap: Overlap,
    exchange: Exchange,
}

impl Case {
    fn plan(&self) -> Plan {
        let mut model = presets::find("eight-heads").unwrap();
        let heads = self.heads * self.devices;
        model.layers = 1;
        (model.heads, model.kv_heads, model.head_width, model.width) = (heads, heads, 32, 32 * heads);
        model.ffn = 64 * heads;
        let numerics = Numerics { activations: Activations::Int8, kv: KvDtype::F16 };
        let micros = self.micros;
        let workload = Workload { batch: 1, tokens: 4, micros, context: 64, sequences: micros, numerics };
        let request = CutRequest {
            tp: self.devices,
            pp: 1,
            device_weights: vec![],
            lanes: self.lanes.iter().max().unwrap() + 1,
            exchange: self.exchange,
            order: Order::Pipelined,
        };
        let steps = HeadSteps {
            cut: "3".parse().unwrap(),
            lanes: self.lanes.to_vec(),
            others: Some(0),
            chunk: self.chunk,
            interleave: if self.overlap == Overlap::Tokens { micros } else { 1 },
            overlap: self.overlap,
        };
        Plan { steps: Some(steps), ..cut(&model, workload, &request).unwrap() }
    }

    fn trace(&self, times: [f64; 3]) -> Trace {
        let plan = self.plan();
        assert_eq!(verify::plan(&plan), vec![]);
        let program = lower(&plan);
        assert_eq!(verify::program(&program), vec![]);
        let load = Load { sequences: 1, tokens: 4, past: 0 };
        simulate(&program, &PerHead(times), &Rounds::equal(load, self.micros)).unwrap()
    }

    fn seconds(&self, times: [f64; 3]) -> f64 {
        self.trace(times).seconds().0
    }
}

/// The example: 8 heads, 4 devices, 3 steps.
const EXAMPLE: Case = Case {
    heads: 2,
    devices: 4,
    lanes: [0, 1, 2],
    chunk: 1,
    micros: 1,
    overlap: Overlap::Heads,
    exchange: Exchange::Reduce,
};
const EQUAL: [f64; 3] = [1.0; 3];
/// Lanes of their own; project and merge on one; all on one.
const THREE: [u32; 3] = [0, 1, 2];
const TWO: [u32; 3] = [0, 1, 0];
const ONE: [u32; 3] = [0, 0, 0];

#[test]
fn two_heads_take_four_slots_on_three_lanes_and_on_two_and_six_on_one() {
    let slots = |lanes, overlap| Case { lanes, overlap, ..EXAMPLE }.seconds(EQUAL);
    assert_eq!(slots(THREE, Overlap::Heads), 4.0);
    assert_eq!(slots(TWO, Overlap::Heads), 4.0);
    assert_eq!(slots(ONE, Overlap::Heads), 6.0);
    assert_eq!(slots(THREE, Overlap::None), 6.0);
}

#[test]
fn half_of_the_lane_slots_are_idle() {
    let occupancy = EXAMPLE.trace(EQUAL).occupancy();
    assert_eq!((occupancy.busy.0, occupancy.bubble), (24.0, 0.5)); // 4 devices × 6 of 12
}

#[test]
fn chunks_of_two_heads_take_three_slots_of_double_length() {
    assert_eq!(Case { chunk: 2, ..EXAMPLE }.seconds(EQUAL), 6.0);
}

#[test]
fn two_lanes_take_two_slots_a_unit() {
    for heads in 2..12 {
        assert_eq!(Case { heads, devices: 1, lanes: TWO, ..EXAMPLE }.seconds(EQUAL), 2.0 * f64::from(heads), "{heads}");
    }
}

#[test]
fn micro_batches_that_take_the_layer_together_fill_the_bubble() {
    for micros in 1..9 {
        let overlap = if micros == 1 { Overlap::Heads } else { Overlap::Tokens };
        let occupancy = Case { micros, overlap, ..EXAMPLE }.trace(EQUAL).occupancy();
        let units = 2.0 * f64::from(micros);
        assert_eq!(occupancy.span.0, units + 2.0);
        assert!((occupancy.bubble - 2.0 / (units + 2.0)).abs() < 1e-15, "{micros}: {}", occupancy.bubble);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// T = Σ t + (n − 1) · max t on lanes of their own, whichever step is longest.
    #[test]
    fn unequal_steps_take_their_sum_and_the_longest_again_for_each_further_unit(
        heads in 1u32..9, devices in 1u32..5, times in prop::array::uniform3(0.01f64..5.0), gather in any::<bool>(),
    ) {
        let exchange = if gather && devices == 1 { Exchange::Gather } else { Exchange::Reduce };
        let seconds = Case { heads, devices, exchange, ..EXAMPLE }.seconds(times);
        let longest = times.iter().fold(0.0f64, |a, b| a.max(*b));
        let expected = times.iter().sum::<f64>() + f64::from(heads - 1) * longest;
        prop_assert!((seconds / expected - 1.0).abs() < 1e-12, "{} for {}", seconds, expected);
    }

    /// Where nothing overlaps every step is waited for.
    #[test]
    fn without_overlap_it_is_the_sum_of_all(
        heads in 1u32..9, chunk in 1u32..4, times in prop::array::uniform3(0.01f64..5.0), micros in 1u32..4,
    ) {
        let seconds = Case { heads, chunk, micros, overlap: Overlap::None, ..EXAMPLE }.seconds(times);
        let expected = f64::from(heads * micros) * times.iter().sum::<f64>();
        prop_assert!((seconds / expected - 1.0).abs() < 1e-12, "{} for {}", seconds, expected);
    }
}
