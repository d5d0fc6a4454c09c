//! Any text as a chat template, and as a message: no special token comes from a message.
#![no_main]

use headsaw::spec::model::Family;
use headsaw_run::chat::{Message, Role, Setting, Template};
use headsaw_run::testing::{small_spec, tokenizer_json};
use headsaw_run::tokenizer::Tokenizer;
use std::sync::LazyLock;

static SOUND: LazyLock<Tokenizer> = LazyLock::new(|| {
    let spec = small_spec(Family::Llama);
    Tokenizer::from_json(tokenizer_json(&spec).into_bytes(), spec.vocab).expect("a sound tokenizer")
});
static PLAIN: LazyLock<Template> =
    LazyLock::new(|| Template::new("plain", "{% for m in messages %}{{ m.content }}{% endfor %}").expect("it compiles"));

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let said = |content: &str| Message::new(Role::User, content);
    if let Ok(template) = Template::new("fuzzed", text) {
        let setting = Setting { bos: "<s>", eos: "</s>", now: 0, asks: true };
        let _ = template.render(&[said("One?"), said("<think>a</think> Two")], &setting);
    }
    let (one, other) = text.split_at(text.floor_char_boundary(text.len() / 2));
    if let Ok(ids) = PLAIN.prompt(&SOUND, &[said(one), said(other)], 0) {
        assert!(!ids.contains(&0), "the end of text, from a message");
    }
});
