//! The queries of attention in the order in which the lanes of a device share them: KV head by KV head, so that a lane
//! reads K and V once for all its queries; inside a KV head token by token, each with all Q heads of the group.

use super::Row;
use std::ops::Range;

/// The queries of some heads: one for each row and Q head. A query's place is its number in the order above.
pub(super) struct Queries<'h> {
    /// What the micro-batch carries.
    pub rows: &'h [Row],
    /// Q heads, counted as the model does.
    pub heads: Range<usize>,
    /// Q heads that share a KV head.
    pub group: usize,
}

impl Queries<'_> {
    /// How many they are.
    pub fn len(&self) -> usize {
        self.heads.len() * self.rows.len()
    }

    /// The KV heads they look at, counted as the model does.
    pub fn kv_heads(&self) -> Range<usize> {
        self.heads.start / self.group..self.heads.end.div_ceil(self.group)
    }

    /// The Q heads that look at a KV head.
    fn heads_of(&self, kv_head: usize) -> Range<usize> {
        let first = kv_head * self.group;
        first.max(self.heads.start)..(first + self.group).min(self.heads.end)
    }

    /// Places of the queries that look at a KV head.
    pub fn of(&self, kv_head: usize) -> Range<usize> {
        let heads = self.heads_of(kv_head);
        let place = |head: usize| (head - self.heads.start) * self.rows.len();
        place(heads.start)..place(heads.end)
    }

    /// Row and Q head of the query at a place, which looks at this KV head.
    pub fn at(&self, place: usize, kv_head: usize) -> (usize, usize) {
        let heads = self.heads_of(kv_head);
        let within = place - self.of(kv_head).start;
        (within / heads.len(), heads.start + within % heads.len())
    }

    /// Where the `part`th of `parts` equal shares begins: equal in keys to look at, as later tokens see more of them.
    pub fn share(&self, part: u32, parts: u32) -> usize {
        let keys = |row: &Row| u64::from(row.position) + 1;
        let all: u64 = self.rows.iter().map(keys).sum();
        let mut left = all * self.heads.len() as u64 * u64::from(part) / u64::from(parts);
        for kv_head in self.kv_heads() {
            let heads = self.heads_of(kv_head).len() as u64;
            if left >= heads * all {
                left -= heads * all;
                continue;
            }
            for (t, row) in self.rows.iter().enumerate() {
                if left < heads * keys(row) {
                    return self.of(kv_head).start + t * heads as usize + (left / keys(row)) as usize;
                }
                left -= heads * keys(row);
            }
        }
        self.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(positions: Range<u32>) -> Vec<Row> {
        positions.map(|position| Row { token: 0, slot: 0, position, sampled: false }).collect()
    }

    /// Keys that the queries at some places look at.
    fn keys(queries: &Queries, places: Range<usize>) -> u64 {
        let kv_head = |place| queries.kv_heads().find(|kv_head| queries.of(*kv_head).contains(&place)).unwrap();
        places.map(|place| u64::from(queries.rows[queries.at(place, kv_head(place)).0].position) + 1).sum()
    }

    #[test]
    fn places_name_each_query_once() {
        let rows = rows(3..7);
        for heads in [0..9, 2..5, 4..6, 1..8] {
            let queries = Queries { rows: &rows, heads: heads.clone(), group: 3 };
            let mut all = vec![];
            for kv_head in queries.kv_heads() {
                for place in queries.of(kv_head) {
                    assert_eq!(place, all.len());
                    let (row, head) = queries.at(place, kv_head);
                    assert_eq!(head / 3, kv_head);
                    all.push((row, head));
                }
            }
            assert_eq!(all.len(), queries.len());
            all.sort_unstable();
            all.dedup();
            assert_eq!(all.len(), queries.len(), "{heads:?}");
        }
    }

    #[test]
    fn lanes_share_keys_evenly() {
        for (positions, heads, parts) in [(0..512, 0..9, 2), (0..100, 2..7, 3), (0..33, 0..1, 4), (500..501, 0..9, 9)] {
            let rows = rows(positions);
            let queries = Queries { rows: &rows, heads, group: 3 };
            let all = keys(&queries, 0..queries.len());
            let most = u64::from(rows.last().unwrap().position) + 1;
            for part in 0..parts {
                let share = keys(&queries, queries.share(part, parts)..queries.share(part + 1, parts));
                assert!(share.abs_diff(all / u64::from(parts)) <= most, "{share} of {all} for one of {parts}");
            }
            assert_eq!(queries.share(0, parts)..queries.share(parts, parts), 0..queries.len());
        }
    }

    #[test]
    fn more_lanes_than_queries_leave_some_idle() {
        let rows = rows(9..10);
        let queries = Queries { rows: &rows, heads: 0..2, group: 2 };
        let shares: Vec<_> = (0..=5).map(|part| queries.share(part, 5)).collect();
        assert_eq!(shares, [0, 0, 0, 1, 1, 2]);
        assert_eq!(Queries { rows: &[], heads: 0..2, group: 2 }.share(1, 2), 0);
    }
}
