//! What a run did, for people and for scripts.

use crate::auto::Auto;
use crate::cut::CutJson;
use crate::output::hex;
use crate::table::{Table, facts};
use headsaw::units::Bytes;
use headsaw_run::generate::{DeviceReport, Engine, Finish, Output, Phase, Report};
use serde::Serialize;
use std::ops::Range;

/// What a script wants to know of a run before there is any output.
#[derive(Debug)]
pub struct Setup<'a> {
    /// The model's name.
    pub model: &'a str,
    /// How it is cut.
    pub cut: CutJson,
    /// What was chosen where the flags left it open.
    pub auto: Option<Auto>,
    /// What computes.
    pub kernels: &'a str,
}

/// What `run --json` prints.
#[derive(Debug, Serialize)]
pub struct RunJson<'a> {
    model: &'a str,
    cut: &'a CutJson,
    auto: Option<&'a Auto>,
    kernels: &'a str,
    outputs: Vec<OutputJson<'a>>,
    logits_digest: String,
    load_seconds: f64,
    prefill: PhaseJson,
    decode: PhaseJson,
    devices: Vec<DeviceJson>,
}

impl<'a> RunJson<'a> {
    /// A run that is over.
    pub fn of(setup: &'a Setup, outputs: Vec<OutputJson<'a>>, report: &Report, engine: &Engine) -> RunJson<'a> {
        RunJson {
            model: setup.model,
            cut: &setup.cut,
            auto: setup.auto.as_ref(),
            kernels: setup.kernels,
            outputs,
            logits_digest: hex(&report.logits_digest),
            load_seconds: engine.load_seconds(),
            prefill: report.prefill.into(),
            decode: report.decode.into(),
            devices: devices_json(&engine.devices()),
        }
    }
}

/// A prompt and what followed it.
#[derive(Debug, Serialize)]
pub struct OutputJson<'a> {
    prompt: &'a str,
    prompt_tokens: &'a [u32],
    prompt_tokens_reused: usize,
    tokens: &'a [u32],
    text: &'a str,
    logits_digest: String,
    finish_reason: &'static str,
}

impl<'a> OutputJson<'a> {
    /// As people wrote it, as the model saw it, and what it made of it.
    pub fn of(prompt: &'a str, prompt_tokens: &'a [u32], output: &'a Output, text: &'a str) -> OutputJson<'a> {
        OutputJson {
            prompt,
            prompt_tokens,
            prompt_tokens_reused: output.reused,
            tokens: &output.tokens,
            text,
            logits_digest: hex(&output.logits_digest),
            finish_reason: finish_word(output.finish),
        }
    }
}

/// Tokens and the time they took.
#[derive(Debug, Serialize)]
pub struct PhaseJson {
    tokens: u64,
    seconds: f64,
    tokens_per_second: f64,
}

impl From<Phase> for PhaseJson {
    fn from(phase: Phase) -> PhaseJson {
        PhaseJson { tokens: phase.tokens, seconds: phase.seconds, tokens_per_second: phase.tokens_per_second() }
    }
}

/// What a device holds and uses; spans are `[start, end)`.
#[derive(Debug, Serialize)]
pub struct DeviceJson {
    device: u32,
    stage: usize,
    heads: [u32; 2],
    kv_heads: [u32; 2],
    layers: [u32; 2],
    weight_bytes: Bytes,
    memory_bytes_peak: Bytes,
}

impl From<&DeviceReport> for DeviceJson {
    fn from(device: &DeviceReport) -> DeviceJson {
        let ends = |range: &Range<u32>| [range.start, range.end];
        DeviceJson {
            device: device.device.0,
            stage: device.stage,
            heads: ends(&device.heads),
            kv_heads: ends(&device.kv_heads),
            layers: ends(&device.layers),
            weight_bytes: device.weight_bytes,
            memory_bytes_peak: device.memory_bytes_peak,
        }
    }
}

/// All devices.
pub fn devices_json(devices: &[DeviceReport]) -> Vec<DeviceJson> {
    devices.iter().map(DeviceJson::from).collect()
}

/// Why a prompt's text ended, as scripts know it from other tools.
pub fn finish_word(finish: Finish) -> &'static str {
    match finish {
        Finish::Length => "length",
        Finish::Stop => "stop",
        Finish::Cancelled => "cancelled",
    }
}

/// Speed, devices, digest.
pub fn summary(report: &Report, engine: &Engine) -> String {
    let digest = facts(&[("logits digest", hex(&report.logits_digest))]);
    format!("{}{}{digest}", speeds(report, engine.load_seconds()), devices_table(&DEVICE_COLUMNS, &engine.devices()))
}

/// The columns of a table of devices.
pub const DEVICE_COLUMNS: [&str; 7] = ["<device", "stage", "heads", "KV heads", "layers", "weights", "peak memory"];

fn speeds(report: &Report, load_seconds: f64) -> String {
    let mut table = Table::new(&["<", "tokens", "seconds", "tokens/s"]);
    table.row(vec!["load".into(), "".into(), format!("{load_seconds:.3}"), "".into()]);
    for (name, phase) in [("prompt", report.prefill), ("generation", report.decode)] {
        let rate = if phase.tokens == 0 { "-".into() } else { format!("{:.1}", phase.tokens_per_second()) };
        table.row(vec![name.into(), phase.tokens.to_string(), format!("{:.3}", phase.seconds), rate]);
    }
    table.show()
}

/// A row a device, under headings of any language.
pub fn devices_table(columns: &[&str; 7], devices: &[DeviceReport]) -> String {
    let span = |range: &Range<u32>| format!("{}..{}", range.start, range.end);
    let mut table = Table::new(columns);
    for device in devices {
        table.row(vec![
            device.device.0.to_string(),
            device.stage.to_string(),
            span(&device.heads),
            span(&device.kv_heads),
            span(&device.layers),
            device.weight_bytes.to_string(),
            device.memory_bytes_peak.to_string(),
        ]);
    }
    table.show()
}
