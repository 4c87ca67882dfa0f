//! Writing by index: `scatter`, `index_add`, `index_put`, and `scatter_view`, the gradient of every view. Each starts
//! from a copy of its first operand. Duplicates meet in a fixed order, whatever the number of threads: threads share
//! lines or columns, never the positions of one line. Reading by index is in `gather.rs`.

use rtorch_ir::prim::ScatterOp;
use rtorch_ir::{DType, Error, Layout, Result};
use smallvec::SmallVec;

use crate::alloc::Buffer;
use crate::assemble::{copy, copy_broadcast};
use crate::element::{Arith, Element, dispatch, dispatch_size};
use crate::gather::{GRAIN, Lines, Positions, check_index, check_indices};
use crate::threads::parallel_for;
use crate::versions::versions;
use crate::walk::{Base, Walk, byte_strides, direct};
use crate::{Arg, Source};

/// Positions whose offsets are computed at a time.
const CHUNK: usize = 256;

/// `Prim::Scatter`: (x, index, src) -> copy of x with src scattered along the axis.
pub fn scatter(axis: usize, op: ScatterOp, inputs: &[Source], outs: &[Arg]) -> Result<()> {
    let (x, index, src, out) = (direct(&inputs[0])?, direct(&inputs[1])?, direct(&inputs[2])?, outs[0]);
    check_index(index, axis, x.layout.shape.get(axis).copied().unwrap_or(1))?;
    refuse_order(op, x.dtype)?;
    let src = Arg { ptr: src.ptr, dtype: src.dtype, layout: &clip(src.layout, &index.layout.shape) };
    with_target(x, out, op, &|target| {
        if index.layout.numel() > 0 {
            apply(op, out.dtype, Job { axis, target, index, src });
        }
    })
}

/// `Prim::IndexAdd`: (x, index 1-d, src) -> copy of x with the slices of src added (or set) at index along the axis.
pub fn index_add(axis: usize, op: ScatterOp, inputs: &[Source], outs: &[Arg]) -> Result<()> {
    let (x, index, src, out) = (direct(&inputs[0])?, direct(&inputs[1])?, direct(&inputs[2])?, outs[0]);
    // PyTorch raises IndexError here, RuntimeError for a scatter
    check_index(index, axis, x.layout.shape.get(axis).copied().unwrap_or(1)).map_err(|e| Error::index(e.message))?;
    refuse_order(op, x.dtype)?;
    // as a scatter whose index is the same for all lines
    let mut layout = Layout { offset: index.layout.offset, ..Layout::contiguous(&src.layout.shape) };
    for d in 0..layout.ndim() {
        layout.strides[d] = if d == axis { index.layout.strides.first().copied().unwrap_or(0) } else { 0 };
    }
    let index = Arg { ptr: index.ptr, dtype: index.dtype, layout: &layout };
    with_target(x, out, op, &|target| {
        if src.layout.numel() > 0 {
            apply(op, out.dtype, Job { axis, target, index, src });
        }
    })
}

fn refuse_order(op: ScatterOp, dtype: DType) -> Result<()> {
    match op {
        ScatterOp::Max | ScatterOp::Min if dtype.is_complex() => {
            Err(Error::not_implemented(format!("\"scatter_reduce\" not implemented for '{}'", dtype.cpp_name())))
        }
        ScatterOp::Max | ScatterOp::Min | ScatterOp::Set | ScatterOp::Add | ScatterOp::Mul => Ok(()),
    }
}

/// The first elements of a layout, as many as the index has.
fn clip(l: &Layout, shape: &[usize]) -> Layout {
    Layout { shape: SmallVec::from_slice(shape), ..l.clone() }
}

/// The dtype sums run in: 16-bit floats are added up in float and rounded once.
fn sum_dtype(op: ScatterOp, dtype: DType) -> DType {
    match op {
        ScatterOp::Add | ScatterOp::Mul if matches!(dtype, DType::F16 | DType::BF16) => DType::F32,
        ScatterOp::Add | ScatterOp::Mul | ScatterOp::Set | ScatterOp::Max | ScatterOp::Min => dtype,
    }
}

/// Calls `f` with the memory to scatter into, which holds x, and brings the result to `out`.
fn with_target(x: Arg, out: Arg, op: ScatterOp, f: &dyn Fn(Arg)) -> Result<()> {
    let wide = sum_dtype(op, out.dtype);
    if wide == out.dtype {
        // the core may give x's own memory for the result
        if x.base() != out.base() || x.layout.strides != out.layout.strides {
            copy_broadcast(x, out)?;
        }
        f(out);
        return Ok(());
    }
    let layout = Layout::contiguous(&out.layout.shape);
    let buffer = Buffer::uninit(layout.numel() * wide.size())?;
    let target = Arg { ptr: buffer.as_ptr(), dtype: wide, layout: &layout };
    convert(x, target);
    f(target);
    convert(target, out);
    Ok(())
}

/// Between a 16-bit float and float.
fn convert(from: Arg, to: Arg) {
    match (from.dtype, to.dtype) {
        (DType::F16, _) => convert_typed::<half::f16, f32>(from, to),
        (DType::BF16, _) => convert_typed::<half::bf16, f32>(from, to),
        (_, DType::F16) => convert_typed::<f32, half::f16>(from, to),
        (_, _) => convert_typed::<f32, half::bf16>(from, to),
    }
}

fn convert_typed<A: Element<C = f32>, B: Element<C = f32>>(from: Arg, to: Arg) {
    let (st, sf) = (byte_strides(to.layout, size_of::<B>()), byte_strides(from.layout, size_of::<A>()));
    let walk = Walk::new(&to.layout.shape, [&st, &sf]).sorted_by(0);
    let (x, y) = (Base::of(&from), Base::of(&to));
    let (_, [sy, sx]) = walk.inner();
    if to.layout.numel() == 0 {
        return;
    }
    parallel_for(walk.len(), GRAIN, &|range| {
        walk.runs(range, |[b, a], count| {
            for j in 0..count as isize {
                // SAFETY: elements of the two windows.
                unsafe { *y.at::<B>(b + j * sy) = B::store((*x.at::<A>(a + j * sx)).load()) };
            }
        });
    });
}

/// A scatter along an axis: `index` has the iteration shape, `src` too (it may be wider than the target's type).
#[derive(Clone, Copy)]
struct Job<'a> {
    axis: usize,
    target: Arg<'a>,
    index: Arg<'a>,
    src: Arg<'a>,
}

fn apply(op: ScatterOp, dtype: DType, job: Job) {
    match op {
        ScatterOp::Set => dispatch_size!(dtype, T => run::<T, T>(job, |_, v| v, |v| v)),
        ScatterOp::Add => {
            dispatch!(dtype, T => run::<<T as Element>::C, T>(job, Arith::add, Element::load))
        }
        ScatterOp::Mul => {
            dispatch!(dtype, T => run::<<T as Element>::C, T>(job, Arith::mul, Element::load))
        }
        ScatterOp::Max => extreme(dtype, job, true),
        ScatterOp::Min => extreme(dtype, job, false),
    }
}

/// Maximum and minimum are exact in the stored type, 16-bit floats compared as float.
fn extreme(dtype: DType, job: Job, largest: bool) {
    dispatch!(dtype, T => {
        let better = |a: T, b: T| {
            let (a, b) = (a.load(), b.load());
            T::store(if largest { Arith::max(a, b) } else { Arith::min(a, b) })
        };
        run::<T, T>(job, better, |v| v)
    })
}

fn run<D: Copy, S: Copy>(job: Job, op: impl Fn(D, D) -> D + Sync, load: impl Fn(S) -> D + Sync) {
    let st = byte_strides(job.target.layout, size_of::<D>());
    let (si, ss) = (byte_strides(job.index.layout, 8), byte_strides(job.src.layout, size_of::<S>()));
    let lines = Lines::new(job.axis, &job.index.layout.shape, [&st, &si, &ss], 0);
    let (target, index, src) = (Base::of(&job.target), Base::of(&job.index), Base::of(&job.src));
    let (_, [xt, xi, xs]) = lines.walk.inner();
    let ([_, ai, as_], at) = (lines.axis, lines.jump);
    let short = ai == 8 && at == size_of::<D>() as isize && as_ == size_of::<S>() as isize;
    let dense = xi == 0 && xt == size_of::<D>() as isize && xs == size_of::<S>() as isize;
    // a line is one thread's
    lines.for_each(
        &|[t, i, s], count| {
            if dense {
                // SAFETY: an element of the index's window.
                let to = t + unsafe { *index.at::<i64>(i) } as isize * at;
                // SAFETY: runs of elements of the windows; the indices were checked.
                unsafe { run_rows(target.at::<D>(to), src.at::<S>(s), count, &op, &load) };
                return;
            }
            for j in 0..count as isize {
                // SAFETY: elements of the windows; the indices were checked.
                unsafe {
                    let to = t + j * xt + *index.at::<i64>(i + j * xi) as isize * at;
                    let v = load(src.at::<S>(s + j * xs).read());
                    let p = target.at::<D>(to);
                    p.write(op(p.read(), v));
                }
            }
        },
        &|[t, i, s], count| {
            if short {
                // SAFETY: as above.
                unsafe {
                    let (index, to, from) = (index.at::<i64>(i), target.at::<D>(t), src.at::<S>(s));
                    for j in 0..count {
                        let p = to.offset(*index.add(j) as isize);
                        p.write(op(p.read(), load(from.add(j).read())));
                    }
                }
                return;
            }
            for j in 0..count as isize {
                // SAFETY: as above.
                unsafe {
                    let to = t + *index.at::<i64>(i + j * ai) as isize * at;
                    let v = load(src.at::<S>(s + j * as_).read());
                    let p = target.at::<D>(to);
                    p.write(op(p.read(), v));
                }
            }
        },
    );
}

/// One row into another.
///
/// # Safety
/// Both rows have `n` elements; they do not overlap.
#[inline(always)]
unsafe fn run_rows<D: Copy, S: Copy>(
    to: *mut D,
    from: *const S,
    n: usize,
    op: &impl Fn(D, D) -> D,
    load: &impl Fn(S) -> D,
) {
    // SAFETY: the caller's promise.
    let (to, from) = unsafe { (std::slice::from_raw_parts_mut(to, n), std::slice::from_raw_parts(from, n)) };
    row_versions(to, from, op, load);
}

versions!(
    fn row_versions[D: Copy, S: Copy, O: Fn(D, D) -> D, L: Fn(S) -> D](to: &mut [D], from: &[S], op: &O, load: &L) =
        row_body::<D, S, O, L>
);

#[inline(always)]
fn row_body<D: Copy, S: Copy, O: Fn(D, D) -> D, L: Fn(S) -> D>(to: &mut [D], from: &[S], op: &O, load: &L) {
    for (t, f) in to.iter_mut().zip(from) {
        *t = op(*t, load(*f));
    }
}

/// `Prim::IndexPut`: (x, values, n indices of one shape) -> copy of x with values put (or added) there.
pub fn index_put(n: usize, accumulate: bool, inputs: &[Source], outs: &[Arg]) -> Result<()> {
    let (x, values, out) = (direct(&inputs[0])?, direct(&inputs[1])?, outs[0]);
    let indices = inputs[2..2 + n].iter().map(direct).collect::<Result<SmallVec<[Arg; 5]>>>()?;
    check_indices(&indices, &x.layout.shape)?;
    let mut shape: SmallVec<[usize; 8]> = SmallVec::from_slice(&indices[0].layout.shape);
    shape.extend_from_slice(&x.layout.shape[n..]);
    let layout = values.layout.broadcast_to(&shape)?;
    let values = Arg { ptr: values.ptr, dtype: values.dtype, layout: &layout };
    let op = if accumulate { ScatterOp::Add } else { ScatterOp::Set };
    with_target(x, out, op, &|target| {
        if layout.numel() == 0 {
            return;
        }
        match op {
            ScatterOp::Add => dispatch!(out.dtype, T => {
                put::<<T as Element>::C, T>(target, values, &indices, Arith::add, Element::load)
            }),
            ScatterOp::Set | ScatterOp::Mul | ScatterOp::Max | ScatterOp::Min => {
                dispatch_size!(out.dtype, T => put::<T, T>(target, values, &indices, |_, v| v, |v| v))
            }
        }
    })
}

fn put<D: Copy, S: Copy>(
    target: Arg,
    values: Arg,
    indices: &[Arg],
    op: impl Fn(D, D) -> D + Sync,
    load: impl Fn(S) -> D + Sync,
) {
    let n = indices.len();
    let middle = indices[0].layout.ndim();
    let (st, sv) = (byte_strides(target.layout, size_of::<D>()), byte_strides(values.layout, size_of::<S>()));
    let positions = Positions::new(target, 0, indices);
    let shape = &values.layout.shape;
    let at = Walk::new(&shape[..middle], [&sv[..middle]]);
    let block = Walk::new(&shape[middle..], [&st[n..], &sv[middle..]]).sorted_by(0);
    let (count, columns) = (at.len(), block.len());
    let (to, from) = (Base::of(&target), Base::of(&values));
    let (_, [step]) = at.inner();
    let (_, [bt, bv]) = block.inner();
    let dense = bt == size_of::<D>() as isize && bv == size_of::<S>() as isize;
    if columns == 1 {
        // single elements, in order: two positions may name the same one
        let mut offsets = [0isize; CHUNK];
        for first in (0..count).step_by(CHUNK) {
            let offsets = &mut offsets[..CHUNK.min(count - first)];
            positions.offsets(first, offsets);
            let mut rest = offsets.iter();
            at.runs(first..first + offsets.len(), |[v], len| {
                for (j, &t) in rest.by_ref().take(len).enumerate() {
                    // SAFETY: elements of the windows; the indices were checked.
                    unsafe {
                        let p = to.at::<D>(t);
                        p.write(op(p.read(), load(from.at::<S>(v + j as isize * step).read())));
                    }
                }
            });
        }
        return;
    }
    // threads share the columns of a slice: two positions may name the same slice
    parallel_for(columns, (GRAIN / count).max(64), &|columns| {
        let mut offsets = [0isize; CHUNK];
        for first in (0..count).step_by(CHUNK) {
            let offsets = &mut offsets[..CHUNK.min(count - first)];
            positions.offsets(first, offsets);
            let mut done = 0;
            at.runs(first..first + offsets.len(), |[v], len| {
                for (j, &t) in offsets[done..done + len].iter().enumerate() {
                    let v = v + j as isize * step;
                    block.runs(columns.clone(), |[a, b], c| {
                        // SAFETY: elements of the windows; the indices were checked.
                        unsafe {
                            if dense {
                                run_rows(to.at::<D>(t + a), from.at::<S>(v + b), c, &op, &load);
                                return;
                            }
                            for i in 0..c as isize {
                                let p = to.at::<D>(t + a + i * bt);
                                let v = load(from.at::<S>(v + b + i * bv).read());
                                p.write(op(p.read(), v));
                            }
                        }
                    });
                }
                done += len;
            });
        }
    });
}

/// `Prim::ScatterView`: g -> zeros of shape `base` with g added at the elements `view` of it.
pub fn scatter_view(view: &Layout, base: &[usize], inputs: &[Source], outs: &[Arg]) -> Result<()> {
    let (g, out) = (direct(&inputs[0])?, outs[0]);
    let layout = Layout::contiguous(base);
    let overlaps = view.overlaps_itself();
    let wide = if overlaps { sum_dtype(ScatterOp::Add, out.dtype) } else { out.dtype };
    let size = layout.numel() * wide.size();
    let direct = out.layout.is_contiguous() && wide == out.dtype;
    let scratch = if direct { Buffer::uninit(0)? } else { Buffer::uninit(size)? };
    let ptr = if direct { out.base() } else { scratch.as_ptr() };
    let start = Base::new(ptr);
    parallel_for(size, 8 * GRAIN, &|range| {
        // SAFETY: the target holds `size` bytes.
        unsafe { std::ptr::write_bytes(start.at::<u8>(range.start as isize), 0, range.len()) };
    });
    let target = Arg { ptr, dtype: wide, layout: &Layout { offset: 0, ..layout.clone() } };
    let window = Arg { ptr, dtype: wide, layout: view };
    if overlaps {
        dispatch!(out.dtype, T => add_view::<<T as Element>::C, T>(window, g));
    } else {
        copy(g, window);
    }
    match () {
        () if direct => {}
        () if wide == out.dtype => copy(target, out),
        () => convert(target, out),
    }
    Ok(())
}

/// Adds g to a window whose elements may coincide, in row-major order.
fn add_view<D: Arith, S: Element<C = D>>(window: Arg, g: Arg) {
    let (st, sg) = (byte_strides(window.layout, size_of::<D>()), byte_strides(g.layout, size_of::<S>()));
    let walk = Walk::new(&g.layout.shape, [&st, &sg]);
    let (to, from) = (Base::of(&window), Base::of(&g));
    let (_, [a, b]) = walk.inner();
    if g.layout.numel() == 0 {
        return;
    }
    walk.runs(0..walk.len(), |[t, s], count| {
        for j in 0..count as isize {
            // SAFETY: elements of the windows.
            unsafe {
                let p = to.at::<D>(t + j * a);
                p.write(p.read().add(from.at::<S>(s + j * b).read().load()));
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Rng, T, call, layouts};

    fn reference(op: ScatterOp, a: f64, b: f64) -> f64 {
        match op {
            ScatterOp::Set => b,
            ScatterOp::Add => a + b,
            ScatterOp::Mul => a * b,
            ScatterOp::Max => a.max(b),
            ScatterOp::Min => a.min(b),
        }
    }
    const OPS: [ScatterOp; 5] = [ScatterOp::Set, ScatterOp::Add, ScatterOp::Mul, ScatterOp::Max, ScatterOp::Min];

    #[test]
    fn scatter_matches_the_definition() {
        let mut rng = Rng(1);
        let (xs, is) = ([5usize, 4, 6], [4usize, 3, 5]);
        for dtype in [DType::I8, DType::I64, DType::F16, DType::BF16, DType::F32, DType::F64] {
            for op in OPS {
                for axis in 0..3 {
                    for (xl, il) in layouts(&xs).into_iter().zip(layouts(&is).into_iter().rev()) {
                        let range = if op == ScatterOp::Mul { 1 } else { 4 };
                        let x = T::with(dtype, xl.clone(), &rng.numbers(120, range));
                        let index = rng.indices(60, xs[axis]);
                        let values: Vec<f64> = index.iter().map(|&v| v as f64).collect();
                        let index_t = T::with(DType::I64, il.clone(), &values);
                        let src = T::with(dtype, il.clone(), &rng.numbers(60, range));
                        let out = T::with(dtype, xl.clone(), &[0.0; 120]);
                        call(|i, o| scatter(axis, op, i, o), &[&x, &index_t, &src], &[&out]).unwrap();
                        let mut want = x.get();
                        for (i, v) in src.get().into_iter().enumerate() {
                            let mut at = [i / 15, i / 5 % 3, i % 5];
                            at[axis] = index[i] as usize;
                            let p = &mut want[(at[0] * 4 + at[1]) * 6 + at[2]];
                            *p = reference(op, *p, v);
                        }
                        assert_eq!(out.get(), want, "{dtype:?} {op:?} {axis}");
                    }
                }
            }
        }
    }

    #[test]
    fn index_add_adds_duplicates_along_every_axis() {
        let mut rng = Rng(2);
        for (dtype, op) in [(DType::F32, ScatterOp::Add), (DType::BF16, ScatterOp::Add), (DType::U8, ScatterOp::Set)] {
            for axis in 0..2 {
                let shape = if axis == 0 { [500, 40] } else { [40, 500] };
                let x = T::full(dtype, &[40, 40], 1.0);
                let index = rng.indices(500, 40);
                let src = T::new(dtype, &shape, &rng.numbers(20000, 1).iter().map(|v| v.abs()).collect::<Vec<_>>());
                let out = T::full(dtype, &[40, 40], 0.0);
                call(|i, o| index_add(axis, op, i, o), &[&x, &T::ints(&[500], &index), &src], &[&out]).unwrap();
                let mut want = x.get();
                for (i, v) in src.get().into_iter().enumerate() {
                    let (r, c) = (i / shape[1], i % shape[1]);
                    let at = if axis == 0 { index[r] as usize * 40 + c } else { r * 40 + index[c] as usize };
                    want[at] = reference(op, want[at], v);
                }
                assert_eq!(out.get(), want);
            }
        }
    }

    #[test]
    fn index_put_sets_and_accumulates() {
        let mut rng = Rng(3);
        for accumulate in [false, true] {
            for layout in layouts(&[5, 4, 6]) {
                let x = T::with(DType::F16, layout, &rng.numbers(120, 9));
                let (a, b) = (rng.indices(30, 5), rng.indices(30, 4));
                let values = T::new(DType::F16, &[30, 6], &rng.numbers(180, 9));
                let out = T::full(DType::F16, &[5, 4, 6], 0.0);
                let (ia, ib) = (T::ints(&[30], &a), T::ints(&[30], &b));
                call(|i, o| index_put(2, accumulate, i, o), &[&x, &values, &ia, &ib], &[&out]).unwrap();
                let mut want = x.get();
                for (i, v) in values.get().into_iter().enumerate() {
                    let p = &mut want[(a[i / 6] * 4 + b[i / 6]) as usize * 6 + i % 6];
                    *p = if accumulate { *p + v } else { v };
                }
                assert_eq!(out.get(), want);
            }
        }
        // one value for all, negative positions, in x's own memory
        let x = T::full(DType::I32, &[4], 0.0);
        let one = T::full(DType::I32, &[], 3.0);
        call(|i, o| index_put(1, true, i, o), &[&x, &one, &T::ints(&[3], &[-1, 3, 0])], &[&x]).unwrap();
        assert_eq!(x.get(), [3.0, 0.0, 0.0, 6.0]);
        let e = call(|i, o| index_put(1, true, i, o), &[&x, &one, &T::ints(&[1], &[4])], &[&x]).unwrap_err();
        assert_eq!(e.message, "index 4 is out of bounds for dimension 0 with size 4");
    }

    #[test]
    fn scatter_view_is_the_transpose_of_a_view() {
        let mut rng = Rng(4);
        let base = [6usize, 8];
        let whole = Layout::contiguous(&base);
        for view in [
            whole.slice(0, 1, 6, 2).transpose(0, 1),
            whole.select(1, 3),
            whole.unfold(1, 3, 1),
            whole.broadcast_to(&[3, 6, 8]).unwrap(),
            whole.diagonal(1, 0, 1),
        ] {
            for dtype in [DType::F32, DType::F16] {
                let n = view.numel();
                let g = T::new(dtype, &view.shape, &rng.numbers(n, 5));
                for layout in layouts(&base) {
                    let out = T::with(dtype, layout, &[1.0; 48]);
                    call(|i, o| scatter_view(&view, &base, i, o), &[&g], &[&out]).unwrap();
                    let mut want = vec![0.0; 48];
                    let places =
                        T::new(DType::I64, &base, &(0..48).map(f64::from).collect::<Vec<_>>()).view(view.clone());
                    for (at, v) in places.get().into_iter().zip(g.get()) {
                        want[at as usize] += v;
                    }
                    assert_eq!(out.get(), want);
                }
            }
        }
    }
}
