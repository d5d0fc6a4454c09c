//! `headsaw plan`: writes the default plan of a cut.

use crate::auto::{self, Auto};
use crate::cut::CutArgs;
use crate::error::Failure;
use crate::forecast::ForecastArgs;
use crate::model::Model;
use crate::output::{self, say};
use crate::place::{self, ClusterArgs};
use crate::scene::Phase;
use crate::subject::Subject;
use crate::verify;
use headsaw::plan::Plan;
use serde::Serialize;
use std::path::PathBuf;

/// Write the default plan of a cut
///
/// Writes the default plan of a cut: which device holds which heads, MLP columns, vocabulary rows and layers. The file
/// is meant to be read and edited; `headsaw verify` says whether it still holds together. (Searching for the best plan
/// comes later.)
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  headsaw plan smollm2-135m --tp 4 -o plan.json
  headsaw plan model.gguf --device-weights 2:1:1 --lanes 2 -o plan.json
  headsaw plan llama-3.1-70b --tp 8 --pp 2 --cluster h100x16 -o plan.json
  headsaw plan smollm2-135m --tp 2 --link 1Gbit/s,50us --exchange auto --prompt 512 -o plan.json
  headsaw plan llama-3.1-70b --tp 8 --steps 3 --chunk 2 | headsaw verify -")]
pub struct Args {
    /// GGUF file, Hugging Face folder, config.json or preset
    model: String,
    /// Where to write the plan; - is standard output
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    output: PathBuf,
    /// What auto is to be fast at: prompts, or generation
    #[arg(long = "for", value_name = "PHASE", default_value = "prefill")]
    phase: Phase,
    /// Tokens of the prompt that auto looks at; while generating, those in the cache [default: 2048, at most what there is
    /// room for]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    prompt: Option<u32>,
    #[command(flatten)]
    cluster: ClusterArgs,
    #[command(flatten)]
    cut: CutArgs,
}

#[derive(Serialize)]
struct Json<'a> {
    model: &'a str,
    file: Option<&'a PathBuf>,
    plan: &'a Plan,
    auto: Option<Auto>,
}

impl Args {
    /// What the flags leave open, chosen by prediction.
    fn auto(&self) -> Result<Option<Auto>, Failure> {
        if !auto::asked(&self.cut) {
            return Ok(None);
        }
        let forecast = ForecastArgs {
            subject: self.model.clone(),
            cluster: self.cluster.clone(),
            phase: self.phase,
            prompt: self.prompt,
            batch: None,
            dp: None,
            cut: self.cut.clone(),
            usual_prompt: None,
            here: None,
        };
        Ok(forecast.resolve()?.auto)
    }
}

/// Makes the plan, checks it, writes it.
pub fn act(args: &Args, json: bool) -> Result<(), Failure> {
    let model = Model::find(&args.model)?;
    let file = (args.output.as_os_str() != "-").then_some(&args.output);
    file.map_or(Ok(()), |path| output::writable(path))?;
    let auto = args.auto()?;
    auto.iter().for_each(Auto::tell);
    let cut = auto.as_ref().map_or_else(|| args.cut.clone(), |auto| auto::flags(&args.cut, &auto.arm));
    let subject = Subject::of(model, &cut)?;
    let (plan, site) = subject.placed(&cut, &args.cluster)?;
    let violations = place::violations(&plan, site.as_ref(), &cut);
    if site.is_some() && !violations.is_empty() {
        return Err(verify::refuse(&args.model, &violations)); // a plan for devices that can not hold it is none
    }
    let text = serde_json::to_string_pretty(&plan).map_err(Failure::failed)? + "\n";
    if let Some(path) = file {
        output::write_file(path, |file| file.write_all(text.as_bytes()))?;
        say(&format!("wrote {}\n", path.display()));
    }
    for violation in &violations {
        say(&format!("{} {violation}\n", output::styled(output::BAD, "note:")));
    }
    if json {
        return output::print_json(&Json { model: &plan.model.name, file, plan: &plan, auto });
    }
    if file.is_none() { output::print(&text) } else { Ok(()) }
}
