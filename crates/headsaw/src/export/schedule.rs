//! The order of a plan in the text form of torch.distributed.pipelining, a row a rank.

use super::cut::Cut;
use crate::lower::lower;
use crate::plan::Order;
use crate::program::text;

/// Forwards as the program takes them, then the backwards of these: what a training step of this order is. Where one
/// micro-batch is in flight at a time, its backward comes before the next one's forward.
pub fn step(cut: &Cut) -> String {
    let rows = text::stages(&lower(cut.plan)).into_iter().enumerate().map(|(stage, cells)| {
        let micros = cells.into_iter().filter(|(word, _)| *word == text::FORWARD).map(|(_, micro)| micro.0);
        let pass = |word: &str, micro: u32| format!("{stage}{word}{micro}");
        match cut.plan.order {
            Order::Sequential => micros.flat_map(|m| [pass("F", m), pass("B", m)]).collect::<Vec<_>>(),
            Order::Pipelined => {
                let micros: Vec<u32> = micros.collect();
                let passes = ["F", "B"].iter().flat_map(|word| micros.iter().map(|m| pass(word, *m)));
                passes.collect()
            }
        }
    });
    lines(rows)
}

/// The forwards with their sends and receives, as the program does them. A send is waited for when the next one comes.
pub fn forwards(cut: &Cut) -> String {
    let rows = text::stages(&lower(cut.plan)).into_iter().enumerate().map(|(stage, cells)| {
        let mut row = Vec::new();
        let mut sent = None;
        for (word, micro) in cells {
            if word == text::SEND {
                row.extend(sent.replace(micro).map(|before| format!("{stage}WAIT_{word}{}", before.0)));
            }
            row.push(format!("{stage}{word}{}", micro.0));
        }
        row.extend(sent.map(|before| format!("{stage}WAIT_{}{}", text::SEND, before.0)));
        row
    });
    lines(rows)
}

fn lines(rows: impl Iterator<Item = Vec<String>>) -> String {
    rows.map(|row| row.join(",") + "\n").collect()
}
