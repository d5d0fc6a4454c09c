//! Plans whose orders PyTorch referees, and texts that it must refuse. `cargo xtask orders` reads them too.

use headsaw::lower::lower;
use headsaw::plan::{CutRequest, Exchange, HeadSteps, Order, Overlap, Plan, Stage, cut};
use headsaw::program::text;
use headsaw::spec::presets;
use headsaw::spec::workload::{Activations, KvDtype, Numerics, Workload};

/// Layers of each stage: equal stages, and uneven ones as somebody would write them into a plan.
pub const CUTS: [(&[u32], &[u32]); 5] = [
    (&[24], &[24]),
    (&[12, 12], &[15, 9]),
    (&[8, 8, 8], &[10, 9, 5]),
    (&[6, 6, 6, 6], &[9, 6, 6, 3]),
    (&[3, 3, 3, 3, 3, 3, 3, 3], &[6, 2, 3, 3, 1, 4, 3, 2]),
];

/// Micro-batches of a round, at most.
pub const MICROS: u32 = 8;

/// An order over stages.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    pub order: Order,
    /// Micro-batches that take each layer together, in a plan with steps; 1: a plan without.
    pub together: u32,
    pub layers: &'static [u32],
    pub devices: u32,
    pub exchange: Exchange,
    pub micros: u32,
}

/// GPipe's order over one stage, a micro-batch: the others differ from it.
const PLAIN: Case =
    Case { order: Order::Pipelined, together: 1, layers: CUTS[0].0, devices: 1, exchange: Exchange::Reduce, micros: 1 };

/// Orders by name; each is proved over all stages and micro-batches.
pub const ORDERS: [(&str, Order, u32); 3] =
    [("sequential", Order::Sequential, 1), ("pipelined", Order::Pipelined, 1), ("interleaved", Order::Pipelined, 2)];

/// The cases of an order: each with equal stages, then with uneven ones.
pub fn pairs((_, order, together): (&str, Order, u32)) -> Vec<[Case; 2]> {
    let case = |layers, micros| Case { order, together, layers, micros, ..PLAIN };
    let cuts = CUTS.iter().flat_map(|cut| (1..=MICROS).map(move |micros| (cut, micros)));
    cuts.map(|((even, uneven), micros)| [case(even, micros), case(uneven, micros)]).collect()
}

/// Stages of three devices, each of which writes the row of its stage.
pub fn shared() -> Vec<Case> {
    let orders = ORDERS.iter().flat_map(|order| [Exchange::Reduce, Exchange::Gather].map(|exchange| (order, exchange)));
    let case = |(&(_, order, together), exchange)| Case {
        order,
        together,
        exchange,
        layers: CUTS[2].1,
        devices: 3,
        micros: 5,
    };
    orders.map(case).collect()
}

/// All cases.
pub fn all() -> Vec<Case> {
    ORDERS.into_iter().flat_map(pairs).flatten().chain(shared()).collect()
}

impl Case {
    /// `pipelined, layers 10+9+5, micro-batches 4`.
    pub fn name(&self) -> String {
        let order = ORDERS.iter().find(|(_, order, together)| (*order, *together) == (self.order, self.together));
        let layers: Vec<String> = self.layers.iter().map(u32::to_string).collect();
        let devices = match (self.devices, self.exchange) {
            (1, _) => String::new(),
            (devices, exchange) => format!(", {devices} devices a stage ({exchange:?})").to_lowercase(),
        };
        format!("{}, layers {}{devices}, micro-batches {}", order.expect("known").0, layers.join("+"), self.micros)
    }

    /// The plan: as cut by default, the stages' layers then written by hand.
    pub fn plan(&self) -> Plan {
        let mut model = presets::find("eight-heads").expect("a preset");
        model.layers = self.layers.iter().sum();
        let numerics = Numerics { activations: Activations::Int8, kv: KvDtype::F16 };
        let micros = self.micros;
        let workload = Workload { batch: 1, tokens: 16, micros, context: 256, sequences: micros, numerics };
        let request = CutRequest {
            tp: self.devices,
            pp: self.layers.len() as u32,
            device_weights: vec![],
            lanes: 3,
            exchange: self.exchange,
            order: self.order,
        };
        let mut plan = cut(&model, workload, &request).expect("heads and layers for all");
        write_layers(&mut plan.stages, self.layers);
        plan.steps = (self.together > 1).then(|| steps(self.together.min(micros)));
        plan
    }

    /// The order in PyTorch's form, a row a device.
    pub fn text(&self) -> String {
        text::ranks(&lower(&self.plan()))
    }
}

fn write_layers(stages: &mut [Stage], layers: &[u32]) {
    let mut start = 0;
    for (stage, count) in stages.iter_mut().zip(layers) {
        stage.layers = start..start + count;
        start += count;
    }
}

fn steps(interleave: u32) -> HeadSteps {
    HeadSteps {
        cut: "3".parse().expect("a step cut"),
        lanes: vec![0, 1, 2],
        others: Some(0),
        chunk: 2,
        interleave,
        overlap: if interleave > 1 { Overlap::Tokens } else { Overlap::Heads },
    }
}

/// What can be wrong with a text: its name, what stands in the right one, and what in the wrong one.
const FAULTS: [(&str, &str, &str); 7] = [
    ("a receive is lost", "1RECV_F0,", ""),
    ("a send is lost", ",0SEND_F1", ""),
    ("a forward is lost", "1F0,", ""),
    ("the last stage's forward is lost", ",2F1", ""),
    ("a send before its forward", "1F1,1SEND_F1", "1SEND_F1,1F1"),
    ("a receive behind its forward", "1RECV_F0,1F0", "1F0,1RECV_F0"),
    ("a cell that is no action", "1RECV_F1", "1TAKE_F1"),
];

/// Texts with a fault, by name.
pub fn broken() -> Vec<(&'static str, String)> {
    let right = Case { layers: CUTS[2].0, micros: 2, ..PLAIN }.text();
    let wrong = |(name, from, to): (&'static str, &str, &str)| {
        assert_eq!(right.matches(from).count(), 1, "{name}");
        (name, right.replace(from, to))
    };
    FAULTS.into_iter().map(wrong).collect()
}
