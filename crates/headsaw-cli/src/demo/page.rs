//! The demo's page: one layer three times, the grain, the example with sliders.

use super::example::Example;
use super::stage::Stage;
use crate::{grain, page};
use headsaw::draw::html::{Name, Timeline, html};
use headsaw::grain::LOSS;

/// The page, as text of an HTML file.
pub fn text(stage: &Stage, example: &Example) -> String {
    let plan = &example.forecast.plan;
    let timelines = [
        (Name::Ideal, &example.ideal),
        (Name::Predicted, &example.layer.predicted),
        (Name::Measured, &example.layer.measured),
    ];
    let timelines = timelines.into_iter().map(|(name, picture)| Timeline { name, picture: picture.clone() });
    let title = (stage.words.title)(plan.model.heads, plan.devices.len() as u32);
    let page = page::page(stage.lang, title, timelines.collect(), plan);
    let view = grain::view(stage.lang, &example.forecast, &example.grain, LOSS);
    html(&page::with_grain(page, plan, &example.grain, view))
}
