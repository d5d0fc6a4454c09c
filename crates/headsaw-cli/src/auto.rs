//! `auto`: of the cuts that the flags leave open the one that is the fastest by prediction.

use crate::cut::{CutArgs, ExchangeArg};
use crate::forecast::OVERLAPS;
use crate::output::{say, si};
use crate::steps::{OverlapArg, StepArgs};
use headsaw::plan::{Exchange, Overlap};
use serde::Serialize;

/// One way to fill in what is open.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Arm {
    /// How parts are brought together.
    pub exchange: Option<ExchangeArg>,
    /// What hides behind what; none: as the flags say.
    pub overlap: Option<Overlap>,
    /// Heads that go through the steps together; none: as usual.
    pub chunk: Option<u32>,
    /// No steps at all: all lanes share each product.
    pub whole: bool,
}

/// What was tried, and what was taken.
#[derive(Debug, Clone, Serialize)]
pub struct Auto {
    /// The fastest.
    pub taken: Tried,
    /// Of each exchange and overlap the fastest.
    pub tried: Vec<Tried>,
    /// The way that was taken.
    #[serde(skip)]
    pub arm: Arm,
}

/// A way that fits, and its time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Tried {
    /// How parts are brought together.
    pub exchange: Exchange,
    /// What hides behind what.
    pub overlap: Overlap,
    /// Heads of a chunk, where it was open.
    pub chunk: Option<u32>,
    /// By prediction.
    pub seconds: f64,
}

/// What a way makes: how it exchanges, what hides, its seconds, and those for equal work (by which ways are compared).
pub struct Made<T> {
    /// The way's.
    pub exchange: Exchange,
    /// The way's.
    pub overlap: Overlap,
    /// Seconds of what goes through it.
    pub seconds: f64,
    /// Seconds for equal work.
    pub cost: f64,
    /// What to go on with.
    pub made: T,
}

/// Does the cut leave anything open?
pub fn asked(cut: &CutArgs) -> bool {
    cut.exchange == Some(ExchangeArg::Auto) || cut.steps.overlap == Some(OverlapArg::Auto)
}

/// All ways, the plainest first; `heads`: of a device. On `threads` there may be no steps at all, and chunks of heads are
/// open too.
pub fn arms(cut: &CutArgs, planned_steps: bool, heads: u32, threads: bool) -> Vec<Arm> {
    let exchanges = match cut.exchange {
        Some(ExchangeArg::Auto) => vec![Some(ExchangeArg::Reduce), Some(ExchangeArg::Gather)],
        given => vec![given],
    };
    let overlaps: Vec<Arm> = match cut.steps.overlap {
        Some(OverlapArg::Auto) => overlaps(&cut.steps, planned_steps, heads, threads),
        _ => vec![Arm { exchange: None, overlap: None, chunk: cut.steps.chunk, whole: false }],
    };
    exchanges.into_iter().flat_map(|exchange| overlaps.iter().map(move |arm| Arm { exchange, ..*arm })).collect()
}

fn overlaps(steps: &StepArgs, planned_steps: bool, heads: u32, threads: bool) -> Vec<Arm> {
    let whole = threads && steps.chunk.is_none() && steps.steps.is_none() && !planned_steps;
    let arm = |overlap, chunk| Arm {
        exchange: None,
        overlap: Some(overlap),
        chunk,
        whole: whole && overlap == Overlap::None,
    };
    let open = threads && steps.chunk.is_none() && heads > 1;
    let halved = std::iter::successors(Some(1u32), |size| size.checked_mul(2)).take_while(|size| *size < heads);
    let sizes: Vec<Option<u32>> = if open { halved.map(Some).collect() } else { vec![steps.chunk] };
    let of = |overlap: &Overlap| -> Vec<Arm> {
        let sizes = if *overlap == Overlap::Heads { &sizes[..] } else { &[steps.chunk] };
        sizes.iter().map(|size| arm(*overlap, *size)).collect()
    };
    OVERLAPS.iter().flat_map(of).collect()
}

/// The flags that say what an arm does.
pub fn flags(cut: &CutArgs, arm: &Arm) -> CutArgs {
    let meant = |overlap| match overlap {
        Overlap::None => OverlapArg::None,
        Overlap::Heads => OverlapArg::Heads,
        Overlap::Tokens => OverlapArg::Tokens,
    };
    let overlap = if arm.whole { None } else { arm.overlap.map(meant).or(cut.steps.overlap) };
    CutArgs {
        exchange: arm.exchange,
        steps: StepArgs { overlap, chunk: arm.chunk, ..cut.steps.clone() },
        ..cut.clone()
    }
}

/// Tries all ways; the fastest, and what was tried. None where none fits.
pub fn fastest<T>(arms: &[Arm], mut make: impl FnMut(&Arm) -> Option<Made<T>>) -> Option<(Auto, T)> {
    let mut tried: Vec<(f64, Tried)> = Vec::new();
    let mut best: Option<(f64, Tried, Arm, T)> = None;
    for arm in arms {
        let Some(Made { exchange, overlap, seconds, cost, made }) = make(arm) else { continue };
        let one = Tried { exchange, overlap, chunk: arm.chunk, seconds };
        match tried.iter_mut().find(|(_, known)| (known.exchange, known.overlap) == (exchange, overlap)) {
            Some(known) if cost < known.0 => *known = (cost, one),
            Some(_) => {}
            None => tried.push((cost, one)),
        }
        if best.as_ref().is_none_or(|(least, ..)| cost < *least) {
            best = Some((cost, one, *arm, made));
        }
    }
    let (_, taken, arm, made) = best?;
    Some((Auto { taken, tried: tried.into_iter().map(|(_, one)| one).collect(), arm }, made))
}

impl Auto {
    /// Says what was taken, and why.
    pub fn tell(&self) {
        say(&format!("{}\n", self.words()));
    }

    /// `auto: gather heads, 2 at a time; predicted: reduce none 602 ms, gather heads 341 ms`.
    fn words(&self) -> String {
        let name = |one: &Tried| format!("{} {}", one.exchange.name(), one.overlap.name());
        let chunk = self.taken.chunk.map_or("".into(), |chunk| format!(", {chunk} at a time"));
        let others = self.tried.iter().map(|one| format!("{} {}", name(one), si(one.seconds, "s")));
        format!("auto: {}{chunk}; predicted: {}", name(&self.taken), others.collect::<Vec<_>>().join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open() -> CutArgs {
        let steps = StepArgs { overlap: Some(OverlapArg::Auto), ..StepArgs::default() };
        CutArgs { exchange: Some(ExchangeArg::Auto), steps, ..CutArgs::default() }
    }

    #[test]
    fn what_is_given_stays() {
        let fixed = CutArgs { exchange: Some(ExchangeArg::Gather), ..open() };
        assert!(arms(&fixed, false, 5, true).iter().all(|arm| arm.exchange == Some(ExchangeArg::Gather)));
        let mut chunk = open();
        chunk.steps.chunk = Some(2);
        let arms = arms(&chunk, false, 5, true);
        assert_eq!(arms.len(), 6);
        assert!(arms.iter().all(|arm| arm.chunk == Some(2) && !arm.whole));
    }

    #[test]
    fn threads_may_go_without_steps_and_in_chunks_of_any_size() {
        let arms = arms(&open(), false, 5, true);
        let chunks: Vec<_> =
            arms.iter().filter(|arm| arm.overlap == Some(Overlap::Heads)).map(|arm| arm.chunk).collect();
        assert_eq!(chunks, [Some(1), Some(2), Some(4), Some(1), Some(2), Some(4)]);
        assert_eq!(arms.iter().filter(|arm| arm.whole).count(), 2);
    }

    #[test]
    fn the_fastest_for_equal_work_is_taken_and_the_best_of_each_kind_told() {
        let (auto, made) = fastest(&arms(&open(), false, 5, true), |arm| {
            let gather = arm.exchange == Some(ExchangeArg::Gather);
            let seconds = f64::from(10 - arm.chunk.unwrap_or(0)) - if gather { 0.5 } else { 0.0 };
            let exchange = if gather { Exchange::Gather } else { Exchange::Reduce };
            let tokens = arm.overlap == Some(Overlap::Tokens);
            (!tokens).then_some(Made { exchange, overlap: arm.overlap?, seconds, cost: seconds, made: *arm })
        })
        .unwrap();
        assert_eq!((made.chunk, made.exchange), (Some(4), Some(ExchangeArg::Gather)));
        assert_eq!(auto.tried.len(), 4);
        assert!(
            auto.words().starts_with("auto: gather heads, 4 at a time; predicted: reduce none 10"),
            "{}",
            auto.words()
        );
    }
}
