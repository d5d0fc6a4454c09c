//! What an action takes: seconds, from a cluster's data sheet, fitted constants and measured tables.

pub mod table;
