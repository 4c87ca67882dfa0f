//! Vector code: which instruction set runs (`detect`), lanes with the table's functions (`lane`, `math_f32`,
//! `math_f64`), and the kernels compiled from them once per instruction set (`kernels`, `pairs`, `convert`).
//! Not here: tiles, strides and threads (`crate::interp`).

pub mod convert;
pub mod detect;
pub mod kernels;
pub mod lane;
pub mod math_f32;
pub mod math_f64;
pub mod pairs;
mod real;
mod storage;
