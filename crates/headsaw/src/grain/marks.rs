//! When layers end in a trace, predicted or measured: how long each takes, and its first half.

use super::account::is_heads;
use crate::program::{Action, Gathered, NormSite, Op, Program, Summed};
use crate::trace::Trace;

/// Seconds of a layer on the devices of a stage.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Times {
    /// From the end of the layer before to its own.
    pub seconds: f64,
    /// Of that the first half: attention, and the exchange behind it.
    pub attention: f64,
    /// From the start of its first step of a head to the end of the last.
    pub units: f64,
}

impl Times {
    /// The median of each; none of nothing.
    pub fn median(times: &[Times]) -> Option<Times> {
        let middle = |of: fn(&Times) -> f64| {
            let mut values: Vec<f64> = times.iter().map(of).collect();
            values.sort_by(f64::total_cmp);
            let (half, odd) = (values.len() / 2, values.len() % 2 == 1);
            if odd { values[half] } else { (values[half - 1] + values[half]) / 2.0 }
        };
        (!times.is_empty()).then(|| Times {
            seconds: middle(|t| t.seconds),
            attention: middle(|t| t.attention),
            units: middle(|t| t.units),
        })
    }
}

/// First start and last end of some actions.
#[derive(Debug, Clone, Copy)]
struct Window(f64, f64);

impl Window {
    const NONE: Window = Window(f64::INFINITY, f64::NEG_INFINITY);

    fn add(&mut self, start: f64, end: f64) {
        (self.0, self.1) = (self.0.min(start), self.1.max(end));
    }

    fn length(self) -> f64 {
        (self.1 - self.0).max(0.0)
    }
}

/// What happened of a layer in a round.
#[derive(Debug, Clone, Copy)]
struct Marks {
    all: Window,
    half: Window,
    units: Window,
}

/// For each layer that a round of a trace goes through, how long it took; the first one from its own start.
pub fn layers(program: &Program, trace: &Trace, round: u32) -> Vec<Times> {
    let mut marks: Vec<Marks> = Vec::new();
    for span in trace.spans.iter().filter(|span| span.round == round) {
        let action = &program.lanes[span.lane as usize].actions[span.action as usize];
        let Some(layer) = action.layer else { continue };
        let layer = layer as usize;
        if marks.len() <= layer {
            marks.resize(layer + 1, Marks { all: Window::NONE, half: Window::NONE, units: Window::NONE });
        }
        let (start, end) = (span.start.0, span.end.0);
        marks[layer].all.add(start, end);
        if is_attention(action) {
            marks[layer].half.add(start, end);
        }
        if matches!(action.op, Op::Compute(step) if is_heads(step)) {
            marks[layer].units.add(start, end);
        }
    }
    let mut from = marks.first().map_or(0.0, |first| first.all.0);
    let times = marks.iter().map(|mark| {
        let times = Times {
            seconds: mark.all.1.max(from) - from,
            attention: mark.half.1.max(from) - from,
            units: mark.units.length(),
        };
        from = from.max(mark.all.1);
        times
    });
    times.collect()
}

/// Is it a part of a layer's first half?
fn is_attention(action: &Action) -> bool {
    match action.op {
        Op::Compute(step) => is_heads(step) || step == crate::program::Step::Norm(NormSite::Attention),
        Op::AllGather(_, what) => matches!(what, Gathered::Attended | Gathered::Normed(NormSite::Attention)),
        Op::AllReduce(_, sum) => sum == Summed::Merge,
        Op::Send(_) | Op::Recv(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_lies_in_the_middle_of_each() {
        let times = |seconds, attention| Times { seconds, attention, units: 1.0 };
        assert_eq!(Times::median(&[]), None);
        assert_eq!(Times::median(&[times(3.0, 1.0), times(1.0, 2.0), times(2.0, 9.0)]), Some(times(2.0, 2.0)));
        assert_eq!(Times::median(&[times(3.0, 1.0), times(1.0, 2.0)]), Some(times(2.0, 1.5)));
    }
}
