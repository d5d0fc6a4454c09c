//! Predictions held against published measurements, where those lie beside the repository (`../shared/reference`).

#[allow(dead_code)] // until the first reader comes
mod data;
