//! From a model to a plan, from the plan to a program, and what the checker says of a program with a hole.
//!
//! `cargo run -p headsaw --example 03_sound_program`

use headsaw::lower::lower;
use headsaw::plan::{CutRequest, Exchange, Order, cut};
use headsaw::program::{Op, text::ranks};
use headsaw::spec::presets;
use headsaw::spec::workload::{Activations, KvDtype, Numerics, Workload};
use headsaw::verify;

fn main() {
    print!("{}", text());
}

/// What is printed.
pub fn text() -> String {
    let model = presets::find("eight-heads").expect("a preset");
    let numerics = Numerics { activations: Activations::Int8, kv: KvDtype::F16 };
    let workload = Workload { batch: 1, tokens: 64, micros: 2, context: 256, sequences: 2, numerics };
    let (exchange, order) = (Exchange::Reduce, Order::Pipelined);
    let request = CutRequest { tp: 2, pp: 2, device_weights: vec![], lanes: 1, exchange, order };

    let plan = cut(&model, workload, &request).expect("4 layers make 2 stages, 8 heads 2 slices");
    assert_eq!(verify::plan(&plan), [], "each head, column, row and layer exactly once");
    let mut program = lower(&plan);
    assert_eq!(verify::program(&program), [], "no deadlock, no stale read, no memory reused too early");
    let mut text = format!("two stages of two devices, two micro-batches:\n{}", ranks(&program));

    // Device 0 forgets to hand the residual on.
    let actions = &mut program.lanes[0].actions;
    let send = actions.iter().rposition(|action| matches!(action.op, Op::Send(_))).expect("stage 0 sends");
    actions.remove(send);
    text += "\nwithout the last send of device 0:\n";
    for violation in verify::program(&program) {
        text += &format!("{violation}\n");
    }
    text
}
