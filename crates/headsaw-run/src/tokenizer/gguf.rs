//! The tokenizer in a GGUF file's keys.

use super::merge::{Merge, Merges, Units};
use super::split::{self, Splitter};
use super::vocab::{Kind, Vocab};
use super::{SpacePrefix, TOKENS_MAX, Tokenizer};
use crate::weights::{Array, Cursor, Error, Gguf, Source, Value, brief, kind, show};

/// Longest piece of a vocabulary.
const PIECE_BYTES_MAX: u64 = 1 << 14;
/// Control tokens that end a text whatever the metadata say, as in llama.cpp.
pub(super) const ENDS: [&str; 8] =
    ["<|eot_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>", "<|endoftext|>", "<|end_of_text|>", "<|eom_id|>", "<EOT>"];

/// Keys of the tokenizer, read where they lie.
struct Keys<'a> {
    source: &'a Source,
    header: &'a Gguf,
}

impl<'a> Keys<'a> {
    fn get(&self, key: &str) -> Option<&'a Value> {
        self.header.keys.get(&format!("tokenizer.{key}"))
    }

    fn wrong(&self, key: &str, found: impl Into<String>, expected: impl Into<String>) -> Error {
        Error::key(&self.source.name, &format!("tokenizer.{key}"), found, expected)
    }

    /// An error about the value that `key` has.
    fn bad(&self, key: &str, expected: impl Into<String>) -> Error {
        self.wrong(key, self.get(key).map_or("missing".into(), brief), expected)
    }

    fn text(&self, key: &str) -> Result<Option<&'a str>, Error> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(_) => Err(self.bad(key, "a string")),
        }
    }

    fn bool(&self, key: &str, default: bool) -> Result<bool, Error> {
        match self.get(key) {
            None => Ok(default),
            Some(Value::Bool(yes)) => Ok(*yes),
            Some(_) => Err(self.bad(key, "true or false")),
        }
    }

    /// A token's id, below `tokens`.
    fn id(&self, key: &str, tokens: u32) -> Result<Option<u32>, Error> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Unsigned(n)) if *n < u64::from(tokens) => Ok(Some(*n as u32)),
            Some(_) => Err(self.bad(key, format!("a token below {tokens}"))),
        }
    }

    /// An array of `kind` with at most `max` elements.
    fn array(&self, key: &str, kind: u32, max: u64) -> Result<Option<Array>, Error> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Array(array)) if array.kind == kind && array.len <= max => Ok(Some(*array)),
            Some(Value::Array(array)) if array.kind == kind => {
                Err(self.wrong(key, format!("{} elements", array.len), format!("at most {max}")))
            }
            Some(_) => Err(self.bad(key, "an array of the right type")),
        }
    }

    /// The numbers of an array as long as the vocabulary.
    fn numbers<T>(&self, key: &str, kind: u32, len: u64, of: fn([u8; 4]) -> T) -> Result<Option<Vec<T>>, Error> {
        let Some(array) = self.array(key, kind, TOKENS_MAX)? else { return Ok(None) };
        if array.len != len {
            return Err(self.wrong(key, format!("{} elements", array.len), format!("{len}, one a token")));
        }
        let mut cursor = Cursor::new(self.source, array.at);
        (0..len).map(|_| cursor.bytes(key).map(of)).collect::<Result<Vec<T>, Error>>().map(Some)
    }

    fn strings(&self, array: Array, mut each: impl FnMut(u64, String) -> Result<(), Error>) -> Result<(), Error> {
        let mut cursor = Cursor::new(self.source, array.at);
        (0..array.len).try_for_each(|i| each(i, cursor.string(PIECE_BYTES_MAX, "piece of the vocabulary")?))
    }
}

/// `rows`: how many tokens there may be.
pub(super) fn read(source: &Source, header: &Gguf, rows: u64) -> Result<Tokenizer, Error> {
    let keys = &Keys { source, header };
    match keys.text("ggml.model")? {
        Some("gpt2") => byte_level(keys, rows),
        Some("llama") => sentence_piece(keys, rows),
        _ => Err(keys.bad("ggml.model", "gpt2 (byte-level BPE) or llama (SentencePiece BPE)")),
    }
}

fn byte_level(keys: &Keys, rows: u64) -> Result<Tokenizer, Error> {
    let vocab = vocab(keys, rows, Units::Bytes)?;
    let merges = Merges::ranked(merges(keys, &vocab)?);
    let name = keys.text("ggml.pre")?.unwrap_or("default");
    let known = split::by_name(name);
    let (patterns, whole_words) = known.ok_or_else(|| keys.bad("ggml.pre", split::NAMES))?;
    let splitter = Splitter::new(patterns, false).map_err(|e| keys.wrong("ggml.pre", e, split::NAMES))?;
    finish(keys, Tokenizer { splitter, whole_words, ..plain(keys, vocab, Units::Bytes, merges) }, whole_words, false)
}

fn sentence_piece(keys: &Keys, rows: u64) -> Result<Tokenizer, Error> {
    let vocab = vocab(keys, rows, Units::Chars)?;
    let scores = keys.numbers("ggml.scores", kind::F32, u64::from(vocab.len()), f32::from_le_bytes)?;
    let scores = scores.ok_or_else(|| keys.bad("ggml.scores", "a score for each token"))?;
    if scores.iter().any(|s| s.is_nan()) {
        return Err(keys.wrong("ggml.scores", "a score that is no number", "numbers"));
    }
    finish(keys, plain(keys, vocab, Units::Chars, Merges::Scored(scores)), true, true)
}

fn plain(keys: &Keys, vocab: Vocab, units: Units, merges: Merges) -> Tokenizer {
    Tokenizer {
        name: keys.source.name.clone(),
        vocab,
        units,
        merges,
        splitter: Splitter::default(),
        space_prefix: SpacePrefix::Never,
        prefix_once: false,
        whole_words: false,
        before: vec![],
        after: vec![],
        ends: vec![],
        bos: String::new(),
        eos: String::new(),
        chat_template: None,
    }
}

/// What both kinds have: tokens at the ends, the chat template.
fn finish(keys: &Keys, mut tokenizer: Tokenizer, bos: bool, space: bool) -> Result<Tokenizer, Error> {
    let tokens = tokenizer.vocab.len();
    let id = |name: &str| keys.id(&format!("ggml.{name}_token_id"), tokens);
    if keys.bool("ggml.add_bos_token", bos)? {
        tokenizer.before.extend(id("bos")?);
    }
    if keys.bool("ggml.add_eos_token", false)? {
        tokenizer.after.extend(id("eos")?);
    }
    if keys.bool("ggml.add_space_prefix", space)? {
        tokenizer.space_prefix = SpacePrefix::Always;
    }
    let named = ENDS.into_iter().filter_map(|end| tokenizer.vocab.find_special(end));
    let mut ends: Vec<u32> = [id("eos")?, id("eot")?, id("eom")?].into_iter().flatten().chain(named).collect();
    ends.sort_unstable();
    ends.dedup();
    tokenizer.ends = ends;
    let written = |id: Option<u32>| {
        id.map_or(String::new(), |id| String::from_utf8_lossy(tokenizer.vocab.piece(id)).into_owned())
    };
    [tokenizer.bos, tokenizer.eos] = [written(id("bos")?), written(id("eos")?)];
    let at = || format!("{}: tokenizer.chat_template", keys.source.name);
    tokenizer.chat_template = keys.text("chat_template")?.map(|source| (source.into(), at()));
    Ok(tokenizer)
}

fn vocab(keys: &Keys, rows: u64, units: Units) -> Result<Vocab, Error> {
    let array = keys.array("ggml.tokens", kind::STRING, TOKENS_MAX)?;
    let array = array.ok_or_else(|| keys.bad("ggml.tokens", "the vocabulary"))?;
    if array.len > rows {
        return Err(keys.wrong(
            "ggml.tokens",
            format!("{} tokens", array.len),
            format!("at most {rows}, the rows of the embedding"),
        ));
    }
    let kinds = keys.numbers("ggml.token_type", kind::I32, array.len, i32::from_le_bytes)?;
    let mut vocab = Vocab::default();
    keys.strings(array, |i, text| {
        let number = kinds.as_ref().map_or(1, |kinds| kinds[i as usize]);
        let wrong = |found: String, expected: &str| keys.wrong("ggml.tokens", format!("token {i}: {found}"), expected);
        let kind = match number {
            1 => Kind::Normal,
            2 | 3 => Kind::Control,
            4 => Kind::UserDefined,
            5 => Kind::Unused,
            6 => byte_token(&text).ok_or_else(|| wrong(format!("`{}`", show(&text)), "a byte written <0x0A>"))?,
            _ => return Err(wrong(format!("type {number}"), "a type of 1 to 6")),
        };
        let plain = units == Units::Chars || kind != Kind::Normal;
        vocab.push(&if plain { text.into_bytes() } else { unmap(&text) }, kind);
        Ok(())
    })?;
    vocab.index();
    Ok(vocab)
}

/// The byte of a token like `<0x0A>`.
pub(super) fn byte_token(text: &str) -> Option<Kind> {
    let hex = text.strip_prefix("<0x")?.strip_suffix('>').filter(|hex| hex.len() == 2)?;
    u8::from_str_radix(hex, 16).ok().map(Kind::Byte)
}

/// The bytes of a piece in GPT-2's alphabet, in which each byte is a printable character; text in other characters stays.
pub(super) fn unmap(text: &str) -> Vec<u8> {
    text.chars().map(unmap_char).collect::<Option<Vec<u8>>>().unwrap_or_else(|| text.as_bytes().to_vec())
}

fn unmap_char(c: char) -> Option<u8> {
    match c as u32 {
        n @ (0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF) => Some(n as u8),
        // the other bytes, in order, are the characters from 256 on
        n @ 0x100..=0x120 => Some((n - 0x100) as u8),
        n @ 0x121..=0x142 => Some((n - 0x121 + 0x7F) as u8),
        0x143 => Some(0xAD),
        _ => None,
    }
}

fn merges(keys: &Keys, vocab: &Vocab) -> Result<Vec<Merge>, Error> {
    let array = keys.array("ggml.merges", kind::STRING, TOKENS_MAX)?;
    let array = array.ok_or_else(|| keys.bad("ggml.merges", "the list of merges"))?;
    let mut merges = vec![];
    keys.strings(array, |i, text| {
        let merge = merge(vocab, i as u32, &text);
        merges.push(merge.map_err(|e| {
            keys.wrong("ggml.merges", format!("merge {i}, `{}`: {e}", show(&text)), "two tokens that give a third")
        })?);
        Ok(())
    })?;
    Ok(merges)
}

/// `left right`; the space to split at is not the first character.
fn merge(vocab: &Vocab, rank: u32, text: &str) -> Result<Merge, &'static str> {
    let first = text.chars().next().map_or(0, char::len_utf8);
    let space = text[first..].find(' ').ok_or("no space")? + first;
    let [left, right] = [&text[..space], &text[space + 1..]].map(unmap);
    Merge::find(vocab, rank, &left, &right)
}
