//! What goes through a program: what each micro-batch slot carries, round by round.

use serde::{Deserialize, Serialize};

/// What a micro-batch carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Load {
    /// Sequences.
    pub sequences: u32,
    /// New tokens of each.
    pub tokens: u32,
    /// Cached tokens of each, before the new ones.
    pub past: u32,
}

impl Load {
    /// Nothing.
    pub const EMPTY: Load = Load { sequences: 0, tokens: 0, past: 0 };

    /// Rows of activations; none: the slot is empty.
    pub fn rows(&self) -> u32 {
        self.sequences.saturating_mul(self.tokens)
    }
}

/// What each micro-batch slot carries, round by round: `rounds[round][slot]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Rounds(pub Vec<Vec<Load>>);

impl Rounds {
    /// A prompt of each sequence in chunks, one chunk a slot: the cache grows from chunk to chunk.
    pub fn prompt_chunks(sequences: u32, tokens: u32, chunks: u32, past: u32) -> Rounds {
        let load = |i: u32| Load { sequences, tokens, past: past.saturating_add(i.saturating_mul(tokens)) };
        Rounds(vec![(0..chunks).map(load).collect()])
    }

    /// The same in every slot of one round: prompts (or chunks) of other sequences.
    pub fn equal(load: Load, micros: u32) -> Rounds {
        Rounds(vec![vec![load; micros as usize]])
    }

    /// Generation: each slot adds one token a round to each of its sequences.
    pub fn generation(sequences: u32, past: u32, micros: u32, rounds: u32) -> Rounds {
        let load = |round: u32| Load { sequences, tokens: 1, past: past.saturating_add(round) };
        Rounds((0..rounds).map(|round| vec![load(round); micros as usize]).collect())
    }
}
