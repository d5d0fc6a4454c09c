//! `--chat`: prompts as a model that was taught to talk expects them.

use crate::error::Failure;
use crate::model::{Model, read_text_of};
use headsaw_run::chat::{Message, Role, Template};
use headsaw_run::tokenizer::Tokenizer;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

/// How to talk to a model.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Chat")]
pub struct ChatArgs {
    /// Talk by the model's chat template: answer each prompt, or without prompts hold a conversation, a line a turn, until
    /// the input ends or says /quit; /clear forgets what was said, Ctrl-C ends an answer
    #[arg(long)]
    pub chat: bool,
    /// What the model is told before all else
    #[arg(long, value_name = "TEXT", requires = "chat", allow_hyphen_values = true)]
    system: Option<String>,
    /// A chat template (a Jinja file) instead of the model's
    #[arg(long, value_name = "FILE", requires = "chat")]
    chat_template: Option<PathBuf>,
}

/// Largest template that is read; a smaller limit comes with its parsing.
const TEMPLATE_BYTES_MAX: u64 = 1 << 20;

/// What turns messages into a prompt.
#[derive(Debug)]
pub struct Chat {
    template: Template,
    system: Option<String>,
    /// Seconds since 1970, once for all turns: what was said must not change.
    now: u64,
}

impl ChatArgs {
    /// The template, where `--chat` was given.
    pub fn find(&self, model: &Model, tokenizer: &Tokenizer) -> Result<Option<Chat>, Failure> {
        if !self.chat {
            return Ok(None);
        }
        let template = match &self.chat_template {
            Some(path) => {
                Template::new(&path.display().to_string(), &read_text_of(path, TEMPLATE_BYTES_MAX)?).map(Some)
            }
            None => Template::of(tokenizer),
        };
        let template = template.map_err(Failure::input)?.ok_or_else(|| {
            Failure::Input(format!(
                "{}: no chat template in it: give --chat-template FILE, or --prompt without --chat",
                model.given
            ))
        })?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        Ok(Some(Chat { template, system: self.system.clone(), now }))
    }
}

impl Chat {
    /// What stands before the first turn.
    pub fn begin(&self) -> Vec<Message> {
        self.system.iter().map(|text| Message::new(Role::System, text)).collect()
    }

    /// The tokens that ask for the answer to these messages.
    pub fn prompt(&self, tokenizer: &Tokenizer, messages: &[Message]) -> Result<Vec<u32>, Failure> {
        let ids = self.template.prompt(tokenizer, messages, self.now).map_err(Failure::input)?;
        if ids.is_empty() {
            return Err(Failure::input(
                "the chat template makes nothing of these messages: the model has nothing to read",
            ));
        }
        Ok(ids)
    }

    /// The tokens that ask for the answer to one message.
    pub fn ask(&self, tokenizer: &Tokenizer, text: &str) -> Result<Vec<u32>, Failure> {
        let mut messages = self.begin();
        messages.push(Message::new(Role::User, text));
        self.prompt(tokenizer, &messages)
    }
}
