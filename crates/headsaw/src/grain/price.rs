//! What of a step's price is work, and what is lost: launching, tiles that are not full, KV heads that others hold too.

use crate::cost::{CostModel, Load, Priced};
use crate::plan::{Plan, Stage};
use crate::program::{Step, Work};
use crate::spec::cluster::DeviceId;
use crate::units::Bytes;

/// A step alone on its device, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Parts {
    /// All of it.
    pub seconds: f64,
    /// Its kernels at no size.
    pub launch: f64,
    /// Work on KV heads that another device does too.
    pub replicated: f64,
    /// What it takes beyond launching more than its share of a step [`MANY`] times as large: rows padded to tiles and
    /// panels, multiprocessors without a tile.
    pub alignment: f64,
}

impl std::ops::AddAssign for Parts {
    fn add_assign(&mut self, other: Parts) {
        self.seconds += other.seconds;
        self.launch += other.launch;
        self.replicated += other.replicated;
        self.alignment += other.alignment;
    }
}

/// So many times the heads or columns fill a device.
const MANY: u32 = 64;

/// The price of a step, taken apart. `copies`: devices that hold each KV head, on average.
pub fn parts(priced: &Priced, device: DeviceId, step: Step, work: &Work, load: Load, copies: f64) -> Parts {
    let price = priced.compute(device, step, work, load);
    let seconds = price.seconds.0;
    let launch = priced.launch(device, step, work).0.min(seconds);
    let lost = Lacking { priced, device, load, copies };
    let replicated = lost.replicated(step, work, seconds, price.streamed).clamp(0.0, seconds - launch);
    let alignment = lost.alignment(step, work, seconds - launch).clamp(0.0, seconds - launch - replicated);
    Parts { seconds, launch, replicated, alignment }
}

struct Lacking<'a> {
    priced: &'a Priced<'a>,
    device: DeviceId,
    load: Load,
    copies: f64,
}

impl Lacking<'_> {
    fn seconds(&self, step: Step, work: &Work) -> f64 {
        self.priced.compute(self.device, step, work, self.load).seconds.0
    }

    /// Products of weights that others multiply too; keys and values that others read too, at the memory's rate.
    fn replicated(&self, step: Step, work: &Work, seconds: f64, streamed: Bytes) -> f64 {
        let again = 1.0 - 1.0 / self.copies.max(1.0);
        if again == 0.0 {
            return 0.0;
        }
        match step {
            Step::Project => {
                let model = &self.priced.plan.model;
                let group = f64::from(model.heads / model.kv_heads);
                // Rows are those of Q, K and V; of a device that holds part of a group, one Q head in `group / copies`.
                let of_kv = 2.0 / (2.0 + group / self.copies);
                let rows = f64::from(work.product[0]) * of_kv * again;
                let mut fewer = *work;
                fewer.product[0] -= rows as u32;
                fewer.elements = fewer.elements.saturating_sub(rows as u32);
                seconds - self.seconds(step, &fewer)
            }
            Step::Attend | Step::Score | Step::Context => {
                let rate = self.priced.domain(self.device).bytes_per_second.0;
                again * streamed.0 as f64 / rate
            }
            _ => 0.0,
        }
    }

    fn alignment(&self, step: Step, work: &Work, seconds: f64) -> f64 {
        let Some(many) = many(step, work) else { return 0.0 };
        let full = self.seconds(step, &many) - self.priced.launch(self.device, step, &many).0;
        seconds - full.max(0.0) / f64::from(MANY)
    }
}

/// The same step with [`MANY`] times the heads or columns; none for steps that have none.
fn many(step: Step, work: &Work) -> Option<Work> {
    let mut many = *work;
    let more = |number: u32| number.saturating_mul(MANY);
    match step {
        Step::Project | Step::GateUp | Step::Logits => {
            many.product[0] = more(work.product[0]);
            many.elements = more(work.elements);
        }
        Step::Merge | Step::Down => many.product[1] = more(work.product[1]),
        Step::Attend | Step::Score | Step::Softmax | Step::Context => many.heads = work.heads.map(more),
        Step::Embed | Step::Norm(_) | Step::Sample => return None,
    }
    many.weights = work.weights * u64::from(MANY);
    Some(many)
}

/// Devices of a stage that hold each KV head, on average.
pub fn copies(plan: &Plan, stage: &Stage) -> f64 {
    let held: usize = stage.slices.iter().map(|slice| slice.kv_heads(&plan.model).len()).sum();
    (held as f64 / f64::from(plan.model.kv_heads)).max(1.0)
}

/// Operations of an action; a multiply-add is two, keys behind the diagonal are not counted.
pub fn flops(work: &Work, load: Load) -> f64 {
    let [sequences, tokens, past] = [load.sequences, load.tokens, load.past].map(f64::from);
    let rows = sequences * tokens;
    let keys = past + (tokens + 1.0) / 2.0;
    rows * (work.flops.0 as f64 + keys * work.flops_per_key.0 as f64)
}

/// Bytes that an action reads and writes: weights, keys and values, activations in and out, scores where the steps of
/// attention are apart.
pub fn bytes(plan: &Plan, step: Step, work: &Work, load: Load) -> f64 {
    let numerics = plan.workload.numerics;
    let element = f64::from(numerics.activations.element_bytes());
    let operand = f64::from(numerics.activations.block_bytes()) / 32.0;
    let [sequences, tokens, past] = [load.sequences, load.tokens, load.past].map(f64::from);
    let rows = sequences * tokens;
    let [heads, kv_heads] = work.heads.map(f64::from);
    // Vectors of a head, matrices of the cache, passes over the scores.
    let (vectors, matrices, scores) = match step {
        Step::Attend => (2.0, 2.0, 0.0),
        Step::Score | Step::Context => (1.0, 1.0, 1.0),
        Step::Softmax => (0.0, 0.0, 2.0),
        _ => (0.0, 0.0, 0.0),
    };
    let width = f64::from(plan.model.head_width);
    let cache = matrices * sequences * (past + tokens) * kv_heads * width * f64::from(numerics.kv.bytes());
    let attended = rows * heads * element * (vectors * width + scores * (past + tokens));
    let [n, k] = work.product.map(f64::from);
    let product = rows * (k * operand + n * element);
    let others = rows * element * (2.0 * f64::from(work.normed) + f64::from(work.elements));
    work.weights.0 as f64 + cache + attended + product + others
}
