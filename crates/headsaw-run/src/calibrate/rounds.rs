//! Rounds of a measurement. The quarter mark counts: what disturbs some rounds makes them longer, and the best ones of
//! a memory whose rate comes and goes are no rate that lasts.

use std::time::{Duration, Instant};

/// However long they take.
const ROUNDS_LEAST: usize = 4;

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
        while self.seconds.len() < ROUNDS_LEAST || begun.elapsed() < self.budget {
            self.seconds.push(round());
        }
        self.seconds.sort_by(f64::total_cmp);
        (self.tick)();
        self.seconds[self.seconds.len() / 4].max(f64::MIN_POSITIVE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quarter_mark_counts() {
        let (mut ticks, mut times) = (0, [8.0, 1.0, 4.0, 2.0].into_iter());
        let mut tick = || ticks += 1;
        let mut rounds = Rounds::new(Duration::ZERO, &mut tick);
        assert_eq!(rounds.timed(|| times.next().unwrap()), 2.0);
        assert_eq!(ticks, 1);
    }
}
