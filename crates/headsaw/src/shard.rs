//! The fixed tree over which the two sums that cross a cut are added, and what a device holds of it.
//!
//! `n` leaves split at ⌈n/2⌉, again and again. A device that holds the leaves `[a, b)` sends the maximal nodes of the
//! tree inside `[a, b)`; whoever receives all of them finishes the same tree. So the order of additions is a function
//! of the model alone, never of the cut (compare arXiv 2511.17826, which does this for powers of two).

use std::ops::Range;

/// The maximal nodes of the tree over `leaves` leaves that lie inside `held`, left to right.
///
/// ```
/// # use headsaw::shard::nodes;
/// assert_eq!(nodes(9, 0..5), [0..5]);
/// assert_eq!(nodes(9, 3..9), [3..5, 5..9]);
/// ```
pub fn nodes(leaves: u32, held: Range<u32>) -> Vec<Range<u32>> {
    let mut found = Vec::new();
    descend(0..leaves, &held, &mut found);
    found
}

fn descend(node: Range<u32>, held: &Range<u32>, found: &mut Vec<Range<u32>>) {
    if node.is_empty() || node.end <= held.start || held.end <= node.start {
        return;
    }
    if held.start <= node.start && node.end <= held.end {
        found.push(node);
        return;
    }
    let middle = split(&node);
    descend(node.start..middle, held, found);
    descend(middle..node.end, held, found);
}

fn split(node: &Range<u32>) -> u32 {
    node.start + (node.end - node.start).div_ceil(2)
}

/// How to add `pieces` (nodes of the tree over `leaves` leaves, left to right, adjacent) with a stack: after pushing
/// piece `i`, add the two topmost values `merges[i]` times (left operand: the lower one). What is left on the stack at
/// the end are the maximal nodes that the pieces form.
///
/// ```
/// # use headsaw::shard::merges;
/// assert_eq!(merges(4, &[0..1, 1..2, 2..3, 3..4]), [0, 1, 0, 2]);
/// assert_eq!(merges(9, &[0..5, 5..9]), [0, 1]);
/// ```
pub fn merges(leaves: u32, pieces: &[Range<u32>]) -> Vec<u8> {
    let mut counts = vec![0; pieces.len()];
    let (Some(first), Some(last)) = (pieces.first(), pieces.last()) else { return counts };
    for node in nodes(leaves, first.start..last.end) {
        count(node, pieces, &mut counts);
    }
    counts
}

fn count(node: Range<u32>, pieces: &[Range<u32>], counts: &mut [u8]) {
    if pieces.contains(&node) {
        return;
    }
    assert!(node.len() > 1, "pieces are nodes of the tree: {node:?} lies inside none of {pieces:?}");
    let middle = split(&node);
    count(node.start..middle, pieces, counts);
    count(middle..node.end, pieces, counts);
    let last = pieces.iter().rposition(|piece| piece.end == node.end).expect("a node ends where a piece ends");
    counts[last] += 1;
}
