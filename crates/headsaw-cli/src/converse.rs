//! A conversation: a line is a turn, the answer comes as it is made, the KV cache is kept from turn to turn.

use crate::chat::Chat;
use crate::error::Failure;
use crate::interrupt::{self, Cleanly};
use crate::output::{print, print_json_line, say};
use crate::report::{OutputJson, RunJson, Setup, finish_word};
use crate::stream::Text;
use headsaw_run::chat::{Message, Role};
use headsaw_run::generate::{Engine, Event, Finish, Flow, Options, Report};
use headsaw_run::tokenizer::Tokenizer;
use std::io::{BufRead, IsTerminal, Read};

/// Longest line that is taken as a turn.
const LINE_BYTES_MAX: u64 = 1 << 20;

/// All that stays the same over the turns.
pub struct Talk<'a> {
    /// How messages become a prompt.
    pub chat: &'a Chat,
    /// And tokens.
    pub tokenizer: &'a Tokenizer,
    /// What computes, and keeps the cache.
    pub engine: Engine,
    /// As for one prompt; `max_tokens` is for each answer, less where the context has no room.
    pub options: Options,
    /// Texts that end an answer.
    pub stops: &'a [String],
    /// What a script wants to know beside the answers, where it does.
    pub json: Option<&'a Setup<'a>>,
}

impl Talk<'_> {
    /// Until the input ends or says so. Lines that could not be answered are told; where nobody watches, the exit code
    /// says so too.
    pub fn hold(&mut self) -> Result<(), Failure> {
        let watched = std::io::stdin().is_terminal();
        if watched {
            say("a line is a turn; /clear forgets what was said, /quit ends, Ctrl-C ends an answer\n");
        }
        let mut messages = self.chat.begin();
        let mut unanswered = false;
        loop {
            if watched {
                say("> ");
            }
            let result = match line()? {
                Some(line) if line.trim() == "/quit" => break,
                Some(line) if line.trim() == "/clear" => {
                    messages = self.chat.begin();
                    Ok(())
                }
                Some(line) if line.trim().is_empty() => Ok(()),
                Some(line) => self.turn(&mut messages, line),
                None => {
                    if watched {
                        say("\n");
                    }
                    break;
                }
            };
            match result {
                Err(failure @ Failure::Input(_)) => {
                    unanswered = true;
                    failure.report();
                }
                other => other?,
            }
        }
        if unanswered && !watched { Err(Failure::Told(2)) } else { Ok(()) }
    }

    /// One question and its answer. What cannot be answered is not remembered.
    fn turn(&mut self, messages: &mut Vec<Message>, line: String) -> Result<(), Failure> {
        let before = messages.len();
        messages.push(Message::new(Role::User, line));
        let result = self.answer(messages);
        match &result {
            Ok(Some(text)) => messages.push(Message::new(Role::Assistant, text)),
            Ok(None) | Err(_) => messages.truncate(before),
        }
        result.map(drop)
    }

    /// The answer's text; none where it was ended before it began.
    fn answer(&mut self, messages: &[Message]) -> Result<Option<String>, Failure> {
        let ids = self.chat.prompt(self.tokenizer, messages)?;
        let workload = &self.engine.plan().workload;
        let context = workload.context as usize;
        if ids.len() > context {
            return Err(Failure::Input(format!(
                "with this line the conversation has {} tokens, and the context holds {context}: the line is left out; \
                 /clear forgets what was said, --context N gives more room ({} was made for {})",
                ids.len(),
                self.engine.plan().model.name,
                self.engine.plan().model.context
            )));
        }
        let most = self.options.max_tokens.min(context - ids.len() + 1);
        let options = Options { max_tokens: most, reuse: true, ..self.options.clone() };
        let mut show = Show {
            talk: (self.tokenizer, self.stops),
            text: Text::default(),
            quiet: self.json.is_some(),
            failure: None,
        };
        let cleanly = Cleanly::begin();
        let report = self.engine.generate(std::slice::from_ref(&ids), &options, &mut |event| show.event(event))?;
        drop(cleanly);
        let text = show.end()?;
        say(&told(&ids, &report));
        if let Some(setup) = self.json {
            let asked = messages.last().map_or("", |message| &message.content);
            let output = OutputJson::of(asked, &ids, &report.outputs[0], &text);
            print_json_line(&RunJson::of(setup, vec![output], &report, &self.engine))?;
        }
        let nothing = report.outputs[0].finish == Finish::Cancelled && text.is_empty();
        Ok((!nothing).then_some(text))
    }
}

/// What an answer took, for people.
fn told(ids: &[u32], report: &Report) -> String {
    let output = &report.outputs[0];
    format!(
        "[{} tokens, {:.1} tokens/s, {}; prompt {} tokens, {} of them in the cache]\n",
        output.tokens.len(),
        report.decode.tokens_per_second(),
        finish_word(output.finish),
        ids.len(),
        output.reused
    )
}

/// The next line of standard input, without its end; none at the end of input.
fn line() -> Result<Option<String>, Failure> {
    let failed = |e| Failure::reading("standard input", &e);
    let mut bytes = Vec::new();
    let mut input = std::io::stdin().lock();
    input.by_ref().take(LINE_BYTES_MAX + 1).read_until(b'\n', &mut bytes).map_err(failed)?;
    if bytes.len() as u64 > LINE_BYTES_MAX {
        return Err(Failure::Input(format!("standard input: a line of more than {} MiB", LINE_BYTES_MAX >> 20)));
    }
    if bytes.is_empty() {
        return Ok(None);
    }
    let line = String::from_utf8(bytes).map_err(|e| {
        Failure::Input(format!("standard input: byte {} of a line: not UTF-8 text", e.utf8_error().valid_up_to()))
    })?;
    Ok(Some(line.trim_end_matches(['\n', '\r']).into()))
}

/// Shows an answer as it comes.
struct Show<'a> {
    talk: (&'a Tokenizer, &'a [String]),
    text: Text,
    quiet: bool,
    failure: Option<Failure>,
}

impl Show<'_> {
    fn event(&mut self, event: Event) -> Flow {
        let (tokenizer, stops) = self.talk;
        if let Event::Token { token, .. } = event {
            let stopped = self.text.push(tokenizer, token, stops);
            let fresh = self.text.fresh(stops).to_string();
            self.show(&fresh);
            if stopped && !interrupt::asked() && self.failure.is_none() {
                return Flow::Stop;
            }
        }
        if interrupt::asked() || self.failure.is_some() { Flow::Cancel } else { Flow::Continue }
    }

    fn show(&mut self, text: &str) {
        if !self.quiet && self.failure.is_none() && !text.is_empty() {
            self.failure = print(text).err();
        }
    }

    /// The end of the text, and all of it.
    fn end(mut self) -> Result<String, Failure> {
        let rest = self.text.finish(self.talk.1).to_string();
        self.show(&format!("{rest}\n"));
        self.failure.map_or(Ok(self.text.text().to_string()), Err)
    }
}
