//! What all runs of the demo share: model, prompt, cuts; and one run.

use super::{Args, STEPS};
use crate::cluster::LOCAL;
use crate::engine;
use crate::error::Failure;
use crate::interrupt::{self, Cleanly};
use crate::lang::Lang;
use crate::model::Model;
use crate::output::{Screen, hex};
use crate::place::Site;
use crate::stream::Text;
use headsaw::lower::lower;
use headsaw::plan::{self, CutRequest, Exchange, Flow as HeadFlow, HeadSteps, Order, Overlap, Plan};
use headsaw::spec::cluster::{Cluster, Links};
use headsaw::spec::workload::{Activations, KvDtype, Numerics, Workload};
use headsaw::verify;
use headsaw_run::generate::{DeviceReport, Engine, Event, Flow, Options, Report};
use headsaw_run::sample::Sampling;
use headsaw_run::tokenizer::Tokenizer;

use super::words::{self, Words};

/// What all runs share.
pub struct Stage<'a> {
    pub args: &'a Args,
    pub model: Model,
    pub tokenizer: Tokenizer,
    pub prompt: Vec<u32>,
    pub lang: Lang,
    pub words: &'a Words,
    pub screen: Screen,
}

/// One run's outcome.
pub struct Ran {
    /// Of each device: `3+3+2`.
    pub heads: String,
    pub digest: String,
    pub tokens: Vec<u32>,
    pub text: String,
    pub devices: Vec<DeviceReport>,
}

/// A cut over some devices, without steps and with.
pub struct Cuts {
    pub whole: Plan,
    pub cut: Plan,
}

impl<'a> Stage<'a> {
    pub fn new(args: &'a Args, json: bool) -> Result<Stage<'a>, Failure> {
        let model = Model::embedded()?;
        let tokenizer = Tokenizer::from_model(engine::weights(&model)?).map_err(Failure::failed)?;
        let prompt = tokenizer.encode(&args.prompt, true).map_err(Failure::input)?;
        if args.prompt.is_empty() || prompt.is_empty() {
            return Err(Failure::input("-p: an empty prompt; it needs at least one character"));
        }
        let room = model.spec.context as usize;
        if prompt.len() + args.tokens as usize > room {
            return Err(Failure::Input(format!(
                "-p of {} tokens and -n {}: the context holds {room}; take fewer",
                prompt.len(),
                args.tokens
            )));
        }
        let lang = Lang::or_environment(args.lang);
        Ok(Stage { args, model, tokenizer, prompt, lang, words: words::of(lang), screen: Screen { json } })
    }

    /// The default cut over this many devices for the prompt.
    pub fn plan(&self, tp: u32) -> Result<Cuts, Failure> {
        let prompt = self.prompt.len() as u32;
        self.plan_for(tp, prompt, prompt + self.args.tokens)
    }

    /// The default cut over this many devices, and the same with a lane for each step of a head; checked.
    pub fn plan_for(&self, tp: u32, tokens: u32, context: u32) -> Result<Cuts, Failure> {
        let cores = std::thread::available_parallelism().map_or(1, |n| n.get() as u32);
        let (exchange, order) = (Exchange::Reduce, Order::Pipelined);
        let lanes = (cores / tp).clamp(1, 2);
        let request = CutRequest { tp, pp: 1, device_weights: Vec::new(), lanes, exchange, order };
        let numerics = Numerics { activations: Activations::Int8, kv: KvDtype::F16 };
        let workload = Workload { batch: 1, tokens, micros: 1, context, sequences: 1, numerics };
        let whole = plan::cut(&self.model.spec, workload, &request).map_err(Failure::failed)?;
        let three = "3".parse().map_err(Failure::failed)?;
        let flow = HeadFlow { cut: three, chunk: 1, interleave: 1, overlap: Overlap::Heads };
        let cut = Plan { lanes: STEPS, steps: Some(HeadSteps::in_turn(flow, STEPS)), ..whole.clone() };
        Ok(Cuts { whole: sound(whole)?, cut: sound(cut)? })
    }

    /// This machine as so many devices, with the link between them.
    pub fn cluster(&self, plan: &Plan) -> Result<Cluster, Failure> {
        let site = Site::find(&format!("{LOCAL}x{}", plan.devices.len()))?;
        Ok(site.over(self.args.link)?.cluster)
    }

    /// The model, cut.
    pub fn load(&self, plan: &Plan) -> Result<Engine, Failure> {
        engine::load(engine::weights(&self.model)?, plan, self.args.compute.compute()?)
    }

    /// Runs of this many tokens, over the link.
    pub fn options(&self, tokens: usize) -> Options {
        let sampling = Sampling { temperature: 0.6, top_k: 40, top_p: 1.0, seed: self.args.seed };
        let links = self.args.link.map_or_else(Links::default, Links::all);
        Options { sampling, links, ..Options::greedy(tokens) }
    }

    /// Generates from the prompt.
    pub fn run(&self, plan: &Plan) -> Result<Ran, Failure> {
        let mut engine = self.load(plan)?;
        let report = once(&mut engine, &self.prompt, &self.options(self.args.tokens as usize))?;
        let tokens = report.outputs[0].tokens.clone();
        let mut text = Text::default();
        tokens.iter().for_each(|token| {
            text.push(&self.tokenizer, *token, &[]);
        });
        text.finish(&[]);
        let (text, digest) = (text.text().to_string(), hex(&report.logits_digest));
        Ok(Ran { heads: head_counts(plan), digest, tokens, text, devices: engine.devices() })
    }
}

/// One run that Ctrl-C ends.
pub fn once(engine: &mut Engine, prompt: &Vec<u32>, options: &Options) -> Result<Report, Failure> {
    let cleanly = Cleanly::begin();
    let mut go_on = |_: Event| if interrupt::asked() { Flow::Cancel } else { Flow::Continue };
    let report = engine.generate(std::slice::from_ref(prompt), options, &mut go_on)?;
    let interrupted = interrupt::asked();
    drop(cleanly);
    if interrupted { Err(Failure::Interrupted) } else { Ok(report) }
}

fn sound(plan: Plan) -> Result<Plan, Failure> {
    let mut wrong = verify::plan(&plan);
    if wrong.is_empty() {
        wrong = verify::program(&lower(&plan));
    }
    wrong.first().map_or(Ok(plan), |violation| Err(Failure::failed(violation)))
}

fn head_counts(plan: &Plan) -> String {
    let counts = plan.stages[0].slices.iter().map(|slice| (slice.heads.end - slice.heads.start).to_string());
    counts.collect::<Vec<_>>().join("+")
}
