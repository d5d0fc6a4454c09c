//! Plays a program against a cost model: an event loop over lanes, the same trace on every run.
//!
//! A lane does its actions in order. It waits for values that other lanes of its device make, for messages, and for the
//! other members of a collective; the rest is the twin of the runtime's lane. Lanes that share a device's memory and
//! units slow each other down while they are busy at the same time ([`crate::cost::Domain`]): a fluid model, in which the
//! speed of every busy lane changes when another begins or ends.

mod play;
mod prepare;
mod share;
mod times;

use crate::cost::{CostModel, Load};
use crate::program::Program;
use crate::trace::Trace;
use prepare::Prepared;

/// What each micro-batch slot carries, round by round: `rounds[round][slot]`.
#[derive(Debug, Clone, PartialEq, Eq)]
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

/// A program that does not come to its end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Stuck {
    /// Lanes wait for each other for ever; who waits, and where.
    #[error("the program is stuck: {0}")]
    Waiting(String),
    /// Something would take for ever; what.
    #[error("{0} takes no finite time: look at the rates of the cluster")]
    Endless(String),
}

/// Plays a program that `verify::program` accepts. Panics where `rounds` has not a load for each of its slots.
///
/// # Errors
/// Where lanes wait for each other for ever, which verified programs do not, or a price is not finite.
pub fn simulate(program: &Program, cost: &dyn CostModel, rounds: &Rounds) -> Result<Trace, Stuck> {
    let slots = rounds.0.iter().all(|loads| loads.len() == program.micros as usize);
    assert!(slots, "a load for each of the {} micro-batch slots", program.micros);
    let prepared = Prepared::new(program, cost, rounds);
    prepared.endless().map_or_else(|| play::play(&prepared), |what| Err(Stuck::Endless(what)))
}
