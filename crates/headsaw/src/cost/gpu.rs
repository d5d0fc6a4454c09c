//! What a step takes on a GPU: the kernels that inference engines launch for it.
//!
//! A norm, rotary, an activation are kernels of their own; attention is one fused kernel, or three where the step cut
//! takes it apart. Adding to the residual is part of the norm that follows (vLLM's `fused_add_rms_norm`).

use super::Load;
use super::product::{elementwise, product};
use super::table::Price;
use super::{AttentionShape, attention, unfused};
use crate::plan::Plan;
use crate::program::{Step, Work};
use crate::spec::cluster::{DeviceKind, Gpu};
use crate::units::{Bytes, Seconds};

/// A step of a plan on a GPU.
pub fn step(plan: &Plan, kind: &DeviceKind, gpu: &Gpu, step: Step, work: &Work, load: Load) -> Price {
    let kernels = Kernels { plan, kind, gpu, load };
    let rows = u64::from(load.rows());
    let seconds = match step {
        Step::Embed => kernels.pass(2, work.elements, rows),
        Step::Sample => kernels.pass(1, work.elements, u64::from(load.sequences)),
        Step::Norm(_) => kernels.pass(NORM_PASSES, work.normed, rows),
        Step::Project => kernels.normed_product(work, rows) + kernels.pass(2, work.elements, rows),
        Step::Attend => attention(kind, &kernels.shape(work)),
        Step::Score => unfused(kind, &kernels.shape(work))[0],
        Step::Softmax => unfused(kind, &kernels.shape(work))[1],
        Step::Context => unfused(kind, &kernels.shape(work))[2],
        Step::Merge | Step::Down => kernels.normed_product(work, rows),
        Step::GateUp => kernels.normed_product(work, rows) + kernels.pass(2, work.elements, rows),
        Step::Logits => kernels.normed_product(work, u64::from(load.sequences)),
    };
    Price { seconds, streamed: kernels.streamed(step, work) }
}

/// What launching a step's kernels takes: their price at no size.
pub fn launch(gpu: &Gpu, step: Step, work: &Work) -> Seconds {
    let norm = f64::from(u32::from(work.normed > 0));
    let each = gpu.product.launch_seconds.0;
    Seconds(match step {
        Step::Embed | Step::Sample | Step::Norm(_) => each,
        Step::Project | Step::GateUp => (2.0 + norm) * each,
        Step::Merge | Step::Down | Step::Logits => (1.0 + norm) * each,
        Step::Attend | Step::Score => gpu.attention.launch_seconds.0,
        Step::Softmax | Step::Context => gpu.attention.further_launch_seconds.0,
    })
}

/// A norm reads its input twice and writes once.
const NORM_PASSES: u64 = 3;

struct Kernels<'a> {
    plan: &'a Plan,
    kind: &'a DeviceKind,
    gpu: &'a Gpu,
    load: Load,
}

impl Kernels<'_> {
    /// An element-wise kernel.
    fn pass(&self, passes: u64, elements: u32, rows: u64) -> Seconds {
        let element = u64::from(self.plan.workload.numerics.activations.element_bytes());
        let bytes = Bytes(passes * element) * u64::from(elements) * rows;
        if bytes.0 == 0 { Seconds(0.0) } else { elementwise(self.kind, bytes) }
    }

    /// A product, and the norm before it where the step does one.
    fn normed_product(&self, work: &Work, rows: u64) -> Seconds {
        let [n, k] = work.product.map(u64::from);
        let precision = self.plan.workload.numerics.activations.precision();
        self.pass(NORM_PASSES, work.normed, rows) + product(self.kind, precision, rows, n, k)
    }

    fn shape(&self, work: &Work) -> AttentionShape {
        let [heads, kv_heads] = work.heads;
        let Load { sequences, tokens, past } = self.load;
        let head_width = self.plan.model.head_width;
        let kv_element_bytes = self.plan.workload.numerics.kv.bytes();
        AttentionShape { sequences, tokens, past, heads, kv_heads, head_width, kv_element_bytes }
    }

    /// What comes from memory while the step works: weights, keys and values. Activations lie in the cache.
    fn streamed(&self, step: Step, work: &Work) -> Bytes {
        let Load { sequences, tokens, past } = self.load;
        // Of keys and values, and of the scores of kernels apart: how often each goes through memory.
        let (matrices, scores) = match step {
            Step::Attend => (2, 0),
            Step::Score | Step::Context => (1, 1),
            Step::Softmax => (0, 2),
            _ => (0, 0),
        };
        let keys = u64::from(past) + u64::from(tokens);
        let element = u64::from(self.plan.workload.numerics.kv.bytes());
        let row = matrices * element * u64::from(work.heads[1]) * u64::from(self.plan.model.head_width);
        let score = scores * u64::from(self.plan.workload.numerics.activations.element_bytes());
        let queries = Bytes(score * u64::from(work.heads[0])) * u64::from(tokens);
        let cache = (Bytes(row) + queries) * keys * u64::from(sequences);
        let cached = if cache <= self.gpu.cache_bytes { Bytes(0) } else { cache };
        work.weights + cached
    }
}
