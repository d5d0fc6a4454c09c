//! Curves over the cut: heads of a device, heads of a chunk, parts of the step cut, devices that share a layer.

use super::half::{self, Range, half};
use super::layer::times;
use super::marks::Times;
use super::place::{Case, usual_cuts};
use crate::cost::Load;
use crate::plan::{Flow, Plan, StepCut};
use crate::simulate::Stuck;
use serde::Serialize;

/// Points of growing size, and which of them matter.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Curve<P> {
    /// The points.
    pub points: Vec<P>,
    /// The knee: of heads the first whose time is a quarter longer than that of one head; of others the first that is
    /// within the allowed loss of the fastest.
    #[serde(skip)]
    pub knee: Option<usize>,
    /// What the plan has.
    #[serde(skip)]
    pub choice: Option<usize>,
}

/// So many heads on a device.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct HeadPoint {
    /// Q heads on the device.
    pub heads: u32,
    /// KV heads with them.
    pub kv_heads: u32,
    /// Devices that share the model's heads then.
    pub tp: u32,
    /// Score, softmax and context of all these heads.
    pub seconds: f64,
    /// With `project` and `merge`.
    pub half_seconds: f64,
    /// The exchange behind it among these devices.
    pub exchange_seconds: f64,
    /// Share of `half_seconds` lost against a device full of heads.
    pub loss: f64,
    /// It is the knee.
    pub knee: bool,
    /// It is what the plan has.
    pub choice: bool,
}

/// A size, and what it costs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Point {
    /// The size: heads of a chunk, parts of the step cut, devices.
    pub size: u32,
    /// The step cut, on the curve over its parts.
    pub cut: Option<StepCut>,
    /// Seconds of the layer's first half; over devices, of the layer.
    pub seconds: f64,
    /// The same as measured, where it was.
    pub measured_seconds: Option<f64>,
    /// Share lost against the fastest; over devices, against an even share of one device's time.
    pub loss: f64,
    /// It is the knee.
    pub knee: bool,
    /// It is what the plan has.
    pub choice: bool,
}

/// Longer than one head by this: the knee.
const KNEE: f64 = 1.25;

/// All curves of a case.
pub struct Curves {
    pub heads: Curve<HeadPoint>,
    pub chunk: Curve<Point>,
    pub steps: Curve<Point>,
    pub tp: Curve<Point>,
    /// The fewest heads of a device that lose no more than allowed.
    pub smallest_heads: u32,
    /// The same of a chunk.
    pub smallest_chunk: u32,
}

impl Curves {
    /// Draws them.
    pub fn of(case: &Case) -> Result<Curves, Stuck> {
        let chunk = chunk_curve(case)?;
        let range = Range::of(case, case.load);
        let smallest_chunk = chunk.knee.map_or(case.heads(), |at| chunk.points[at].size);
        Ok(Curves {
            heads: head_curve(case, &range),
            chunk,
            steps: steps_curve(case)?,
            tp: tp_curve(case)?,
            smallest_heads: range.smallest(case.loss),
            smallest_chunk,
        })
    }
}

fn head_curve(case: &Case, range: &Range) -> Curve<HeadPoint> {
    let (load, all) = (case.load, case.plan.model.heads);
    let group = all / case.plan.model.kv_heads;
    let point = |heads: u32| {
        let half = half(case, heads, load);
        let tp = all.div_ceil(heads);
        HeadPoint {
            heads,
            kv_heads: heads.div_ceil(group),
            tp,
            seconds: half.attend,
            half_seconds: half.seconds(),
            exchange_seconds: half::exchange(case, tp, load),
            loss: range.loss(heads, half.seconds()),
            knee: false,
            choice: heads == case.heads(),
        }
    };
    let mut points: Vec<HeadPoint> = sizes(all, case.heads()).into_iter().map(point).collect();
    let knee = points.iter().position(|point| point.seconds >= KNEE * points[0].seconds);
    if let Some(at) = knee {
        points[at].knee = true;
    }
    let choice = points.iter().position(|point| point.choice);
    Curve { points, knee, choice }
}

/// Round numbers up to the most, and one more.
pub fn sizes(most: u32, own: u32) -> Vec<u32> {
    let round = (0..).flat_map(|power| [2u32 << power, 3 << power]).take_while(|size| *size < most);
    let mut sizes: Vec<u32> =
        [1, most, own].into_iter().chain(round).filter(|size| (1..=most).contains(size)).collect();
    sizes.sort_unstable();
    sizes.dedup();
    sizes
}

fn chunk_curve(case: &Case) -> Result<Curve<Point>, Stuck> {
    chunks(case, &case.plan, case.stage, (case.heads(), case.chunk()), case.load)
}

/// The curve over chunks of a plan with so many heads on a device, and its own chunk.
pub fn chunks(
    case: &Case,
    plan: &Plan,
    stage: usize,
    (heads, own): (u32, u32),
    load: Load,
) -> Result<Curve<Point>, Stuck> {
    let point = |chunk: u32| {
        let layer = times(&case.placed(plan, Flow { chunk, ..case.flow() }), stage, &case.roomy, load)?;
        Ok(Point::new(chunk, layer.attention, chunk == own))
    };
    let points = sizes(heads, own).into_iter().map(point).collect::<Result<_, _>>()?;
    Ok(against_fastest(points, case.loss))
}

fn steps_curve(case: &Case) -> Result<Curve<Point>, Stuck> {
    let point = |cut: StepCut| {
        let (parts, choice) = (cut.parts().len() as u32, cut == case.steps().cut);
        let layer = played(case, Flow { cut: cut.clone(), ..case.flow() })?;
        Ok(Point { cut: Some(cut), ..Point::new(parts, layer.attention, choice) })
    };
    let own = case.steps().cut.clone();
    let unusual = usual_cuts().all(|cut| cut != own).then_some(own);
    let points = usual_cuts().chain(unusual).map(point).collect::<Result<_, _>>()?;
    Ok(against_fastest(points, case.loss))
}

fn played(case: &Case, flow: Flow) -> Result<Times, Stuck> {
    times(&case.with_flow(flow), case.stage, case.cluster, case.load)
}

/// Every number of devices up to 16, then doublings: a layer with all heads of a device in one chunk, nothing hidden.
fn tp_curve(case: &Case) -> Result<Curve<Point>, Stuck> {
    let most = case.plan.model.heads;
    let doubled = std::iter::successors(Some(32u32), |tp| tp.checked_mul(2)).take_while(|tp| *tp <= most);
    let mut sizes: Vec<u32> = (1..=16).chain(doubled).chain([case.tp(), most]).filter(|tp| *tp <= most).collect();
    sizes.sort_unstable();
    sizes.dedup();
    let point = |tp: u32| {
        let layer = times(&case.with_tp(tp), 0, &case.roomy, case.load)?;
        Ok(Point::new(tp, layer.seconds, tp == case.tp()))
    };
    let mut points: Vec<Point> = sizes.into_iter().map(point).collect::<Result<_, _>>()?;
    let one = points[0].seconds;
    for point in &mut points {
        point.loss = lost(one / f64::from(point.size), point.seconds);
    }
    let fastest = points.iter().map(|point| point.seconds).fold(f64::INFINITY, f64::min);
    Ok(marked(points, fastest / (1.0 - case.loss)))
}

impl Point {
    fn new(size: u32, seconds: f64, choice: bool) -> Point {
        Point { size, cut: None, seconds, measured_seconds: None, loss: 0.0, knee: false, choice }
    }
}

fn lost(ideal: f64, seconds: f64) -> f64 {
    if seconds > 0.0 { (1.0 - ideal / seconds).clamp(0.0, 1.0) } else { 0.0 }
}

fn against_fastest(mut points: Vec<Point>, loss: f64) -> Curve<Point> {
    let fastest = points.iter().map(|point| point.seconds).fold(f64::INFINITY, f64::min);
    for point in &mut points {
        point.loss = lost(fastest, point.seconds);
    }
    marked(points, fastest / (1.0 - loss))
}

/// The knee is the first that takes no longer than allowed.
fn marked(mut points: Vec<Point>, allowed: f64) -> Curve<Point> {
    let knee = points.iter().position(|point| point.seconds <= allowed);
    if let Some(at) = knee {
        points[at].knee = true;
    }
    let choice = points.iter().position(|point| point.choice);
    Curve { points, knee, choice }
}
