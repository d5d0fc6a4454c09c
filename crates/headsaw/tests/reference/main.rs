//! Predictions held against published measurements, where those lie beside the repository (`../shared/reference`).

mod attention;
mod data;
mod flash3;
mod kinds;
mod links;
mod overlap;
mod products;
mod search;
