//! Two traces of one program side by side: what was predicted, and what was measured.
//!
//! Rounds that carry the same rows are compared with each other, a prompt's chunk with a prompt's chunk and a token with a
//! token. The figures of a kind of round are the medians of its rounds, without the first where there are more than two: it
//! finds caches cold and lanes asleep.

use super::figures::{Figures, Window, figures, whole_rounds};
use super::{Rounds, Trace};
use crate::plan::Plan;
use crate::program::Program;
use std::collections::{BTreeMap, BTreeSet};

/// A trace, with what went through.
#[derive(Debug, Clone, Copy)]
pub struct Side<'a> {
    /// What happened, or would.
    pub trace: &'a Trace,
    /// What each slot carried.
    pub rounds: &'a Rounds,
}

/// Something predicted and something measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pair<T> {
    /// What was predicted.
    pub predicted: T,
    /// What was measured.
    pub measured: T,
}

impl<T> Pair<T> {
    /// Something of both.
    pub fn map<'a, U>(&'a self, what: impl Fn(&'a T) -> U) -> Pair<U> {
        Pair { predicted: what(&self.predicted), measured: what(&self.measured) }
    }
}

impl Pair<f64> {
    /// Predicted ÷ measured − 1: 0.1 is 10 % too much. None where nothing was measured.
    pub fn error(&self) -> Option<f64> {
        (self.measured != 0.0).then(|| self.predicted / self.measured - 1.0)
    }
}

/// Two traces side by side.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// Kinds of rounds that both have, in the order in which they were measured.
    pub kinds: Vec<Kind>,
    /// Rows of the kinds of rounds that only one has, or has only in parts.
    pub alone: Vec<Vec<u32>>,
}

/// Rounds that carry the same rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Kind {
    /// Rows of each slot.
    pub rows: Vec<u32>,
    /// How many of them there are.
    pub rounds: Pair<usize>,
    /// Of one of them.
    pub figures: Pair<Figures>,
}

impl Comparison {
    /// All rounds together, as many of each kind as were measured.
    pub fn whole(&self) -> Option<Pair<Figures>> {
        let first = self.kinds.first()?;
        let sum = |side: fn(&Pair<Figures>) -> &Figures| {
            let zero = side(&first.figures).zero();
            self.kinds.iter().fold(zero, |sum, kind| sum.and(kind.rounds.measured as f64, side(&kind.figures)))
        };
        Some(Pair { predicted: sum(|pair| &pair.predicted), measured: sum(|pair| &pair.measured) })
    }
}

/// Compares two traces of a program. Of the same rounds in both, only those that both hold as a whole count.
pub fn compare(program: &Program, predicted: Side, measured: Side) -> Comparison {
    let windows = [predicted, measured].map(|side| whole_rounds(program, side.rounds, side.trace));
    let [one, other] = if predicted.rounds == measured.rounds { common(windows) } else { windows };
    let mut predictions: BTreeMap<Vec<u32>, Vec<Figures>> = by_rows(program, predicted, &one).into_iter().collect();
    let (mut kinds, mut alone) = (Vec::new(), Vec::new());
    for (rows, measured) in by_rows(program, measured, &other) {
        match predictions.remove(&rows) {
            Some(predicted) => {
                let rounds = Pair { predicted: predicted.len(), measured: measured.len() };
                let figures = Pair { predicted: usual(&predicted), measured: usual(&measured) };
                kinds.push(Kind { rows, rounds, figures });
            }
            None => alone.push(rows),
        }
    }
    alone.extend(predictions.into_keys());
    Comparison { kinds, alone }
}

/// Those of the same rounds.
fn common([one, other]: [Vec<Window>; 2]) -> [Vec<Window>; 2] {
    let numbers = |windows: &[Window]| windows.iter().map(|window| window.round).collect::<BTreeSet<u32>>();
    let both: BTreeSet<u32> = numbers(&one).intersection(&numbers(&other)).copied().collect();
    let kept = |windows: Vec<Window>| windows.into_iter().filter(|window| both.contains(&window.round)).collect();
    [kept(one), kept(other)]
}

/// The figures of the rounds of each kind, in their order; rounds that carry nothing are no kind.
fn by_rows(program: &Program, side: Side, windows: &[Window]) -> Vec<(Vec<u32>, Vec<Figures>)> {
    let (mut places, mut kinds) = (BTreeMap::new(), Vec::new());
    for (window, figures) in windows.iter().zip(figures(program, side.trace, windows)) {
        let rows: Vec<u32> = side.rounds.0[window.round as usize].iter().map(|load| load.rows()).collect();
        if rows.iter().all(|rows| *rows == 0) {
            continue;
        }
        let place = *places.entry(rows.clone()).or_insert_with(|| {
            kinds.push((rows, Vec::new()));
            kinds.len() - 1
        });
        kinds[place].1.push(figures);
    }
    kinds
}

/// The median of the rounds, without the first of more than two.
fn usual(rounds: &[Figures]) -> Figures {
    let from = usize::from(rounds.len() > 2);
    Figures::median(&rounds[from..].iter().collect::<Vec<_>>())
}

/// What two plans cut differently, by the names of their fields: traces of such plans can not be compared. Which devices
/// they are for, and what there is room for, may differ.
pub fn differences(one: &Plan, other: &Plan) -> Vec<&'static str> {
    let shape = |plan: &Plan| {
        let mut model = plan.model.clone();
        model.name.clear();
        model.mixed.clear(); // a shape without weights at hand knows of none
        model
    };
    let differ = [
        ("model", shape(one) != shape(other)),
        ("stages", one.stages != other.stages),
        ("exchange", one.exchange != other.exchange),
        ("order", one.order != other.order),
        ("lanes", one.lanes != other.lanes),
        ("steps", one.steps != other.steps),
        ("workload.micros", one.workload.micros != other.workload.micros),
        ("workload.numerics", one.workload.numerics != other.workload.numerics),
    ];
    differ.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
}
