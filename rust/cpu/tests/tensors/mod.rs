//! Little tensors for the tests of matmul, conv, pool and attention: bytes, a dtype, a layout; values as f64.

#![allow(dead_code)]

use rtorch_cpu::{Arg, Epilogue, Source, run};
use rtorch_ir::{DType, Layout, Prim, Program};

pub struct Tensor {
    pub bytes: Vec<u64>,
    pub dtype: DType,
    pub layout: Layout,
}

/// A reproducible stream of numbers.
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        self.0 >> 33
    }
    pub fn below(&mut self, n: usize) -> usize {
        self.next() as usize % n
    }
    /// Multiples of 1/64 in [-1, 1]: products and short sums are exact in f32, bf16 holds the values.
    pub fn value(&mut self) -> f64 {
        self.below(129) as f64 / 64.0 - 1.0
    }
}

impl Tensor {
    pub fn zeros(shape: &[usize], dtype: DType) -> Tensor {
        Tensor::with_layout(Layout::contiguous(shape), dtype)
    }
    pub fn with_layout(layout: Layout, dtype: DType) -> Tensor {
        let end = layout.extent().map_or(0, |e| e.1);
        // something that shows when it is not overwritten
        Tensor { bytes: vec![0x7a7a_7a7a_7a7a_7a7a; (end * dtype.size()).div_ceil(8) + 1], dtype, layout }
    }
    pub fn random(layout: Layout, dtype: DType, rng: &mut Rng) -> Tensor {
        let mut t = Tensor::with_layout(layout, dtype);
        let integer = dtype.is_integral();
        t.fill(|_| if integer { rng.below(7) as f64 - 3.0 } else { rng.value() });
        t
    }
    pub fn ptr(&self) -> *mut u8 {
        self.bytes.as_ptr().cast_mut().cast()
    }
    pub fn arg(&self) -> Arg<'_> {
        Arg { ptr: self.ptr(), dtype: self.dtype, layout: &self.layout }
    }
    pub fn get(&self, index: &[usize]) -> f64 {
        let i = self.layout.at(index);
        // SAFETY: the layout's elements lie within `bytes`.
        unsafe {
            match self.dtype {
                DType::F32 => *self.ptr().cast::<f32>().add(i) as f64,
                DType::F64 => *self.ptr().cast::<f64>().add(i),
                DType::I64 => *self.ptr().cast::<i64>().add(i) as f64,
                DType::I32 => *self.ptr().cast::<i32>().add(i) as f64,
                DType::U8 => *self.ptr().add(i) as f64,
                DType::Bool => *self.ptr().add(i) as f64,
                DType::BF16 => f32::from_bits((*self.ptr().cast::<u16>().add(i) as u32) << 16) as f64,
                DType::F16 => half::f16::from_bits(*self.ptr().cast::<u16>().add(i)).to_f64(),
                DType::I8 | DType::I16 | DType::C64 | DType::C128 | rtorch_ir::storage_dtypes!() => {
                    panic!("not used in tests")
                }
            }
        }
    }
    pub fn set(&mut self, index: &[usize], v: f64) {
        let i = self.layout.at(index);
        // SAFETY: as above.
        unsafe {
            match self.dtype {
                DType::F32 => *self.ptr().cast::<f32>().add(i) = v as f32,
                DType::F64 => *self.ptr().cast::<f64>().add(i) = v,
                DType::I64 => *self.ptr().cast::<i64>().add(i) = v as i64,
                DType::I32 => *self.ptr().cast::<i32>().add(i) = v as i32,
                DType::U8 => *self.ptr().add(i) = v as i64 as u8,
                DType::Bool => *self.ptr().add(i) = (v != 0.0) as u8,
                DType::BF16 => *self.ptr().cast::<u16>().add(i) = half::bf16::from_f64(v).to_bits(),
                DType::F16 => *self.ptr().cast::<u16>().add(i) = half::f16::from_f64(v).to_bits(),
                DType::I8 | DType::I16 | DType::C64 | DType::C128 | rtorch_ir::storage_dtypes!() => {
                    panic!("not used in tests")
                }
            }
        }
    }
    pub fn fill(&mut self, mut f: impl FnMut(&[usize]) -> f64) {
        for index in indices(&self.layout.shape.clone()) {
            let v = f(&index);
            self.set(&index, v);
        }
    }
    /// Largest difference from what `f` says, relative to the larger of 1 and that.
    pub fn compare(&self, what: &str, tolerance: f64, mut f: impl FnMut(&[usize]) -> f64) {
        for index in indices(&self.layout.shape) {
            let (have, want) = (self.get(&index), f(&index));
            let good = have == want
                || (have.is_nan() && want.is_nan())
                || (have - want).abs() <= tolerance * want.abs().max(1.0);
            assert!(good, "{what} at {index:?}: {have} instead of {want}");
        }
    }
}

pub fn indices(shape: &[usize]) -> Vec<Vec<usize>> {
    let n: usize = shape.iter().product();
    (0..n)
        .map(|mut i| {
            let mut index = vec![0; shape.len()];
            for d in (0..shape.len()).rev() {
                index[d] = i % shape[d];
                i /= shape[d];
            }
            index
        })
        .collect()
}

/// A layout of the shape: contiguous, transposed in memory, with gaps, or broadcast along the first dimension.
pub fn some_layout(shape: &[usize], rng: &mut Rng) -> Layout {
    let n = shape.len();
    match rng.below(5) {
        0 if n >= 2 => {
            let mut swapped = shape.to_vec();
            swapped.swap(n - 1, n - 2);
            Layout::contiguous(&swapped).transpose(n - 1, n - 2)
        }
        1 => {
            let mut wide = shape.to_vec();
            wide[n - 1] = 2 * wide[n - 1] + 3;
            Layout::contiguous(&wide).slice(n - 1, 2, 2 + 2 * shape[n - 1], 2)
        }
        2 if n >= 2 => {
            let mut wide = shape.to_vec();
            wide[n - 2] += 2;
            wide[n - 1] += 5;
            Layout::contiguous(&wide).slice(n - 2, 1, 1 + shape[n - 2], 1).slice(n - 1, 3, 3 + shape[n - 1], 1)
        }
        3 if n >= 3 => Layout::contiguous(&shape[1..]).broadcast_to(shape).unwrap(),
        _ => Layout::contiguous(shape),
    }
}

/// Runs a primitive on plain operands into fresh contiguous results of the given dtypes.
pub fn call(prim: &Prim, inputs: &[&Tensor], outs: &[(&[usize], DType)]) -> Vec<Tensor> {
    let outs: Vec<Tensor> = outs.iter().map(|(s, d)| Tensor::zeros(s, *d)).collect();
    call_into(prim, inputs, None, &outs.iter().collect::<Vec<_>>());
    outs
}

pub fn call_into(prim: &Prim, inputs: &[&Tensor], epilogue: Option<&Epilogue>, outs: &[&Tensor]) {
    let programs: Vec<Program> = inputs.iter().map(|t| Program::copy(t.dtype, t.dtype)).collect();
    let leaves: Vec<[Arg; 1]> = inputs.iter().map(|t| [t.arg()]).collect();
    let sources: Vec<Source> = inputs
        .iter()
        .zip(&programs)
        .zip(&leaves)
        .map(|((t, program), leaves)| Source { program, leaves, shape: &t.layout.shape })
        .collect();
    let outs: Vec<Arg> = outs.iter().map(|t| t.arg()).collect();
    run(prim, &sources, epilogue, &outs).unwrap();
}
