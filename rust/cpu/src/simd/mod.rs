//! Vector code: which instruction set runs (`detect`).

pub mod detect;
