//! A trace says what happened, or what would: for each lane its actions with their beginnings and ends.

mod compare;
mod figures;
mod file;
mod load;

pub use compare::{Comparison, Kind, Pair, Side, compare, differences};
pub use figures::{Figures, STEPS, Spent, Window, devices, figures, step_number, whole_rounds};
pub use file::{FORMAT, NoTrace, SPANS_MOST, TraceFile};
pub use load::{Load, Rounds};

use crate::program::{Program, Role};
use crate::spec::cluster::DeviceId;
use crate::units::Seconds;
use serde::{Deserialize, Serialize};

/// What each lane did, and when.
#[derive(Debug, Clone, PartialEq)]
pub struct Trace {
    /// Where it comes from.
    pub source: Source,
    /// The program's lanes.
    pub lanes: Vec<LaneInfo>,
    /// Actions in the order in which they began on each lane; lane by lane they never overlap.
    pub spans: Vec<Span>,
}

/// Where a trace comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Source {
    /// Predicted.
    Simulated,
    /// Measured on this machine.
    Measured {
        /// Its name.
        machine: String,
    },
}

/// A lane, as far as a picture needs to know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneInfo {
    /// Its device.
    pub device: DeviceId,
    /// Its number inside the device.
    pub number: u32,
    /// What it is for.
    pub role: Role,
}

/// One action of one lane.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Span {
    /// The lane's place in the program.
    pub lane: u32,
    /// The action's place in the lane.
    pub action: u32,
    /// The round of micro-batches.
    pub round: u32,
    /// When its work began; waiting for others comes before.
    pub start: Seconds,
    /// When it was done.
    pub end: Seconds,
}

/// Busy and idle time of the lanes of a role.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Occupancy {
    /// First start to last end.
    pub span: Seconds,
    /// Busy seconds of all these lanes.
    pub busy: Seconds,
    /// Idle ÷ total lane-time; 0 where there is no time.
    pub bubble: f64,
}

impl Trace {
    /// The lanes of a program.
    pub fn lanes_of(program: &Program) -> Vec<LaneInfo> {
        let info = |lane: &crate::program::Lane| LaneInfo { device: lane.device, number: lane.number, role: lane.role };
        program.lanes.iter().map(info).collect()
    }

    /// First start and last end.
    pub fn ends(&self) -> (Seconds, Seconds) {
        let start = self.spans.iter().map(|span| span.start.0).fold(f64::INFINITY, f64::min);
        let end = self.spans.iter().map(|span| span.end.0).fold(0.0, f64::max);
        (Seconds(start.min(end)), Seconds(end))
    }

    /// First start to last end.
    pub fn seconds(&self) -> Seconds {
        let (start, end) = self.ends();
        Seconds(end.0 - start.0)
    }

    /// How busy the compute lanes that do anything are: the bubble is idle ÷ total, not idle ÷ ideal as in Megatron's
    /// papers (arXiv 2104.04473, section 2.2).
    pub fn occupancy(&self) -> Occupancy {
        let (start, end) = self.ends();
        self.occupancy_within(start, end)
    }

    /// The same between two moments.
    pub fn occupancy_within(&self, start: Seconds, end: Seconds) -> Occupancy {
        let span = Seconds(end.0 - start.0);
        let mut busy = vec![Seconds(0.0); self.lanes.len()];
        for inside in &self.spans {
            let seconds = inside.end.0.min(end.0) - inside.start.0.max(start.0);
            busy[inside.lane as usize] += Seconds(seconds.max(0.0));
        }
        let (busy, bubble) = used(self.lanes.iter().map(|lane| lane.role).zip(busy.iter().map(|busy| busy.0)), span.0);
        Occupancy { span, busy: Seconds(busy), bubble }
    }
}

/// Of lanes with their busy seconds: those of the compute lanes that do anything, and the share of their time, so many
/// seconds each, that they are idle; 0 where there is no time.
fn used(lanes: impl Iterator<Item = (Role, f64)>, seconds: f64) -> (f64, f64) {
    let used = lanes.filter(|(role, busy)| *role == Role::Compute && *busy > 0.0);
    let (lanes, busy) = used.fold((0.0, 0.0), |(lanes, sum), (_, busy)| (lanes + 1.0, sum + busy));
    let total = seconds * lanes;
    (busy, if total > 0.0 { (1.0 - busy / total).max(0.0) } else { 0.0 })
}
