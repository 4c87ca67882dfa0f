//! `Prim::EmbeddingBag`: sums or means of rows of a table, bag by bag, without the rows in between. Threads take bags;
//! a bag's rows are added in the order of their indices.
//! Not here: maxima, gradients divided by frequency, sparse ones (`rtorch.nn.functional`).

use std::ops::Range;

use rtorch_ir::{DType, Result, ensure};

use crate::gemm::lanes::Lanes;
use crate::gemm::{Body, Gemm};
use crate::operand::{Operand, Output};
use crate::threads::parallel_for;
use crate::{Arg, Source};

/// Elements that a thread should add at least.
const GRAIN: usize = 1 << 15;

/// Where each bag's indices begin, with the end of the last one.
fn starts(offsets: &[i64], n: usize) -> Result<Vec<usize>> {
    if let Some(&first) = offsets.first() {
        ensure!(
            first == 0,
            runtime,
            "offsets[0] has to be 0, i.e., the first sequence in the mini-batch has to start from position 0. However, \
             got {first}"
        );
    }
    for &o in offsets {
        ensure!(
            (0..=n as i64).contains(&o),
            runtime,
            "embedding_bag: offsets have to lie between 0 and the number of indices, {n}, but got {o}"
        );
    }
    ensure!(offsets.is_sorted(), runtime, "embedding_bag: offsets have to be in ascending order");
    Ok(offsets.iter().map(|&o| o as usize).chain([n]).collect())
}

struct Bags<'a, T> {
    weight: *const T,
    width: usize,
    index: &'a [i64],
    starts: &'a [usize],
    /// A factor for each index; None: 1.
    factors: Option<*const T>,
    padding: Option<usize>,
    mean: bool,
    y: *mut T,
    bag: *mut i64,
    factor: *mut T,
    range: Range<usize>,
}

impl<T: Gemm> Body<T> for Bags<'_, T> {
    type Out = ();
    #[inline(always)]
    unsafe fn run<V: Lanes<T = T>>(self) {
        let one = T::from_f64(1.0);
        for b in self.range {
            let indices = self.starts[b]..self.starts[b + 1];
            // SAFETY: rows of the table and the result; indices were checked to lie in the table.
            unsafe {
                let y = std::slice::from_raw_parts_mut(self.y.add(b * self.width), self.width);
                y.fill(T::ZERO);
                let mut count = 0;
                for i in indices.clone() {
                    let row = self.index[i] as usize;
                    *self.bag.add(i) = b as i64;
                    if self.padding == Some(row) {
                        *self.factor.add(i) = T::ZERO;
                        continue;
                    }
                    count += 1;
                    let factor = self.factors.map_or(one, |f| *f.add(i));
                    *self.factor.add(i) = factor;
                    let row = std::slice::from_raw_parts(self.weight.add(row * self.width), self.width);
                    if self.factors.is_some() {
                        for (y, &v) in y.iter_mut().zip(row) {
                            *y += factor * v;
                        }
                    } else {
                        for (y, &v) in y.iter_mut().zip(row) {
                            *y += v;
                        }
                    }
                }
                if self.mean && count > 0 {
                    let divisor = T::from_f64(count as f64);
                    for y in y.iter_mut() {
                        *y = *y / divisor;
                    }
                    for i in indices {
                        *self.factor.add(i) = *self.factor.add(i) / divisor;
                    }
                }
            }
        }
    }
}

fn bags<T: Gemm>(mean: bool, padding: Option<usize>, inputs: &[Source], outs: &[Arg]) -> Result<()> {
    let (rows, width) = (inputs[0].shape[0], inputs[0].shape[1]);
    let (n, count) = (inputs[1].shape[0], inputs[2].shape[0]);
    let weight = Operand::dense(&inputs[0], T::DTYPE)?;
    let (index, offsets) = (Operand::dense(&inputs[1], DType::I64)?, Operand::dense(&inputs[2], DType::I64)?);
    let factors = inputs.get(3).map(|s| Operand::dense(s, T::DTYPE)).transpose()?;
    let (y, bag) = (Output::dense(outs[0], T::DTYPE)?, Output::dense(outs[1], DType::I64)?);
    let factor = Output::dense(outs[2], T::DTYPE)?;
    let whole = |o: &Operand, n: usize| match n {
        0 => &[],
        // SAFETY: operands of these sizes, which outlive the call.
        n => unsafe { std::slice::from_raw_parts(o.as_ptr::<i64>(), n) },
    };
    let (index, starts) = (whole(&index, n), starts(whole(&offsets, count), n)?);
    let (low, high) = index.iter().fold((i64::MAX, i64::MIN), |(a, b), &v| (a.min(v), b.max(v)));
    ensure!(
        n == 0 || (low >= 0 && high < rows as i64),
        runtime,
        "embedding_bag: the input takes values from {low} to {high}, of which some are not in the valid range [0, \
         {rows})"
    );
    let grain = (GRAIN * count.max(1) / (n * width).max(1)).max(1);
    parallel_for(count, grain, &|range| {
        let (weight, y, bag, factor) = (weight.as_ptr(), y.as_ptr(), bag.as_ptr(), factor.as_ptr());
        let (factors, starts) = (factors.as_ref().map(Operand::as_ptr), &starts);
        // SAFETY: operands of these shapes; a task's bags and their indices are its own.
        unsafe { T::run(Bags { weight, width, index, starts, factors, padding, mean, y, bag, factor, range }) };
    });
    y.store()?;
    bag.store()?;
    factor.store()
}

/// (weight [v, d], index [n], offsets [bags], factors [n]) -> [bags, d], the bag and the factor of each index [n].
pub fn embedding_bag(mean: bool, padding: Option<usize>, inputs: &[Source], outs: &[Arg]) -> Result<()> {
    match inputs[0].dtype() {
        DType::F64 => bags::<f64>(mean, padding, inputs, outs),
        _ => bags::<f32>(mean, padding, inputs, outs),
    }
}
