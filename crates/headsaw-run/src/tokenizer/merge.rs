//! Byte-pair merging: of all neighbours the pair that comes first in the order is joined, until none can be.

use super::vocab::Vocab;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Range;

/// What a word is made of at first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Units {
    /// Its bytes (GPT-2's way).
    Bytes,
    /// Its characters, and bytes for those the vocabulary lacks (SentencePiece's way).
    Chars,
}

/// One merge: which two tokens give which.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Merge {
    pub(crate) left: u32,
    pub(crate) right: u32,
    /// Place in the order of merges.
    pub(crate) rank: u32,
    pub(crate) into: u32,
}

impl Merge {
    /// The merge of two pieces of a vocabulary.
    pub(crate) fn find(vocab: &Vocab, rank: u32, left: &[u8], right: &[u8]) -> Result<Merge, &'static str> {
        let into = vocab.find(&[left, right].concat()).ok_or("what it gives is no token")?;
        let left = vocab.find(left).ok_or("the left part is no token")?;
        let right = vocab.find(right).ok_or("the right part is no token")?;
        Ok(Merge { left, right, rank, into })
    }
}

/// Which neighbours may be joined, and in which order.
#[derive(Debug)]
pub(crate) enum Merges {
    /// Listed pairs, ordered by left, right, rank.
    Ranked(Vec<Merge>),
    /// Any two whose joint text is a token; the higher its score, the earlier. By id.
    Scored(Vec<f32>),
}

/// A run of the word's bytes that is, so far, one token.
struct Symbol {
    bytes: Range<usize>,
    /// None for a character that the vocabulary lacks.
    id: Option<u32>,
    previous: Option<usize>,
    next: Option<usize>,
}

/// A pair that may be joined; the first in this order is joined first.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    order: u32,
    left: usize,
    /// Bytes of the joint text: tells a candidate whose parts have changed.
    len: usize,
    right: usize,
    into: u32,
}

impl Merges {
    pub(crate) fn ranked(mut merges: Vec<Merge>) -> Merges {
        merges.sort_unstable();
        Merges::Ranked(merges)
    }

    /// Appends the tokens of `word`.
    pub(crate) fn encode(&self, vocab: &Vocab, units: Units, word: &str, ids: &mut Vec<u32>) {
        let word = word.as_bytes();
        let mut symbols = symbols(vocab, units, word);
        let mut heap = BinaryHeap::new();
        for left in 0..symbols.len() {
            self.consider(vocab, word, &symbols, Some(left), &mut heap);
        }
        while let Some(Reverse(candidate)) = heap.pop() {
            if !still_there(&symbols, &candidate) {
                continue;
            }
            join(&mut symbols, &candidate);
            self.consider(vocab, word, &symbols, symbols[candidate.left].previous, &mut heap);
            self.consider(vocab, word, &symbols, Some(candidate.left), &mut heap);
        }
        for symbol in symbols.iter().filter(|s| !s.bytes.is_empty()) {
            match symbol.id {
                Some(id) => ids.push(id),
                None => ids.extend(word[symbol.bytes.clone()].iter().filter_map(|&b| vocab.byte(b))),
            }
        }
    }

    /// Puts `left` and its right neighbour on the heap if they can be joined.
    fn consider(&self, vocab: &Vocab, word: &[u8], symbols: &[Symbol], left: Option<usize>, heap: &mut Heap) {
        let Some(left) = left else { return };
        let Some(right) = symbols[left].next else { return };
        let joint = symbols[left].bytes.start..symbols[right].bytes.end;
        let len = joint.len();
        let found = match self {
            Merges::Ranked(merges) => ranked(merges, symbols[left].id, symbols[right].id),
            Merges::Scored(scores) => {
                vocab.find(&word[joint]).map(|id| (descending(scores.get(id as usize).copied().unwrap_or(0.0)), id))
            }
        };
        if let Some((order, into)) = found {
            heap.push(Reverse(Candidate { order, left, len, right, into }));
        }
    }
}

type Heap = BinaryHeap<Reverse<Candidate>>;

fn ranked(merges: &[Merge], left: Option<u32>, right: Option<u32>) -> Option<(u32, u32)> {
    let (left, right) = (left?, right?);
    let at = merges.partition_point(|m| (m.left, m.right) < (left, right));
    let merge = merges.get(at).filter(|m| (m.left, m.right) == (left, right))?;
    Some((merge.rank, merge.into))
}

/// A number that is smaller the larger `score` is.
fn descending(score: f32) -> u32 {
    let bits = score.to_bits();
    if bits >> 31 == 0 { !(bits | 1 << 31) } else { bits }
}

fn symbols(vocab: &Vocab, units: Units, word: &[u8]) -> Vec<Symbol> {
    let is_start = |&at: &usize| units == Units::Bytes || at == word.len() || word[at] & 0xC0 != 0x80;
    let cuts: Vec<usize> = (0..=word.len()).filter(is_start).collect();
    let count = cuts.len() - 1;
    let symbol = |(at, cut): (usize, &[usize])| Symbol {
        id: vocab.find(&word[cut[0]..cut[1]]),
        bytes: cut[0]..cut[1],
        previous: at.checked_sub(1),
        next: Some(at + 1).filter(|&n| n < count),
    };
    cuts.windows(2).enumerate().map(symbol).collect()
}

fn still_there(symbols: &[Symbol], candidate: &Candidate) -> bool {
    let (left, right) = (&symbols[candidate.left], &symbols[candidate.right]);
    let alive = !left.bytes.is_empty() && !right.bytes.is_empty();
    alive && left.next == Some(candidate.right) && right.bytes.end - left.bytes.start == candidate.len
}

fn join(symbols: &mut [Symbol], candidate: &Candidate) {
    let Candidate { left, right, into, .. } = *candidate;
    let end = symbols[right].bytes.end;
    symbols[left].bytes.end = end;
    symbols[left].id = Some(into);
    symbols[right].bytes = end..end;
    symbols[left].next = symbols[right].next;
    if let Some(after) = symbols[right].next {
        symbols[after].previous = Some(left);
    }
}
