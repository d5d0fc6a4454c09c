//! What an action takes: seconds, from a cluster's data sheet, fitted constants and measured tables.

mod attention;
mod model;
pub mod table;
mod tiles;

pub use attention::{AttentionShape, LaneSeconds, attention, fused_lanes, unfused};
pub use model::{Capacity, Collective, CostModel, Domain, Load};
pub use table::Price;
