//! Rounds of a measurement. The quarter mark counts: what disturbs some rounds makes them longer, and the best ones of
//! a memory whose rate comes and goes are no rate that lasts.

use std::time::{Duration, Instant};

/// Rounds that a measurement has at least, and how many budgets they may take: a long round alone tells enough.
const ROUNDS_LEAST: usize = 4;
const BUDGETS_MOST: u32 = 20;

/// Measures, and says so each time.
pub(super) struct Rounds<'a> {
    budget: Duration,
    tick: &'a mut dyn FnMut(),
    /// Seconds of the rounds of the measurement in hand.
    seconds: Vec<f64>,
}

impl Rounds<'_> {
    /// Rounds of a measurement go on for `budget`.
    pub fn new(budget: Duration, tick: &mut dyn FnMut()) -> Rounds<'_> {
        Rounds { budget, tick, seconds: Vec::new() }
    }

    /// The same, with rounds that go on so many times as long.
    pub fn longer(&mut self, times: u32) -> Rounds<'_> {
        Rounds { budget: self.budget * times, tick: self.tick, seconds: Vec::new() }
    }

    /// Seconds of a round.
    pub fn of(&mut self, mut round: impl FnMut()) -> f64 {
        self.timed(|| {
            let begun = Instant::now();
            round();
            begun.elapsed().as_secs_f64()
        })
    }

    /// Seconds of one of `count` equal things that a round does.
    pub fn each(&mut self, count: usize, mut one: impl FnMut()) -> f64 {
        self.of(|| (0..count).for_each(|_| one())) / count as f64
    }

    /// Of what rounds say themselves that they took.
    pub fn timed(&mut self, mut round: impl FnMut() -> f64) -> f64 {
        self.seconds.clear();
        let begun = Instant::now();
        while !enough(self.seconds.len(), begun.elapsed(), self.budget) {
            self.seconds.push(round());
        }
        (self.tick)();
        quarter(&mut self.seconds).max(f64::MIN_POSITIVE)
    }
}

/// Whether so many rounds that took so long are enough.
fn enough(rounds: usize, took: Duration, budget: Duration) -> bool {
    let budgets = if rounds < ROUNDS_LEAST { BUDGETS_MOST } else { 1 };
    rounds > 0 && took >= budget * budgets
}

fn quarter(seconds: &mut [f64]) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 4]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quarter_mark_counts() {
        assert_eq!(quarter(&mut [8.0, 1.0, 4.0, 2.0]), 2.0);
        let mut ticks = 0;
        let mut tick = || ticks += 1;
        assert_eq!(Rounds::new(Duration::ZERO, &mut tick).timed(|| 7.0), 7.0);
        assert_eq!(ticks, 1);
    }

    #[test]
    fn rounds_go_on_for_the_budget_and_few_long_ones_for_many() {
        let budget = Duration::from_secs(1);
        assert!(!enough(0, budget * 100, budget), "there is always one");
        assert!(!enough(1, budget * 2, budget) && !enough(3, budget * 19, budget));
        assert!(enough(1, budget * 20, budget), "one long round tells enough");
        assert!(enough(4, budget, budget) && !enough(4000, budget / 2, budget));
    }
}
