//! Constants of matrix products and element-wise steps, fitted on measurements.

use serde::{Deserialize, Serialize};

/// Constants of matrix products and element-wise steps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProductFit {}
