//! The same tokens as llama.cpp, on a real vocabulary.

#[path = "shared/smollm2.rs"]
mod shared; // HEADSAW_SMOLLM2

use headsaw::spec::model::Family;
use headsaw_run::testing::{random_hf_folder, small_spec, tokenizer_json};
use headsaw_run::tokenizer::{Decoder, Tokenizer};
use headsaw_run::weights::ModelFile;
use serde_json::Value;
use shared::smollm2;

fn ids(list: &Value) -> Vec<u32> {
    list.as_array().expect("a list").iter().map(|id| id.as_u64().expect("an id") as u32).collect()
}

/// Every case of a file in `tokens/`; all that differs is one failure.
fn check(tokenizer: &Tokenizer, expected: &str) {
    let expected: Value = serde_json::from_str(expected).expect("JSON");
    let mut wrong = vec![];
    for case in expected["tokens"].as_array().expect("cases") {
        let text = case["text"].as_str().expect("a text");
        for (special, ids) in [(true, ids(&case["special"])), (false, ids(&case["plain"]))] {
            // llama.cpp puts a beginning-of-text token before a text that starts with one, and warns; we do not
            let doubled = text.starts_with("<s>") && ids.len() > 1 && ids[0] == ids[1];
            let ids = ids[usize::from(doubled)..].to_vec();
            let got = tokenizer.encode(text, special).expect("encodes");
            if got != ids {
                wrong.push(format!("{text:?}, special {special}\n  got  {got:?}\n  want {ids:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn same_tokens_as_llama_cpp() {
    let Some(tokenizer) = smollm2() else { return };
    check(&tokenizer, include_str!("tokens/smollm2.json"));
}

/// The vocabularies that come with llama.cpp's sources, `models/ggml-vocab-*.gguf`.
#[test]
fn same_tokens_on_other_vocabularies() {
    let Some(folder) = std::env::var_os("HEADSAW_VOCABS") else {
        eprintln!("skipped: no folder of vocabularies");
        return;
    };
    for (name, expected) in [
        ("llama-spm", include_str!("tokens/llama-spm.json")),
        ("llama-bpe", include_str!("tokens/llama-bpe.json")),
        ("qwen2", include_str!("tokens/qwen2.json")),
        ("gpt-2", include_str!("tokens/gpt-2.json")),
        ("refact", include_str!("tokens/refact.json")),
    ] {
        let path = std::path::Path::new(&folder).join(format!("ggml-vocab-{name}.gguf"));
        let tokenizer = Tokenizer::from_gguf(&path).unwrap_or_else(|e| panic!("{name}: {e}"));
        check(&tokenizer, expected);
    }
}

#[test]
fn text_comes_back() {
    let Some(tokenizer) = smollm2() else { return };
    for text in ["Hello, world!", " a  b\n\n", "你好 😀 é"] {
        let ids = tokenizer.encode(text, false).expect("encodes");
        assert_eq!(tokenizer.decode(&ids), text);
        let mut decoder = Decoder::new();
        let parts: Vec<String> = ids.iter().map(|&id| decoder.push(&tokenizer, id)).collect();
        assert_eq!(parts.concat() + &decoder.finish(), text);
        assert!(parts.iter().all(|p| !p.contains('\u{FFFD}')), "{parts:?}");
    }
}

#[test]
fn what_the_file_says() {
    let Some(tokenizer) = smollm2() else { return };
    assert_eq!(tokenizer.vocab_size(), 49_152);
    assert_eq!(tokenizer.eos(), [0, 2]);
    assert_eq!(tokenizer.token("<|im_end|>"), Some(2));
    assert!(tokenizer.chat_template().is_some_and(|t| t.contains("<|im_start|>")));
}

/// The `tokenizer.json` of a folder, read by us and by the `tokenizers` crate.
#[test]
fn same_tokens_as_the_tokenizers_crate() {
    let spec = small_spec(Family::Llama);
    let dir = std::env::temp_dir().join(format!("headsaw-tokenizer-{}", std::process::id()));
    for json in [tokenizer_json(&spec), metaspace_json(), prepend_json()] {
        random_hf_folder(&dir, &spec, 1).expect("writes");
        std::fs::write(dir.join("tokenizer.json"), &json).expect("writes");
        let ours = Tokenizer::from_model(&ModelFile::open(&dir).expect("opens")).expect("a tokenizer");
        let theirs = tokenizers::Tokenizer::from_bytes(json.as_bytes()).expect("a tokenizer");
        for text in ["", "the enter", " the  ent, tea\n", "hen<s>then </s> the", "é你 ▁x", "<0x41> 12"] {
            let got = ours.encode(text, true).expect("encodes");
            let want = theirs.encode(text, true).expect("encodes").get_ids().to_vec();
            assert_eq!(got, want, "{text:?} by {}", &json[..80]);
        }
    }
    std::fs::remove_dir_all(&dir).expect("removes");
}

/// SentencePiece's way in the two forms that folders have it.
fn sentence_piece_json(normalizer: Value, pre_tokenizer: Value) -> String {
    let pieces =
        ["<unk>", "<s>", "</s>", "▁", "t", "h", "e", "n", "a", "th", "▁t", "▁th", "▁the", "en", "hen", "▁▁", "\n"];
    let bytes = (0..256).map(|b| format!("<0x{b:02X}>"));
    let vocab: serde_json::Map<String, Value> =
        pieces.into_iter().map(String::from).chain(bytes).enumerate().map(|(id, t)| (t, id.into())).collect();
    let added = ["<unk>", "<s>", "</s>"].into_iter().enumerate().map(|(id, content)| {
        serde_json::json!({ "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
                            "normalized": false, "special": true })
    });
    let merges = ["▁ t", "t h", "e n", "▁t h", "▁ th", "h en", "▁th e", "▁ ▁"];
    serde_json::json!({
        "version": "1.0",
        "added_tokens": added.collect::<Vec<_>>(),
        "normalizer": normalizer,
        "pre_tokenizer": pre_tokenizer,
        "post_processor": { "type": "TemplateProcessing",
            "single": [{ "SpecialToken": { "id": "<s>", "type_id": 0 } }, { "Sequence": { "id": "A", "type_id": 0 } }],
            "pair": [{ "Sequence": { "id": "A", "type_id": 0 } }, { "Sequence": { "id": "B", "type_id": 0 } }],
            "special_tokens": { "<s>": { "id": "<s>", "ids": [1], "tokens": ["<s>"] } } },
        "decoder": null,
        "model": { "type": "BPE", "dropout": null, "unk_token": "<unk>", "continuing_subword_prefix": null,
                   "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true, "ignore_merges": false,
                   "vocab": vocab, "merges": merges },
    })
    .to_string()
}

fn metaspace_json() -> String {
    let metaspace =
        serde_json::json!({ "type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": false });
    sentence_piece_json(Value::Null, metaspace)
}

fn prepend_json() -> String {
    let normalizer = serde_json::json!({ "type": "Sequence", "normalizers": [
        { "type": "Prepend", "prepend": "▁" },
        { "type": "Replace", "pattern": { "String": " " }, "content": "▁" },
    ]});
    sentence_piece_json(normalizer, Value::Null)
}
