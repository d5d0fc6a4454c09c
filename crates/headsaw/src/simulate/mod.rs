//! Plays a program against a cost model: an event loop over lanes, the same trace on every run.
//!
//! A lane does its actions in order. It waits for values that other lanes of its device make, for messages, and for the
//! other members of a collective; the rest is the twin of the runtime's lane. Lanes that share a device's memory and
//! units slow each other down while they are busy at the same time ([`crate::cost::Domain`]): a fluid model, in which the
//! speed of every busy lane changes when another begins or ends. Over a shaped link ([`crate::spec::cluster::Link`]) a lane
//! waits for what is on its way, and uses no core meanwhile.

mod play;
mod ports;
mod prepare;
mod share;
mod times;

use crate::cost::CostModel;
use crate::program::Program;
pub use crate::trace::Rounds;
use crate::trace::Trace;
use prepare::Prepared;

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
