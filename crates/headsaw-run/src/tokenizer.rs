//! Text to tokens and back, by the model's own vocabulary.
//!
//! The merging is our own, so that a hostile vocabulary costs no more memory than its file, and so that ties fall as in
//! llama.cpp; tests hold it against llama.cpp's tokens and against the `tokenizers` crate.

mod gguf;
mod json;
mod json_parts;
mod merge;
mod split;
mod vocab;

use crate::weights::{Error, Gguf, ModelFile, Origin, Source};
use merge::{Merges, Units};
use split::Splitter;
use std::borrow::Cow;
use std::path::Path;
use vocab::{Kind, Vocab};

/// Most tokens of a vocabulary, and most merges; the largest known have a quarter of it.
pub(crate) const TOKENS_MAX: u64 = 1 << 20;

/// Longest text; its tokens take many times its memory on the way.
const TEXT_BYTES_MAX: usize = 256 << 20;

/// Where a text gets a space in front.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SpacePrefix {
    Never,
    /// At the start of the text.
    First,
    /// At the start and after each special token.
    Always,
}

/// The vocabulary of a model, and how it cuts text.
#[derive(Debug)]
pub struct Tokenizer {
    name: String,
    vocab: Vocab,
    units: Units,
    merges: Merges,
    splitter: Splitter,
    space_prefix: SpacePrefix,
    /// No space is put in front where there is one.
    prefix_once: bool,
    /// A word that is a token is taken whole, even if no merges lead to it.
    whole_words: bool,
    /// Tokens put before and after every text.
    before: Vec<u32>,
    after: Vec<u32>,
    ends: Vec<u32>,
    /// How the tokens at the beginning and the end of a text are written, for chat templates; empty where there is none.
    bos: String,
    eos: String,
    /// The chat template, and where it stands.
    chat_template: Option<(String, String)>,
}

impl Tokenizer {
    /// The tokenizer that comes with a model.
    pub fn from_model(model: &ModelFile) -> Result<Tokenizer, Error> {
        let rows = model.spec().vocab;
        match (model.origin(), model.source()) {
            (Origin::Gguf(header), Some(source)) => gguf::read(source, header, u64::from(rows)),
            (Origin::Folder(dir), _) => json::read(dir, rows),
            _ => Err(Error::absent(model.name(), "no tokenizer: only the shape is known")),
        }
    }

    /// The tokenizer in a GGUF file, which need not hold any weights.
    pub fn from_gguf(path: &Path) -> Result<Tokenizer, Error> {
        let source = Source::open(path)?;
        gguf::read(&source, &Gguf::parse(&source)?, TOKENS_MAX)
    }

    /// The tokenizer in the bytes of a `tokenizer.json`, for a model with `rows` rows of embedding.
    pub fn from_json(bytes: Vec<u8>, rows: u32) -> Result<Tokenizer, Error> {
        json::read_source(&Source::from_bytes("tokenizer.json", bytes), rows)
    }

    /// The tokens of `text`, with what the model puts before and after every text. `special`: special tokens written out
    /// in the text, like `<|im_end|>`, become those tokens (a leading one is not added a second time); otherwise they
    /// are plain text.
    ///
    /// Bytes that the vocabulary cannot express are left out, as llama.cpp and the `tokenizers` crate do.
    pub fn encode(&self, text: &str, special: bool) -> Result<Vec<u32>, Error> {
        let ids = self.encode_sections(text, special, Cow::Borrowed)?;
        let before = if ids.starts_with(&self.before) { &[][..] } else { &self.before };
        Ok([before, &ids, &self.after].concat())
    }

    /// The tokens of `text` and no others. Special tokens written out become those tokens; what lies between is taken as
    /// `plain` makes it.
    pub(crate) fn encode_pieces<'a>(
        &self,
        text: &'a str,
        plain: impl Fn(&'a str) -> Cow<'a, str>,
    ) -> Result<Vec<u32>, Error> {
        self.encode_sections(text, true, plain)
    }

    fn encode_sections<'a>(
        &self,
        text: &'a str,
        special: bool,
        plain: impl Fn(&'a str) -> Cow<'a, str>,
    ) -> Result<Vec<u32>, Error> {
        if text.len() > TEXT_BYTES_MAX {
            let what = format!("a text of {} bytes; at most {TEXT_BYTES_MAX} are cut into tokens", text.len());
            return Err(Error::absent(&self.name, what));
        }
        let mut ids = vec![];
        let mut start_of_section = true;
        for section in self.vocab.sections(text, special) {
            match section {
                vocab::Section::Special(id) => {
                    ids.push(id);
                    start_of_section = self.space_prefix == SpacePrefix::Always;
                }
                vocab::Section::Text(text) => {
                    self.encode_section(&plain(text), start_of_section, &mut ids);
                    start_of_section = false;
                }
            }
        }
        Ok(ids)
    }

    fn encode_section(&self, text: &str, start: bool, ids: &mut Vec<u32>) {
        let mut text = self.splitter.normalise(text);
        let prefixed = start && self.space_prefix != SpacePrefix::Never;
        if prefixed && !(self.prefix_once && text.starts_with([' ', '▁'])) {
            text = Cow::Owned(format!(" {text}"));
        }
        if self.units == Units::Chars {
            text = Cow::Owned(text.replace(' ', "▁"));
        }
        for word in self.splitter.words(&text) {
            let whole = if self.whole_words { self.vocab.find(word.as_bytes()) } else { None };
            match whole {
                Some(id) => ids.push(id),
                None => self.merges.encode(&self.vocab, self.units, word, ids),
            }
        }
    }

    /// The text of tokens; control tokens have none. A space that only the vocabulary put in front is taken away after a
    /// beginning-of-text token.
    pub fn decode(&self, ids: &[u32]) -> String {
        let mut bytes = vec![];
        for &id in ids {
            self.piece(id, &mut bytes);
        }
        let prefixed =
            self.space_prefix != SpacePrefix::Never && !self.before.is_empty() && ids.starts_with(&self.before);
        let bytes = if prefixed { bytes.strip_prefix(b" ").unwrap_or(&bytes) } else { &bytes };
        String::from_utf8_lossy(bytes).into_owned()
    }

    /// Appends the bytes of one token.
    fn piece(&self, id: u32, bytes: &mut Vec<u8>) {
        match (self.vocab.kind(id), self.units) {
            (None | Some(Kind::Control), _) => {}
            (Some(Kind::Byte(byte)), _) => bytes.push(byte),
            (Some(Kind::Normal), Units::Chars) => {
                bytes.extend(String::from_utf8_lossy(self.vocab.piece(id)).replace('▁', " ").bytes());
            }
            _ => bytes.extend(self.vocab.piece(id)),
        }
    }

    /// The tokens that end a text: end of text, of turn, of message.
    pub fn eos(&self) -> &[u32] {
        &self.ends
    }

    /// The model's chat template, in Jinja.
    pub fn chat_template(&self) -> Option<&str> {
        self.chat_template.as_ref().map(|(source, _)| &source[..])
    }

    /// The file that has it, and the key; for messages.
    pub(crate) fn chat_template_at(&self) -> &str {
        self.chat_template.as_ref().map_or("", |(_, at)| at)
    }

    /// How the tokens at the beginning and at the end of a text are written; empty where there is none.
    pub(crate) fn ends_of_texts(&self) -> (&str, &str) {
        (&self.bos, &self.eos)
    }

    /// The special tokens that are written in `text`.
    pub(crate) fn specials_in(&self, text: &str) -> impl Iterator<Item = u32> {
        self.vocab.sections(text, true).into_iter().filter_map(|section| match section {
            vocab::Section::Special(id) => Some(id),
            vocab::Section::Text(_) => None,
        })
    }

    /// The token is a sign for the model and no text, or ends one.
    pub(crate) fn is_sign(&self, id: u32) -> bool {
        self.vocab.kind(id) == Some(Kind::Control) || self.ends.contains(&id)
    }

    /// `text` starts with a special token that `counts`, or is the beginning of one.
    pub(crate) fn begins_special(&self, text: &str, counts: impl Fn(u32) -> bool) -> bool {
        self.vocab.begins_special(text, counts)
    }

    /// The token written `text`, special tokens included.
    pub fn token(&self, text: &str) -> Option<u32> {
        self.vocab.find_special(text).or_else(|| self.vocab.find(text.as_bytes()))
    }

    /// Number of tokens; the model may have more rows, as padding.
    pub fn vocab_size(&self) -> u32 {
        self.vocab.len()
    }
}

/// Turns tokens into text one by one, and never emits half a character.
#[derive(Debug, Clone, Default)]
pub struct Decoder {
    pending: Vec<u8>,
}

impl Decoder {
    /// A decoder at the start of an answer.
    pub fn new() -> Decoder {
        Decoder::default()
    }

    /// The text that `id` completes; empty while a character is incomplete.
    pub fn push(&mut self, tokenizer: &Tokenizer, id: u32) -> String {
        tokenizer.piece(id, &mut self.pending);
        let mut text = String::new();
        let mut rest = &self.pending[..];
        loop {
            match std::str::from_utf8(rest) {
                Ok(valid) => {
                    text.push_str(valid);
                    rest = &[];
                    break;
                }
                Err(e) => {
                    let (valid, bad) = rest.split_at(e.valid_up_to());
                    text.push_str(&String::from_utf8_lossy(valid));
                    rest = bad;
                    let Some(len) = e.error_len() else { break };
                    text.push(char::REPLACEMENT_CHARACTER);
                    rest = &rest[len..];
                }
            }
        }
        self.pending = rest.to_vec();
        text
    }

    /// What is left at the end: an incomplete character, as a replacement character.
    pub fn finish(self) -> String {
        String::from_utf8_lossy(&self.pending).into_owned()
    }
}
