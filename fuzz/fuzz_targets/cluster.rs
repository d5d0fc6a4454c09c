//! Any text as a cluster file; what is accepted is accepted again when it is written, problems lie inside the text.
#![no_main]

use headsaw::spec::cluster::{presets, read, write};

libfuzzer_sys::fuzz_target!(|text: &str| {
    match read("fuzzed", text) {
        Ok(cluster) => assert_eq!(read("fuzzed", &write(&cluster)), Ok(cluster)),
        Err(problems) => {
            assert!(!problems.is_empty());
            assert!(problems.iter().all(|problem| (1..=text.lines().count().max(1)).contains(&problem.line)));
        }
    }
    if let Ok(cluster) = presets::parse(text) {
        assert_eq!(presets::parse(&cluster.name), Ok(cluster));
    }
});
