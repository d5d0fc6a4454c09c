//! Models by name: the TOML files of `specs/models`, each figure with its source, built into the library.

use super::model::ModelSpec;
use super::names;

macro_rules! presets {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../specs/models/", $name, ".toml")))),*]
    };
}

/// Name and TOML text; small models first within a family.
const PRESETS: &[(&str, &str)] = presets![
    "eight-heads",
    "smollm2-135m",
    "smollm2-360m",
    "smollm2-1.7b",
    "llama-2-7b",
    "llama-2-70b",
    "llama-3.1-8b",
    "llama-3.1-70b",
    "llama-3.1-405b",
    "qwen2-1.5b",
    "qwen2-7b",
    "qwen3-0.6b",
    "qwen3-1.7b",
    "qwen3-4b",
    "qwen3-8b",
    "qwen3-14b",
    "qwen3-32b",
    "mistral-7b",
    "gpt3-175b",
    "megatron-22b",
    "megatron-530b",
    "megatron-1t",
];

/// The names of all presets.
pub fn names() -> impl Iterator<Item = &'static str> {
    PRESETS.iter().map(|(name, _)| *name)
}

/// The preset of that name; case does not matter.
///
/// ```
/// # use headsaw::spec::presets;
/// assert_eq!(presets::find("SmolLM2-135M").unwrap().heads, 9);
/// ```
pub fn find(name: &str) -> Option<ModelSpec> {
    let (name, text) = PRESETS.iter().find(|(known, _)| known.eq_ignore_ascii_case(name))?;
    Some(toml::from_str(text).unwrap_or_else(|error| panic!("preset {name}: {error}")))
}

/// The preset whose name is closest to `name`, for "did you mean …?"; none where nothing is close.
///
/// ```
/// # use headsaw::spec::presets;
/// assert_eq!(presets::nearest("lama3.1-8b"), Some("llama-3.1-8b"));
/// assert_eq!(presets::nearest("a poem"), None);
/// ```
pub fn nearest(name: &str) -> Option<&'static str> {
    names::nearest(name, names())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::model::Family;

    #[test]
    fn every_preset_parses_and_its_shape_holds_together() {
        for name in names() {
            let model = find(name).expect(name);
            assert_eq!(model.heads % model.kv_heads, 0, "{name}: KV heads divide heads");
            assert_eq!(model.rope.is_none(), model.family == Family::Gpt, "{name}: rotary, or learned positions");
            let wider = ["qwen3-0.6b", "qwen3-4b", "qwen3-32b"].contains(&name);
            assert_eq!(model.heads * model.head_width == model.width, !wider, "{name}: heads fill the width");
        }
    }

    #[test]
    fn every_preset_cites_its_source() {
        for (name, text) in PRESETS {
            assert!(text.starts_with("# "), "{name} opens with where its figures come from");
            let source = text.contains("config.json") || text.contains("arXiv") || *name == "eight-heads";
            assert!(source, "{name} cites nothing");
        }
    }

    #[test]
    fn a_spec_survives_being_written() {
        for name in names() {
            let model = find(name).expect(name);
            let text = toml::to_string(&model).expect("a spec is plain data");
            assert_eq!(toml::from_str::<ModelSpec>(&text).expect("its own text"), model, "{name}:\n{text}");
        }
    }

    #[test]
    fn names_with_a_slip_are_found() {
        for (typed, meant) in [
            ("smollm2-135", Some("smollm2-135m")),
            ("smolm2-1.7b", Some("smollm2-1.7b")),
            ("LLAMA-3.1-405", Some("llama-3.1-405b")),
            ("gpt-3-175b", Some("gpt3-175b")),
            ("megatron-1T", Some("megatron-1t")),
            ("", None),
            ("model.gguf", None),
        ] {
            assert_eq!(nearest(typed), meant, "{typed}");
        }
    }
}
