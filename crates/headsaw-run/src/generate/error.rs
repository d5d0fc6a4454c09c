//! Why a run does not happen, or not to its end.

use crate::lane::Failure;
use crate::weights;
use headsaw::verify::Violation;

/// What can go wrong with a run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The plan does not hold together, or is for another model.
    #[error("the plan does not fit:{}", list(.0))]
    Plan(Vec<Violation>),
    /// A prompt or an option that cannot be taken.
    #[error("{0}")]
    Input(String),
    /// The model file.
    #[error(transparent)]
    Weights(#[from] weights::Error),
    /// Something broke on the way.
    #[error(transparent)]
    Failed(#[from] Failure),
}

fn list(violations: &[Violation]) -> String {
    violations.iter().map(|violation| format!("\n  {violation}")).collect()
}

impl RunError {
    /// The user's input is at fault (exit code 2), not the run (1).
    pub fn is_bad_input(&self) -> bool {
        !matches!(self, RunError::Failed(_))
    }
}
