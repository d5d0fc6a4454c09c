//! A program says when: for each lane the actions it does, in order, over and over (once per round of micro-batches).
//!
//! Lowering writes every edge (`needs`, `makes`), every send, receive and collective; the runtime infers nothing.

pub mod text;
mod turns;

pub use turns::{Knot, Turns};

use crate::spec::cluster::DeviceId;
use crate::units::{Bytes, Flops};
use std::fmt;
use std::ops::Range;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident $letter:literal),* $(,)?) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u32);
        impl $name {
            /// Its place in the program's list.
            pub fn index(self) -> usize {
                self.0 as usize
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($letter, "{}"), self.0)
            }
        }
    )*};
}
ids! {
    /// A stage.
    StageId "s",
    /// A lane.
    LaneId "lane ",
    /// A micro-batch slot.
    MicroId "m",
    /// A value, or one lane's part of it.
    BufId "b",
    /// A channel.
    ChanId "chan ",
    /// A group of lanes that bring parts together.
    GroupId "group ",
    /// A piece of a device's memory.
    PlaceId "p",
}

/// What each lane does, and where values lie.
#[derive(Debug, Clone, PartialEq)]
pub struct Program {
    /// Compute lanes, device by device.
    pub lanes: Vec<Lane>,
    /// Values.
    pub bufs: Vec<Buf>,
    /// Memory that values lie in.
    pub places: Vec<Place>,
    /// One-way links between two lanes.
    pub chans: Vec<Chan>,
    /// Lanes that bring parts together.
    pub groups: Vec<Group>,
    /// Micro-batch slots of a round.
    pub micros: u32,
}

impl Program {
    /// The lane that picks tokens. Panics where none does.
    pub fn sampler(&self) -> LaneId {
        let samples = |action: &Action| action.op == Op::Compute(Step::Sample);
        let at = self.lanes.iter().position(|lane| lane.actions.iter().any(samples));
        LaneId(at.expect("a lane that samples") as u32)
    }
}

/// One in-order worker.
#[derive(Debug, Clone, PartialEq)]
pub struct Lane {
    /// Its device.
    pub device: DeviceId,
    /// Its stage.
    pub stage: StageId,
    /// Its number inside the device.
    pub number: u32,
    /// What it is for.
    pub role: Role,
    /// What it does in a round.
    pub actions: Vec<Action>,
}

/// What a lane is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Computes; and exchanges too where its device has no lane for that.
    Compute,
    /// Exchanges only.
    Exchange,
}

/// One thing that a lane does.
#[derive(Debug, Clone, PartialEq)]
pub struct Action {
    /// What.
    pub op: Op,
    /// For which micro-batch.
    pub micro: MicroId,
    /// In which layer, for the steps of a layer.
    pub layer: Option<u32>,
    /// Which part of the step is this lane's; the unit is the step's, see [`Step`].
    pub part: Range<u32>,
    /// Which piece of a device's work that is cut into pieces.
    pub unit: Option<Unit>,
    /// What it costs.
    pub work: Work,
    /// Values that must be there.
    pub needs: Vec<BufId>,
    /// Values that are there afterwards.
    pub makes: Vec<BufId>,
}

/// A piece of a device's work in a layer: a chunk of its heads, or of its MLP columns.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Unit {
    /// Its number in the layer.
    pub number: u32,
    /// The Q heads; empty for a piece of the MLP.
    pub heads: Range<u32>,
}

/// Operations and bytes of an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Work {
    /// Per token; a multiply-add counts two.
    pub flops: Flops,
    /// Per token and key that it sees.
    pub flops_per_key: Flops,
    /// Weights read, however many tokens there are.
    pub weights: Bytes,
    /// What it offers to other devices, per token.
    pub sent: Bytes,
    /// The product's output rows and the elements of each: `n` and `k`; `m` is the tokens.
    pub product: [u32; 2],
    /// Attention's Q heads and KV heads.
    pub heads: [u32; 2],
    /// Elements per token that it normalises.
    pub normed: u32,
    /// Elements per token that it reads and writes one by one otherwise: rotary, activation, residual.
    pub elements: u32,
}

/// What an action does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// Work inside the device.
    Compute(Step),
    /// Hands a value to the channel's receiver.
    Send(ChanId),
    /// Takes a value from the channel.
    Recv(ChanId),
    /// Waits for the partial sums of the group, adds them in the fixed tree and adds the sum to the residual.
    AllReduce(GroupId, Summed),
    /// Waits for the parts of the group and copies them together.
    AllGather(GroupId, Gathered),
}

/// A piece of work inside a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// Rows of the embedding that this device holds. Part: share of the tokens, in 1/lanes.
    Embed,
    /// (gather) Quantises the device's rows of the residual, with their sums of squares. Part: blocks of 32 rows.
    Norm(NormSite),
    /// Q, K, V, rotary, cache. Part: panels of 16 rows over Q, then K, then V.
    Project,
    /// Scores, softmax and weighted sum of V. Part: share of the (head, token) pairs, in 1/lanes.
    Attend,
    /// Scores alone, of a chunk of heads. Part: 0..1.
    Score,
    /// Softmax alone, of a chunk of heads. Part: 0..1.
    Softmax,
    /// Weighted sum of V alone, of a chunk of heads. Part: 0..1.
    Context,
    /// The heads' parts of the output projection. Part: blocks of 32 output rows.
    Merge,
    /// Gate, up and activation. Part: blocks of 32 MLP columns (of the unit's, where there are units).
    GateUp,
    /// The down projection. Part: blocks of 32 output rows.
    Down,
    /// Final norm and output rows. Part: panels of 16 vocabulary rows.
    Logits,
    /// Looks at the whole vocabulary and picks a token. Part: 0..1.
    Sample,
}

/// Which of the two sums that cross a cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Summed {
    /// The output projection's, over heads.
    Merge,
    /// The down projection's, over MLP columns.
    Down,
}

/// What an all-gather brings together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Gathered {
    /// Embedded tokens, each from the device that holds its row.
    Embedded,
    /// Normalised rows, quantised, with their sums of squares.
    Normed(NormSite),
    /// Heads' outputs, quantised.
    Attended,
    /// MLP columns, quantised.
    Hidden,
}

/// A value, or one lane's part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Buf {
    /// Where it lies; none for pure order (a cache was written, a token was sent).
    pub place: Option<PlaceId>,
    /// Which part of the place: the number of the lane that writes it (logits that came over a channel count on), or of
    /// the unit.
    pub part: u32,
}

/// A piece of a device's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Whose memory.
    pub device: DeviceId,
    /// What for.
    pub kind: PlaceKind,
    /// Which of several of a kind: micro-batches that take a layer together have one each.
    pub slot: u32,
    /// How much.
    pub bytes: Bytes,
}

/// What a piece of memory is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PlaceKind {
    /// Which tokens a micro-batch carries: the device's own, of which each lane has a copy beside.
    Header(MicroId),
    /// `[T, rows]` f32: the residual (its own rows only, with the gather exchange).
    Residual(MicroId),
    /// `[T, C]` f32: embedded tokens on their way to the residual.
    Embedded,
    /// (gather) `[T, rows]` activations and sums of squares, offered to the others; three, so that a fast lane never
    /// writes what a slow one still copies.
    NormedPart(NormSite),
    /// (gather) `[T, C]` activations and sums of squares of all devices.
    NormedAll,
    /// `[T, heads · D]` f32.
    Queries,
    /// `[heads, T, context]`: scores, then softmax's results, where the steps of attention are cut apart.
    Scores,
    /// `[T, heads · D]` activations of the device's heads.
    Attended,
    /// (gather) `[T, H · D]` activations of all heads.
    AttendedAll,
    /// `[nodes, T, C]` f32 partial sums of one of the two products.
    Partial(Summed),
    /// `[T, columns]` activations of the device's MLP columns.
    Hidden,
    /// (gather) `[T, F]` activations of all MLP columns.
    HiddenAll,
    /// `[batch, V]` f32: logits of the device's vocabulary rows (of all of them, where they are sampled).
    Logits,
}

/// Which of the norms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum NormSite {
    /// Before Q, K and V.
    Attention,
    /// Before the MLP.
    Mlp,
    /// Before the logits.
    Output,
}

/// A one-way link between two lanes, first in, first out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chan {
    /// Who sends.
    pub from: LaneId,
    /// Who receives.
    pub to: LaneId,
    /// What goes through it.
    pub carries: Carries,
    /// Messages that are in it when the program starts. Such a channel is a mailbox: it has a place for one message a
    /// slot, so that a send into an empty one never waits.
    pub initial: u32,
}

/// What goes through a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carries {
    /// Which tokens a micro-batch carries next.
    Header(MicroId),
    /// Columns `start..end` of the residual.
    Residual {
        /// First column.
        start: u32,
        /// One past the last.
        end: u32,
    },
    /// Vocabulary rows `start..end` of the logits.
    Logits {
        /// First row.
        start: u32,
        /// One past the last.
        end: u32,
    },
}

/// Lanes that bring parts together, in the order of what they hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// The lanes.
    pub lanes: Vec<LaneId>,
}
