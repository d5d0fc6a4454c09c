//! The same tokens as llama.cpp, on a real vocabulary.

use headsaw_run::tokenizer::{Decoder, Tokenizer};
use headsaw_run::weights::ModelFile;
use serde_json::Value;

fn smollm2() -> Option<Tokenizer> {
    let Some(path) = std::env::var_os("HEADSAW_SMOLLM2") else {
        eprintln!("skipped: no SmolLM2");
        return None;
    };
    let model = ModelFile::open(path.as_ref()).expect("the model opens");
    Some(Tokenizer::from_model(&model).expect("it has a tokenizer"))
}

fn ids(list: &Value) -> Vec<u32> {
    list.as_array().expect("a list").iter().map(|id| id.as_u64().expect("an id") as u32).collect()
}

#[test]
fn same_tokens_as_llama_cpp() {
    let Some(tokenizer) = smollm2() else { return };
    let expected: Value = serde_json::from_str(include_str!("tokens/smollm2.json")).expect("JSON");
    for case in expected["tokens"].as_array().expect("cases") {
        let text = case["text"].as_str().expect("a text");
        assert_eq!(tokenizer.encode(text, true).expect("encodes"), ids(&case["special"]), "{text:?}");
        assert_eq!(tokenizer.encode(text, false).expect("encodes"), ids(&case["plain"]), "{text:?}, plain");
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
