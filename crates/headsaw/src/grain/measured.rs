//! A measurement beside the prediction: errors, and where the two say different things.

use super::arms::{Arm, Spot};
use super::curve::{Curve, Point};
use super::marks::Times;
use super::{Grain, overlap};
use crate::plan::Overlap;
use serde::Serialize;

/// What was measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Measured {
    /// Rounds: how often each cut was run.
    pub rounds: u32,
    /// Cuts, some in several places.
    pub points: Vec<Beside>,
    /// The middle of the errors without their signs.
    pub median_error: f64,
    /// The largest of them.
    pub worst_error: f64,
    /// What the prediction says, held against what was measured.
    pub claims: Vec<Claim>,
}

/// A cut, predicted and measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Beside {
    /// The curve, or what the cut is.
    pub curve: &'static str,
    /// Its size on the curve.
    pub size: Option<u32>,
    /// Seconds of a layer; on the curves over chunks and steps of its first half.
    pub predicted_seconds: f64,
    /// The same.
    pub measured_seconds: f64,
    /// Predicted ÷ measured − 1.
    pub error: f64,
}

/// What the prediction says of cuts, and the measurement.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Claim {
    /// What of: `shared` and `uncut` say how many times as fast as those the plan is, curves which size is the fastest.
    pub about: &'static str,
    /// By prediction: times, or a size; of overlaps 0 for none, 1 for heads, 2 for tokens.
    pub predicted: f64,
    /// By measurement.
    pub measured: f64,
    /// Of curves: how much longer than the fastest the predicted one was measured to take.
    pub behind: f64,
    /// Do they say the same?
    pub agrees: bool,
}

/// In the order that they are told in.
const CURVES: [&str; 8] = ["plan", "serial", "shared", "uncut", "tp", "chunk", "steps", "overlap"];

/// Who is behind by less than this was not foretold wrongly.
const CLOSE: f64 = 0.05;

impl Grain {
    /// Lays the times that were measured of each arm beside the prediction.
    pub fn lay(&mut self, arms: &[Arm], times: &[Option<Times>], rounds: u32) {
        let ran: Vec<(&Arm, Times)> =
            arms.iter().zip(times).filter_map(|(arm, times)| Some((arm, (*times)?))).collect();
        let at = |wanted: Spot| ran.iter().find(|(arm, _)| arm.spots.contains(&wanted)).map(|(_, times)| *times);
        fill(&mut self.tp_curve, |size| Some(at(Spot::Tp(size))?.seconds));
        fill(&mut self.chunk_curve, |size| Some(at(Spot::Chunk(size))?.attention));
        fill(&mut self.steps_curve, |size| Some(at(Spot::Steps(size))?.attention));
        let units = |spot| at(spot).map(|times| times.units).filter(|seconds| *seconds > 0.0);
        self.speedups.measured = units(Spot::Serial).zip(units(Spot::Here)).map(|(serial, here)| serial / here);
        let mut points: Vec<Beside> = ran.iter().flat_map(|(arm, times)| besides(arm, *times)).collect();
        points.sort_by_key(|point| (CURVES.iter().position(|curve| *curve == point.curve), point.size));
        let mut errors: Vec<f64> = points.iter().map(|point| point.error.abs()).collect();
        errors.sort_by(f64::total_cmp);
        self.measured = (!errors.is_empty()).then(|| Measured {
            rounds,
            median_error: errors[errors.len() / 2],
            worst_error: errors[errors.len() - 1],
            claims: claims(&points),
            points,
        });
    }
}

fn fill(curve: &mut Curve<Point>, measured: impl Fn(u32) -> Option<f64>) {
    for point in &mut curve.points {
        point.measured_seconds = measured(point.size);
    }
}

/// An arm in all its places.
fn besides(arm: &Arm, times: Times) -> impl Iterator<Item = Beside> {
    let predicted = arm.predicted;
    arm.spots.iter().map(move |spot| {
        let (curve, size, half) = place(*spot);
        let of = |times: Times| if half { times.attention } else { times.seconds };
        let (predicted_seconds, measured_seconds) = (of(predicted), of(times));
        Beside { curve, size, predicted_seconds, measured_seconds, error: predicted_seconds / measured_seconds - 1.0 }
    })
}

/// The curve of a spot, its size there, and whether the first half of a layer counts.
fn place(spot: Spot) -> (&'static str, Option<u32>, bool) {
    match spot {
        Spot::Here => ("plan", None, false),
        Spot::Serial => ("serial", None, true),
        Spot::Shared => ("shared", None, false),
        Spot::Uncut => ("uncut", None, false),
        Spot::Tp(size) => ("tp", Some(size), false),
        Spot::Chunk(size) => ("chunk", Some(size), true),
        Spot::Steps(size) => ("steps", Some(size), true),
        Spot::Overlap(overlap) => ("overlap", Some(overlap_number(overlap)), false),
    }
}

/// How overlaps are numbered on their curve.
pub fn overlap_number(overlap: Overlap) -> u32 {
    match overlap {
        Overlap::None => 0,
        Overlap::Heads => 1,
        Overlap::Tokens => 2,
    }
}

fn claims(points: &[Beside]) -> Vec<Claim> {
    let against = ["shared", "uncut"].into_iter().filter_map(|other| ratio(points, other));
    let fastest = ["tp", "chunk", "steps", "overlap"].into_iter().filter_map(|curve| fastest(points, curve));
    against.chain(fastest).collect()
}

/// How many times as fast the plan is as another cut.
fn ratio(points: &[Beside], other: &'static str) -> Option<Claim> {
    let find = |name: &str| points.iter().find(|point| point.curve == name);
    let (here, other_one) = (find("plan")?, find(other)?);
    let predicted = other_one.predicted_seconds / here.predicted_seconds;
    let measured = other_one.measured_seconds / here.measured_seconds;
    let agrees = word(predicted) == word(measured) || (predicted / measured - 1.0).abs() <= CLOSE;
    Some(Claim { about: other, predicted, measured, behind: 0.0, agrees })
}

/// Slower, the same, faster.
fn word(ratio: f64) -> i32 {
    i32::from(ratio > 1.0 + overlap::SAME) - i32::from(ratio < 1.0 - overlap::SAME)
}

/// Which size of a curve is the fastest.
fn fastest(points: &[Beside], curve: &'static str) -> Option<Claim> {
    let on = || points.iter().filter(|point| point.curve == curve);
    let least = |of: fn(&Beside) -> f64| on().min_by(|a, b| of(a).total_cmp(&of(b)));
    let foretold = least(|point| point.predicted_seconds)?;
    let found = least(|point| point.measured_seconds)?;
    let behind = foretold.measured_seconds / found.measured_seconds - 1.0;
    let size = |point: &Beside| f64::from(point.size.unwrap_or(0));
    let claim =
        Claim { about: curve, predicted: size(foretold), measured: size(found), behind, agrees: behind <= CLOSE };
    (on().count() > 1).then_some(claim)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(curve: &'static str, size: Option<u32>, predicted_seconds: f64, measured_seconds: f64) -> Beside {
        Beside { curve, size, predicted_seconds, measured_seconds, error: predicted_seconds / measured_seconds - 1.0 }
    }

    #[test]
    fn a_claim_agrees_where_nothing_is_lost_by_it() {
        let points = [point("tp", Some(1), 4.0, 4.0), point("tp", Some(2), 2.0, 2.06), point("tp", Some(3), 2.1, 2.0)];
        let claim = &claims(&points)[0];
        assert_eq!((claim.predicted, claim.measured, claim.agrees), (2.0, 3.0, true));
        let points = [point("tp", Some(1), 4.0, 1.0), point("tp", Some(2), 2.0, 2.0)];
        let claim = &claims(&points)[0];
        assert_eq!((claim.about, claim.behind, claim.agrees), ("tp", 1.0, false));
    }

    #[test]
    fn faster_and_slower_do_not_agree() {
        let points = |here| [point("plan", None, 1.0, here), point("shared", None, 0.8, 1.0)];
        let claim = |here| claims(&points(here)).remove(0);
        assert_eq!((claim(1.2).about, claim(1.2).agrees), ("shared", true));
        assert!(!claim(0.8).agrees && claim(0.8).measured == 1.25);
        assert!(claims(&[point("plan", None, 1.0, 1.0)]).is_empty());
    }
}
