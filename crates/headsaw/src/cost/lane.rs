//! What a step takes on one lane of a CPU device: the kernels that the runtime calls for it, by the measured table.

use super::model::Load;
use super::table::{
    Attention, Elementwise, Home, Price, Product, attention_seconds, elementwise_seconds, product_seconds,
};
use crate::lower::work::{lane_floats, weight_type};
use crate::plan::Plan;
use crate::program::{Step, Work};
use crate::shard::BLOCK;
use crate::spec::cluster::{Level, Table};
use crate::units::{Bytes, Seconds};

/// A step of a plan on one lane.
pub fn step(plan: &Plan, table: &Table, home: Home, step: Step, work: &Work, load: Load) -> Price {
    let lane = Lane { plan, table, home, load };
    let rows = load.rows();
    let sampled = load.sequences;
    let elements = u64::from(work.elements) * u64::from(rows);
    let done = match step {
        Step::Embed => lane.each(Elementwise::Add, elements),
        Step::Sample => lane.each(Elementwise::Sample, u64::from(work.elements) * u64::from(sampled)),
        Step::Norm(_) => lane.norm(work, rows),
        Step::Project => lane.project(work, rows),
        Step::Attend | Step::Score | Step::Softmax | Step::Context => lane.attend(step, work),
        Step::Merge | Step::Down => lane.product(work, rows, 1),
        Step::GateUp => lane.gate_up(work, rows),
        Step::Logits => lane.norm(work, sampled) + lane.product(work, sampled, 1),
    };
    done + Price { seconds: table.action_seconds, streamed: Bytes(0) }
}

/// From the end of one action to the start of another that waited for it on another lane.
pub fn hand_over(plan: &Plan, table: &Table) -> Seconds {
    let lanes = plan.devices.len() as u64 * u64::from(plan.lanes);
    if lanes > u64::from(table.cores) { table.crowded_hand_over_seconds } else { table.hand_over_seconds }
}

/// A message between devices of the machine.
pub fn transfer(levels: &[Level], bytes: Bytes) -> Seconds {
    levels.first().map_or(Seconds(0.0), |level| level.latency_seconds + bytes / level.bytes_per_second)
}

/// Each device reads what the others offer, and adds it to its own.
pub fn collective(table: &Table, levels: &[Level], devices: u32, work: &Work, load: Load) -> Seconds {
    let rows = u64::from(load.rows());
    let own = elementwise_seconds(table, Elementwise::Add, u64::from(work.elements) * rows);
    if devices < 2 {
        return own;
    }
    let others = work.sent * rows * u64::from(devices - 1);
    let added = elementwise_seconds(table, Elementwise::Add, others.0 / 4);
    own + added + transfer(levels, others)
}

struct Lane<'a> {
    plan: &'a Plan,
    table: &'a Table,
    home: Home,
    load: Load,
}

impl Lane<'_> {
    fn each(&self, what: Elementwise, elements: u64) -> Price {
        Price { seconds: elementwise_seconds(self.table, what, elements), streamed: Bytes(0) }
    }

    fn norm(&self, work: &Work, rows: u32) -> Price {
        self.each(Elementwise::Norm, u64::from(work.normed) * u64::from(rows))
    }

    fn product(&self, work: &Work, tokens: u32, calls: u64) -> Price {
        let [rows, depth] = work.product.map(u64::from);
        if rows == 0 || depth == 0 || tokens == 0 {
            return Price::default();
        }
        let weights = weight_type(self.plan);
        product_seconds(self.table, &Product { weights, tokens, rows, depth, calls }, self.home)
    }

    /// Q, K and V: three products; Q and K are rotated, K and V stored.
    fn project(&self, work: &Work, rows: u32) -> Price {
        let m = &self.plan.model;
        let all = u64::from(m.heads + 2 * m.kv_heads);
        let elements = u64::from(work.elements) * u64::from(rows);
        let share = |heads: u32| elements * u64::from(heads) / all;
        self.norm(work, rows)
            + self.product(work, rows, 3)
            + self.each(Elementwise::Rotate, share(m.heads + m.kv_heads))
            + self.each(Elementwise::Store, share(2 * m.kv_heads))
    }

    /// One kernel does all three; cut apart, each takes its share: the exponentials are softmax's.
    fn attend(&self, step: Step, work: &Work) -> Price {
        let [heads, kv_heads] = work.heads;
        let width = self.plan.model.head_width;
        let element = self.plan.workload.numerics.kv.bytes();
        let Load { sequences, tokens, past } = self.load;
        let shape = Attention::causal(tokens, past, heads, kv_heads, width, element);
        let one = attention_seconds(self.table, &shape, self.home);
        let out = self.each(Elementwise::Quantise, u64::from(heads * width) * u64::from(tokens));
        let all = f64::from(sequences);
        let softmax = shape.queries as f64 * shape.keys / self.table.attention.exponentials_per_second;
        let products = (one.seconds.0 - softmax).max(0.0) / 2.0;
        let seconds = match step {
            Step::Score | Step::Context => products,
            Step::Softmax => softmax,
            _ => one.seconds.0 + out.seconds.0,
        };
        let halves = if step == Step::Attend { 1 } else { 2 };
        let streamed = if step == Step::Softmax { Bytes(0) } else { Bytes(one.streamed.0 / halves) };
        Price { seconds: Seconds(all * seconds), streamed: streamed * u64::from(sequences) }
    }

    /// Gate and up, some blocks at a time so that they stay in the cache; then the activation, quantised.
    fn gate_up(&self, work: &Work, rows: u32) -> Price {
        let columns = u64::from(work.product[0] / 2);
        let floats = self.plan.slices().next().map_or(1, |(_, slice)| lane_floats(self.plan, slice));
        let at_once = (floats / (2 * u64::from(BLOCK) * u64::from(rows.max(1)))).max(1);
        let calls = 2 * columns.div_ceil(u64::from(BLOCK)).div_ceil(at_once);
        let active = columns * u64::from(rows);
        self.norm(work, rows)
            + self.product(work, rows, calls)
            + self.each(Elementwise::Activate, active)
            + self.each(Elementwise::Quantise, active)
    }
}
