//! Any text as a plan; one without violations lowers to a sound program.
#![no_main]

use headsaw::lower::lower;
use headsaw::plan::Plan;
use headsaw::verify;

libfuzzer_sys::fuzz_target!(|text: &str| {
    let Ok(plan) = serde_json::from_str::<Plan>(text) else { return };
    if verify::plan(&plan).is_empty() && plan.devices.len() as u32 * plan.lanes * plan.workload.micros <= 64 {
        assert_eq!(verify::program(&lower(&plan)), vec![]);
    }
});
