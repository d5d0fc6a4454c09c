//! Orders: which micro-batch slots a stage takes one after the other, and which slot each sampled token lets in.
//!
//! One function an order. Lowering takes its sequence from here and knows no other; edges, sends and receives follow.

use crate::plan::{Order, Plan};
use crate::program::MicroId;

/// The slots of a round, as an order wants them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slots {
    /// For each stage, its slots in the order in which its devices take them.
    pub turns: Vec<Vec<MicroId>>,
    /// Slots that may enter the first stage when the program starts.
    pub open: Vec<MicroId>,
    /// For each slot, the one that may enter when this one's token has been sampled: its header is sent then.
    pub next: Vec<MicroId>,
}

/// The order of a plan.
///
/// What a slot carries is known only when its header comes, so a pipelined program must serve whole prompts, chunks of
/// prompts and generation in any mix. It can, for [`gpipe`], [`prompt_chunks`] and [`decode_micro_batches`] agree.
pub fn of(plan: &Plan) -> Slots {
    let (stages, micros) = (plan.stages.len(), plan.workload.micros);
    match plan.order {
        Order::Sequential => sequential(stages, micros),
        Order::Pipelined => gpipe(stages, micros),
    }
}

/// One slot at a time: it enters the first stage when the one before has left the last, the first one when the last has.
pub fn sequential(stages: usize, micros: u32) -> Slots {
    let next = slots(micros).map(|MicroId(slot)| MicroId((slot + 1) % micros)).collect();
    Slots { turns: in_turn(stages, micros), open: slots(micros).take(1).collect(), next }
}

/// GPipe's forward order: slots follow each other through the stages as fast as these take them (arXiv 1811.06965,
/// section 2.2, figure 2c). A slot's place is taken again when its own token is sampled.
pub fn gpipe(stages: usize, micros: u32) -> Slots {
    let own = || slots(micros).collect();
    Slots { turns: in_turn(stages, micros), open: own(), next: own() }
}

/// Consecutive slots are consecutive chunks of one prompt. A chunk reads the keys and values of those before it, so in
/// each layer it comes after them. That is [`gpipe`] with no choice left: there slots could be taken in any order that is
/// the same in all stages, chunks only in this one.
pub fn prompt_chunks(stages: usize, micros: u32) -> Slots {
    gpipe(stages, micros)
}

/// Each slot holds other sequences, one token of each. The next tokens enter when these have been sampled at the last
/// stage, and no other slot waits for them: as many slots as stages keep all stages busy. That too is [`gpipe`], here
/// with no choice left of what a token lets in.
pub fn decode_micro_batches(stages: usize, micros: u32) -> Slots {
    gpipe(stages, micros)
}

/// All slots by number, in every stage.
fn in_turn(stages: usize, micros: u32) -> Vec<Vec<MicroId>> {
    vec![slots(micros).collect(); stages]
}

fn slots(micros: u32) -> impl Iterator<Item = MicroId> {
    (0..micros).map(MicroId)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_pipelined_order_serves_prompts_chunks_and_generation() {
        for (stages, micros) in [(1, 1), (2, 3), (3, 2), (8, 8)] {
            let order = gpipe(stages, micros);
            assert_eq!(prompt_chunks(stages, micros), order);
            assert_eq!(decode_micro_batches(stages, micros), order);
        }
    }

    #[test]
    fn every_order_lets_each_slot_in_once_a_round() {
        for write in [sequential, gpipe, prompt_chunks, decode_micro_batches] {
            let Slots { turns, open, mut next } = write(3, 4);
            next.sort();
            let all: Vec<MicroId> = (0..4).map(MicroId).collect();
            assert_eq!(turns, vec![all.clone(); 3]);
            assert_eq!(next, all, "each slot is let in by one token");
            assert_eq!(open.first(), Some(&MicroId(0)), "the program can start");
        }
    }
}
