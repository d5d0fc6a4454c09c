//! The example of the page: one layer, 8 heads, 4 devices, 3 steps, and what its sliders make of it.
//!
//! The page's script has the same formulas; tests hold both against each other and against the simulation.

use super::super::Words;
use super::data::short;
use super::fill;
use serde_json::{Value, json};

/// Where the sliders stand.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Example {
    /// Heads of the layer.
    pub heads: u32,
    /// Devices that share them.
    pub devices: u32,
    /// Heads that go through the steps together.
    pub chunk: u32,
    /// Micro-batches that take the layer together.
    pub micros: u32,
    /// Slots of `project`, `attend` and `merge` for a head.
    pub steps: [f64; 3],
    /// Slots that each unit takes besides.
    pub fixed: f64,
    /// Who has which lane.
    pub lanes: Lanes,
}

/// Lanes of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lanes {
    /// One for each step.
    Own,
    /// `project` and `merge` share one, as on a GPU, where both need the tensor cores.
    Shared,
    /// One for all.
    One,
}

/// What comes out, of the busiest device.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outcome {
    /// Units in flight: chunks × micro-batches, `n`.
    pub units: u32,
    /// Slots one after another, `n · Σ t`.
    pub serial: f64,
    /// Slots where they overlap.
    pub overlapped: f64,
    /// One ÷ the other.
    pub speedup: f64,
    /// Idle ÷ total of its lanes.
    pub bubble: f64,
}

impl Default for Example {
    /// The article's.
    fn default() -> Example {
        Example { heads: 8, devices: 4, chunk: 1, micros: 1, steps: [1.0; 3], fixed: 0.0, lanes: Lanes::Own }
    }
}

impl Lanes {
    fn name(self) -> &'static str {
        match self {
            Lanes::Own => "own",
            Lanes::Shared => "shared",
            Lanes::One => "one",
        }
    }

    fn count(self) -> u32 {
        match self {
            Lanes::Own => 3,
            Lanes::Shared => 2,
            Lanes::One => 1,
        }
    }

    /// Slots of `n` equal units of these steps.
    ///
    /// On lanes of their own `T = Σ t + (n − 1) · max t`. Where `project` and `merge` share a lane it takes, from the
    /// second unit on, the next unit's `project` before a unit's `merge`: it waits for the first `attend` and for the
    /// last where those are longer than what it does meanwhile; or the lane of `attend` never waits.
    pub fn slots(self, n: u32, [project, attend, merge]: [f64; 3]) -> f64 {
        let (units, all) = (f64::from(n), project + attend + merge);
        match self {
            Lanes::One => units * all,
            Lanes::Shared if n > 1 => {
                let waits = (attend - project).max(0.0) + (attend - merge).max(0.0);
                (units * (project + merge) + waits).max(project + units * attend + merge)
            }
            Lanes::Own | Lanes::Shared => all + (units - 1.0) * project.max(attend).max(merge),
        }
    }
}

impl Example {
    /// By the closed forms; none where the last chunk of a device is smaller than the others.
    pub fn outcome(&self) -> Option<Outcome> {
        let held = self.heads.div_ceil(self.devices.max(1));
        let chunk = self.chunk.min(held);
        if chunk == 0 || !held.is_multiple_of(chunk) {
            return None;
        }
        let units = held / chunk * self.micros;
        let times = self.steps.map(|time| time * f64::from(chunk) + self.fixed);
        let serial = f64::from(units) * times.iter().sum::<f64>();
        let overlapped = self.lanes.slots(units, times);
        let bubble = (1.0 - serial / (f64::from(self.lanes.count()) * overlapped)).max(0.0);
        Some(Outcome { units, serial, overlapped, speedup: serial / overlapped, bubble })
    }

    /// For the page's script.
    pub fn json(&self) -> Value {
        json!({
            "heads": self.heads, "devices": self.devices, "chunk": self.chunk, "micros": self.micros,
            "steps": self.steps, "fixed": self.fixed, "lanes": self.lanes.name(),
        })
    }
}

/// The section; its figures are there before a script runs.
pub fn section(example: &Example, words: &Words) -> String {
    let outcome = example.outcome();
    let figure = |of: fn(&Outcome) -> String| outcome.as_ref().map(of).unwrap_or_default();
    fill(include_str!("example.html"), |name| match name {
        "out_units" => figure(|outcome| (3 * outcome.units).to_string()),
        "out_serial" => figure(|outcome| short(outcome.serial)),
        "out_overlapped" => figure(|outcome| short(outcome.overlapped)),
        "out_speedup" => figure(|outcome| format!("{:.2} ×", outcome.speedup)),
        "out_bubble" => figure(|outcome| format!("{:.1} %", 100.0 * outcome.bubble)),
        word => words.get(word).into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_heads_take_four_slots_and_not_six() {
        let article = Example::default();
        let outcome = Outcome { units: 2, serial: 6.0, overlapped: 4.0, speedup: 1.5, bubble: 0.5 };
        assert_eq!(article.outcome(), Some(outcome));
        assert_eq!(Example { lanes: Lanes::Shared, ..article }.outcome().unwrap().overlapped, 4.0);
        assert_eq!(Example { lanes: Lanes::One, ..article }.outcome().unwrap().overlapped, 6.0);
        assert_eq!(Example { heads: 12, chunk: 2, ..article }.outcome(), None, "chunks of two and of one");
    }

    /// Llama-7B at 2,048 tokens: about 3 : 0.5 : 1.
    #[test]
    fn unequal_steps_gain_less() {
        let speedup =
            |lanes| Example { steps: [3.0, 0.5, 1.0], lanes, ..Example::default() }.outcome().unwrap().speedup;
        assert_eq!((speedup(Lanes::Own), speedup(Lanes::Shared)), (1.2, 1.125));
    }
}
