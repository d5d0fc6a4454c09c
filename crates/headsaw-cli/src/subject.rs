//! PLAN|MODEL on the command line: a plan file, or a model and the cut that the flags make.

use crate::cut::{CutArgs, Demand, parse_plan};
use crate::error::{Failure, both};
use crate::form::is_trace;
use crate::model::{Model, read_text};
use crate::place::{ClusterArgs, Site};
use headsaw::plan::Plan;
use headsaw::spec::model::ModelSpec;
use std::collections::BTreeMap;
use std::path::Path;

/// What a verb is about.
#[derive(Debug)]
pub enum Subject {
    /// A plan: a file, or `--plan` of a model; and the name of the file.
    Plan(Box<Plan>, String),
    /// A model, to be cut by the flags.
    Model(Box<Model>),
}

impl Subject {
    /// The plan from the file if it is one, else the model.
    pub fn find(given: &str, cut: &CutArgs) -> Result<Subject, Failure> {
        if is_trace(Path::new(given)) {
            return Err(Failure::Input(format!(
                "{given}: a trace, which `compare`, `draw` and `verify` take; expected a plan or a model"
            )));
        }
        if crate::hub::is_name(given) {
            return Subject::of(Model::find(given)?, cut);
        }
        let Some(text) = plan_text(Path::new(given))? else {
            let model = Model::find(given)?;
            return Subject::of(model, cut);
        };
        if let Some(other) = &cut.plan {
            return Err(Failure::Input(format!("{given}: a plan already; leave out --plan {}", other.display())));
        }
        Ok(Subject::Plan(Box::new(parse_plan(given, &text)?), given.into()))
    }

    /// A model, or the plan of `--plan` for it.
    pub fn of(model: Model, cut: &CutArgs) -> Result<Subject, Failure> {
        let file = cut.plan.as_ref().map_or_else(String::new, |path| path.display().to_string());
        Ok(match cut.base(&model)? {
            Some(plan) => Subject::Plan(Box::new(plan), file),
            None => Subject::Model(Box::new(model)),
        })
    }

    /// The shape of the model.
    pub fn model(&self) -> &ModelSpec {
        match self {
            Subject::Plan(plan, _) => &plan.model,
            Subject::Model(model) => &model.spec,
        }
    }

    /// The plan that there is already.
    pub fn base(&self) -> Option<&Plan> {
        match self {
            Subject::Plan(plan, _) => Some(plan),
            Subject::Model(_) => None,
        }
    }

    /// The cluster that the plan names, and the file that it does so in.
    pub fn named(&self) -> Option<(&str, &str)> {
        match self {
            Subject::Plan(plan, file) => plan.cluster.as_deref().map(|cluster| (file.as_str(), cluster)),
            Subject::Model(_) => None,
        }
    }

    /// The plan with the flags on top.
    pub fn plan(&self, cut: &CutArgs, demand: Option<Demand>, site: Option<&Site>) -> Result<Plan, Failure> {
        match self {
            Subject::Plan(plan, _) => cut.over(Plan::clone(plan), demand, site),
            Subject::Model(model) => cut.fresh(&model.spec, model.hash(), demand, site),
        }
    }

    /// The plan with the flags on top and the cluster that it is for; all that is wrong with either.
    pub fn placed(&self, cut: &CutArgs, cluster: &ClusterArgs) -> Result<(Plan, Option<Site>), Failure> {
        let site = cluster.site(self.named()).and_then(|site| site.map(|site| site.over(cut.link)).transpose());
        let plan = self.plan(cut, None, site.as_ref().ok().and_then(Option::as_ref));
        let (site, plan) = both(site, plan)?;
        let site = site.map(|site| site.sized(&plan)).transpose()?;
        Ok((plan, site))
    }
}

/// The text of a plan file; none for what can only be a model. A `.json` file is a plan unless it is a model's config.
fn plan_text(path: &Path) -> Result<Option<String>, Failure> {
    if path.as_os_str() != "-" {
        let json = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("json"));
        if !json || path.is_dir() || path.file_name().is_some_and(|name| name == "config.json") {
            return Ok(None);
        }
    }
    let text = read_text(path)?;
    let config = serde_json::from_str::<BTreeMap<String, serde_json::Value>>(&text)
        .is_ok_and(|keys| !keys.contains_key("stages") && keys.contains_key("architectures"));
    Ok((!config).then_some(text))
}
