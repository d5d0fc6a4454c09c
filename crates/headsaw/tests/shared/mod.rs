//! What several tests begin with.

pub mod eight;
pub mod hostile;
pub mod plans;
