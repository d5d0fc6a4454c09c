//! Constants of attention, fitted on measurements.

use serde::{Deserialize, Serialize};

/// Constants of attention.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttentionFit {}
