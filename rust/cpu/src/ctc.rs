//! `Prim::CtcLoss`: minus the logarithm of the probability of all alignments of a label sequence (Graves et al. 2006,
//! "Connectionist temporal classification"), by the forward recursion over the labels with blanks between them, and the
//! gradient by the backward recursion. Samples are independent: threads take samples.
//! The gradient is that of the logits behind `log_softmax`, as PyTorch's: exp(log_probs) less the labels' share.
//! Not here: reductions and checks of lengths (`rtorch.nn.functional`).

use rtorch_ir::prim::CtcParams;
use rtorch_ir::{DType, Result, ensure};

use crate::gemm::Gemm;
use crate::operand::{Operand, Output};
use crate::threads::parallel_for;
use crate::{Arg, Source};

/// Cells of the recursion that a thread should compute at least.
const GRAIN: usize = 1 << 10;
/// Numbers of a sample in the table: where its labels begin, how many there are, how many steps.
const COLUMNS: usize = 3;

/// Logarithms of probabilities.
trait Log: Gemm {
    const NEVER: Self;
    fn exp(self) -> Self;
    fn ln(self) -> Self;
}

macro_rules! log {
    ($($t:ty)*) => {$(
        impl Log for $t {
            const NEVER: $t = <$t>::NEG_INFINITY;
            fn exp(self) -> $t {
                <$t>::exp(self)
            }
            fn ln(self) -> $t {
                <$t>::ln(self)
            }
        }
    )*};
}
log!(f32 f64);

fn larger<T: Log>(a: T, b: T) -> T {
    if b > a { b } else { a }
}

/// log(e^a + e^b)
fn add2<T: Log>(a: T, b: T) -> T {
    let m = larger(a, b);
    if m == T::NEVER { m } else { ((a - m).exp() + (b - m).exp()).ln() + m }
}

/// log(e^a + e^b + e^c)
fn add3<T: Log>(a: T, b: T, c: T) -> T {
    let m = larger(larger(a, b), c);
    if m == T::NEVER { m } else { ((a - m).exp() + (b - m).exp() + (c - m).exp()).ln() + m }
}

/// One sample: its labels, and how many steps it has.
struct Sample<'a> {
    labels: &'a [i64],
    steps: usize,
    blank: usize,
}

impl Sample<'_> {
    /// States of the recursion: the labels with blanks around them.
    fn states(&self) -> usize {
        2 * self.labels.len() + 1
    }
    fn label(&self, s: usize) -> usize {
        if s.is_multiple_of(2) { self.blank } else { self.labels[s / 2] as usize }
    }
    /// May the blank before label `s` be left out?
    fn skips(&self, s: usize) -> bool {
        s % 2 == 1 && s > 1 && self.labels[s / 2] != self.labels[s / 2 - 1]
    }
}

/// The operands of both directions.
struct Batch<'a, T> {
    p: &'a CtcParams,
    log_probs: *const T,
    labels: &'a [i64],
    table: &'a [i64],
    samples: usize,
    classes: usize,
}

// SAFETY: memory that is only read while the kernel runs.
unsafe impl<T> Sync for Batch<'_, T> {}

impl<'a, T: Log> Batch<'a, T> {
    /// # Safety
    /// The operands outlive the batch and have these shapes.
    unsafe fn new(
        p: &'a CtcParams,
        shape: &[usize],
        log_probs: &Operand,
        labels: (&Operand, usize),
        table: &Operand,
    ) -> Result<Batch<'a, T>> {
        let (steps, samples, classes) = (shape[0], shape[1], shape[2]);
        // SAFETY: as the caller's.
        let (labels, table) = unsafe {
            let whole = |o: &Operand, n: usize| match n {
                0 => &[],
                n => std::slice::from_raw_parts(o.as_ptr::<i64>(), n),
            };
            (whole(labels.0, labels.1), whole(table, samples * COLUMNS))
        };
        for row in table.chunks_exact(COLUMNS) {
            let [start, count, length] = [row[0], row[1], row[2]].map(|v| usize::try_from(v).unwrap_or(usize::MAX));
            let end = start.checked_add(count).filter(|&end| end <= labels.len());
            ensure!(
                end.is_some(),
                runtime,
                "ctc_loss: targets of {} labels are too short for the lengths",
                labels.len()
            );
            ensure!(
                length <= steps.min(p.steps) && count <= (p.width - 1) / 2,
                runtime,
                "ctc_loss: {length} steps and {count} labels are more than there is room for"
            );
            for &label in &labels[start..start + count] {
                ensure!(
                    (0..classes as i64).contains(&label),
                    runtime,
                    "index {label} is out of bounds for dimension 2 with size {classes}"
                );
            }
        }
        Ok(Batch { p, log_probs: log_probs.as_ptr(), labels, table, samples, classes })
    }
    fn sample(&self, n: usize) -> Sample<'a> {
        let row = &self.table[n * COLUMNS..(n + 1) * COLUMNS];
        let (start, count) = (row[0] as usize, row[1] as usize);
        Sample { labels: &self.labels[start..start + count], steps: row[2] as usize, blank: self.p.blank }
    }
    /// The classes' log probabilities at a step.
    fn row(&self, t: usize, n: usize) -> &[T] {
        // SAFETY: steps were checked to lie in the operand.
        unsafe { std::slice::from_raw_parts(self.log_probs.add((t * self.samples + n) * self.classes), self.classes) }
    }
    fn grain(&self) -> usize {
        (GRAIN / (self.p.steps * self.p.width).max(1)).max(1)
    }
    /// Fills a sample's alphas, [steps, width]; answers its loss.
    fn forward(&self, n: usize, alpha: &mut [T]) -> T {
        let (s, width) = (self.sample(n), self.p.width);
        let states = s.states();
        if s.steps == 0 {
            return if states == 1 { T::ZERO } else { T::ZERO - T::NEVER };
        }
        let first = self.row(0, n);
        for (k, a) in alpha[..states].iter_mut().enumerate() {
            *a = if k < 2 { first[s.label(k)] } else { T::NEVER };
        }
        for t in 1..s.steps {
            let row = self.row(t, n);
            let (before, now) = alpha[(t - 1) * width..].split_at_mut(width);
            now[0] = before[0] + row[s.blank];
            for k in 1..states {
                let sum = if s.skips(k) {
                    add3(before[k], before[k - 1], before[k - 2])
                } else {
                    add2(before[k], before[k - 1])
                };
                now[k] = sum + row[s.label(k)];
            }
        }
        let last = &alpha[(s.steps - 1) * width..];
        let total = if states == 1 { last[0] } else { add2(last[states - 1], last[states - 2]) };
        T::ZERO - total
    }
    /// A sample's gradient, added to zeros: `to` gives the row of a step.
    fn backward(&self, n: usize, g: T, loss: T, alpha: &[T], mut to: impl FnMut(usize) -> &'a mut [T]) {
        let (s, width) = (self.sample(n), self.p.width);
        let states = s.states();
        let (mut beta, mut next) = (vec![T::NEVER; states], vec![T::NEVER; states]);
        let mut share = vec![T::NEVER; self.classes];
        for t in (0..s.steps).rev() {
            let row = self.row(t, n);
            share.fill(T::NEVER);
            for k in 0..states {
                let sum = if t + 1 == s.steps {
                    if k + 2 >= states { T::ZERO } else { T::NEVER }
                } else if k + 2 < states && s.skips(k + 2) {
                    add3(next[k], next[k + 1], next[k + 2])
                } else if k + 1 < states {
                    add2(next[k], next[k + 1])
                } else {
                    next[k]
                };
                let label = s.label(k);
                beta[k] = sum + row[label];
                share[label] = add2(share[label], alpha[t * width + k] + beta[k]);
            }
            for ((y, &p), &part) in to(t).iter_mut().zip(row).zip(&share) {
                *y = (p.exp() - (part + loss - p).exp()) * g;
            }
            std::mem::swap(&mut beta, &mut next);
        }
    }
}

fn loss<T: Log>(p: &CtcParams, inputs: &[Source], outs: &[Arg]) -> Result<()> {
    let log_probs = Operand::dense(&inputs[0], T::DTYPE)?;
    let (labels, table) = (Operand::dense(&inputs[1], DType::I64)?, Operand::dense(&inputs[2], DType::I64)?);
    let (y, alpha) = (Output::dense(outs[0], T::DTYPE)?, Output::dense(outs[1], T::DTYPE)?);
    let count = inputs[1].shape.iter().product();
    // SAFETY: operands of these shapes.
    let batch = unsafe { Batch::<T>::new(p, inputs[0].shape, &log_probs, (&labels, count), &table)? };
    let size = p.steps * p.width;
    parallel_for(batch.samples, batch.grain(), &|range| {
        for n in range {
            // SAFETY: a sample's results are its task's own. What lies behind its steps and states is never read.
            unsafe {
                let alpha = std::slice::from_raw_parts_mut(alpha.as_ptr::<T>().add(n * size), size);
                *y.as_ptr::<T>().add(n) = batch.forward(n, alpha);
            }
        }
    });
    y.store()?;
    alpha.store()
}

fn gradient<T: Log>(p: &CtcParams, inputs: &[Source], outs: &[Arg]) -> Result<()> {
    let (g, log_probs) = (Operand::dense(&inputs[0], T::DTYPE)?, Operand::dense(&inputs[1], T::DTYPE)?);
    let (labels, table) = (Operand::dense(&inputs[2], DType::I64)?, Operand::dense(&inputs[3], DType::I64)?);
    let (losses, alpha) = (Operand::dense(&inputs[4], T::DTYPE)?, Operand::dense(&inputs[5], T::DTYPE)?);
    let x = Output::dense(outs[0], T::DTYPE)?;
    let (shape, count) = (inputs[1].shape, inputs[2].shape.iter().product());
    // SAFETY: operands of these shapes.
    let batch = unsafe { Batch::<T>::new(p, shape, &log_probs, (&labels, count), &table)? };
    // SAFETY: the whole of the result.
    unsafe { std::slice::from_raw_parts_mut(x.as_ptr::<T>(), shape.iter().product()) }.fill(T::ZERO);
    let (size, classes) = (p.steps * p.width, batch.classes);
    parallel_for(batch.samples, batch.grain(), &|range| {
        for n in range {
            // SAFETY: operands of these shapes; a sample's rows are its task's own.
            unsafe {
                let (g, loss) = (*g.as_ptr::<T>().add(n), *losses.as_ptr::<T>().add(n));
                if p.zero_infinity && loss == T::ZERO - T::NEVER {
                    continue;
                }
                let alpha = std::slice::from_raw_parts(alpha.as_ptr::<T>().add(n * size), size);
                batch.backward(n, g, loss, alpha, |t| {
                    let row = x.as_ptr::<T>().add((t * batch.samples + n) * classes);
                    std::slice::from_raw_parts_mut(row, classes)
                });
            }
        }
    });
    x.store()
}

/// (log_probs [t, n, c], labels, table [n, 3]) -> loss [n], alphas [n, steps, width].
pub fn ctc_loss(p: &CtcParams, inputs: &[Source], outs: &[Arg]) -> Result<()> {
    match inputs[0].dtype() {
        DType::F64 => loss::<f64>(p, inputs, outs),
        _ => loss::<f32>(p, inputs, outs),
    }
}

/// (g [n], log_probs, labels, table, loss, alphas) -> gradient of log_probs.
pub fn ctc_loss_grad(p: &CtcParams, inputs: &[Source], outs: &[Arg]) -> Result<()> {
    match inputs[1].dtype() {
        DType::F64 => gradient::<f64>(p, inputs, outs),
        _ => gradient::<f32>(p, inputs, outs),
    }
}
