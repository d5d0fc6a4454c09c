//! Predictions held against published measurements, where those lie beside the repository (`../shared/reference`).

mod attention;
mod data;
mod flash3;
mod kinds;
mod links;
mod products;
mod search;
