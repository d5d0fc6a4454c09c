//! A device's memory: fixed places for every value, allocated when the program is loaded.

use super::{Header, Row};
use crate::compute::{Acts, BLOCK, KvHead, KvParts, Shared};
use half::{bf16, f16};
use headsaw::lower::work;
use headsaw::plan::{Plan, Slice};
use headsaw::program::{MicroId, NormSite, PlaceKind, Program, Summed};
use headsaw::spec::workload::{Activations, KvDtype};
use headsaw::units::Bytes;
use std::cell::UnsafeCell;
use std::collections::BTreeMap;

/// Memory whose address is fixed and aligned to cache lines (and to the widest registers).
struct Aligned {
    lines: Box<[UnsafeCell<Line>]>,
}

#[repr(align(64))]
struct Line(#[expect(dead_code, reason = "read and written through views only")] [u8; 64]);

// SAFETY: bytes without meaning of their own; who reads and writes which of them when is settled by the program's edges,
// see `compute::Shared`.
unsafe impl Sync for Aligned {}

impl Aligned {
    fn new(bytes: u64) -> Aligned {
        let lines = (bytes as usize).div_ceil(64);
        Aligned { lines: (0..lines).map(|_| UnsafeCell::new(Line([0; 64]))).collect() }
    }

    fn bytes(&self) -> u64 {
        64 * self.lines.len() as u64
    }

    /// `len` numbers from byte `offset` on. Panics outside the memory.
    fn at<T: Number>(&self, offset: usize, len: usize) -> Shared<'_, T> {
        let bytes = len * size_of::<T>();
        assert!(offset.is_multiple_of(align_of::<T>()) && offset + bytes <= 64 * self.lines.len());
        let start = self.lines.as_ptr().cast::<u8>().cast_mut();
        // SAFETY: in bounds and aligned (checked above); every bit pattern is a number; the cells live as long as the
        // borrow; access is settled by the program's edges.
        unsafe { Shared::new(start.add(offset).cast::<T>(), len) }
    }
}

/// Types of which every bit pattern is a value.
trait Number {}
impl Number for i8 {}
impl Number for f16 {}
impl Number for bf16 {}
impl Number for i32 {}
impl Number for f32 {}

/// All memory of a device but its weights.
pub(crate) struct DeviceMemory {
    places: BTreeMap<(PlaceKind, u32), Aligned>,
    slots: u32,
    headers: Vec<HeaderCell>,
    lanes: Vec<LaneMemory>,
    cache: Aligned,
    shape: Shape,
}

/// What a lane keeps for itself: normalised rows, products on their way, and for each micro-batch the header it works by.
struct LaneMemory {
    normed: Aligned,
    floats: Aligned,
    headers: Vec<HeaderCell>,
}

struct HeaderCell(UnsafeCell<Header>);
// SAFETY: written by the device's lane 0 when it receives a header, read by the others afterwards; the program's edges
// keep these apart.
unsafe impl Sync for HeaderCell {}

/// The sizes that views are made from.
#[derive(Debug, Clone, Copy)]
struct Shape {
    float: bool,
    kv: KvDtype,
    rows: usize,
    width_blocks: usize,
    row_blocks: usize,
    head_blocks: usize,
    all_head_blocks: usize,
    ffn_blocks: usize,
    all_ffn_blocks: usize,
    kv_heads: usize,
    head_width: usize,
    context: usize,
    sequences: usize,
}

impl DeviceMemory {
    /// Allocates what the program's places of this slice's device, its lanes and its cache need.
    pub fn new(plan: &Plan, program: &Program, stage: usize, slice: &Slice) -> DeviceMemory {
        let is_header = |kind| matches!(kind, PlaceKind::Header(_));
        let places = program.places.iter().filter(|place| place.device == slice.device && !is_header(place.kind));
        let header = |_| HeaderCell(UnsafeCell::new(Header::with_room(plan.workload.rows() as usize)));
        let headers = || (0..plan.workload.micros).map(header).collect();
        let normed = work::activation_bytes(plan, plan.model.width.div_ceil(BLOCK as u32), plan.workload.rows());
        let computes = |number| number < work::compute_lanes(plan); // who only exchanges keeps headers alone
        let lane = |number| LaneMemory {
            normed: Aligned::new(if computes(number) { normed.0 } else { 0 }),
            floats: Aligned::new(if computes(number) { 4 * work::lane_floats(plan, slice) } else { 0 }),
            headers: headers(),
        };
        DeviceMemory {
            places: places.map(|place| ((place.kind, place.slot), Aligned::new(place.bytes.0))).collect(),
            slots: plan.steps.as_ref().map_or(1, |steps| steps.interleave.max(1)),
            headers: headers(),
            lanes: (0..work::lanes(plan)).map(lane).collect(),
            cache: Aligned::new(work::slice_cache(plan, stage, slice).0),
            shape: Shape::new(plan, slice),
        }
    }

    /// Bytes held.
    pub fn bytes(&self) -> Bytes {
        let lanes = self.lanes.iter().map(|lane| lane.normed.bytes() + lane.floats.bytes());
        let copies = self.headers.len() + self.lanes.iter().map(|lane| lane.headers.len()).sum::<usize>();
        let headers = (copies * self.shape.rows * size_of::<Row>()) as u64;
        Bytes(self.places.values().map(Aligned::bytes).chain(lanes).sum::<u64>() + self.cache.bytes() + headers)
    }

    /// The same memory as numbers.
    pub fn views(&self) -> Views<'_> {
        let residual = |m| self.floats(PlaceKind::Residual(MicroId(m)), 0);
        Views {
            headers: &self.headers,
            residual: (0..self.headers.len() as u32).map(residual).collect(),
            slots: (0..self.slots).map(|slot| self.values(slot)).collect(),
            lanes: self.lanes.iter().map(|lane| self.shape.lane(lane)).collect(),
            cache: &self.cache,
            shape: self.shape,
        }
    }

    fn values(&self, slot: u32) -> Values<'_> {
        let s = self.shape;
        let norm = |kind, blocks| self.normed(kind, slot, blocks);
        Values {
            embedded: self.floats(PlaceKind::Embedded, slot),
            normed_part: [NormSite::Attention, NormSite::Mlp, NormSite::Output]
                .map(|site| norm(PlaceKind::NormedPart(site), s.row_blocks)),
            normed_all: norm(PlaceKind::NormedAll, s.width_blocks),
            queries: self.floats(PlaceKind::Queries, slot),
            attended: self.acts(PlaceKind::Attended, slot, s.head_blocks),
            attended_all: self.acts(PlaceKind::AttendedAll, slot, s.all_head_blocks),
            partial: [Summed::Merge, Summed::Down].map(|sum| self.floats(PlaceKind::Partial(sum), slot)),
            hidden: self.acts(PlaceKind::Hidden, slot, s.ffn_blocks),
            hidden_all: self.acts(PlaceKind::HiddenAll, slot, s.all_ffn_blocks),
            logits: self.floats(PlaceKind::Logits, slot),
        }
    }

    fn floats(&self, kind: PlaceKind, slot: u32) -> Shared<'_, f32> {
        let place = self.places.get(&(kind, slot));
        place.map_or(Shared::from_mut(&mut []), |place| place.at(0, place.bytes() as usize / 4))
    }

    fn acts(&self, kind: PlaceKind, slot: u32, blocks: usize) -> Acts<'_> {
        match self.places.get(&(kind, slot)) {
            Some(place) => self.shape.acts(place, blocks),
            None => Acts::Float { values: Shared::from_mut(&mut []), blocks: 0 },
        }
    }

    fn normed(&self, kind: PlaceKind, slot: u32, blocks: usize) -> Normed<'_> {
        let squares = match self.places.get(&(kind, slot)) {
            Some(place) => {
                let per_block = if self.shape.float { 4 * BLOCK } else { BLOCK + 8 };
                place.at(self.shape.rows * blocks * per_block, self.shape.rows * blocks)
            }
            None => Shared::from_mut(&mut []),
        };
        Normed { acts: self.acts(kind, slot, blocks), squares, blocks }
    }
}

impl Shape {
    fn new(plan: &Plan, slice: &Slice) -> Shape {
        let model = &plan.model;
        let blocks = |n: u32| n.div_ceil(BLOCK as u32) as usize;
        let per_head = blocks(model.head_width);
        Shape {
            float: plan.workload.numerics.activations == Activations::F32,
            kv: plan.workload.numerics.kv,
            rows: plan.workload.rows() as usize,
            width_blocks: blocks(model.width),
            row_blocks: blocks(slice.rows.end - slice.rows.start),
            head_blocks: slice.heads.len() * per_head,
            all_head_blocks: model.heads as usize * per_head,
            ffn_blocks: blocks(slice.ffn.end - slice.ffn.start),
            all_ffn_blocks: blocks(model.ffn),
            kv_heads: slice.kv_heads(model).len(),
            head_width: model.head_width as usize,
            context: plan.workload.context.next_multiple_of(16) as usize,
            sequences: plan.workload.sequences as usize,
        }
    }

    fn acts(self, memory: &Aligned, blocks: usize) -> Acts<'_> {
        let all = self.rows * blocks;
        if self.float {
            return Acts::Float { values: memory.at(0, all * BLOCK), blocks };
        }
        Acts::Int8 {
            quants: memory.at(0, all * BLOCK),
            scales: memory.at(all * BLOCK, all),
            sums: memory.at(all * (BLOCK + 4), all),
            blocks,
        }
    }

    fn lane(self, lane: &LaneMemory) -> LaneView<'_> {
        let floats = lane.floats.at(0, lane.floats.bytes() as usize / 4);
        let normed = match lane.normed.bytes() {
            0 => Acts::Float { values: Shared::from_mut(&mut []), blocks: 0 },
            _ => self.acts(&lane.normed, self.width_blocks),
        };
        LaneView { normed, floats, headers: &lane.headers }
    }
}

/// Normalised rows and the sums of squares of their blocks, `[rows, blocks]`.
#[derive(Clone, Copy)]
pub(crate) struct Normed<'a> {
    pub acts: Acts<'a>,
    pub squares: Shared<'a, f32>,
    pub blocks: usize,
}

/// What a lane keeps for itself.
#[derive(Clone, Copy)]
pub(crate) struct LaneView<'a> {
    /// `[rows, C]` normalised.
    pub normed: Acts<'a>,
    /// Products on their way.
    pub floats: Shared<'a, f32>,
    headers: &'a [HeaderCell],
}

impl<'a> LaneView<'a> {
    /// # Safety
    /// Called by the lane itself only, which holds no reference from before when it copies.
    pub unsafe fn copy_header(&self, micro: MicroId, from: &Header) {
        // SAFETY: the caller's promise.
        let own = unsafe { &mut *self.headers[micro.index()].0.get() };
        own.stop = from.stop;
        own.rows.clear();
        own.rows.extend_from_slice(&from.rows);
    }

    /// # Safety
    /// Called by the lane itself only, which lets go of the reference before it copies this micro-batch's next header.
    pub unsafe fn header(&self, micro: MicroId) -> &'a Header {
        // SAFETY: the caller's promise.
        unsafe { &*self.headers[micro.index()].0.get() }
    }
}

/// A device's memory as numbers.
pub(crate) struct Views<'a> {
    headers: &'a [HeaderCell],
    pub residual: Vec<Shared<'a, f32>>,
    slots: Vec<Values<'a>>,
    pub lanes: Vec<LaneView<'a>>,
    cache: &'a Aligned,
    shape: Shape,
}

/// Values of one micro-batch, or of several that take turns. What each is for: see `headsaw::program::PlaceKind`.
pub(crate) struct Values<'a> {
    pub embedded: Shared<'a, f32>,
    pub normed_part: [Normed<'a>; 3],
    pub normed_all: Normed<'a>,
    pub queries: Shared<'a, f32>,
    pub attended: Acts<'a>,
    pub attended_all: Acts<'a>,
    pub partial: [Shared<'a, f32>; 2],
    pub hidden: Acts<'a>,
    pub hidden_all: Acts<'a>,
    pub logits: Shared<'a, f32>,
}

impl<'a> Views<'a> {
    /// Micro-batches that have values of their own.
    pub fn slots(&self) -> usize {
        self.slots.len()
    }

    /// The values of a micro-batch.
    pub fn values(&self, micro: MicroId) -> &Values<'a> {
        &self.slots[micro.index() % self.slots.len()]
    }

    /// # Safety
    /// Nobody writes the header of this micro-batch while the reference lives.
    pub unsafe fn header(&self, micro: MicroId) -> &'a Header {
        // SAFETY: the caller's promise.
        unsafe { &*self.headers[micro.index()].0.get() }
    }

    /// # Safety
    /// Nobody else reads or writes the header of this micro-batch while the reference lives.
    pub unsafe fn header_mut(&self, micro: MicroId) -> &'a mut Header {
        // SAFETY: the caller's promise.
        unsafe { &mut *self.headers[micro.index()].0.get() }
    }

    /// K and V of a layer (counted from the stage's first), a sequence and a KV head (counted from the slice's first).
    pub fn kv(&self, layer: usize, slot: usize, head: usize) -> KvHead<'a> {
        let s = self.shape;
        let part = s.context * s.head_width;
        let index = (layer * s.sequences + slot) * s.kv_heads + head;
        let offset = 2 * part * index * s.kv.bytes() as usize;
        match s.kv {
            KvDtype::F16 => KvHead::F16(kv_parts(self.cache, offset, part, s.head_width)),
            KvDtype::Bf16 => KvHead::Bf16(kv_parts(self.cache, offset, part, s.head_width)),
            KvDtype::F32 => KvHead::F32(kv_parts(self.cache, offset, part, s.head_width)),
        }
    }
}

fn kv_parts<T: Number>(cache: &Aligned, offset: usize, part: usize, head_width: usize) -> KvParts<'_, T> {
    let keys = cache.at(offset, part);
    KvParts { keys, values: cache.at(offset + part * size_of::<T>(), part), head_width }
}
