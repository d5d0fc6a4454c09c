//! The tokenizer of the real model, where there is one.

use headsaw_run::tokenizer::Tokenizer;
use headsaw_run::weights::ModelFile;

/// None, with a word, where `HEADSAW_SMOLLM2` names no model.
pub fn smollm2() -> Option<Tokenizer> {
    let Some(path) = std::env::var_os("HEADSAW_SMOLLM2") else {
        eprintln!("skipped: no SmolLM2");
        return None;
    };
    let model = ModelFile::open(path.as_ref()).expect("the model opens");
    Some(Tokenizer::from_model(&model).expect("it has a tokenizer"))
}
