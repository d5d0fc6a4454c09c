//! Programs as text, for reading and for goldens.

use super::*;
use std::fmt::Write;

/// One row a device, in the manner of torch.distributed.pipelining: `0RECV_F0,0F0,0SEND_F0`.
///
/// Only what crosses stages is shown; what happens inside a stage is in [`listing`].
pub fn ranks(program: &Program) -> String {
    let mut text = String::new();
    for lane in program.lanes.iter().filter(|lane| lane.number == 0) {
        let mut row: Vec<String> = Vec::new();
        for action in &lane.actions {
            let word = match action.op {
                Op::Send(chan) => residual(program, chan).map(|_| "SEND_F"),
                Op::Recv(chan) => residual(program, chan).map(|_| "RECV_F"),
                _ => Some("F"),
            };
            let cell = word.map(|word| format!("{}{word}{}", lane.stage.0, action.micro.0));
            if let Some(cell) = cell.filter(|cell| !row.contains(cell)) {
                row.push(cell);
            }
        }
        writeln!(text, "{}", row.join(",")).expect("writing to a String");
    }
    text
}

fn residual(program: &Program, chan: ChanId) -> Option<()> {
    matches!(program.chans[chan.index()].carries, Carries::Residual { .. }).then_some(())
}

/// Every action of every lane: `0PROJECT0.L3 0..30 b7 b8 -> b9`.
pub fn listing(program: &Program) -> String {
    let mut text = String::new();
    for lane in &program.lanes {
        writeln!(text, "{} {} lane {}", lane.device, lane.stage, lane.number).expect("writing to a String");
        for action in &lane.actions {
            writeln!(text, "  {}", line(program, lane, action)).expect("writing to a String");
        }
    }
    text
}

fn line(program: &Program, lane: &Lane, action: &Action) -> String {
    let layer = action.layer.map(|layer| format!(".L{layer}")).unwrap_or_default();
    let bufs = |list: &[BufId]| list.iter().map(BufId::to_string).collect::<Vec<_>>().join(" ");
    let arrow = if action.makes.is_empty() { "" } else { " -> " };
    format!(
        "{}{}{}{layer} {}..{} {}{arrow}{}",
        lane.stage.0,
        word(program, action.op),
        action.micro.0,
        action.part.start,
        action.part.end,
        bufs(&action.needs),
        bufs(&action.makes),
    )
}

/// The name of an operation in texts and pictures: `PROJECT`, `SEND_F`.
pub fn word(program: &Program, op: Op) -> &'static str {
    let carries = |chan: ChanId| program.chans[chan.index()].carries;
    match op {
        Op::Compute(step) => step_word(step),
        Op::Send(chan) => match carries(chan) {
            Carries::Header(_) => "SEND_HEADER",
            Carries::Residual { .. } => "SEND_F",
            Carries::Logits { .. } => "SEND_LOGITS",
        },
        Op::Recv(chan) => match carries(chan) {
            Carries::Header(_) => "RECV_HEADER",
            Carries::Residual { .. } => "RECV_F",
            Carries::Logits { .. } => "RECV_LOGITS",
        },
        Op::AllReduce(_) => "ALL_REDUCE",
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
        Step::Merge => "MERGE",
        Step::GateUp => "GATE_UP",
        Step::Down => "DOWN",
        Step::Logits => "LOGITS",
        Step::Sample => "SAMPLE",
    }
}
