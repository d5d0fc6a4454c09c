//! The fixed tree over which the two sums that cross a cut are added, and what a device holds of it.
//!
//! `n` leaves split at ⌈n/2⌉, again and again. A device that holds the leaves `[a, b)` sends the maximal nodes of the
//! tree inside `[a, b)`; whoever receives all of them finishes the same tree. So the order of additions is a function
//! of the model alone, never of the cut (compare arXiv 2511.17826, which does this for powers of two).

use crate::spec::model::ModelSpec;
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

/// The most values that wait at a time while `pieces` are added up as [`merges`] says, the piece in hand not counted
/// where it is added at once.
///
/// ```
/// # use headsaw::shard::height;
/// assert_eq!(height(8, &[0..1, 1..2, 2..3, 3..4]), 2);
/// assert_eq!(height(8, &[0..4, 4..8]), 1);
/// ```
pub fn height(leaves: u32, pieces: &[Range<u32>]) -> usize {
    let mut height = 0;
    let after = merges(leaves, pieces).into_iter().map(|merges| {
        height = height + 1 - usize::from(merges);
        height
    });
    after.max().unwrap_or(0)
}

/// Elements that share a scale when activations are quantised, and the unit in which rows are cut.
pub const BLOCK: u32 = 32;

/// MLP columns of one leaf of the down projection's tree: whole quantisation blocks, about 64 leaves (or as many as
/// there are heads), so that any device can have a fair share and a leaf costs next to nothing.
pub fn mlp_leaf(model: &ModelSpec) -> u32 {
    let blocks = model.ffn.div_ceil(BLOCK);
    BLOCK * (blocks / model.heads.max(64)).max(1)
}

/// Leaves of the down projection's tree.
pub fn mlp_leaves(model: &ModelSpec) -> u32 {
    model.ffn.div_ceil(mlp_leaf(model))
}

/// Heads for devices of the given relative speeds.
///
/// Equal devices, a power of two of them, get nodes of the tree (9 heads over 2: 5 + 4). Otherwise the slowest device
/// decides; among cuts that are equally fast the one with the fewest KV heads held, then the fewest vectors sent.
pub fn cut_heads(model: &ModelSpec, weights: &[f64]) -> Vec<Range<u32>> {
    let group = model.heads / model.kv_heads;
    let kv_held = move |part: &Range<u32>| part.end.div_ceil(group) - part.start / group;
    best_cut(model.heads, weights, &kv_held)
}

/// The same for units that have no groups: leaves of the MLP, blocks of rows.
pub fn cut_units(units: u32, weights: &[f64]) -> Vec<Range<u32>> {
    let parts = weights.len() as u32;
    if units <= 512 && parts <= 64 {
        return best_cut(units, weights, &|_| 0);
    }
    // Too many to search, and too many for a unit more or less to matter: in proportion.
    let total: f64 = weights.iter().sum();
    let mut before = 0.0;
    let mut end = 0;
    let mut cuts: Vec<Range<u32>> = Vec::with_capacity(weights.len());
    for weight in weights {
        before += weight;
        let start = std::mem::replace(&mut end, (f64::from(units) * before / total).round() as u32);
        cuts.push(start..end);
    }
    cuts
}

fn best_cut(leaves: u32, weights: &[f64], side_cost: &dyn Fn(&Range<u32>) -> u32) -> Vec<Range<u32>> {
    let parts = weights.len();
    let equal = weights.iter().all(|w| *w == weights[0]);
    if equal && parts.is_power_of_two() && parts as u32 <= leaves {
        let mut cuts: Vec<Range<u32>> = std::iter::once(0..leaves).collect();
        while cuts.len() < parts {
            cuts = cuts.iter().flat_map(|node| [node.start..split(node), split(node)..node.end]).collect();
        }
        return cuts;
    }
    let limit = slowest(leaves, weights);
    cheapest(leaves, weights, limit, side_cost)
}

/// The least possible time of the slowest device, in leaves over weight.
fn slowest(leaves: u32, weights: &[f64]) -> f64 {
    let fits = |limit: f64| {
        let rooms = weights.iter().map(|w| ((limit * w + 1e-9).floor() as u64).min(u64::from(leaves)));
        // With leaves to spare every device gets at least one.
        let all_work = leaves < weights.len() as u32 || rooms.clone().all(|room| room > 0);
        all_work && rooms.sum::<u64>() >= u64::from(leaves)
    };
    let mut times: Vec<f64> = weights.iter().flat_map(|w| (0..=leaves).map(move |n| f64::from(n) / w)).collect();
    times.sort_by(f64::total_cmp);
    times[times.partition_point(|time| !fits(*time))]
}

/// Among the cuts within `limit`, the one with the least total cost (side cost first, then nodes sent).
fn cheapest(leaves: u32, weights: &[f64], limit: f64, side_cost: &dyn Fn(&Range<u32>) -> u32) -> Vec<Range<u32>> {
    let n = leaves as usize;
    let none = (u32::MAX, u32::MAX);
    // best[i][end]: cost of giving the first `end` leaves to the first i devices, and where device i's part starts.
    let mut best = vec![vec![(none, 0); n + 1]; weights.len() + 1];
    best[0][0] = ((0, 0), 0);
    // Nodes of each part that was looked at: all devices look at the same parts.
    let mut sent = vec![None; (n + 1) * (n + 1)];
    for (i, weight) in weights.iter().enumerate() {
        let room = ((limit * weight + 1e-9).floor() as usize).min(n);
        let least = usize::from(n >= weights.len());
        for end in 0..=n {
            for start in end.saturating_sub(room)..=end.saturating_sub(least).min(end) {
                let (before, _) = best[i][start];
                if before == none || end - start < least {
                    continue;
                }
                let part = start as u32..end as u32;
                let known = &mut sent[start * (n + 1) + end];
                let sent = *known.get_or_insert_with(|| nodes(leaves, part.clone()).len() as u32);
                let cost = (before.0 + side_cost(&part), before.1 + sent);
                // Of equals the one that gives the last devices less: 8 heads over 3 are 3 + 3 + 2.
                if cost <= best[i + 1][end].0 {
                    best[i + 1][end] = (cost, start);
                }
            }
        }
    }
    let mut end = n;
    let mut cuts: Vec<Range<u32>> = (1..=weights.len())
        .rev()
        .map(|i| {
            let start = best[i][end].1;
            start as u32..std::mem::replace(&mut end, start) as u32
        })
        .collect();
    cuts.reverse();
    cuts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut_nine(weights: &[f64]) -> Vec<Range<u32>> {
        best_cut(9, weights, &|part| part.end.div_ceil(3) - part.start / 3)
    }

    #[test]
    fn powers_of_two_get_nodes_of_the_tree() {
        assert_eq!(cut_nine(&[1.0; 2]), [0..5, 5..9]);
        assert_eq!(cut_nine(&[1.0; 4]), [0..3, 3..5, 5..7, 7..9]);
        assert_eq!(cut_nine(&[1.0; 8]).len(), 8);
    }

    #[test]
    fn other_counts_get_whole_groups_where_that_costs_nothing() {
        assert_eq!(cut_nine(&[1.0; 3]), [0..3, 3..6, 6..9]);
        assert_eq!(cut_nine(&[1.0; 5]).iter().map(|r| r.len()).max(), Some(2));
        assert_eq!(cut_nine(&[1.0; 9]).len(), 9);
    }

    #[test]
    fn a_faster_device_takes_more() {
        assert_eq!(cut_nine(&[2.0, 1.0]), [0..6, 6..9]);
        assert_eq!(best_cut(8, &[2.0, 1.0, 1.0], &|_| 0), [0..4, 4..6, 6..8]);
        assert_eq!(cut_units(49152 / 32, &[2.0, 1.0]), [0..1024, 1024..1536]);
    }

    #[test]
    fn pieces_of_any_cut_make_the_same_tree() {
        // Two roads: the uncut tree as text, and each cut's pieces finished by the stack.
        fn tree(node: Range<u32>) -> String {
            if node.len() == 1 {
                return node.start.to_string();
            }
            let middle = split(&node);
            format!("({}+{})", tree(node.start..middle), tree(middle..node.end))
        }
        for leaves in 1..=20 {
            for first in 0..=leaves {
                for second in first..=leaves {
                    let parts = [0..first, first..second, second..leaves];
                    let pieces: Vec<_> = parts.iter().flat_map(|part| nodes(leaves, part.clone())).collect();
                    let mut stack: Vec<String> = Vec::new();
                    for (piece, count) in pieces.iter().zip(merges(leaves, &pieces)) {
                        stack.push(tree(piece.clone()));
                        for _ in 0..count {
                            let right = stack.pop().unwrap();
                            let left = stack.pop().unwrap();
                            stack.push(format!("({left}+{right})"));
                        }
                    }
                    assert_eq!(stack, [tree(0..leaves)]);
                }
            }
        }
    }
}
