//! Working memory of one lane, allocated once.

use super::cpu::lines::Lines;
use super::cpu::{attention, matmul};
use super::{PANEL, TREE_DEPTH};

/// Working memory of the kernels: one for each lane, made before the first token. No kernel allocates any other.
#[derive(Debug)]
pub struct Scratch {
    /// Activations as one tile of a product takes them.
    pub(super) strips: Lines,
    /// Leaves and nodes that wait for their right neighbour, `[depth, tokens, 16]`.
    pub(super) stack: Lines,
    /// Scores, outputs and queries of attention.
    pub(super) attention: Lines,
    /// Widest head that `attention` has room for.
    pub(super) head_width: usize,
}

impl Scratch {
    /// Room for products over up to `max_blocks` activation blocks and for heads up to `head_width` wide.
    pub fn new(max_blocks: usize, head_width: usize) -> Scratch {
        Scratch {
            strips: Lines::new(matmul::strip_bytes(max_blocks)),
            stack: Lines::new(TREE_DEPTH * matmul::GROUP * PANEL * size_of::<f32>()),
            attention: Lines::new(attention::floats(head_width) * size_of::<f32>()),
            head_width,
        }
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.strips.len() + self.stack.len() + self.attention.len()
    }
}
