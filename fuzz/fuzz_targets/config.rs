//! Any text as a `config.json`; what is accepted has no complaints.
#![no_main]

use headsaw::spec::model::ModelSpec;

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Ok(spec) = ModelSpec::from_hf_config("fuzzed", text) {
        assert!(spec.check().is_empty());
    }
});
