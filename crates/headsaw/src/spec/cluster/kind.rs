//! A kind of device: what it can hold, what its lanes do, and how its work is priced.

use super::{AttentionFit, ProductFit, Table};
use crate::units::{Bytes, BytesPerSecond, FlopsPerSecond};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A kind of device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceKind {
    /// Its name on the command line, `h100`: in a cluster file the name of its table.
    #[serde(skip)]
    pub name: String,
    /// Its name for people: `NVIDIA H100 SXM5 80 GB`.
    pub title: String,
    /// What it can hold.
    pub memory_bytes: Bytes,
    /// Which lane each step uses.
    pub lanes: StepLanes,
    /// What a second busy compute lane adds: 1 where lanes do not disturb each other, 0 where they take turns.
    pub overlap: f64,
    /// What compute lanes still do while the device exchanges: 1 where exchanges take nothing from them.
    pub exchange_overlap: f64,
    /// How its work is priced.
    pub prices: Prices,
}

/// How a device's work is priced.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Prices {
    /// By formulas over its data sheet, with a few fitted constants.
    Gpu(Box<Gpu>),
    /// By a table of what its kernels were measured to do (`headsaw calibrate`).
    Table(Box<Table>),
}

/// A GPU as its data sheet describes it, and what was fitted on measurements.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gpu {
    /// Rate of its memory, data sheet.
    pub memory_bytes_per_second: BytesPerSecond,
    /// Its second-level cache.
    pub cache_bytes: Bytes,
    /// Streaming multiprocessors (NVIDIA) or compute units (AMD).
    pub units: u32,
    /// Highest clock that it keeps up under load, data sheet.
    pub clock_hertz: f64,
    /// Dense peak of the tensor cores by precision, data sheet.
    pub tensor_flops_per_second: BTreeMap<Precision, FlopsPerSecond>,
    /// Peak of the vector units in single precision, data sheet.
    pub vector_flops_per_second: FlopsPerSecond,
    /// Exponentials of the special-function units.
    pub exponentials_per_second: f64,
    /// Products and element-wise steps, fitted.
    pub product: ProductFit,
    /// Attention, fitted.
    pub attention: AttentionFit,
}

impl Gpu {
    /// Peak of the tensor cores in a precision; none where they do not have it.
    pub fn tensor(&self, precision: Precision) -> Option<FlopsPerSecond> {
        self.tensor_flops_per_second.get(&precision).copied()
    }
}

/// What numbers the products multiply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// Single precision.
    F32,
    /// bfloat16 (or IEEE half precision: the same rate).
    Bf16,
    /// 8-bit floats, one scale a tensor or row.
    Fp8,
    /// 8-bit floats, one 8-bit scale per 32 (OCP microscaling).
    Mxfp8,
    /// 4-bit floats, one 8-bit scale per 16 (NVIDIA).
    Nvfp4,
    /// 8-bit integers, one scale per 32.
    Int8,
}

impl Precision {
    /// All, widest first.
    pub const ALL: [Precision; 6] =
        [Precision::F32, Precision::Bf16, Precision::Fp8, Precision::Mxfp8, Precision::Int8, Precision::Nvfp4];

    /// As in cluster files.
    pub fn name(self) -> &'static str {
        match self {
            Precision::F32 => "f32",
            Precision::Bf16 => "bf16",
            Precision::Fp8 => "fp8",
            Precision::Mxfp8 => "mxfp8",
            Precision::Nvfp4 => "nvfp4",
            Precision::Int8 => "int8",
        }
    }
}

/// Which lane of the device each step uses, by name; steps on one lane take turns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepLanes {
    /// Q, K, V and rotary.
    pub project: String,
    /// Scores alone.
    pub score: String,
    /// Softmax alone.
    pub softmax: String,
    /// Weighted sum of V alone.
    pub context: String,
    /// The three in one kernel.
    pub attend: String,
    /// Output projection.
    pub merge: String,
    /// MLP, embedding, logits.
    pub mlp: String,
    /// Exchanges between devices.
    pub exchange: String,
}

impl StepLanes {
    /// Each step and its lane, in the order of a layer.
    pub fn each(&self) -> [(&'static str, &str); 8] {
        [
            ("project", &self.project),
            ("score", &self.score),
            ("softmax", &self.softmax),
            ("context", &self.context),
            ("attend", &self.attend),
            ("merge", &self.merge),
            ("mlp", &self.mlp),
            ("exchange", &self.exchange),
        ]
    }
}
