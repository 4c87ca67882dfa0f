//! `Prim::Resize`: linear and cubic resizing of planes of 1 to 3 dimensions, and its adjoint. A row of the result is a
//! weighted sum of a few rows of the input, gone through with the taps of the last dimension. Planes are independent:
//! threads take planes.
//! Not here: nearest neighbours (`index_select`), windows as wide as the output's step (a product with a matrix),
//! places that form no grid (`grid_sample`).

use std::ops::Range;

use rtorch_ir::prim::ResizeParams;
use rtorch_ir::{DType, Result};

use crate::gemm::lanes::Lanes;
use crate::gemm::{Body, Gemm};
use crate::operand::{Operand, Output};
use crate::threads::parallel_for;
use crate::{Arg, Source};

/// Elements that a thread should read or write at least.
const GRAIN: usize = 1 << 15;

/// Keys' cubic kernel with a = -0.75 at a distance of up to 2, and its derivative.
#[inline(always)]
pub fn keys<T: Gemm>(v: T) -> (T, T) {
    let t = T::from_f64;
    let a = t(-0.75);
    let (x, sign) = if v < T::ZERO { (T::ZERO - v, t(-1.0)) } else { (v, t(1.0)) };
    let (w, d) = if x < t(1.0) {
        (((a + t(2.0)) * x - (a + t(3.0))) * x * x + t(1.0), (t(3.0) * (a + t(2.0)) * x - t(2.0) * (a + t(3.0))) * x)
    } else {
        // NaN comes here and stays
        (((x - t(5.0)) * x + t(8.0)) * x * a - t(4.0) * a, ((t(3.0) * x - t(10.0)) * x + t(8.0)) * a)
    };
    (w, d * sign)
}

/// The taps of every output element along one dimension, `count` each.
struct Taps<T> {
    count: usize,
    at: Vec<usize>,
    weight: Vec<T>,
}

impl<T: Gemm> Taps<T> {
    /// Of a dimension of `size` that becomes `out`, in steps of `step` (None: it stays).
    fn new(size: usize, out: usize, step: Option<f64>, align: bool, cubic: bool) -> Taps<T> {
        let Some(step) = step else {
            return Taps { count: 1, at: (0..out).collect(), weight: vec![T::from_f64(1.0); out] };
        };
        let (first, count) = if cubic { (-1, 4) } else { (0, 2) };
        let (mut at, mut weight) = (Vec::with_capacity(out * count), Vec::with_capacity(out * count));
        for i in 0..out {
            let (low, t) = source::<T>(i, step, align, cubic);
            for k in first..first + count as isize {
                at.push((low + k).clamp(0, size as isize - 1) as usize);
                weight.push(match (cubic, k) {
                    (true, _) => keys(t - T::from_f64(k as f64)).0,
                    (false, 0) => T::from_f64(1.0) - t,
                    (false, _) => t,
                });
            }
        }
        Taps { count, at, weight }
    }
}

/// Where output element `i` looks in the input: the pixel before and the way from there, in the precision of `T`.
fn source<T: Gemm>(i: usize, step: f64, align: bool, cubic: bool) -> (isize, T) {
    let t = T::from_f64;
    let at = if align { t(i as f64) * t(step) } else { (t(i as f64) + t(0.5)) * t(step) - t(0.5) };
    let at = if !align && !cubic && at < T::ZERO { T::ZERO } else { at };
    let mut low = at.to_f64().floor();
    if low.is_nan() {
        low = 0.0;
    }
    (low as isize, at - t(low))
}

/// A resizing of planes: rows of the last dimension, the others as one list of rows with their weights.
struct Plan<T> {
    input: [usize; 3],
    out: [usize; 3],
    taps: [Taps<T>; 3],
}

impl<T: Gemm> Plan<T> {
    fn new(p: &ResizeParams, input: &[usize]) -> Plan<T> {
        let (mut from, mut to, mut steps) = ([1; 3], [1; 3], [None; 3]);
        let lead = 3 - p.out.len();
        for d in 0..p.out.len() {
            (from[lead + d], to[lead + d], steps[lead + d]) = (input[d], p.out[d], p.steps[d]);
        }
        let taps = std::array::from_fn(|d| Taps::new(from[d], to[d], steps[d], p.align_corners, p.cubic));
        Plan { input: from, out: to, taps }
    }
    fn plane(&self) -> usize {
        self.input.iter().product()
    }
    fn positions(&self) -> usize {
        self.out.iter().product()
    }
    /// Calls `f` with every row of the result and the rows (offset in the plane, weight) that it is made of.
    #[inline(always)]
    fn rows(&self, mut f: impl FnMut(usize, &[(usize, T)])) {
        let [_, height, width] = self.input;
        let [a, b, _] = &self.taps;
        let mut parts = [(0, T::ZERO); 16];
        for z in 0..self.out[0] {
            for y in 0..self.out[1] {
                let mut n = 0;
                for i in z * a.count..(z + 1) * a.count {
                    for j in y * b.count..(y + 1) * b.count {
                        parts[n] = ((a.at[i] * height + b.at[j]) * width, a.weight[i] * b.weight[j]);
                        n += 1;
                    }
                }
                f(z * self.out[1] + y, &parts[..n]);
            }
        }
    }
}

struct Forward<'a, T> {
    plan: &'a Plan<T>,
    x: *const T,
    y: *mut T,
    planes: Range<usize>,
    row: &'a mut [T],
}

impl<T: Gemm> Body<T> for Forward<'_, T> {
    type Out = ();
    #[inline(always)]
    unsafe fn run<V: Lanes<T = T>>(self) {
        let (width, out, taps) = (self.plan.input[2], self.plan.out[2], &self.plan.taps[2]);
        let (plane, positions, row) = (self.plan.plane(), self.plan.positions(), self.row);
        for i in self.planes {
            let (x, y) = (self.x.wrapping_add(i * plane), self.y.wrapping_add(i * positions));
            self.plan.rows(|number, parts| {
                // SAFETY: rows of the plan's planes.
                unsafe {
                    let line = |k: usize| std::slice::from_raw_parts(x.add(parts[k].0), width);
                    let to = std::slice::from_raw_parts_mut(y.add(number * out), out);
                    if parts.len() == 1 {
                        return along(taps, line(0), to);
                    }
                    for (r, &v) in row.iter_mut().zip(line(0)) {
                        *r = parts[0].1 * v;
                    }
                    for (k, &(_, weight)) in parts.iter().enumerate().skip(1) {
                        for (r, &v) in row.iter_mut().zip(line(k)) {
                            *r += weight * v;
                        }
                    }
                    along(taps, row, to);
                }
            });
        }
    }
}

/// The taps of the last dimension over one row.
#[inline(always)]
fn along<T: Gemm>(taps: &Taps<T>, row: &[T], out: &mut [T]) {
    match taps.count {
        1 => out.copy_from_slice(row),
        2 => gathered::<T, 2>(taps, row, out),
        _ => gathered::<T, 4>(taps, row, out),
    }
}

#[inline(always)]
fn gathered<T: Gemm, const N: usize>(taps: &Taps<T>, row: &[T], out: &mut [T]) {
    let lists = taps.at.as_chunks::<N>().0.iter().zip(taps.weight.as_chunks::<N>().0);
    for (y, (at, weight)) in out.iter_mut().zip(lists) {
        let mut sum = weight[0] * row[at[0]];
        for k in 1..N {
            sum += weight[k] * row[at[k]];
        }
        *y = sum;
    }
}

struct Backward<'a, T> {
    plan: &'a Plan<T>,
    g: *const T,
    x: *mut T,
    planes: Range<usize>,
    row: &'a mut [T],
}

impl<T: Gemm> Body<T> for Backward<'_, T> {
    type Out = ();
    #[inline(always)]
    unsafe fn run<V: Lanes<T = T>>(self) {
        let (width, out, taps) = (self.plan.input[2], self.plan.out[2], &self.plan.taps[2]);
        let (plane, positions, row) = (self.plan.plane(), self.plan.positions(), self.row);
        for i in self.planes {
            let (g, x) = (self.g.wrapping_add(i * positions), self.x.wrapping_add(i * plane));
            // SAFETY: rows of the plan's planes.
            unsafe { std::slice::from_raw_parts_mut(x, plane) }.fill(T::ZERO);
            self.plan.rows(|number, parts| {
                // SAFETY: as above.
                let from = unsafe { std::slice::from_raw_parts(g.add(number * out), out) };
                let n = taps.count;
                if n == 2 && parts.len() == 1 {
                    // one dimension: right into the plane
                    for (i, &v) in from.iter().enumerate() {
                        for k in i * 2..i * 2 + 2 {
                            // SAFETY: as above.
                            unsafe { *x.add(taps.at[k]) += taps.weight[k] * v };
                        }
                    }
                    return;
                }
                row.fill(T::ZERO);
                for (i, &v) in from.iter().enumerate() {
                    for k in i * n..(i + 1) * n {
                        row[taps.at[k]] += taps.weight[k] * v;
                    }
                }
                for &(start, weight) in parts {
                    // SAFETY: as above.
                    let line = unsafe { std::slice::from_raw_parts_mut(x.add(start), width) };
                    for (y, &v) in line.iter_mut().zip(row.iter()) {
                        *y += weight * v;
                    }
                }
            });
        }
    }
}

/// Runs `f` on ranges of planes with a row of scratch memory.
fn for_planes<T: Gemm>(count: usize, plan: &Plan<T>, f: &(dyn Fn(Range<usize>, &mut [T]) + Sync)) {
    let work = plan.plane() + 4 * plan.positions();
    parallel_for(count, (GRAIN / work.max(1)).max(1), &|range| {
        let mut row = vec![T::ZERO; plan.input[2]];
        f(range, &mut row);
    });
}

fn forward<T: Gemm>(p: &ResizeParams, inputs: &[Source], outs: &[Arg]) -> Result<()> {
    let (x, y) = (Operand::dense(&inputs[0], T::DTYPE)?, Output::dense(outs[0], T::DTYPE)?);
    let (lead, sizes) = inputs[0].shape.split_at(inputs[0].shape.len() - p.out.len());
    let planes = lead.iter().product();
    if planes == 0 {
        // nothing bounds the sizes of no planes
        return y.store();
    }
    let plan = Plan::<T>::new(p, sizes);
    for_planes(planes, &plan, &|planes, row| {
        let (x, y) = (x.as_ptr(), y.as_ptr());
        // SAFETY: planes are contiguous, a task's planes are its own.
        unsafe { T::run(Forward { plan: &plan, x, y, planes, row }) };
    });
    y.store()
}

fn backward<T: Gemm>(p: &ResizeParams, input: &[usize], inputs: &[Source], outs: &[Arg]) -> Result<()> {
    let (g, x) = (Operand::dense(&inputs[0], T::DTYPE)?, Output::dense(outs[0], T::DTYPE)?);
    let (lead, sizes) = input.split_at(input.len() - p.out.len());
    let planes = lead.iter().product();
    if planes == 0 {
        return x.store();
    }
    let plan = Plan::<T>::new(p, sizes);
    for_planes(planes, &plan, &|planes, row| {
        let (g, x) = (g.as_ptr(), x.as_ptr());
        // SAFETY: planes are contiguous, a task's planes are its own.
        unsafe { T::run(Backward { plan: &plan, g, x, planes, row }) };
    });
    x.store()
}

/// x [n, c, ...] -> [n, c, out...].
pub fn resize(p: &ResizeParams, inputs: &[Source], outs: &[Arg]) -> Result<()> {
    match inputs[0].dtype() {
        DType::F64 => forward::<f64>(p, inputs, outs),
        _ => forward::<f32>(p, inputs, outs),
    }
}

/// g -> gradient of x.
pub fn resize_grad(p: &ResizeParams, input: &[usize], inputs: &[Source], outs: &[Arg]) -> Result<()> {
    match inputs[0].dtype() {
        DType::F64 => backward::<f64>(p, input, inputs, outs),
        _ => backward::<f32>(p, input, inputs, outs),
    }
}
