//! The small pipeline inside a device, a head a slot: the example and its relatives.

use headsaw::cost::{Collective, CostModel, Domain, HandOver, Load, Price};
use headsaw::lower::lower;
use headsaw::plan::{CutRequest, Exchange, HeadSteps, Order, Overlap, Plan, cut};
use headsaw::program::{Program, Step, Work};
use headsaw::simulate::{Rounds, simulate};
use headsaw::spec::cluster::DeviceId;
use headsaw::spec::presets;
use headsaw::spec::workload::{Activations, KvDtype, Numerics, Workload};
use headsaw::trace::Trace;
use headsaw::units::{Bytes, Seconds};
use headsaw::verify;

/// Seconds a head of `project`, `attend` and `merge`; all else takes no time.
pub struct PerHead(pub [f64; 3]);

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

/// One layer of a model with as many KV heads as heads, `heads` on each of `devices`.
pub struct Case {
    pub heads: u32,
    pub devices: u32,
    pub lanes: [u32; 3],
    pub chunk: u32,
    pub micros: u32,
    pub overlap: Overlap,
    pub exchange: Exchange,
}

impl Case {
    pub fn plan(&self) -> Plan {
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

    pub fn trace(&self, times: [f64; 3]) -> Trace {
        self.played(times).2
    }

    /// The program, what its slots carried, and when all of it happened.
    pub fn played(&self, times: [f64; 3]) -> (Program, Rounds, Trace) {
        let plan = self.plan();
        assert_eq!(verify::plan(&plan), vec![]);
        let program = lower(&plan);
        assert_eq!(verify::program(&program), vec![]);
        let load = Load { sequences: 1, tokens: 4, past: 0 };
        let rounds = Rounds::equal(load, self.micros);
        let trace = simulate(&program, &PerHead(times), &rounds).unwrap();
        (program, rounds, trace)
    }

    pub fn seconds(&self, times: [f64; 3]) -> f64 {
        self.trace(times).seconds().0
    }
}

/// The example: 8 heads, 4 devices, 3 steps.
pub const EXAMPLE: Case = Case {
    heads: 2,
    devices: 4,
    lanes: [0, 1, 2],
    chunk: 1,
    micros: 1,
    overlap: Overlap::Heads,
    exchange: Exchange::Reduce,
};
pub const EQUAL: [f64; 3] = [1.0; 3];
/// Lanes of their own; project and merge on one; all on one.
pub const THREE: [u32; 3] = [0, 1, 2];
pub const TWO: [u32; 3] = [0, 1, 0];
pub const ONE: [u32; 3] = [0, 0, 0];

/// Every action takes so many seconds.
pub struct Everything(pub f64);

impl CostModel for Everything {
    fn compute(&self, _: DeviceId, _: Step, _: &Work, _: Load) -> Price {
        Price { seconds: Seconds(self.0), streamed: Bytes(0) }
    }
    fn transfer(&self, _: DeviceId, _: DeviceId, _: Bytes) -> Seconds {
        Seconds(self.0)
    }
    fn collective(&self, _: Collective, _: &[DeviceId], _: &Work, _: Load) -> Seconds {
        Seconds(self.0)
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
