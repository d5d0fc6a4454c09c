//! The web page: what it is made of here, and writing it into a file.

use crate::error::Failure;
use crate::forecast::Forecast;
use crate::form::headline;
use crate::lang::Lang;
use crate::output::{self, say};
use headsaw::draw::html::{BARS_MOST, Example, GrainView, Lanes, Name, Page, Timeline, html};
use headsaw::draw::{Picture, View};
use headsaw::grain::{Grain, Level};
use headsaw::plan::Plan;
use headsaw::trace::Source;
use headsaw::units::Seconds;
use std::path::Path;

/// Draws the page and writes it; on one axis `timelines`, which may be none, beside the grain where it was asked for.
pub fn write(path: &Path, page: &Page) -> Result<(), Failure> {
    output::write_file(path, |file| file.write_all(html(page).as_bytes()))?;
    say(&format!("wrote {}\n", path.display()));
    Ok(())
}

/// A page of some timelines of a plan.
pub fn page(lang: Lang, title: String, timelines: Vec<Timeline>, plan: &Plan) -> Page {
    let example = Example::default();
    Page {
        title,
        lang: lang.into(),
        timelines,
        grain: None,
        example,
        model: Some(cut_of(plan, example.steps, example.lanes)),
    }
}

/// The same with the grain, and with the model's own steps for the sliders.
pub fn with_grain(page: Page, plan: &Plan, grain: &Grain, view: GrainView) -> Page {
    let example = Example::default();
    let (steps, lanes) = steps_of(grain).unwrap_or((example.steps, example.lanes));
    let model = Example { chunk: grain.chunk, ..cut_of(plan, steps, lanes) };
    Page { grain: Some(view), model: Some(model), ..page }
}

/// Pictures with their names, by where they come from.
pub fn timelines(pictures: Vec<Picture>) -> Vec<Timeline> {
    let named = |picture: Picture| {
        let name = if picture.source == Source::Simulated { Name::Predicted } else { Name::Measured };
        Timeline { name, picture }
    };
    pictures.into_iter().map(named).collect()
}

/// This part of the time, and as many actions as a page holds.
pub fn view(title: String, (from, to): (f64, f64)) -> View {
    View { title, from: Some(Seconds(from)), to: Some(Seconds(to)), most: Some(BARS_MOST), slot: None }
}

/// `Llama-3.1-8B on h100x8: tp 8 × pp 1`.
pub fn title(forecast: &Forecast, lang: Lang) -> String {
    headline(&forecast.plan, &forecast.cluster.name, &lang.words())
}

/// The sliders at a plan's heads, devices and chunk.
fn cut_of(plan: &Plan, steps: [f64; 3], lanes: Lanes) -> Example {
    let devices = plan.stages.first().map_or(1, |stage| stage.slices.len() as u32);
    let held = plan.model.heads.div_ceil(devices.max(1));
    let chunk = plan.steps.as_ref().map_or(1, |steps| steps.chunk).clamp(1, held);
    Example { heads: plan.model.heads, devices, chunk, steps, lanes, ..Example::default() }
}

/// The times of the three steps of a head, in slots of their mean, and who shares a lane; none of other cuts.
fn steps_of(grain: &Grain) -> Option<([f64; 3], Lanes)> {
    let of_step = |level: &&Level| level.step.is_some();
    let seconds: Vec<f64> = grain.levels.iter().filter(of_step).map(|level| level.seconds).collect();
    let seconds: [f64; 3] = seconds.try_into().ok()?;
    let mean = seconds.iter().sum::<f64>() / 3.0;
    let lanes = match grain.slots.lanes {
        1 => Lanes::One,
        2 => Lanes::Shared,
        _ => Lanes::Own,
    };
    (mean > 0.0).then(|| (seconds.map(|seconds| (20.0 * seconds / mean).round().max(1.0) / 20.0), lanes))
}
