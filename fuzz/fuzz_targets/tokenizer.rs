//! Any bytes as a `tokenizer.json`, and as text for a vocabulary that has every byte: that text must come back.
#![no_main]

use headsaw::spec::model::Family;
use headsaw_run::testing::{small_spec, tokenizer_json};
use headsaw_run::tokenizer::Tokenizer;
use std::sync::LazyLock;

static SOUND: LazyLock<Tokenizer> = LazyLock::new(|| {
    let spec = small_spec(Family::Llama);
    Tokenizer::from_json(tokenizer_json(&spec).into_bytes(), spec.vocab).expect("a sound tokenizer")
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Ok(tokenizer) = Tokenizer::from_json(data.to_vec(), 1 << 16) {
        let ids = tokenizer.encode("The cat <|endoftext|>, 12 é", true).unwrap_or_default();
        tokenizer.decode(&ids);
    }
    if let Ok(text) = std::str::from_utf8(data) {
        let ids = SOUND.encode(text, false).expect("encodes");
        assert_eq!(SOUND.decode(&ids), text);
    }
});
