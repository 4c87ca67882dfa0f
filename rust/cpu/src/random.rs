//! PyTorch's CPU random numbers: the generator (`mt19937.rs`), the transforms of its output over typed slices
//! (`fill.rs`, Box-Muller in `box_muller.rs`), draws by rejection (`variates.rs`) and their gradients (`implicit.rs`),
//! and here the calls over a strided window of memory. Every draw is PyTorch's own, in its order, so that a seed gives
//! the same weights. The GPU's Philox is a scalar op of programs.

mod box_muller;
mod fill;
mod implicit;
mod mt19937;
mod variates;

pub use mt19937::Mt19937;

use half::{bf16, f16};
use rtorch_ir::{DType, Error, Layout, Result, ensure, storage_dtypes};
use smallvec::SmallVec;

use crate::Arg;
use fill::Real;

/// What `fill` draws: PyTorch's in-place methods of the same names.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Distribution {
    /// `uniform_`: [from, to).
    Uniform { from: f64, to: f64 },
    /// `normal_`
    Normal { mean: f64, std: f64 },
    /// `log_normal_`
    LogNormal { mean: f64, std: f64 },
    /// `exponential_`
    Exponential { lambda: f64 },
    /// `cauchy_`
    Cauchy { median: f64, sigma: f64 },
    /// `geometric_`
    Geometric { p: f64 },
    /// `bernoulli_` with a number.
    Bernoulli { p: f64 },
    /// `random_(from, to)` and `randint`: base .. base + range, `range` as a 64-bit count.
    Range { range: u64, base: i64 },
    /// `random_(-2**63, None)` of int64: all 64 bits.
    Bits64,
    /// `random_()`: zero to the dtype's largest, or to where its integers end.
    Random,
}

/// Runs `$body` with `$t` bound to the Rust type that stores `$dtype` (bools as 0/1 bytes); complex has no draws.
macro_rules! typed {
    ($dtype:expr, $op:expr, $t:ident => $body:expr) => {
        match $dtype {
            DType::Bool => {
                type $t = fill::Bool;
                $body
            }
            DType::U8 => {
                type $t = u8;
                $body
            }
            DType::I8 => {
                type $t = i8;
                $body
            }
            DType::I16 => {
                type $t = i16;
                $body
            }
            DType::I32 => {
                type $t = i32;
                $body
            }
            DType::I64 => {
                type $t = i64;
                $body
            }
            DType::F16 => {
                type $t = f16;
                $body
            }
            DType::BF16 => {
                type $t = bf16;
                $body
            }
            DType::F32 => {
                type $t = f32;
                $body
            }
            DType::F64 => {
                type $t = f64;
                $body
            }
            DType::C64 | DType::C128 | storage_dtypes!() => Err(unsupported($op, $dtype)),
        }
    };
}

/// As `typed`, for the floating dtypes only.
macro_rules! typed_float {
    ($dtype:expr, $op:expr, $t:ident => $body:expr) => {
        match $dtype {
            DType::F16 => {
                type $t = f16;
                $body
            }
            DType::BF16 => {
                type $t = bf16;
                $body
            }
            DType::F32 => {
                type $t = f32;
                $body
            }
            DType::F64 => {
                type $t = f64;
                $body
            }
            DType::Bool
            | DType::U8
            | DType::I8
            | DType::I16
            | DType::I32
            | DType::I64
            | DType::C64
            | DType::C128
            | storage_dtypes!() => Err(unsupported($op, $dtype)),
        }
    };
}

fn unsupported(op: &str, dtype: DType) -> Error {
    Error::not_implemented(format!("\"{op}\" not implemented for '{}'", dtype.cpp_name()))
}

/// Fills a window with draws, in the order of its memory (PyTorch's TensorIterator order).
pub fn fill(rng: &mut Mt19937, dist: &Distribution, out: Arg) -> Result<()> {
    match *dist {
        Distribution::Uniform { from, to } => typed_float!(out.dtype, "check_uniform_bounds", T => {
            check_uniform(from, to, <T as Real>::HIGHEST, <T as Real>::CPP_NAME)?;
            with_slice::<T>(out, |s| fill::uniform(rng, s, from, to));
            Ok(())
        }),
        Distribution::Normal { mean, std } => {
            ensure!(std >= 0.0, runtime, "normal expects std >= 0.0, but found std {std}");
            // the blocked transform is for memory that is contiguous as a tensor; others take the scalar one
            let blocked = out.layout.is_contiguous() && out.layout.numel() >= box_muller::BLOCK;
            typed_float!(out.dtype, "normal_kernel_cpu", T => {
                with_slice::<T>(out, |s| match blocked {
                    true => <T as Real>::normal_blocks(rng, s, mean, std),
                    false => fill::normal(rng, s, mean, std),
                });
                Ok(())
            })
        }
        Distribution::LogNormal { mean, std } => {
            ensure!(std > 0.0, runtime, "log_normal_ expects std > 0.0, but found std={std}");
            typed_float!(out.dtype, "log_normal_cpu", T => {
                with_slice::<T>(out, |s| fill::log_normal(rng, s, mean, std));
                Ok(())
            })
        }
        Distribution::Exponential { lambda } => {
            ensure!(lambda > 0.0, runtime, "exponential_ expects lambda > 0.0, but found lambda={lambda}");
            typed_float!(out.dtype, "exponential_cpu", T => {
                with_slice::<T>(out, |s| fill::exponential(rng, s, lambda));
                Ok(())
            })
        }
        Distribution::Cauchy { median, sigma } => {
            ensure!(sigma > 0.0, runtime, "cauchy_ expects sigma > 0.0, but found sigma={sigma}");
            typed_float!(out.dtype, "cauchy_cpu", T => {
                with_slice::<T>(out, |s| fill::cauchy(rng, s, median, sigma));
                Ok(())
            })
        }
        Distribution::Geometric { p } => {
            ensure!(0.0 < p && p < 1.0, runtime, "geometric_ expects p to be in (0, 1), but got p={p}");
            typed!(out.dtype, "geometric_cpu", T => {
                with_slice::<T>(out, |s| fill::geometric(rng, s, p));
                Ok(())
            })
        }
        Distribution::Bernoulli { p } => {
            ensure!((0.0..=1.0).contains(&p), runtime, "bernoulli_ expects p to be in [0, 1], but got p={p}");
            typed!(out.dtype, "bernoulli_scalar_cpu_", T => {
                with_slice::<T>(out, |s| fill::bernoulli(rng, s, p));
                Ok(())
            })
        }
        Distribution::Range { range, base } => typed!(out.dtype, "random_from_to_kernel_cpu", T => {
            with_slice::<T>(out, |s| fill::range(rng, s, range, base));
            Ok(())
        }),
        Distribution::Bits64 => typed!(out.dtype, "random64_kernel_cpu", T => {
            with_slice::<T>(out, |s| fill::bits64(rng, s));
            Ok(())
        }),
        Distribution::Random => typed!(out.dtype, "random_kernel_cpu", T => {
            with_slice::<T>(out, |s| fill::random(rng, s));
            Ok(())
        }),
    }
}

/// PyTorch's three checks of `uniform_`'s bounds.
fn check_uniform(from: f64, to: f64, highest: f64, name: &str) -> Result<()> {
    let text = |v: f64| fill::cpp_number(v);
    let within = |v: f64| (-highest..=highest).contains(&v);
    ensure!(within(from), runtime, "from is out of bounds for {name}");
    ensure!(within(to), runtime, "to is out of bounds for {name}");
    ensure!(
        from <= to,
        runtime,
        "uniform_ expects to return a [from, to) range, but found from={} > to={}",
        text(from),
        text(to)
    );
    ensure!(
        to - from <= highest,
        runtime,
        "uniform_ expects to-from <= std::numeric_limits<{name}>::max(), but found to={} and from={} which result in \
         to-from to exceed the limit",
        text(to),
        text(from)
    );
    Ok(())
}

/// `torch.bernoulli(p)` and `bernoulli_(p)` with a tensor: one draw for each element of `p` (a floating dtype, of
/// `out`'s shape), float64 probabilities with 53 bits, others with 24.
pub fn bernoulli(rng: &mut Mt19937, p: Arg, out: Arg) -> Result<()> {
    ensure!(p.dtype.is_float(), runtime, "expected probabilities tensor to have floating type, got {}", p.dtype);
    let probs: Vec<f64> = typed_float!(p.dtype, "bernoulli_tensor_cpu_p_", P => Ok(read::<P>(p)))?;
    if let Some(bad) = probs.iter().find(|v| !(0.0..=1.0).contains(*v)) {
        return Err(Error::runtime(format!("Expected p_in >= 0 && p_in <= 1 to be true, but got false (p = {bad})")));
    }
    typed!(out.dtype, "bernoulli_tensor_cpu_self_", T => {
        with_slice_in::<T>(out, Order::Logical, |s| match p.dtype == DType::F64 {
            true => fill::bernoulli_each64(rng, &probs, s),
            false => fill::bernoulli_each32(rng, &probs, s),
        });
        Ok(())
    })
}

/// `torch.randperm(n)`, n being the elements of the one-dimensional `out`.
pub fn randperm(rng: &mut Mt19937, out: Arg) -> Result<()> {
    typed!(out.dtype, "randperm", T => {
        with_slice_in::<T>(out, Order::Logical, |s| fill::randperm(rng, s));
        Ok(())
    })
}

/// `torch.multinomial` with replacement: rows of positions drawn by probability. `probs` is [n] or [rows, n] of a
/// floating dtype, `out` int64 with the draws in its last dimension. (Without replacement PyTorch takes the largest
/// of `probs / exponential`, a composition.)
pub fn multinomial(rng: &mut Mt19937, probs: Arg, out: Arg) -> Result<()> {
    let n = *probs.layout.shape.last().unwrap_or(&1);
    let draws = *out.layout.shape.last().unwrap_or(&1);
    ensure!(out.dtype == DType::I64, runtime, "multinomial expects Long tensor out, got: {}", out.dtype.cpp_name());
    let double = probs.dtype == DType::F64;
    let values: Vec<f64> = typed_float!(probs.dtype, "multinomial", P => Ok(read::<P>(probs)))?;
    let mut cumulative = Vec::with_capacity(values.len());
    for row in values.chunks(n.max(1)) {
        fill::cumulative_row(row, double, &mut cumulative)?;
    }
    with_slice_in::<i64>(out, Order::Logical, |s| {
        for (row, out) in cumulative.chunks(n.max(1)).zip(s.chunks_mut(draws.max(1))) {
            fill::multinomial_row(rng, row, out);
        }
    });
    Ok(())
}

/// Draws by rejection with a parameter (binomial: two) for each element.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Variate {
    /// Shape; scale 1.
    Gamma,
    /// As `Gamma`, in the double precision of PyTorch's Dirichlet draws.
    WideGamma,
    /// Rate.
    Poisson,
    /// Count, probability.
    Binomial,
}

/// The elements of a window of a floating dtype as f64, row-major.
fn floats(x: Arg, op: &str) -> Result<Vec<f64>> {
    typed_float!(x.dtype, op, P => Ok(read::<P>(x)))
}

/// One draw for each element of `out`, whose shape `params` (one or two windows) have, in row-major order.
pub fn variates(rng: &mut Mt19937, kind: Variate, params: &[Arg], out: Arg) -> Result<()> {
    let op = match kind {
        Variate::Gamma | Variate::WideGamma => "gamma_cpu",
        Variate::Poisson => "poisson_cpu",
        Variate::Binomial => "binomial_cpu",
    };
    let first = floats(params[0], op)?;
    let single = params[0].dtype != DType::F64;
    let draws: Vec<f64> = match kind {
        Variate::Gamma => first.iter().map(|&a| variates::gamma(rng, a, single)).collect(),
        Variate::WideGamma => first.iter().map(|&a| variates::gamma(rng, a, false)).collect(),
        Variate::Poisson => first.iter().map(|&r| variates::poisson(rng, r)).collect::<Result<_>>()?,
        Variate::Binomial => {
            let second = floats(params[1], op)?;
            first.iter().zip(&second).map(|(&n, &p)| variates::binomial(rng, n, p)).collect()
        }
    };
    typed_float!(out.dtype, op, T => {
        with_slice_in::<T>(out, Order::Logical, |s| {
            for (o, v) in s.iter_mut().zip(draws) {
                *o = fill::Item::from_f64(v);
            }
        });
        Ok(())
    })
}

/// How draws move with a parameter of theirs (`implicit.rs`), element by element into a contiguous float64 window, from
/// (shape, draw) of gamma variates or (draw, shape, total of the shapes) of Dirichlet's.
pub fn implicit_gradients(inputs: &[Arg], out: Arg) -> Result<()> {
    let read: Vec<Vec<f64>> = inputs.iter().map(|x| floats(*x, "_standard_gamma_grad")).collect::<Result<_>>()?;
    ensure!(out.dtype == DType::F64 && out.layout.is_contiguous(), runtime, "implicit gradients are float64");
    let n = out.layout.numel();
    let to = crate::walk::Base::new(out.base());
    crate::threads::parallel_for(n, IMPLICIT_GRAIN, &|range| {
        for i in range {
            let v = match read.len() {
                2 => implicit::gamma(read[0][i], read[1][i]),
                _ => implicit::dirichlet(read[0][i], read[1][i], read[2][i]),
            };
            // SAFETY: element i of a contiguous float64 window, this thread's own.
            unsafe { *to.at::<f64>((i * size_of::<f64>()) as isize) = v };
        }
    });
    Ok(())
}

/// Elements of an implicit gradient that are worth a thread.
const IMPLICIT_GRAIN: usize = 256;

/// Which order of a window's elements a slice stands for.
#[derive(Clone, Copy, PartialEq)]
enum Order {
    /// Outermost stride first, as TensorIterator walks.
    Memory,
    /// Row-major.
    Logical,
}

/// The window's dimensions from the largest stride to the smallest, as TensorIterator orders them.
fn memory_order(l: &Layout) -> Layout {
    let mut dims: SmallVec<[usize; 5]> = (0..l.ndim()).collect();
    dims.sort_by_key(|&d| std::cmp::Reverse(if l.shape[d] == 1 { 0 } else { l.strides[d].unsigned_abs() }));
    l.permute(&dims)
}

/// Calls `f` with the window as one slice in memory order, through a temporary where it has gaps.
fn with_slice<T: Copy + Default>(out: Arg, f: impl FnOnce(&mut [T])) {
    with_slice_in(out, Order::Memory, f)
}

fn with_slice_in<T: Copy + Default>(out: Arg, order: Order, f: impl FnOnce(&mut [T])) {
    let n = out.layout.numel();
    if n == 0 {
        return f(&mut []);
    }
    let dense = match order {
        Order::Memory => out.layout.is_dense() && out.layout.strides.iter().all(|&s| s >= 0),
        Order::Logical => out.layout.is_contiguous(),
    };
    if dense {
        // SAFETY: a dense window covers `n` elements of T from its base, and outputs are unshared.
        return f(unsafe { std::slice::from_raw_parts_mut(out.base().cast::<T>(), n) });
    }
    let mut tmp = vec![T::default(); n];
    f(&mut tmp);
    let layout = if order == Order::Memory { memory_order(out.layout) } else { out.layout.clone() };
    let mut index: SmallVec<[usize; 5]> = SmallVec::from_elem(0, layout.ndim());
    for v in tmp {
        // SAFETY: `at` of an index within the shape is an element of the window.
        unsafe { out.ptr.cast::<T>().add(layout.at(&index)).write(v) };
        step(&mut index, &layout.shape);
    }
}

/// The elements of a window as f64, row-major.
fn read<T: Real>(x: Arg) -> Vec<f64> {
    let mut index: SmallVec<[usize; 5]> = SmallVec::from_elem(0, x.layout.ndim());
    (0..x.layout.numel())
        .map(|_| {
            // SAFETY: `at` of an index within the shape is an element of the window.
            let v = unsafe { x.ptr.cast::<T>().add(x.layout.at(&index)).read() };
            step(&mut index, &x.layout.shape);
            v.to_f64()
        })
        .collect()
}

/// The next index in row-major order.
fn step(index: &mut [usize], shape: &[usize]) {
    for d in (0..shape.len()).rev() {
        index[d] += 1;
        if index[d] < shape[d] {
            return;
        }
        index[d] = 0;
    }
}

#[cfg(test)]
mod tests;
