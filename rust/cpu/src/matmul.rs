//! `Prim::MatMul` over tensors: dtypes, batches, alpha, beta and bias, prologues and epilogues.
//! The products themselves are in `gemm`; integers have a plain loop here.

use rtorch_ir::{CType, DType, Error, Layout, Result};
use smallvec::{SmallVec, smallvec};

use crate::gemm::tasks::for_each;
use crate::gemm::{Blend, Gemm, Product, Scratch, Target, View};
use crate::operand::{Batched, Operand, Output, Tail, finish};
use crate::{Arg, Epilogue, Source, threads};

/// Multiply-adds that a task of a batch should have at least.
const TASK: usize = 1 << 18;
/// Multiply-adds up to which a plain loop takes less time than setting up tiles does.
const TINY: usize = 512;

/// (a [*, m, k], b [*, k, n], c if `bias`) -> alpha * a @ b + beta * c, then the epilogue.
pub fn matmul(alpha: f64, beta: f64, inputs: &[Source], epilogue: Option<&Epilogue>, outs: &[Arg]) -> Result<()> {
    let dtype = inputs[0].dtype();
    let bias = inputs.get(2).filter(|_| beta != 0.0);
    let scale = Scale { alpha, beta, bias };
    match dtype.ctype() {
        CType::F32 => float::<f32>(&scale, inputs, epilogue, outs[0]),
        CType::F64 => float::<f64>(&scale, inputs, epilogue, outs[0]),
        CType::I32 => integer::<i32>(DType::I32, &scale, inputs, epilogue, outs[0]),
        CType::I64 => integer::<i64>(DType::I64, &scale, inputs, epilogue, outs[0]),
        CType::C64 => complex::<f32>(&scale, inputs, epilogue, outs[0]),
        CType::C128 => complex::<f64>(&scale, inputs, epilogue, outs[0]),
        CType::Bool => {
            Err(Error::not_implemented(format!("\"addmm_impl_cpu_\" not implemented for '{}'", dtype.cpp_name())))
        }
    }
}

struct Scale<'a> {
    alpha: f64,
    beta: f64,
    bias: Option<&'a Source<'a>>,
}

/// Where b is the same for the whole batch, the batch joins the rows if the strides of a and of the others (which have
/// the result's shape) allow it: one large product instead of many small ones.
fn fold(a: &mut Layout, b: &mut Layout, rest: &mut [&mut Layout]) {
    let n = a.ndim();
    if n == 2 || b.shape[..n - 2].iter().zip(&b.strides).any(|(&s, &st)| s != 1 && st != 0) {
        return;
    }
    let rows: usize = a.shape[..n - 1].iter().product();
    let Some(flat_a) = a.reshape(&[rows, a.shape[n - 1]]) else { return };
    let flat: Option<SmallVec<[Layout; 8]>> = rest.iter().map(|l| l.reshape(&[rows, l.shape[n - 1]])).collect();
    let Some(flat) = flat else { return };
    *a = flat_a;
    *b = Layout::new(&b.shape[n - 2..], &b.strides[n - 2..], 0);
    for (l, f) in rest.iter_mut().zip(flat) {
        **l = f;
    }
}

/// alpha * a b + beta * c in a plain loop, one sum after the other along k.
///
/// # Safety
/// The views cover the sizes; the result is unshared.
unsafe fn plain<T: Gemm>([m, n, k]: [usize; 3], a: View<T>, b: View<T>, c: View<T>, scale: (T, T, Option<View<T>>)) {
    let (alpha, beta, bias) = scale;
    for i in 0..m {
        for j in 0..n {
            let mut sum = T::ZERO;
            // SAFETY: the caller's promise.
            unsafe {
                for p in 0..k {
                    sum += *a.at(i, p) * *b.at(p, j);
                }
                sum = alpha * sum;
                if let Some(bias) = bias {
                    sum += beta * *bias.at(i, j);
                }
                *c.at(i, j).cast_mut() = sum;
            }
        }
    }
}

/// A very small product of two matrices that need no conversion, straight from their memory. `Job::one` gives the
/// same numbers where there is something to evaluate first or after.
fn tiny<T: Gemm>(scale: &Scale, inputs: &[Source], out: &Arg) -> bool {
    let (a, b) = (inputs[0].direct(), inputs[1].direct());
    let bias = scale.bias.map(|s| s.direct());
    let (Some(a), Some(b), None | Some(Some(_))) = (a, b, bias) else { return false };
    let sizes = |x: &Arg| -> [usize; 2] { std::array::from_fn(|d| x.layout.shape[d]) };
    if out.layout.ndim() != 2 || [&a, &b, out].iter().any(|x| x.dtype != T::DTYPE) {
        return false;
    }
    let bias = bias.flatten();
    if bias.is_some_and(|x| x.dtype != T::DTYPE || x.layout.shape != out.layout.shape) {
        return false;
    }
    let ([m, n], k) = (sizes(out), a.layout.shape[1]);
    if m * n * k > TINY {
        return false;
    }
    let view = |x: &Arg| View::new(x.base().cast::<T>().cast_const(), x.layout.strides[0], x.layout.strides[1]);
    let scale = (T::from_f64(scale.alpha), T::from_f64(scale.beta), bias.as_ref().map(view));
    // SAFETY: windows of these shapes; the output is unshared.
    unsafe { plain([m, n, k], view(&a), view(&b), view(out), scale) };
    true
}

fn float<T: Gemm>(scale: &Scale, inputs: &[Source], epilogue: Option<&Epilogue>, out: Arg) -> Result<()> {
    if epilogue.is_none() && tiny::<T>(scale, inputs, &out) {
        return Ok(());
    }
    let (dtype, result) = (T::DTYPE, inputs[0].dtype());
    let (mut a, mut b) = (Operand::strided(&inputs[0], dtype)?, Operand::strided(&inputs[1], dtype)?);
    let mut bias = scale.bias.map(|s| Operand::strided(s, dtype)).transpose()?;
    let n = out.layout.ndim();
    let unit = |d: usize| out.layout.shape[d] == 1 || out.layout.strides[d] == 1;
    // the result's own memory serves where it has the compute dtype and rows or columns without gaps
    let direct = out.dtype == dtype && result == dtype && (unit(n - 1) || unit(n - 2));
    let scratch = if direct { None } else { Some(Output::dense(out, dtype)?) };
    let base = scratch.as_ref().map_or(out.base(), |s| s.as_ptr());
    let mut c = if direct { out.layout.clone() } else { Layout::contiguous(&out.layout.shape) };
    c.offset = 0;
    let mut rest: SmallVec<[&mut Layout; 2]> = smallvec![&mut c];
    rest.extend(bias.as_mut().map(|b| &mut b.layout));
    fold(&mut a.layout, &mut b.layout, &mut rest);
    drop(rest);
    let tail = epilogue.filter(|_| direct).and_then(|e| Tail::new(e, out, &c));
    let job = Job::<T> {
        a: (a.as_ptr(), Batched::new(&a.layout)),
        b: (b.as_ptr(), Batched::new(&b.layout)),
        c: (base.cast(), Batched::new(&c)),
        bias: bias.as_ref().map(|b| (b.as_ptr(), Batched::new(&b.layout))),
        shape: c.shape.as_slice(),
        k: a.layout.shape[a.layout.ndim() - 1],
        alpha: T::from_f64(scale.alpha),
        beta: T::from_f64(scale.beta),
        tail: tail.as_ref(),
    };
    job.run()?;
    match (scratch, epilogue) {
        (Some(s), e) => s.store_with(result, e),
        (None, Some(e)) if tail.is_none() => finish(e, out, out),
        (None, _) => Ok(()),
    }
}

/// A batch of products over strided memory.
struct Job<'a, T> {
    a: (*const T, Batched),
    b: (*const T, Batched),
    c: (*mut T, Batched),
    bias: Option<(*const T, Batched)>,
    /// Of the result.
    shape: &'a [usize],
    k: usize,
    alpha: T,
    beta: T,
    tail: Option<&'a Tail<'a>>,
}

// SAFETY: tasks write disjoint parts of C; the rest is only read.
unsafe impl<T> Sync for Job<'_, T> {}

impl<T: Gemm> Job<'_, T> {
    fn run(&self) -> Result<()> {
        let nd = self.shape.len();
        let batch: usize = self.shape[..nd - 2].iter().product();
        let work = self.shape[nd - 2] * self.shape[nd - 1] * self.k.max(1);
        if work == 0 || batch == 0 {
            return Ok(());
        }
        if batch < 2 * threads::num_threads() && work >= TASK {
            return (0..batch).try_for_each(|i| self.one(i));
        }
        let grain = (TASK / work).max(1);
        for_each(batch.div_ceil(grain), &|t, stop| {
            for i in t * grain..((t + 1) * grain).min(batch) {
                if stop.now() {
                    break;
                }
                self.one(i)?;
            }
            Ok(())
        })
    }

    /// Matrix `i` of the batch.
    fn one(&self, i: usize) -> Result<()> {
        let nd = self.shape.len();
        let (m, n) = (self.shape[nd - 2], self.shape[nd - 1]);
        let view = |p: *const T, b: &Batched| View::new(p.wrapping_offset(b.offset(i)), b.rs, b.cs);
        let (a, b) = (view(self.a.0, &self.a.1), view(self.b.0, &self.b.1));
        let c = view(self.c.0, &self.c.1);
        if m * n * self.k <= TINY {
            let bias = self.bias.as_ref().map(|(p, b)| view(*p, b));
            // SAFETY: the layouts cover the shapes; this matrix of C is only written here.
            unsafe { plain([m, n, self.k], a, b, c, (self.alpha, self.beta, bias)) };
            return self.tail.map_or(Ok(()), |t| t.run(i, [0, m], [0, n]));
        }
        // C's columns may be what is contiguous: then its transpose is computed, from the transposed operands
        let swap = if n == 1 { m > 1 && c.rs == 1 } else { c.cs != 1 };
        let (m, n, a, b, c) = if swap { (n, m, b.t(), a.t(), c.t()) } else { (m, n, a, b, c) };
        let ld = if m == 1 { n } else { c.rs as usize };
        let bare = self.alpha == T::from_f64(1.0) && self.bias.is_none();
        let bias = self.bias.as_ref().map(|(p, b)| view(*p, b)).map(|v| if swap { v.t() } else { v });
        let finish = |rows: [usize; 2], cols: [usize; 2]| -> Result<()> {
            if !bare {
                let (alpha, beta) = (self.alpha, self.beta);
                let blend = Blend { rows, cols, c: c.at(0, 0).cast_mut(), ld, alpha, beta, bias };
                // SAFETY: the region belongs to the task that finished it; the bias covers the result.
                unsafe { T::run(&blend) };
            }
            let (rows, cols) = if swap { (cols, rows) } else { (rows, cols) };
            self.tail.map_or(Ok(()), |t| t.run(i, rows, cols))
        };
        let finish: Option<&(dyn Fn([usize; 2], [usize; 2]) -> Result<()> + Sync)> =
            if bare && self.tail.is_none() { None } else { Some(&finish) };
        let product = Product { m, n, k: self.k, a, b, c: Target { p: c.p.cast_mut(), ld, add: false, finish } };
        // SAFETY: the layouts cover the shapes; this matrix of C is only written here.
        unsafe { product.run() }
    }
}

/// Complex numbers: four real products over the parts, which lie two apart.
fn complex<T: Gemm>(scale: &Scale, inputs: &[Source], epilogue: Option<&Epilogue>, out: Arg) -> Result<()> {
    let dtype = inputs[0].dtype();
    let operands = [Operand::strided(&inputs[0], dtype)?, Operand::strided(&inputs[1], dtype)?];
    let bias = scale.bias.map(|s| Operand::dense(s, dtype)).transpose()?;
    let y = Output::dense(out, dtype)?;
    let contiguous = Layout::contiguous(&out.layout.shape);
    let n = contiguous.numel();
    let products = Scratch::<T>::new(4 * n)?;
    let part = |o: usize, imaginary: usize| {
        let mut l = operands[o].layout.clone();
        l.strides.iter_mut().for_each(|s| *s *= 2);
        (operands[o].as_ptr::<T>().wrapping_add(imaginary), Batched::new(&l))
    };
    for (i, (a, b)) in [(0, 0), (1, 1), (0, 1), (1, 0)].into_iter().enumerate() {
        let job = Job::<T> {
            a: part(0, a),
            b: part(1, b),
            c: (products.as_ptr().wrapping_add(i * n), Batched::new(&contiguous)),
            bias: None,
            shape: contiguous.shape.as_slice(),
            k: operands[0].layout.shape[operands[0].layout.ndim() - 1],
            alpha: T::from_f64(scale.alpha),
            beta: T::ZERO,
            tail: None,
        };
        job.run()?;
    }
    let beta = T::from_f64(scale.beta);
    for i in 0..n {
        // SAFETY: four products of n values; n pairs in the result and in the bias.
        unsafe {
            let p = products.as_ptr().add(i);
            let (mut re, mut im) = (*p - *p.add(n), *p.add(2 * n) + *p.add(3 * n));
            if let Some(b) = &bias {
                re += beta * *b.as_ptr::<T>().add(2 * i);
                im += beta * *b.as_ptr::<T>().add(2 * i + 1);
            }
            *y.as_ptr::<T>().add(2 * i) = re;
            *y.as_ptr::<T>().add(2 * i + 1) = im;
        }
    }
    y.store_with(dtype, epilogue)
}

/// Wrapping integer arithmetic; narrow integers are products in i32 that wrap once more when stored.
trait Int: Copy + Send + Sync + 'static {
    fn from_f64(v: f64) -> Self;
    /// c + a * b
    fn mul_add(a: Self, b: Self, c: Self) -> Self;
}
macro_rules! int {
    ($t:ty) => {
        impl Int for $t {
            fn from_f64(v: f64) -> $t {
                v as i64 as $t
            }
            #[inline(always)]
            fn mul_add(a: $t, b: $t, c: $t) -> $t {
                c.wrapping_add(a.wrapping_mul(b))
            }
        }
    };
}
int!(i32);
int!(i64);

/// Integers: rows of B added up, after both were made contiguous.
fn integer<T: Int>(
    dtype: DType,
    scale: &Scale,
    inputs: &[Source],
    epilogue: Option<&Epilogue>,
    out: Arg,
) -> Result<()> {
    let result = inputs[0].dtype();
    let (a, b) = (Operand::dense(&inputs[0], dtype)?, Operand::dense(&inputs[1], dtype)?);
    let bias = scale.bias.map(|s| Operand::dense(s, dtype)).transpose()?;
    let c = Output::dense(out, dtype)?;
    let nd = out.layout.ndim();
    let (m, n) = (out.layout.shape[nd - 2], out.layout.shape[nd - 1]);
    let k = a.layout.shape[nd - 1];
    let (zero, alpha, beta) = (T::from_f64(0.0), T::from_f64(scale.alpha), T::from_f64(scale.beta));
    let rows: usize = out.layout.shape[..nd - 1].iter().product();
    let rows = if n == 0 { 0 } else { rows };
    let grain = (TASK / (n * k).max(1)).max(1);
    for_each(rows.div_ceil(grain), &|t, stop| {
        for r in t * grain..((t + 1) * grain).min(rows) {
            if stop.now() {
                break;
            }
            // SAFETY: contiguous operands of the shapes above; a task writes its own rows of C.
            unsafe {
                let row = std::slice::from_raw_parts_mut(c.as_ptr::<T>().add(r * n), n);
                row.fill(zero);
                for p in 0..k {
                    let x = T::mul_add(*a.as_ptr::<T>().add(r * k + p), alpha, zero);
                    let b = std::slice::from_raw_parts(b.as_ptr::<T>().add((r / m * k + p) * n), n);
                    for (c, &b) in row.iter_mut().zip(b) {
                        *c = T::mul_add(x, b, *c);
                    }
                }
                if let Some(bias) = &bias {
                    let bias = std::slice::from_raw_parts(bias.as_ptr::<T>().add(r * n), n);
                    for (c, &b) in row.iter_mut().zip(bias) {
                        *c = T::mul_add(beta, b, *c);
                    }
                }
            }
        }
        Ok(())
    })?;
    match epilogue {
        None => c.store(),
        Some(_) => c.store_with(result, epilogue),
    }
}
