//! What a step takes on one lane of a CPU device: the kernels that the runtime calls for it, by the measured table.

use super::Load;
use super::model::{Collective, HandOver};
use super::table::{
    Attention, Elementwise, Home, Price, Product, attention_seconds, elementwise_seconds, product_seconds,
};
use crate::lower::work::{
    chunks, ffn_pieces, head_pieces, lane_floats, lanes, pieces, slice_cache, slice_weights, step_types, unit_nodes,
};
use crate::plan::{Exchange, Plan, Slice};
use crate::program::{Step, Work};
use crate::shard::BLOCK;
use crate::spec::cluster::{Level, Table};
use crate::spec::model::Dtype;
use crate::units::{Bytes, Seconds};
use std::ops::Add;

/// A step of a plan on one lane.
pub fn step(plan: &Plan, table: &Table, ground: &Ground, step: Step, work: &Work, load: Load) -> Price {
    let lane = Lane { plan, table, ground, load };
    let rows = load.rows();
    let sampled = load.sequences;
    let elements = u64::from(work.elements) * u64::from(rows);
    let done = match step {
        Step::Embed => lane.each(Elementwise::Add, elements),
        Step::Sample => lane.each(Elementwise::Sample, u64::from(work.elements) * u64::from(sampled)),
        Step::Norm(_) => lane.norm(work, rows),
        Step::Project => lane.project(work, rows),
        Step::Attend | Step::Score | Step::Softmax | Step::Context => lane.attend(step, work),
        Step::Merge | Step::Down => lane.partial(step, work, rows),
        Step::GateUp => lane.gate_up(work, rows),
        Step::Logits => lane.norm(work, sampled) + lane.product(step, work, sampled, 1),
    };
    done + Price { seconds: table.action_seconds, streamed: Bytes(0) }
}

/// How long the runtime's lanes wait awake, some more and some less.
const PATIENCE: Seconds = Seconds(15e-6);

/// From the end of one action to the start of another that waited for it on another lane.
pub fn hand_over(plan: &Plan, table: &Table) -> HandOver {
    let lanes = plan.devices.len() as u64 * u64::from(lanes(plan));
    let crowded = lanes > u64::from(table.cores);
    let awake = if crowded { table.crowded_hand_over_seconds } else { table.hand_over_seconds };
    HandOver { awake, patience: PATIENCE, asleep: table.wake_seconds.unwrap_or(awake) }
}

/// A message between devices of the machine.
pub fn transfer(levels: &[Level], bytes: Bytes) -> Seconds {
    levels.first().map_or(Seconds(0.0), |level| level.latency_seconds + bytes / level.bytes_per_second)
}

/// Each device reads what the others offer, and adds it to its own where it is a sum.
pub fn collective(table: &Table, levels: &[Level], what: Collective, devices: u32, work: &Work, load: Load) -> Seconds {
    let rows = u64::from(load.rows());
    let own = elementwise_seconds(table, Elementwise::Add, u64::from(work.elements) * rows);
    if devices < 2 {
        return own;
    }
    let others = work.sent * rows * u64::from(devices - 1);
    let summed = if what == Collective::AllReduce { others.0 / 4 } else { 0 };
    let added = elementwise_seconds(table, Elementwise::Add, summed);
    own + added + transfer(levels, others)
}

/// What of a plan's prices is the same for all its steps and loads.
#[derive(Debug, Clone)]
pub struct Ground {
    home: Home,
    /// Of attention's sum and of the MLP's.
    growth: [Growth; 2],
    /// Types of the weights that a step multiplies with, and their shares; where layers differ, of their mean.
    types: [(Step, Vec<(Dtype, f64)>); 5],
}

impl Ground {
    /// Of a plan on a machine.
    pub fn of(plan: &Plan, table: &Table) -> Ground {
        let held = |(stage, slice)| slice_weights(plan, stage, slice) + slice_cache(plan, stage, slice);
        let home = Home::of(table, plan.slices().map(held).sum());
        let products = [Step::Project, Step::Merge, Step::GateUp, Step::Down, Step::Logits];
        let types = products.map(|step| (step, step_types(plan, step)));
        Ground { home, growth: [false, true].map(|down| Growth::of(plan, down)), types }
    }
}

/// Vectors of a unit's rows, beside those that its product writes anyway; in the mean over the units of a stage.
#[derive(Debug, Clone, Copy, Default)]
struct Growth {
    /// Taken again and added.
    added: f64,
    /// Written.
    further: f64,
}

impl Growth {
    /// Of the heads' sum, or (`down`) of the MLP's.
    fn of(plan: &Plan, down: bool) -> Growth {
        let Some(stage) = plan.stages.first() else { return Growth::default() };
        let units = if down { pieces(plan, stage) } else { chunks(plan, stage) };
        let nodes = |slice: &Slice| unit_nodes(plan, stage, slice, down).iter().map(Vec::len).sum::<usize>();
        let made = stage.slices.iter().map(nodes).sum::<usize>() as f64 / stage.slices.len() as f64;
        let whole = |slice: &Slice| if down { ffn_pieces(&plan.model, slice) } else { head_pieces(&plan.model, slice) };
        // With gather a unit takes the same part of each slice, and the last one adds the whole sum to the residual.
        let (slices, last) = match plan.exchange {
            Exchange::Reduce => (1.0, 0.0),
            Exchange::Gather => {
                let vectors = stage.slices.iter().map(|slice| whole(slice).len()).sum::<usize>();
                (stage.slices.len() as f64, vectors as f64)
            }
        };
        let (made, units) = (made * slices / f64::from(units), f64::from(units));
        match units > 1.0 {
            true => Growth { added: 2.0 * made + last / units, further: 0.0 },
            // All at once is written where it stays.
            false => Growth { added: last, further: made - 1.0 },
        }
    }
}

struct Lane<'a> {
    plan: &'a Plan,
    table: &'a Table,
    ground: &'a Ground,
    load: Load,
}

impl Lane<'_> {
    fn each(&self, what: Elementwise, elements: u64) -> Price {
        Price { seconds: elementwise_seconds(self.table, what, elements), streamed: Bytes(0) }
    }

    fn norm(&self, work: &Work, rows: u32) -> Price {
        self.each(Elementwise::Norm, u64::from(work.normed) * u64::from(rows))
    }

    /// The product of a step, by the shares of its types.
    fn product(&self, step: Step, work: &Work, tokens: u32, calls: u64) -> Price {
        let [rows, depth] = work.product.map(u64::from);
        if rows == 0 || depth == 0 || tokens == 0 {
            return Price::default();
        }
        let of = |(weights, share): &(Dtype, f64)| {
            let product = Product { weights: *weights, tokens, rows, depth, calls };
            product_seconds(self.table, &product, self.ground.home) * *share
        };
        let types = self.ground.types.iter().filter(|(known, _)| *known == step).flat_map(|(_, types)| types);
        types.map(of).fold(Price::default(), Price::add)
    }

    /// A product over heads (or a piece of the MLP), whose nodes of the tree go into the sum so far.
    fn partial(&self, step: Step, work: &Work, rows: u32) -> Price {
        let elements = f64::from(work.product[0]) * f64::from(rows);
        let Growth { added, further } = self.ground.growth[usize::from(step == Step::Down)];
        let passes = elements * added / self.table.elements.add_per_second;
        // A vector beyond the first leaves the core's own cache: it is fetched and written back.
        let moved = elements * further * 8.0 / self.table.lane_bytes_per_second.0;
        let product = self.product(step, work, rows, 1);
        product + Price { seconds: Seconds(passes + moved), streamed: Bytes(0) }
    }

    /// Q, K and V: three products; Q and K are rotated, K and V stored.
    fn project(&self, work: &Work, rows: u32) -> Price {
        let m = &self.plan.model;
        let all = u64::from(m.heads + 2 * m.kv_heads);
        let elements = u64::from(work.elements) * u64::from(rows);
        let share = |heads: u32| elements * u64::from(heads) / all;
        self.norm(work, rows)
            + self.product(Step::Project, work, rows, 3)
            + self.each(Elementwise::Rotate, share(m.heads + m.kv_heads))
            + self.each(Elementwise::Store, share(2 * m.kv_heads))
    }

    /// One kernel does all three; cut apart, each takes its share: the exponentials are softmax's.
    fn attend(&self, step: Step, work: &Work) -> Price {
        let shape = self.attention(step, work);
        let one = attention_seconds(self.table, &shape, self.ground.home);
        let width = u64::from(self.plan.model.head_width);
        let out = self.each(Elementwise::Quantise, shape.queries as u64 * width).seconds;
        let softmax = shape.queries * shape.keys / self.table.attention.exponentials_per_second;
        let products = Seconds((one.seconds.0 - softmax).max(0.0) / 2.0);
        let half = Bytes(one.streamed.0 / 2);
        match step {
            Step::Score => Price { seconds: products, streamed: half },
            Step::Softmax => Price { seconds: Seconds(softmax), streamed: Bytes(0) },
            Step::Context => Price { seconds: products + out, streamed: half },
            _ => one + Price { seconds: out, streamed: Bytes(0) },
        }
    }

    /// Of all sequences. Tokens of one sequence share K and V with those of the other heads of their group; where there
    /// are several sequences, with those of their own head only. A lane's share of the heads may be no whole number.
    fn attention(&self, step: Step, work: &Work) -> Attention {
        let [heads, kv_heads] = work.heads;
        let width = self.plan.model.head_width;
        let Load { sequences, tokens, past } = self.load;
        let one = Attention::causal(tokens, past, heads, kv_heads, width, self.plan.workload.numerics.kv.bytes());
        let heads = match step {
            Step::Attend => work.flops_per_key.0 as f64 / (4.0 * f64::from(width)),
            _ => f64::from(heads),
        };
        Attention {
            queries: heads * f64::from(tokens) * f64::from(sequences),
            together: if sequences > 1 { tokens } else { one.together },
            cached: one.cached * u64::from(sequences),
            ..one
        }
    }

    /// Gate and up, some blocks at a time so that they stay in the cache; then the activation, quantised.
    fn gate_up(&self, work: &Work, rows: u32) -> Price {
        let columns = u64::from(work.product[0] / 2);
        let floats = self.plan.slices().next().map_or(1, |(_, slice)| lane_floats(self.plan, slice));
        let at_once = (floats / (2 * u64::from(BLOCK) * u64::from(rows.max(1)))).max(1);
        let calls = 2 * columns.div_ceil(u64::from(BLOCK)).div_ceil(at_once);
        let active = columns * u64::from(rows);
        self.norm(work, rows)
            + self.product(Step::GateUp, work, rows, calls)
            + self.each(Elementwise::Activate, active)
            + self.each(Elementwise::Quantise, active)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost::{CostModel, Priced};
    use crate::lower::lower;
    use crate::lower::work::slice_weights;
    use crate::plan::{CutRequest, Flow, HeadSteps, Order, Overlap, cut};
    use crate::program::{Action, Op};
    use crate::spec::cluster::{DeviceId, Prices, presets};
    use crate::spec::workload::{Activations, KvDtype, Numerics, Workload};
    use crate::spec::{Layers, Matrix, Mixed};

    fn plan(name: &str, lanes: u32, exchange: Exchange) -> Plan {
        let model = crate::spec::presets::find(name).unwrap();
        let numerics = Numerics { activations: Activations::Int8, kv: KvDtype::F16 };
        let workload = Workload { batch: 1, tokens: 64, micros: 1, context: 64, sequences: 1, numerics };
        let order = Order::Pipelined;
        let request = CutRequest { tp: 1, pp: 1, device_weights: vec![], lanes, exchange, order };
        cut(&model, workload, &request).unwrap()
    }

    /// Each lane's steps, added up.
    fn lanes(plan: &Plan, load: Load) -> Vec<Price> {
        let cluster = presets::find("local").unwrap();
        let priced = Priced::new(plan, &cluster);
        let price = |action: &Action| match action.op {
            Op::Compute(step) => priced.compute(DeviceId(0), step, &action.work, load),
            _ => Price::default(),
        };
        let sum = |actions: &[Action]| actions.iter().map(price).fold(Price::default(), |sum, price| sum + price);
        lower(plan).lanes.iter().map(|lane| sum(&lane.actions)).collect()
    }

    /// Two roads: what the slice holds, and what its steps stream, shared by however many lanes; also where layers have
    /// other types.
    #[test]
    fn a_token_streams_every_weight_once() {
        let load = Load { sequences: 1, tokens: 1, past: 0 };
        let more = |weights, layers| Mixed { weights, layers: Layers::of(layers), dtype: Dtype::Q8_0 };
        let mixed = vec![more(Matrix::V, 0..10), more(Matrix::Down, 20..30), more(Matrix::Q, 3..4)];
        for (exchange, mixed) in [(Exchange::Reduce, vec![]), (Exchange::Gather, vec![]), (Exchange::Reduce, mixed)] {
            for count in [1, 2, 3] {
                let mut plan = plan("smollm2-135m", count, exchange);
                plan.model.mixed = mixed.clone();
                let streamed: Bytes = lanes(&plan, load).iter().map(|price| price.streamed).sum();
                let held = slice_weights(&plan, 0, &plan.stages[0].slices[0]);
                let ratio = streamed.0 as f64 / held.0 as f64;
                assert!((ratio - 1.0).abs() < 0.002, "{exchange:?} {count}: {streamed} of {held}");
            }
        }
    }

    #[test]
    fn more_tokens_more_keys_and_fewer_lanes_take_longer() {
        let seconds = |count, load| {
            let lanes = lanes(&plan("smollm2-135m", count, Exchange::Reduce), load);
            lanes.iter().map(|price| price.seconds.0).fold(0.0, f64::max)
        };
        let load = |tokens, past| Load { sequences: 1, tokens, past };
        let times = [load(1, 0), load(1, 4000), load(64, 0), load(64, 4000)].map(|load| seconds(1, load));
        assert!(times.windows(2).all(|pair| pair[0] < pair[1]), "{times:?}");
        assert!(seconds(2, load(64, 0)) < 0.6 * seconds(1, load(64, 0)));
    }

    #[test]
    fn a_sum_that_grows_by_chunks_is_taken_again_each_time() {
        let whole = plan("smollm2-135m", 1, Exchange::Reduce);
        let load = Load { sequences: 1, tokens: 64, past: 0 };
        let cluster = presets::find("local").unwrap();
        let merges = |chunk: u32| {
            let flow = Flow { cut: "3".parse().unwrap(), chunk, interleave: 1, overlap: Overlap::None };
            let plan = Plan { steps: Some(HeadSteps::in_turn(flow, 1)), ..whole.clone() };
            let priced = Priced::new(&plan, &cluster);
            let merges: Vec<f64> = lower(&plan)
                .lanes
                .iter()
                .flat_map(|lane| &lane.actions)
                .filter(|action| action.op == Op::Compute(Step::Merge))
                .map(|action| priced.compute(DeviceId(0), Step::Merge, &action.work, load).seconds.0)
                .collect();
            (merges.len(), merges.iter().sum::<f64>())
        };
        let [(one, at_once), (nine, by_head)] = [merges(9), merges(1)];
        assert_eq!((one, nine), (30, 270));
        let Prices::Table(table) = &cluster.groups[0].kind.prices else { panic!("a table") };
        let passes = 30.0 * 9.0 * 2.0 * 64.0 * 576.0 / table.elements.add_per_second;
        assert!((by_head / (at_once + passes) - 1.0).abs() < 0.01, "{by_head} {at_once} {passes}");
    }

    #[test]
    fn a_small_model_stays_in_the_cache() {
        let load = Load { sequences: 1, tokens: 1, past: 9 };
        let lanes = lanes(&plan("eight-heads", 1, Exchange::Reduce), load);
        assert_eq!(lanes[0].streamed, Bytes(0));
        assert!(lanes[0].seconds.0 > 0.0);
    }
}
