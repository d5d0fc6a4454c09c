//! What an action takes: seconds, from a cluster's data sheet, fitted constants and measured tables.

pub mod attention;
mod model;
pub mod table;
mod tiles;

pub use model::{Capacity, Collective, CostModel, Domain, Load};
pub use table::Price;
