//! `headsaw run`: prompts through a cut model.

use crate::auto::Auto;
use crate::chat::{Chat, ChatArgs};
use crate::converse::Talk;
use crate::cut::{CutArgs, CutJson, Demand};
use crate::engine::{self, ComputeArgs};
use crate::error::Failure;
use crate::foretell::{Expected, Ground};
use crate::form;
use crate::interrupt::{self, Cleanly};
use crate::model::Model;
use crate::output::{self, BOLD, print, print_json, say, styled};
use crate::place::ClusterArgs;
use crate::progress::Progress;
use crate::prompts::{self, PromptArgs};
use crate::report::{OutputJson, RunJson, Setup, summary};
use crate::stream::Text;
use headsaw::plan::Plan;
use headsaw::trace::{FORMAT, TraceFile};
use headsaw_run::generate::{Event, Flow, Options, Recorded, Report};
use headsaw_run::sample::Sampling;
use headsaw_run::tokenizer::Tokenizer;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

/// Run prompts through a cut model
///
/// Runs prompts through a model cut over devices (groups of threads that hold only their slices). The logits are the
/// same bits under every cut: compare the digests.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  headsaw run demo -p 'In the beginning' --tp 4
  headsaw run model.gguf -p 'Once upon a time' -n 64 --tp 3 --pp 2 --json
  headsaw run model.gguf -p 'Once upon a time' --tp 2 --link 1Gbit/s,50us --exchange auto
  headsaw run model.gguf --prompts questions.txt --temperature 0.7 --seed 1
  headsaw run model.gguf --chat --system 'Answer in one sentence.'
  echo 'The capital of France is' | headsaw run model.gguf -p - --stop '\\n' -n 16")]
pub struct Args {
    /// GGUF file or Hugging Face folder; demo is the model inside headsaw
    model: String,
    #[command(flatten)]
    cluster: ClusterArgs,
    #[command(flatten)]
    prompts: PromptArgs,
    #[command(flatten)]
    chat: ChatArgs,
    /// Tokens to generate for each prompt [default: 128, with --chat 512, or what the context has room for]
    #[arg(short = 'n', long, help_heading = "Generation", value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    tokens: Option<u32>,
    #[command(flatten)]
    sampling: SamplingArgs,
    /// End a text where this comes; may be repeated. \n, \t and \\ are what they usually are
    #[arg(long, help_heading = "Generation", value_name = "TEXT", allow_hyphen_values = true)]
    stop: Vec<String>,
    /// Go on after the model's end of text
    #[arg(long, help_heading = "Generation")]
    ignore_eos: bool,
    /// Write every logit that was sampled from: safetensors, f32, a tensor [tokens, V] a prompt
    #[arg(long, help_heading = "Generation", value_name = "FILE")]
    logits: Option<PathBuf>,
    /// Write down when each action of each lane began and ended: FILE.trace to keep, compare and draw, or a picture at
    /// once (.html .svg .json .pftrace). Of a long run the newest rounds
    #[arg(long, help_heading = "Generation", value_name = "FILE")]
    trace: Option<PathBuf>,
    #[command(flatten)]
    cut: CutArgs,
    #[command(flatten)]
    compute: ComputeArgs,
}

/// How a token is picked.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Generation")]
struct SamplingArgs {
    /// 0 takes the most likely token; higher is more random
    #[arg(long, value_name = "F", default_value_t = 0.0, allow_negative_numbers = true)]
    temperature: f32,
    /// Draw from the N most likely tokens only; 0 is all
    #[arg(long, value_name = "N", default_value_t = 0)]
    top_k: usize,
    /// Draw from the fewest tokens that together have this probability
    #[arg(long, value_name = "F", default_value_t = 1.0, allow_negative_numbers = true)]
    top_p: f32,
    /// The same seed draws the same tokens, under any cut
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
}

const TOKENS: u32 = 128;
/// An answer ends by itself, most often.
const ANSWER_TOKENS: u32 = 512;
/// Tokens of a conversation, where nobody says how long it gets.
const CONVERSATION: u32 = 4096;

/// Actions of each lane that a trace keeps.
const TRACED: usize = 1 << 16;

/// Prompts as people and as the model see them, and the texts that follow.
struct Work {
    tokenizer: Tokenizer,
    prompts: Vec<String>,
    ids: Vec<Vec<u32>>,
    stops: Vec<String>,
}

/// Runs the prompts, or a conversation.
pub fn act(args: &Args, json: bool) -> Result<(), Failure> {
    if args.chat.chat && args.prompts.is_empty() {
        return talk(args, json);
    }
    let prompts = args.prompts.read()?;
    args.logits.as_deref().map_or(Ok(()), output::writable)?;
    args.trace.as_deref().map_or(Ok(()), |path| form::check("--trace", path))?;
    let model = Model::find(&args.model)?;
    let file = engine::weights(&model)?;
    let tokenizer = Tokenizer::from_model(file).map_err(Failure::input)?;
    let chat = args.chat.find(&model, &tokenizer)?;
    let ids = ids(&tokenizer, chat.as_ref(), &prompts)?;
    if chat.is_none() && tokenizer.chat_template().is_some() && !json && io::stderr().is_terminal() {
        say("note: this model was taught to talk: --chat asks it as it expects to be asked\n");
    }
    let work = Work { ids, tokenizer, prompts, stops: stops(&args.stop)? };
    let ground = Ground::find(&args.cluster, &args.cut)?;
    let (plan, tokens, auto) = plan(args, &model, &work, &ground)?;
    let plan = engine::runnable(plan);
    let trace = args.trace.is_some().then_some(TRACED);
    let options = Options { links: ground.links(), trace, ..options(args, tokens, &work.tokenizer)? };
    let compute = args.compute.compute()?;
    let kernels = compute.name();
    engine::tell_crowded(&plan, json);
    let mut engine = engine::load(file, &plan, compute)?;
    let mut show = Show::new(&work, tokens, json);
    let cleanly = Cleanly::begin();
    let report = engine.generate(&work.ids, &options, &mut |event| show.event(event))?;
    let interrupted = interrupt::asked();
    drop(cleanly);
    let texts = show.end()?;
    say(&summary(&report, &engine));
    if json {
        let setup = Setup { model: &plan.model.name, cut: CutJson::of(&plan).over(ground.link()), auto, kernels };
        print_json(&RunJson::of(&setup, outputs(&work, &report, &texts), &report, &engine))?;
    }
    if let Some(path) = &args.logits {
        output::write_file(path, |file| write_logits(file, &report, plan.model.vocab))?;
    }
    if let (Some(path), Some(recorded)) = (&args.trace, &report.recorded) {
        write_trace(path, recorded, &plan, &ground)?;
    }
    if interrupted { Err(Failure::Interrupted) } else { Ok(()) }
}

/// The prompts' tokens, as they are or as the chat template has them.
fn ids(tokenizer: &Tokenizer, chat: Option<&Chat>, prompts: &[String]) -> Result<Vec<Vec<u32>>, Failure> {
    let ids = |text: &String| match chat {
        Some(chat) => chat.ask(tokenizer, text),
        None => tokenizer.encode(text, true).map_err(Failure::input),
    };
    prompts.iter().map(ids).collect()
}

/// Holds a conversation over standard input.
fn talk(args: &Args, json: bool) -> Result<(), Failure> {
    if args.logits.is_some() || args.trace.is_some() {
        return Err(Failure::input("--logits, --trace: of one run, not of a conversation: give --prompt with --chat"));
    }
    let model = Model::find(&args.model)?;
    let file = engine::weights(&model)?;
    let tokenizer = Tokenizer::from_model(file).map_err(Failure::input)?;
    let chat = args.chat.find(&model, &tokenizer)?.expect("asked for");
    let stops = stops(&args.stop)?;
    let ground = Ground::find(&args.cluster, &args.cut)?;
    let base = args.cut.base(&model)?;
    let room = args.cut.room(&model, base.as_ref());
    let context = if args.cut.context.is_some() || base.is_some() { room } else { room.min(CONVERSATION) };
    let demand = Demand { sequences: 1, prompt: context, context };
    let tokens = args.tokens.unwrap_or(ANSWER_TOKENS);
    let expected = Expected { sequences: 1, prompt: context / 8, tokens: context / 8, past: context / 2 };
    let (plan, auto) = ground.plan(&args.cut, expected, |cut| cut.plan(&model, base.clone(), Some(demand)))?;
    let plan = engine::runnable(plan);
    let options = Options { links: ground.links(), ..options(args, tokens, &tokenizer)? };
    let compute = args.compute.compute()?;
    let kernels = compute.name();
    let engine = engine::load(file, &plan, compute)?;
    let setup = Setup { model: &plan.model.name, cut: CutJson::of(&plan).over(ground.link()), auto, kernels };
    let json = json.then_some(&setup);
    Talk { chat: &chat, tokenizer: &tokenizer, engine, options, stops: &stops, json }.hold()
}

/// Writes what the lanes wrote down; of a long run the newest rounds.
fn write_trace(path: &Path, recorded: &Recorded, plan: &Plan, ground: &Ground) -> Result<(), Failure> {
    if recorded.rounds.0.is_empty() {
        return Err(Failure::failed(format!(
            "--trace: a round has more than {TRACED} actions on a lane: nothing kept"
        )));
    }
    form::write_trace(
        path,
        &TraceFile {
            format: FORMAT,
            source: recorded.trace.source.clone(),
            plan: plan.clone(),
            cluster: None,
            link: ground.link().map(|link| link.to_string()),
            rounds: recorded.rounds.clone(),
            spans: recorded.trace.spans.clone(),
        },
    )
}

fn outputs<'a>(work: &'a Work, report: &'a Report, texts: &'a [Text]) -> Vec<OutputJson<'a>> {
    let all = work.prompts.iter().zip(&work.ids).zip(&report.outputs).zip(texts);
    all.map(|(((prompt, ids), output), text)| OutputJson::of(prompt, ids, output, text.text())).collect()
}

/// `\n`, `\t` and `\\` in stop texts.
fn stops(given: &[String]) -> Result<Vec<String>, Failure> {
    if given.iter().any(String::is_empty) {
        return Err(Failure::input("--stop: an empty text would stop at once"));
    }
    let keep = "\u{1}"; // stands for a backslash meanwhile
    let plain =
        |text: &String| text.replace("\\\\", keep).replace("\\n", "\n").replace("\\t", "\t").replace(keep, "\\");
    Ok(given.iter().map(plain).collect())
}

/// The plan, and how many tokens each prompt gets.
fn plan(args: &Args, model: &Model, work: &Work, ground: &Ground) -> Result<(Plan, u32, Option<Auto>), Failure> {
    let lengths = work.ids.iter().map(Vec::len);
    let longest = lengths.clone().max().unwrap_or(0);
    let base = args.cut.base(model)?;
    let room = args.cut.room(model, base.as_ref()) as usize;
    if longest > room {
        let which = lengths.clone().position(|length| length == longest).unwrap_or(0) + 1;
        return Err(Failure::Input(format!(
            "prompt {which} has {longest} tokens: the context holds {room} ({} was made for {}); shorten it",
            model.spec.name, model.spec.context
        )));
    }
    // The last token needs no place: nothing comes after it.
    let most = (room - longest + 1) as u32;
    let usual = if args.chat.chat { ANSWER_TOKENS } else { TOKENS };
    let tokens = args.tokens.unwrap_or(usual.min(most));
    if tokens > most {
        return Err(Failure::Input(format!(
            "-n {tokens}: after a prompt of {longest} tokens the context of {room} has room for {most}"
        )));
    }
    let demand =
        Demand { sequences: work.ids.len() as u32, prompt: longest as u32, context: longest as u32 + tokens - 1 };
    let (sequences, prompt) = (demand.sequences, demand.prompt);
    let expected = Expected { sequences, prompt, tokens: tokens - 1, past: prompt + tokens / 2 };
    let (plan, auto) = ground.plan(&args.cut, expected, |cut| cut.plan(model, base.clone(), Some(demand)))?;
    Ok((plan, tokens, auto))
}

fn options(args: &Args, tokens: u32, tokenizer: &Tokenizer) -> Result<Options, Failure> {
    let SamplingArgs { temperature, top_k, top_p, seed } = args.sampling;
    let sampling = Sampling { temperature, top_k, top_p, seed };
    sampling.check().map_err(|e| Failure::Input(format!("--{e}")))?;
    Ok(Options {
        sampling,
        stop_ids: if args.ignore_eos { Vec::new() } else { tokenizer.eos().to_vec() },
        keep_logits: args.logits.is_some(),
        ..Options::greedy(tokens as usize)
    })
}

/// Shows texts as they come: one prompt's token by token, several each when it is done.
struct Show<'a> {
    work: &'a Work,
    texts: Vec<Text>,
    quiet: bool,
    failure: Option<Failure>,
    /// Prompts on their way into the model.
    reading: Progress,
    progress: Progress,
    done: u64,
    total: u64,
}

impl<'a> Show<'a> {
    fn new(work: &'a Work, tokens: u32, quiet: bool) -> Show<'a> {
        let texts = vec![Text::default(); work.ids.len()];
        let total = u64::from(tokens) * texts.len() as u64;
        let reading = Progress::new("{bar:40} {pos} of {len} prompt tokens, {eta} left");
        let progress = Progress::new("{bar:40} {pos} of at most {len} tokens, {eta} left");
        Show { work, texts, quiet, failure: None, reading, progress, done: 0, total }
    }

    /// One prompt's text is shown as it comes.
    fn streams(&self) -> bool {
        self.work.ids.len() == 1
    }

    fn event(&mut self, event: Event) -> Flow {
        match event {
            Event::Prefilling { prompt, tokens } => {
                let before: usize = self.work.ids[..prompt].iter().map(Vec::len).sum();
                self.reading.at((before + tokens) as u64, self.work.ids.iter().map(Vec::len).sum::<usize>() as u64);
            }
            Event::Prefilled { prompt, .. } => {
                if prompt + 1 == self.work.ids.len() {
                    self.reading.end();
                }
            }
            Event::Token { prompt, token } => {
                let stopped = self.texts[prompt].push(&self.work.tokenizer, token, &self.work.stops);
                self.done += 1;
                if self.quiet || !self.streams() {
                    self.progress.at(self.done, self.total);
                }
                if self.streams() {
                    let fresh = self.texts[prompt].fresh(&self.work.stops).to_string();
                    self.show(&fresh);
                }
                if stopped && !interrupt::asked() && self.failure.is_none() {
                    return Flow::Stop;
                }
            }
            Event::Finished { prompt, .. } => self.finished(prompt),
        }
        if interrupt::asked() || self.failure.is_some() { Flow::Cancel } else { Flow::Continue }
    }

    fn finished(&mut self, prompt: usize) {
        let rest = self.texts[prompt].finish(&self.work.stops).to_string();
        if self.streams() {
            self.show(&format!("{rest}\n"));
        } else {
            let name = format!("prompt {}: {}", prompt + 1, prompts::short(&self.work.prompts[prompt]));
            let text = self.texts[prompt].text().to_string();
            self.show(&format!("{}\n{text}\n\n", styled(BOLD, &name)));
        }
    }

    fn show(&mut self, text: &str) {
        if !self.quiet && self.failure.is_none() && !text.is_empty() {
            self.failure = self.progress.aside(|| print(text)).err();
        }
    }

    /// Shows what an interrupted run has, and gives the texts.
    fn end(mut self) -> Result<Vec<Text>, Failure> {
        for prompt in 0..self.texts.len() {
            if !self.texts[prompt].finished() {
                self.finished(prompt);
            }
        }
        match self.failure {
            Some(failure) => Err(failure),
            None => Ok(self.texts),
        }
    }
}

/// One tensor `prompt.N`, `[tokens, V]`, a prompt: the safetensors format, written as it comes.
fn write_logits(file: &mut dyn Write, report: &Report, vocab: u32) -> io::Result<()> {
    let mut at = 0;
    let mut header = serde_json::Map::new();
    for (i, output) in report.outputs.iter().enumerate() {
        let bytes = 4 * output.logits.len();
        let shape = [output.logits.len() / vocab as usize, vocab as usize];
        let tensor = serde_json::json!({ "dtype": "F32", "shape": shape, "data_offsets": [at, at + bytes] });
        header.insert(format!("prompt.{i}"), tensor);
        at += bytes;
    }
    let mut header = serde_json::Value::Object(header).to_string();
    header += &" ".repeat(header.len().next_multiple_of(8) - header.len());
    file.write_all(&(header.len() as u64).to_le_bytes())?;
    file.write_all(header.as_bytes())?;
    let mut logits = report.outputs.iter().flat_map(|output| &output.logits);
    logits.try_for_each(|logit| file.write_all(&logit.to_le_bytes()))
}
