//! Chat templates: messages become the tokens of a prompt as the model's own Jinja template says.
//!
//! Two parties are not trusted. The template comes with a file from anywhere: it is rendered with bounded steps, memory
//! and output, and sees no files, no other templates and no clock but the one it is given. A message is text: special
//! tokens written in it stay text, so nobody ends a turn by typing `<|im_end|>` (see [`Cover`]).

mod cover;
mod date;
mod jinja;
mod json;

use crate::tokenizer::Tokenizer;
use cover::Cover;
use std::collections::BTreeSet;

/// Longest template; the largest known have a tenth of it.
const TEMPLATE_BYTES_MAX: usize = 256 << 10;

/// What is wrong with a template, or with what it was given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {}{what}", .line.map_or(String::new(), |line| format!("line {line}: ")))]
pub struct TemplateError {
    /// The template.
    pub name: String,
    /// Where in it, from 1.
    pub line: Option<usize>,
    /// What, and what would work.
    pub what: String,
}

/// Who said something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Whoever set the conversation up.
    System,
    /// The one who asks.
    User,
    /// The model.
    Assistant,
}

impl Role {
    /// As templates know it.
    pub fn name(self) -> &'static str {
        match self {
            Role::System => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
        }
    }
}

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Who.
    pub role: Role,
    /// What.
    pub content: String,
}

impl Message {
    /// Somebody says something.
    pub fn new(role: Role, content: impl Into<String>) -> Message {
        Message { role, content: content.into() }
    }
}

/// What a template is rendered with, beside the messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting<'a> {
    /// The token at the beginning of a text, written out; empty for none.
    pub bos: &'a str,
    /// The token at its end.
    pub eos: &'a str,
    /// Seconds since 1970, for templates that tell the model the date (UTC).
    pub now: u64,
    /// The answer is to begin where the text ends.
    pub asks: bool,
}

/// A chat template that compiles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    name: String,
    source: String,
}

impl Template {
    /// A template; errors call it `name`.
    ///
    /// # Errors
    /// It is too long, or not the Jinja that chat templates are written in.
    pub fn new(name: &str, source: &str) -> Result<Template, TemplateError> {
        if source.len() > TEMPLATE_BYTES_MAX {
            let what = format!("a chat template of {} bytes; at most {TEMPLATE_BYTES_MAX} are taken", source.len());
            return Err(TemplateError { name: name.into(), line: None, what });
        }
        jinja::check(name, source)?;
        Ok(Template { name: name.into(), source: source.into() })
    }

    /// The template that comes with the model, if one does.
    ///
    /// # Errors
    /// As for [`Template::new`].
    pub fn of(tokenizer: &Tokenizer) -> Result<Option<Template>, TemplateError> {
        let at = tokenizer.chat_template_at();
        tokenizer.chat_template().map(|source| Template::new(at, source)).transpose()
    }

    /// The text that the model reads, special tokens written out.
    ///
    /// # Errors
    /// The template refuses these messages, fails on them, or takes more steps or text than it may.
    pub fn render(&self, messages: &[Message], setting: &Setting) -> Result<String, TemplateError> {
        jinja::render(&self.name, &self.source, messages, setting)
    }

    /// The tokens that ask the model for the next answer. `now`: as in [`Setting`].
    ///
    /// # Errors
    /// As for [`Template::render`]; or the text is too long to be cut into tokens.
    pub fn prompt(&self, tokenizer: &Tokenizer, messages: &[Message], now: u64) -> Result<Vec<u32>, TemplateError> {
        let wrong = |what: String| TemplateError { name: self.name.clone(), line: None, what };
        let (bos, eos) = tokenizer.ends_of_texts();
        let written: BTreeSet<u32> = tokenizer.specials_in(&self.source).collect();
        let mut cover = Cover::unlike(messages.iter().map(|message| &message.content[..]).chain([&self.source[..]]));
        let covered = messages.iter().map(|message| {
            // what the model wrote may hold marks that its template looks for, like `</think>`
            let theirs = message.role != Role::Assistant;
            let counts = |id| tokenizer.is_sign(id) || theirs && written.contains(&id);
            let begins = |text: &str| tokenizer.begins_special(text, counts);
            Some(Message { role: message.role, content: cover.over(&message.content, begins)? })
        });
        let covered: Option<Vec<Message>> = covered.collect();
        let covered = covered.ok_or_else(|| wrong("messages that use up Unicode's private characters".into()))?;
        let text = self.render(&covered, &Setting { bos, eos, now, asks: true })?;
        tokenizer.encode_pieces(&text, |text| cover.off(text)).map_err(|e| wrong(e.to_string()))
    }
}
