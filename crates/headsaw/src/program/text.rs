//! Programs as text, for reading and for goldens.

use super::*;
use std::collections::BTreeSet;
use std::fmt::Write;

/// What a stage's work on a micro-batch is called.
pub const FORWARD: &str = "F";
/// What its hand-over to the next stage is called.
pub const SEND: &str = "SEND_F";

/// One row a device, in the manner of torch.distributed.pipelining: `0RECV_F0,0F0,0SEND_F0`.
///
/// Only what crosses stages is shown; what happens inside a stage is in [`listing`]. A cell stands where the device
/// begins it; micro-batches that take each layer together are all received before the first is sent.
pub fn ranks(program: &Program) -> String {
    let mut text = String::new();
    for device in program.lanes.chunk_by(|a, b| a.device == b.device) {
        let stage = device[0].stage.0;
        let cells: Vec<String> =
            row(program, device).iter().map(|(word, micro)| format!("{stage}{word}{}", micro.0)).collect();
        writeln!(text, "{}", cells.join(",")).expect("writing to a String");
    }
    text
}

/// What crosses stages, a row a stage: the cells of its first device, as [`ranks`] writes them, and their micro-batches.
pub fn stages(program: &Program) -> Vec<Vec<(&'static str, MicroId)>> {
    let stages = program.lanes.chunk_by(|a, b| a.stage == b.stage);
    let first = |stage: &[Lane]| stage.iter().take_while(|lane| lane.device == stage[0].device).count();
    stages.map(|stage| row(program, &stage[..first(stage)])).collect()
}

/// The cells of one device: those of a lane that takes the residual in and hands it on, where one does.
fn row(program: &Program, device: &[Lane]) -> Vec<(&'static str, MicroId)> {
    device.iter().map(|lane| cells(program, lane)).max_by_key(Vec::len).unwrap_or_default()
}

fn cells(program: &Program, lane: &Lane) -> Vec<(&'static str, MicroId)> {
    let mut seen = BTreeSet::new();
    let cells = lane.actions.iter().filter_map(|action| Some((cell(program, action.op)?, action.micro)));
    cells.filter(|cell| seen.insert(*cell)).collect()
}

/// What an action is to the stages.
fn cell(program: &Program, op: Op) -> Option<&'static str> {
    match op {
        Op::Send(chan) | Op::Recv(chan) => residual(program, chan).then(|| word(program, op)),
        Op::Compute(_) | Op::AllReduce(..) | Op::AllGather(..) => Some(FORWARD),
    }
}

fn residual(program: &Program, chan: ChanId) -> bool {
    matches!(program.chans[chan.index()].carries, Carries::Residual { .. })
}

/// Every action of every lane: `0PROJECT0.L3 0..30 b7 b8 -> b9`.
pub fn listing(program: &Program) -> String {
    let mut text = String::new();
    for lane in &program.lanes {
        let role = if lane.role == Role::Exchange { ", exchanges" } else { "" };
        writeln!(text, "{} {} lane {}{role}", lane.device, lane.stage, lane.number).expect("writing to a String");
        for action in &lane.actions {
            writeln!(text, "  {}", line(program, lane, action)).expect("writing to a String");
        }
    }
    text
}

fn line(program: &Program, lane: &Lane, action: &Action) -> String {
    let layer = action.layer.map(|layer| format!(".L{layer}")).unwrap_or_default();
    let bufs = |list: &[BufId]| list.iter().map(BufId::to_string).collect::<Vec<_>>().join(" ");
    let unit = unit(action);
    let arrow = if action.makes.is_empty() { "" } else { " -> " };
    format!(
        "{}{}{}{layer}{unit} {}..{} {}{arrow}{}",
        lane.stage.0,
        word(program, action.op),
        action.micro.0,
        action.part.start,
        action.part.end,
        bufs(&action.needs),
        bufs(&action.makes),
    )
}

/// Which unit of a layer: `.h2..4` for heads, `.u1` for a piece of the MLP; nothing where the layer is not cut.
pub fn unit(action: &Action) -> String {
    match &action.unit {
        None => String::new(),
        Some(Unit { number, heads }) if heads.is_empty() => format!(".u{number}"),
        Some(Unit { heads, .. }) => format!(".h{}..{}", heads.start, heads.end),
    }
}

/// The name of an operation in texts and pictures: `PROJECT`, `SEND_F`.
pub fn word(program: &Program, op: Op) -> &'static str {
    let carries = |chan: ChanId| program.chans[chan.index()].carries;
    match op {
        Op::Compute(step) => step_word(step),
        Op::Send(chan) => match carries(chan) {
            Carries::Header(_) => "SEND_HEADER",
            Carries::Residual { .. } => SEND,
            Carries::Logits { .. } => "SEND_LOGITS",
        },
        Op::Recv(chan) => match carries(chan) {
            Carries::Header(_) => "RECV_HEADER",
            Carries::Residual { .. } => "RECV_F",
            Carries::Logits { .. } => "RECV_LOGITS",
        },
        Op::AllReduce(_, Summed::Merge) => "REDUCE_MERGE",
        Op::AllReduce(_, Summed::Down) => "REDUCE_DOWN",
        Op::AllGather(_, Gathered::Embedded) => "GATHER_EMBEDDED",
        Op::AllGather(_, Gathered::Normed(_)) => "GATHER_NORMED",
        Op::AllGather(_, Gathered::Attended) => "GATHER_ATTENDED",
        Op::AllGather(_, Gathered::Hidden) => "GATHER_HIDDEN",
    }
}

/// The name of a step: `PROJECT`.
pub fn step_word(step: Step) -> &'static str {
    match step {
        Step::Embed => "EMBED",
        Step::Norm(_) => "NORM",
        Step::Project => "PROJECT",
        Step::Attend => "ATTEND",
        Step::Score => "SCORE",
        Step::Softmax => "SOFTMAX",
        Step::Context => "CONTEXT",
        Step::Merge => "MERGE",
        Step::GateUp => "GATE_UP",
        Step::Down => "DOWN",
        Step::Logits => "LOGITS",
        Step::Sample => "SAMPLE",
    }
}
