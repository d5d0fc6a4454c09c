//! Says everything that is wrong with a plan, a program or a trace, at once.

mod file;
mod plan;
mod program;
mod trace;

pub use file::traced;
pub use plan::{Memory, memory, plan};
pub use program::{follows_memory, program};
pub use trace::{CLOCK_TOLERANCE, trace};

use std::fmt;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Where: a field of the plan, or lane and action of the program.
    pub at: String,
    /// What would be right.
    pub expected: String,
    /// What is there.
    pub got: String,
}

impl Violation {
    fn new(at: impl fmt::Display, expected: impl fmt::Display, got: impl fmt::Display) -> Violation {
        Violation { at: at.to_string(), expected: expected.to_string(), got: got.to_string() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: expected {}, got {}", self.at, self.expected, self.got)
    }
}
