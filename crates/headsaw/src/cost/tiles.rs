//! How a fused attention kernel cuts its work: query tiles, blocks of keys, parts of long sequences.
//!
//! Sizes are those of the kernels' sources: FlashAttention 2 `flash_fwd_launch_template.h` (`run_mha_fwd_splitkv_dispatch`)
//! and `flash_api.cpp`, FlashAttention 3 `hopper/tile_size.h` and `hopper/heuristics.h`.

use super::AttentionShape;
use crate::spec::cluster::{AttentionFit, AttentionKernel};

/// Blocks of keys below which FlashAttention 3 does not split a sequence.
const FEW_BLOCKS: f64 = 4.0;
/// Below this share of places filled, sequences are split.
const FULL: f64 = 0.8;
/// Blocks of one-token attention are dealt out as if there were a tenth more.
const RESERVE: f64 = 1.1;

/// The work of one call, in tiles.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tiles {
    /// Query tiles of all sequences and heads.
    pub count: f64,
    /// Rows of a tile that the tensor cores multiply, filled or not.
    pub rows: f64,
    /// Rows of a tile that are filled, on average.
    pub filled: f64,
    /// Keys of a block.
    pub keys: f64,
    /// Head width as the kernel computes it.
    pub width: f64,
    /// Blocks of the longest tile.
    pub longest: f64,
    /// Blocks of a tile on average: causal tiles stop at the diagonal.
    pub mean: f64,
    /// Tiles that a multiprocessor holds at once.
    pub resident: f64,
    /// Parts into which each tile's keys are split, so that all multiprocessors have work ("flash decoding").
    pub parts: f64,
}

impl Tiles {
    /// Tiles of a call on a device of `units` multiprocessors.
    pub fn of(fit: &AttentionFit, shape: &AttentionShape, units: f64) -> Tiles {
        let (kernel, resident) = (fit.kernel, f64::from(fit.resident_tiles.max(1)));
        let group = shape.group();
        let tokens = f64::from(shape.tokens);
        let packs = shape.decodes() || kernel == AttentionKernel::Flash3;
        let (columns, packed) = if packs { (shape.kv_heads(), group) } else { (f64::from(shape.heads), 1.0) };
        let queries = tokens * packed;
        let width = computed_width(shape.head_width);
        let (rows, keys) = block(kernel, queries, width);
        let tiles = (queries / rows).ceil();
        let longest = (shape.seen() / keys).ceil();
        let mean = if tiles > 1.0 { mean_blocks(shape, rows / packed, keys) } else { longest };
        let count = f64::from(shape.sequences) * columns * tiles;
        let parts = parts(kernel, shape, count, longest, units * resident);
        Tiles { count, rows, filled: queries / tiles, keys, width, longest, mean, resident, parts }
    }
}

/// Heads are computed in a width that the kernel was built for: 64, 96, 128, 192, 256, or a multiple of 64.
fn computed_width(width: u32) -> f64 {
    f64::from(if width <= 128 { width.next_multiple_of(32).max(64) } else { width.next_multiple_of(64) })
}

/// Rows of a tile, keys of a block.
fn block(kernel: AttentionKernel, queries: f64, width: f64) -> (f64, f64) {
    match kernel {
        AttentionKernel::Flash2 if width <= 64.0 => (64.0, 256.0),
        AttentionKernel::Flash2 if width <= 128.0 => (64.0, 128.0),
        AttentionKernel::Flash2 => (64.0, 64.0),
        AttentionKernel::Flash3 if queries <= 64.0 => (64.0, 128.0),
        AttentionKernel::Flash3 if width <= 96.0 => (192.0, 128.0),
        AttentionKernel::Flash3 if width <= 128.0 => (128.0, 128.0),
        AttentionKernel::Flash3 => (128.0, 80.0),
    }
}

/// Blocks of a causal tile, averaged over the tiles of a sequence: half of its own chunk, all that is cached, and half
/// a block more where a tile's last block is not its own.
fn mean_blocks(shape: &AttentionShape, tile_tokens: f64, keys: f64) -> f64 {
    let seen = f64::from(shape.past) + (f64::from(shape.tokens) + tile_tokens) / 2.0;
    seen / keys + 0.5 * (1.0 - tile_tokens / keys).max(0.0)
}

/// FlashAttention 2 splits sequences only where it puts the group of Q heads in the place of query tokens, so only when
/// one token attends with grouped heads (`mha_varlen_fwd`). FlashAttention 3 splits prompts of more than four blocks,
/// and for one token it deals out all blocks, a tenth in reserve (`flash_prepare_scheduler.cu`). Never finer than blocks.
fn parts(kernel: AttentionKernel, shape: &AttentionShape, tiles: f64, longest: f64, places: f64) -> f64 {
    let filling = if tiles < FULL * places { (places / tiles).floor() } else { 1.0 };
    let dealt = (longest / (RESERVE * longest * tiles / places).ceil()).ceil();
    let (parts, most) = match kernel {
        AttentionKernel::Flash2 if shape.decodes() && shape.group() > 1.0 => (filling, 128.0),
        AttentionKernel::Flash3 if shape.decodes() => (dealt, 32.0),
        AttentionKernel::Flash3 if longest > FEW_BLOCKS => (filling, 32.0),
        _ => (1.0, 1.0),
    };
    parts.min(longest).clamp(1.0, most)
}
