//! What the parts of a `tokenizer.json` mean: normalisers and pre-tokenizers.

use super::SpacePrefix;
use super::merge::Units;
use super::split::{GPT2, Splitter};
use crate::weights::{Error, show};
use serde_json::Value;

/// How text is prepared and cut into words.
pub(super) struct Parts {
    pub(super) units: Units,
    pub(super) splitter: Splitter,
    pub(super) space_prefix: SpacePrefix,
    /// No space is put in front where there is one.
    pub(super) prefix_once: bool,
}

/// What has been gathered so far.
struct Gathered {
    bytes: bool,
    /// Spaces become `▁`.
    marks: bool,
    compose: bool,
    patterns: Vec<String>,
    space_prefix: SpacePrefix,
    prefix_once: bool,
}

/// Reads the parts, or names the first that headsaw does not follow.
pub(super) fn parts(file: &str, normalizer: &Value, pre_tokenizer: &Value, decoder: &Value) -> Result<Parts, Error> {
    let mut all = Gathered {
        bytes: mentions(decoder, "ByteLevel"),
        marks: false,
        compose: false,
        patterns: vec![],
        space_prefix: SpacePrefix::Never,
        prefix_once: false,
    };
    for part in listed(normalizer, "normalizers") {
        normal(&mut all, part).map_err(|e| Error::key(file, "normalizer", e, "Prepend, Replace or NFC"))?;
    }
    for part in listed(pre_tokenizer, "pretokenizers") {
        let expected = "Split (Isolated), Digits, ByteLevel or Metaspace";
        word(&mut all, part).map_err(|e| Error::key(file, "pre_tokenizer", e, expected))?;
    }
    if all.bytes == all.marks {
        let found = "neither byte-level nor SentencePiece, or both";
        return Err(Error::key(file, "pre_tokenizer", found, "ByteLevel, or spaces that become `▁`"));
    }
    let splitter = Splitter::new(all.patterns.iter().map(String::as_str), all.compose);
    Ok(Parts {
        units: if all.bytes { Units::Bytes } else { Units::Chars },
        splitter: splitter.map_err(|e| Error::key(file, "pre_tokenizer", e, "patterns that compile"))?,
        space_prefix: all.space_prefix,
        prefix_once: all.prefix_once,
    })
}

/// A part, or the parts of a sequence.
fn listed<'a>(part: &'a Value, key: &str) -> &'a [Value] {
    match part[key].as_array() {
        Some(parts) => parts,
        None if part.is_null() => &[],
        None => std::slice::from_ref(part),
    }
}

fn mentions(decoder: &Value, kind: &str) -> bool {
    listed(decoder, "decoders").iter().any(|part| part["type"] == kind)
}

fn unknown(part: &Value) -> String {
    format!("`{}`", show(&part.to_string()))
}

fn normal(all: &mut Gathered, part: &Value) -> Result<(), String> {
    match part["type"].as_str() {
        Some("NFC") => all.compose = true,
        Some("Prepend") if part["prepend"] == "▁" => all.space_prefix = SpacePrefix::Always,
        Some("Replace") if part["pattern"]["String"] == " " && part["content"] == "▁" => all.marks = true,
        _ => return Err(unknown(part)),
    }
    Ok(())
}

fn word(all: &mut Gathered, part: &Value) -> Result<(), String> {
    match part["type"].as_str() {
        Some("ByteLevel") if part["add_prefix_space"] == false => {
            all.bytes = true;
            if part["use_regex"] != false {
                all.patterns.push(GPT2.into());
            }
        }
        Some("Digits") => {
            all.patterns.push(if part["individual_digits"] == true { r"\p{N}" } else { r"\p{N}+" }.into());
        }
        Some("Split") if part["behavior"] == "Isolated" && part["invert"] != true => {
            let pattern = &part["pattern"];
            let regex = pattern["Regex"].as_str().map(String::from);
            let literal = pattern["String"].as_str().map(regex::escape);
            all.patterns.push(regex.or(literal).ok_or_else(|| unknown(part))?);
        }
        Some("Metaspace") if part["replacement"] == "▁" => metaspace(all, part)?,
        _ => return Err(unknown(part)),
    }
    Ok(())
}

fn metaspace(all: &mut Gathered, part: &Value) -> Result<(), String> {
    all.marks = true;
    all.prefix_once = true;
    all.space_prefix = match (part["prepend_scheme"].as_str(), part["add_prefix_space"].as_bool()) {
        (Some("never"), _) | (None, Some(false)) => SpacePrefix::Never,
        (Some("first"), _) => SpacePrefix::First,
        (Some("always"), _) | (None, _) => SpacePrefix::Always,
        _ => return Err(unknown(part)),
    };
    if part["split"] != false {
        all.patterns.push("▁?[^▁]+|▁".into());
    }
    Ok(())
}
