//! What an action takes: seconds, from a cluster's data sheet, fitted constants and measured tables.

pub mod attention;
pub mod table;
mod tiles;

pub use attention::{AttentionShape, LaneSeconds, attention, fused_lanes, unfused};
