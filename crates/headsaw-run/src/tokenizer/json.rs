//! The tokenizer of a Hugging Face folder: `tokenizer.json` and the files beside it.

use super::json_parts::{Parts, parts};
use super::merge::{Merge, Merges, Units};
use super::vocab::{Kind, Vocab};
use super::{TOKENS_MAX, Tokenizer, gguf};
use crate::weights::{Cursor, Error, Source, show};
use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;
use std::fmt;
use std::path::Path;

/// Longest JSON text of one part, a normaliser say; a fully parsed value takes many times its text.
const PART_BYTES_MAX: usize = 64 << 10;
/// Most added tokens.
const ADDED_MAX: usize = 1 << 16;
/// Largest file beside `tokenizer.json` that is read.
const BESIDE_BYTES_MAX: u64 = 16 << 20;

/// `rows`: how many tokens there may be.
pub(super) fn read(dir: &Path, rows: u32) -> Result<Tokenizer, Error> {
    let path = dir.join("tokenizer.json");
    if !path.is_file() {
        let what = "no tokenizer.json in this folder (tokenizer.model is not read; `transformers` makes the one from the other)";
        return Err(Error::absent(&dir.display().to_string(), what));
    }
    let mut tokenizer = read_source(&Source::open(&path)?, rows)?;
    beside(dir, &mut tokenizer)?;
    Ok(tokenizer)
}

/// The file alone, without those beside it.
pub(super) fn read_source(source: &Source, rows: u32) -> Result<Tokenizer, Error> {
    let file: File = parse(source, u64::MAX)?;
    build(&source.name, file, rows)
}

fn parse<T: DeserializeOwned>(source: &Source, cap: u64) -> Result<T, Error> {
    if source.size() > cap {
        return Err(Error::format(&source.name, 0, format!("{} bytes", source.size()), format!("at most {cap}")));
    }
    let reader = std::io::BufReader::new(Cursor::new(source, 0));
    serde_json::from_reader(reader).map_err(|e| Error::json(&source.name, &e, "the file that `transformers` writes"))
}

/// `tokenizer.json`, as far as it changes tokens.
#[derive(Deserialize)]
struct File {
    model: Model,
    #[serde(default)]
    added_tokens: Added,
    normalizer: Option<Box<RawValue>>,
    pre_tokenizer: Option<Box<RawValue>>,
    post_processor: Option<Box<RawValue>>,
    decoder: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
struct Model {
    #[serde(rename = "type")]
    kind: Option<String>,
    dropout: Option<f32>,
    continuing_subword_prefix: Option<String>,
    end_of_word_suffix: Option<String>,
    byte_fallback: Option<bool>,
    ignore_merges: Option<bool>,
    vocab: Pieces,
    merges: Pairs,
}

#[derive(Deserialize)]
struct AddedToken {
    id: u32,
    content: String,
    #[serde(default)]
    special: bool,
    #[serde(default)]
    single_word: bool,
    #[serde(default)]
    lstrip: bool,
    #[serde(default)]
    rstrip: bool,
}

fn build(file: &str, json: File, rows: u32) -> Result<Tokenizer, Error> {
    check_model(file, &json.model)?;
    let [normalizer, pre_tokenizer, post_processor, decoder] = [
        ("normalizer", &json.normalizer),
        ("pre_tokenizer", &json.pre_tokenizer),
        ("post_processor", &json.post_processor),
        ("decoder", &json.decoder),
    ]
    .map(|(key, raw)| part(file, key, raw));
    let parts = parts(file, &normalizer?, &pre_tokenizer?, &decoder?)?;
    if parts.units == Units::Chars && json.model.byte_fallback != Some(true) {
        return Err(Error::key(file, "model.byte_fallback", "not true", "true, or a ByteLevel pre-tokenizer"));
    }
    let vocab = vocab(file, json.model.vocab, &json.added_tokens.0, rows, parts.units)?;
    let merges = Merges::ranked(merges(file, &json.model.merges, &vocab, parts.units)?);
    let (before, after) = template(file, &post_processor?, &vocab)?;
    let Parts { units, splitter, space_prefix, prefix_once } = parts;
    Ok(Tokenizer {
        name: file.into(),
        vocab,
        units,
        merges,
        splitter,
        space_prefix,
        prefix_once,
        whole_words: json.model.ignore_merges == Some(true),
        before,
        after,
        ends: vec![],
        bos: String::new(),
        eos: String::new(),
        chat_template: None,
    })
}

fn check_model(file: &str, model: &Model) -> Result<(), Error> {
    let wrong = |key: &str, found: &str, expected: &str| Err(Error::key(file, key, show(found), expected));
    if let Some(kind) = model.kind.as_deref().filter(|kind| *kind != "BPE") {
        return wrong("model.type", kind, "BPE");
    }
    if model.dropout.is_some_and(|p| p != 0.0) {
        return wrong("model.dropout", "set", "none: tokens must not depend on chance");
    }
    for (key, text) in [
        ("model.continuing_subword_prefix", &model.continuing_subword_prefix),
        ("model.end_of_word_suffix", &model.end_of_word_suffix),
    ] {
        if let Some(text) = text.as_deref().filter(|text| !text.is_empty()) {
            return wrong(key, text, "none");
        }
    }
    Ok(())
}

/// A part as a value, if it is short enough.
fn part(file: &str, key: &str, raw: &Option<Box<RawValue>>) -> Result<Value, Error> {
    let Some(raw) = raw else { return Ok(Value::Null) };
    let text = raw.get();
    if text.len() > PART_BYTES_MAX {
        return Err(Error::key(file, key, format!("{} bytes", text.len()), format!("at most {PART_BYTES_MAX}")));
    }
    serde_json::from_str(text).map_err(|e| Error::key(file, key, e.to_string(), "JSON"))
}

fn vocab(file: &str, pieces: Pieces, added: &[AddedToken], rows: u32, units: Units) -> Result<Vocab, Error> {
    let wrong = |key: &str, found: String, expected: &str| Err(Error::key(file, key, found, expected));
    let highest = pieces.ids.iter().copied().chain(added.iter().map(|a| a.id)).max();
    let count = highest.map_or(0, |id| u64::from(id) + 1);
    if count > u64::from(rows) || count > TENFOLD * (pieces.ids.len() + added.len()) as u64 {
        let expected = format!("ids below {rows}, the rows of the embedding, and few gaps");
        return wrong("model.vocab", format!("token {}", count - 1), &expected);
    }
    // which piece, or (from `pieces.ids.len()` on) which added token, an id is
    let mut owner = vec![u32::MAX; count as usize];
    for (at, &id) in pieces.ids.iter().enumerate() {
        if owner[id as usize] != u32::MAX {
            return wrong("model.vocab", format!("two tokens with id {id}"), "each id once");
        }
        owner[id as usize] = at as u32;
    }
    for (at, token) in added.iter().enumerate() {
        if token.single_word || token.lstrip || token.rstrip {
            let found = format!("`{}` with single_word, lstrip or rstrip", show(&token.content));
            return wrong("added_tokens", found, "none of these, which headsaw does not follow");
        }
        owner[token.id as usize] = (pieces.ids.len() + at) as u32;
    }
    let mut vocab = Vocab::default();
    for at in owner {
        let at = at as usize;
        match added.get(at.wrapping_sub(pieces.ids.len())) {
            Some(token) => {
                vocab.push(token.content.as_bytes(), if token.special { Kind::Control } else { Kind::UserDefined });
            }
            None if at < pieces.ids.len() => push_piece(&mut vocab, pieces.text.get(at), units),
            None => vocab.push(b"", Kind::Unused),
        }
    }
    vocab.index();
    Ok(vocab)
}

/// Ids may have gaps, but not more than this many a token.
const TENFOLD: u64 = 10;

fn push_piece(vocab: &mut Vocab, text: &str, units: Units) {
    match units {
        Units::Bytes => vocab.push(&gguf::unmap(text), Kind::Normal),
        Units::Chars => vocab.push(text.as_bytes(), gguf::byte_token(text).unwrap_or(Kind::Normal)),
    }
}

fn merges(file: &str, pairs: &Pairs, vocab: &Vocab, units: Units) -> Result<Vec<Merge>, Error> {
    let bytes = |text: &str| if units == Units::Bytes { gguf::unmap(text) } else { text.as_bytes().to_vec() };
    let mut merges = Vec::with_capacity(pairs.0.len() / 2);
    for rank in 0..pairs.0.len() / 2 {
        let [left, right] = [pairs.0.get(2 * rank), pairs.0.get(2 * rank + 1)].map(bytes);
        let merge = Merge::find(vocab, rank as u32, &left, &right);
        merges.push(merge.map_err(|e| {
            let [left, right] = [pairs.0.get(2 * rank), pairs.0.get(2 * rank + 1)].map(show);
            Error::key(
                file,
                "model.merges",
                format!("merge {rank}, `{left} {right}`: {e}"),
                "two tokens that give a third",
            )
        })?);
    }
    Ok(merges)
}

/// What a post-processor puts before and after a text.
fn template(file: &str, processor: &Value, vocab: &Vocab) -> Result<(Vec<u32>, Vec<u32>), Error> {
    let (mut before, mut after) = (vec![], vec![]);
    let listed = processor["processors"].as_array().map_or(std::slice::from_ref(processor), Vec::as_slice);
    for processor in listed {
        let mut text_seen = false;
        match processor["type"].as_str() {
            None | Some("ByteLevel") => continue,
            Some("TemplateProcessing") => {}
            Some(other) => {
                return Err(Error::key(file, "post_processor", show(other), "TemplateProcessing or ByteLevel"));
            }
        }
        for piece in processor["single"].as_array().into_iter().flatten() {
            if piece.get("Sequence").is_some() {
                text_seen = true;
                continue;
            }
            let name = piece["SpecialToken"]["id"].as_str().unwrap_or("");
            let id = vocab.find_special(name).or_else(|| vocab.find(name.as_bytes()));
            let id = id.ok_or_else(|| Error::key(file, "post_processor", format!("`{}`", show(name)), "a token"))?;
            if text_seen { after.push(id) } else { before.push(id) }
        }
    }
    Ok((before, after))
}

/// The tokens that end a text, and the chat template, from the other files of the folder.
fn beside(dir: &Path, tokenizer: &mut Tokenizer) -> Result<(), Error> {
    #[derive(Deserialize, Default)]
    struct Config {
        bos_token: Option<Box<RawValue>>,
        eos_token: Option<Box<RawValue>>,
        eos_token_id: Option<Box<RawValue>>,
        chat_template: Option<Box<RawValue>>,
    }
    let read = |name: &str| -> Result<(String, Config), Error> {
        let path = dir.join(name);
        if !path.is_file() {
            return Ok((String::new(), Config::default()));
        }
        let source = Source::open(&path)?;
        let config = parse(&source, BESIDE_BYTES_MAX)?;
        Ok((source.name, config))
    };
    let mut ends: Vec<u32> = gguf::ENDS.into_iter().filter_map(|end| tokenizer.vocab.find_special(end)).collect();
    for name in ["generation_config.json", "config.json"] {
        let (file, config) = read(name)?;
        ends.extend(end_ids(&file, &part(&file, "eos_token_id", &config.eos_token_id)?, tokenizer)?);
    }
    let (file, config) = read("tokenizer_config.json")?;
    let token = |key: &str, raw: &Option<Box<RawValue>>| -> Result<String, Error> {
        let token = part(&file, key, raw)?;
        Ok(token.as_str().or_else(|| token["content"].as_str()).unwrap_or_default().into())
    };
    tokenizer.bos = token("bos_token", &config.bos_token)?;
    tokenizer.eos = token("eos_token", &config.eos_token)?;
    ends.extend(Some(&tokenizer.eos).filter(|text| !text.is_empty()).and_then(|text| tokenizer.token(text)));
    ends.sort_unstable();
    ends.dedup();
    tokenizer.ends = ends;
    let jinja = dir.join("chat_template.jinja");
    tokenizer.chat_template = if jinja.is_file() {
        let source = Source::open(&jinja)?;
        Some((source.text(BESIDE_BYTES_MAX)?, source.name))
    } else {
        let source = default_template(&part(&file, "chat_template", &config.chat_template)?);
        source.map(|source| (source, format!("{file}: chat_template")))
    };
    Ok(())
}

/// One id or a list of ids.
fn end_ids(file: &str, value: &Value, tokenizer: &Tokenizer) -> Result<Vec<u32>, Error> {
    let listed = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
    let mut ids = vec![];
    for id in listed.iter().filter(|id| !id.is_null()) {
        let known = id.as_u64().filter(|&id| id < u64::from(tokenizer.vocab_size()));
        let expected = || format!("tokens below {}", tokenizer.vocab_size());
        ids.push(known.ok_or_else(|| Error::key(file, "eos_token_id", show(&id.to_string()), expected()))? as u32);
    }
    Ok(ids)
}

/// A template, or the one named `default` of a list.
fn default_template(value: &Value) -> Option<String> {
    let named = || value.as_array()?.iter().find(|t| t["name"] == "default")?["template"].as_str();
    value.as_str().or_else(named).map(String::from)
}

/// Many short texts in one piece of memory.
#[derive(Default)]
struct Texts {
    blob: String,
    ends: Vec<u32>,
}

impl Texts {
    fn len(&self) -> usize {
        self.ends.len()
    }

    fn get(&self, at: usize) -> &str {
        let start = if at == 0 { 0 } else { self.ends[at - 1] };
        &self.blob[start as usize..self.ends[at] as usize]
    }

    /// Fails when there are too many.
    fn push<E: serde::de::Error>(&mut self, text: &str, max: u64) -> Result<(), E> {
        if self.ends.len() as u64 >= max || self.blob.len() + text.len() > u32::MAX as usize {
            return Err(E::custom(format!("more than {max} entries")));
        }
        self.blob.push_str(text);
        self.ends.push(self.blob.len() as u32);
        Ok(())
    }
}

/// The vocabulary: pieces and their ids.
struct Pieces {
    text: Texts,
    ids: Vec<u32>,
}

/// The merges: left, right, left, right, …
struct Pairs(Texts);

/// The added tokens.
#[derive(Default)]
struct Added(Vec<AddedToken>);

impl<'de> Deserialize<'de> for Pieces {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(PiecesVisitor)
    }
}

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(PairsVisitor)
    }
}

impl<'de> Deserialize<'de> for Added {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(AddedVisitor)
    }
}

struct PiecesVisitor;

impl<'de> Visitor<'de> for PiecesVisitor {
    type Value = Pieces;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object: pieces and their ids")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pieces, A::Error> {
        let mut pieces = Pieces { text: Texts::default(), ids: vec![] };
        while let Some((text, id)) = map.next_entry::<String, u32>()? {
            pieces.text.push(&text, TOKENS_MAX)?;
            pieces.ids.push(id);
        }
        Ok(pieces)
    }
}

struct PairsVisitor;

impl<'de> Visitor<'de> for PairsVisitor {
    type Value = Pairs;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a list of merges")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Pairs, A::Error> {
        let mut texts = Texts::default();
        while let Some(Pair(left, right)) = seq.next_element()? {
            texts.push(&left, 2 * TOKENS_MAX)?;
            texts.push(&right, 2 * TOKENS_MAX)?;
        }
        Ok(Pairs(texts))
    }
}

/// `"left right"` or `["left", "right"]`.
struct Pair(String, String);

impl<'de> Deserialize<'de> for Pair {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PairVisitor)
    }
}

struct PairVisitor;

impl<'de> Visitor<'de> for PairVisitor {
    type Value = Pair;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a merge: \"left right\" or [\"left\", \"right\"]")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Pair, E> {
        let (left, right) = text.split_once(' ').ok_or_else(|| E::custom("a merge without a space"))?;
        Ok(Pair(left.into(), right.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Pair, A::Error> {
        let mut next =
            || seq.next_element::<String>()?.ok_or_else(|| A::Error::custom("a merge of less than two pieces"));
        let pair = Pair(next()?, next()?);
        match seq.next_element::<serde::de::IgnoredAny>()? {
            None => Ok(pair),
            Some(_) => Err(A::Error::custom("a merge of more than two pieces")),
        }
    }
}

struct AddedVisitor;

impl<'de> Visitor<'de> for AddedVisitor {
    type Value = Added;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a list of added tokens")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Added, A::Error> {
        let mut added = vec![];
        while let Some(token) = seq.next_element()? {
            if added.len() == ADDED_MAX {
                return Err(A::Error::custom(format!("more than {ADDED_MAX} added tokens")));
            }
            added.push(token);
        }
        Ok(Added(added))
    }
}
