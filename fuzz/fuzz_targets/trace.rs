//! Any text as a trace file; what fits together is verified, and comes back when written.
#![no_main]

use headsaw::trace::TraceFile;
use headsaw::verify;

libfuzzer_sys::fuzz_target!(|text: &str| {
    let Ok(file) = TraceFile::read(text) else { return };
    assert_eq!(TraceFile::read(&file.text()).as_ref(), Ok(&file));
    let plan = &file.plan;
    if verify::plan(plan).is_empty() && plan.devices.len() as u32 * plan.lanes * plan.workload.micros > 64 {
        return;
    }
    if let Ok(program) = verify::traced(&file) {
        verify::trace(&program, &file.into_trace(&program));
    }
});
