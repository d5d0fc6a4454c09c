//! What an action takes: seconds, from a cluster's data sheet, fitted constants and measured tables.

mod attention;
mod collective;
mod gpu;
mod group;
mod lane;
mod model;
mod predict;
mod prices;
mod product;
pub mod table;
mod tiles;

pub use crate::trace::Load;
pub use attention::{AttentionShape, LaneSeconds, attention, fused_lanes, unfused};
pub use collective::{Kernels, all_gather, all_reduce, all_reduce_by, all_to_all, reduce_scatter, send};
pub use group::GroupShape;
pub use model::{Capacity, Collective, CostModel, Domain, HandOver};
pub use predict::{StageTimes, predict};
pub use prices::Priced;
pub use product::{elementwise, product};
pub use table::Price;
