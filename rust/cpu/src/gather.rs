//! Reading by index: `gather` (one index per element), `index_select` and `index` (whole slices). Elements are moved by
//! their size; every index is checked before anything is written. Writing by index is in `scatter.rs`.

use rtorch_ir::{Error, Result, ensure};
use smallvec::SmallVec;

use crate::element::dispatch_size;
use crate::threads::parallel_for;
use crate::versions::versions;
use crate::walk::{Base, Walk, byte_strides, direct};
use crate::{Arg, Source};

/// Elements that are worth a thread (2-core Zen 5: about 20 us of moves).
pub(crate) const GRAIN: usize = 1 << 14;
/// Positions whose offsets are computed at a time.
const CHUNK: usize = 256;
/// The same where many rows share them.
const OFFSETS: usize = 4096;

/// The first index outside 0..size (or -size..size), if any.
fn find_bad(index: Arg, size: usize, negative: bool) -> Option<i64> {
    // a dimension of stride 0 repeats what was checked
    let shape: SmallVec<[usize; 5]> = index
        .layout
        .shape
        .iter()
        .zip(&index.layout.strides)
        .map(|(&n, &s)| if s == 0 { n.min(1) } else { n })
        .collect();
    let walk = Walk::new(&shape, [&byte_strides(index.layout, 8)]);
    let n = walk.len();
    let base = Base::of(&index);
    let (low, high) = (if negative { -(size as i64) } else { 0 }, size as i64);
    let (_, [step]) = walk.inner();
    let bad = std::sync::atomic::AtomicBool::new(false);
    parallel_for(n, 4 * GRAIN, &|range| {
        let mut outside = false;
        walk.runs(range, |[at], count| {
            if step == 8 {
                // SAFETY: a run of the window's elements, contiguous int64.
                let s = unsafe { std::slice::from_raw_parts(base.at::<i64>(at), count) };
                outside |= any_outside(s, low, high);
            } else {
                for j in 0..count as isize {
                    // SAFETY: an element of the window.
                    let i = unsafe { *base.at::<i64>(at + j * step) };
                    outside |= i < low || i >= high;
                }
            }
        });
        if outside {
            bad.store(true, std::sync::atomic::Ordering::Relaxed);
        }
    });
    if !bad.into_inner() {
        return None;
    }
    let mut found = None;
    walk.runs(0..n, |[at], count| {
        for j in 0..count as isize {
            // SAFETY: as above.
            let i = unsafe { *base.at::<i64>(at + j * step) };
            if found.is_none() && !(low..high).contains(&i) {
                found = Some(i);
            }
        }
    });
    found
}

versions!(fn any_outside[](index: &[i64], low: i64, high: i64) -> bool = any_outside_body);

#[inline(always)]
fn any_outside_body(index: &[i64], low: i64, high: i64) -> bool {
    index.iter().fold(false, |bad, &i| bad | (i < low) | (i >= high))
}

/// Checks a gather or scatter index; PyTorch raises RuntimeError there.
pub(crate) fn check_index(index: Arg, dim: usize, size: usize) -> Result<()> {
    match find_bad(index, size, false) {
        Some(i) => Err(Error::runtime(format!("index {i} is out of bounds for dimension {dim} with size {size}"))),
        None => Ok(()),
    }
}

/// Checks the indices of advanced indexing of the leading dimensions: negative ones count from the end.
pub(crate) fn check_indices(indices: &[Arg], shape: &[usize]) -> Result<()> {
    for (dim, index) in indices.iter().enumerate() {
        if let Some(i) = find_bad(*index, shape[dim], true) {
            return Err(Error::index(format!(
                "index {i} is out of bounds for dimension {dim} with size {}",
                shape[dim]
            )));
        }
    }
    Ok(())
}

/// `Prim::Gather`: (x, index) -> x[.., index[i..], ..].
pub fn gather(axis: usize, inputs: &[Source], outs: &[Arg]) -> Result<()> {
    let (x, index, out) = (direct(&inputs[0])?, direct(&inputs[1])?, outs[0]);
    if x.layout.ndim() == 0 {
        check_index(index, 0, 1)?;
        return crate::assemble::copy_broadcast(x, out);
    }
    check_index(index, axis, x.layout.shape[axis])?;
    dispatch_size!(x.dtype, T => gather_typed::<T>(axis, x, index, out));
    Ok(())
}

fn gather_typed<T: Copy>(axis: usize, x: Arg, index: Arg, out: Arg) {
    if out.layout.numel() == 0 {
        return;
    }
    let size = size_of::<T>();
    let (sx, si, so) = (byte_strides(x.layout, size), byte_strides(index.layout, 8), byte_strides(out.layout, size));
    let lines = Lines::new(axis, &out.layout.shape, [&so, &si, &sx], 2);
    let (x, index, out) = (Base::of(&x), Base::of(&index), Base::of(&out));
    let (_, [xo, xi, xx]) = lines.walk.inner();
    let ([ao, ai, _], ax) = (lines.axis, lines.jump);
    lines.for_each(
        &|[o, i, s], count| {
            if xi == 0 {
                // one index for the whole run: a row
                // SAFETY: an element of the index's window.
                let from = s + unsafe { *index.at::<i64>(i) } as isize * ax;
                // SAFETY: runs of elements of the windows; the indices were checked.
                unsafe { copy_run::<T>(x, from, xx, out, o, xo, count) };
                return;
            }
            if xi == 8 && xo == size as isize {
                // SAFETY: contiguous runs of the index's and the result's windows.
                let (index, out) = unsafe {
                    (
                        std::slice::from_raw_parts(index.at::<i64>(i), count),
                        std::slice::from_raw_parts_mut(out.at::<T>(o), count),
                    )
                };
                gather_run(x, [s, xx, ax], index, out);
                return;
            }
            for j in 0..count as isize {
                // SAFETY: elements of the windows; the indices were checked.
                unsafe {
                    let at = *index.at::<i64>(i + j * xi) as isize;
                    let v = x.at::<T>(s + j * xx + at * ax).read();
                    out.at::<T>(o + j * xo).write(v);
                }
            }
        },
        &|[o, i, s], count| {
            if ai == 8 && ao == size as isize && ax == size as isize {
                // SAFETY: as above.
                unsafe {
                    let (index, x, out) = (index.at::<i64>(i), x.at::<T>(s), out.at::<T>(o));
                    for j in 0..count {
                        out.add(j).write(x.offset(*index.add(j) as isize).read());
                    }
                }
                return;
            }
            for j in 0..count as isize {
                // SAFETY: as above.
                unsafe {
                    let at = *index.at::<i64>(i + j * ai) as isize;
                    let v = x.at::<T>(s + at * ax).read();
                    out.at::<T>(o + j * ao).write(v);
                }
            }
        },
    );
}

versions!(
    /// out[j] = element at `start + j * step + index[j] * jump` bytes, for `[start, step, jump]`.
    fn gather_run[T: Copy](x: Base, by: [isize; 3], index: &[i64], out: &mut [T]) = gather_run_body::<T>
);

#[inline(always)]
fn gather_run_body<T: Copy>(x: Base, [start, step, jump]: [isize; 3], index: &[i64], out: &mut [T]) {
    for (j, (o, &i)) in out.iter_mut().zip(index).enumerate() {
        // SAFETY: an element of the window; the indices were checked.
        *o = unsafe { x.at::<T>(start + j as isize * step + i as isize * jump).read() };
    }
}

/// Copies `count` elements between two strided runs.
///
/// # Safety
/// Both runs lie in memory; they do not overlap.
#[inline(always)]
unsafe fn copy_run<T: Copy>(x: Base, from: isize, sx: isize, out: Base, to: isize, so: isize, count: usize) {
    let size = size_of::<T>() as isize;
    if sx == size && so == size {
        // SAFETY: the caller's promise.
        unsafe { std::ptr::copy_nonoverlapping(x.at::<u8>(from), out.at::<u8>(to), count * size_of::<T>()) };
        return;
    }
    for j in 0..count as isize {
        // SAFETY: the caller's promise.
        unsafe { out.at::<T>(to + j * so).write(x.at::<T>(from + j * sx).read()) };
    }
}

/// The lines along an axis of three windows: index, a dense one, and one that is addressed by index along the axis.
/// Along a line the work is in order; lines are shared among threads.
pub(crate) struct Lines {
    /// Over the starts of the lines.
    pub walk: Walk<3>,
    pub count: usize,
    /// Elements in a line and their byte strides; 0 for the window that is addressed by index.
    pub len: usize,
    pub axis: [isize; 3],
    /// That window's byte stride along the axis.
    pub jump: isize,
    dense: usize,
}

impl Lines {
    /// Window 1 is the index, `jumps` (0 or 2) the one it addresses, the remaining one is dense. `axis` 0 of a shape
    /// without dimensions is a line of one element.
    pub fn new(axis: usize, shape: &[usize], strides: [&[isize]; 3], jumps: usize) -> Lines {
        let dense = 2 - jumps;
        let walk = Walk::of_dims(shape, strides, |d| d != axis).sorted_by(dense);
        let mut axis_strides: [isize; 3] = std::array::from_fn(|k| strides[k].get(axis).copied().unwrap_or(0));
        let jump = std::mem::take(&mut axis_strides[jumps]);
        let len = shape.get(axis).copied().unwrap_or(1);
        Lines { count: walk.len(), walk, len, axis: axis_strides, jump, dense }
    }
    /// Runs either across lines (`across`: offsets of a run of lines at one place of the axis, outer loop along the
    /// axis) or along them (`along`: offsets of a line's start and its length), whichever touches memory in order.
    /// (Closures of their own type: lines may be of a few elements, and a call for each takes longer than those.)
    #[inline]
    pub fn for_each(&self, across: &(impl Fn([isize; 3], usize) + Sync), along: &(impl Fn([isize; 3], usize) + Sync)) {
        let (inner, inner_strides) = self.walk.inner();
        let step = |strides: [isize; 3]| strides[self.dense].unsigned_abs();
        let along_first = inner == 1 || step(self.axis) < step(inner_strides);
        parallel_for(self.count, (GRAIN / self.len.max(1)).max(1), &|range| {
            if along_first {
                self.walk.runs(range, |mut at, count| {
                    for _ in 0..count {
                        along(at, self.len);
                        for k in 0..3 {
                            at[k] += inner_strides[k];
                        }
                    }
                });
                return;
            }
            // the runs of this share are the same at every place of the axis
            let mut runs: SmallVec<[([isize; 3], usize); 4]> = SmallVec::new();
            self.walk.runs(range, |at, count| runs.push((at, count)));
            for i in 0..self.len as isize {
                for &(at, count) in &runs {
                    across(std::array::from_fn(|k| at[k] + i * self.axis[k]), count);
                }
            }
        });
    }
}

/// `Prim::IndexSelect`: (x, index of any shape) -> the axis of x replaced by index's dimensions.
pub fn index_select(axis: usize, inputs: &[Source], outs: &[Arg]) -> Result<()> {
    let (x, index, out) = (direct(&inputs[0])?, direct(&inputs[1])?, outs[0]);
    let size = x.layout.shape.get(axis).copied().unwrap_or(1);
    ensure!(find_bad(index, size, false).is_none(), index, "index out of range in self");
    if x.layout.ndim() == 0 {
        return crate::assemble::copy_broadcast(x, out);
    }
    take(x, axis, &[index], out);
    Ok(())
}

/// `Prim::Index`: (x, n indices of one shape) -> advanced indexing of the first n dimensions.
pub fn index(n: usize, inputs: &[Source], outs: &[Arg]) -> Result<()> {
    let x = direct(&inputs[0])?;
    let indices = inputs[1..1 + n].iter().map(direct).collect::<Result<SmallVec<[Arg; 5]>>>()?;
    check_indices(&indices, &x.layout.shape)?;
    take(x, 0, &indices, outs[0]);
    Ok(())
}

/// out[pre, i, post] = x[pre, index_0[i], index_1[i], .., post]: `pre` are the dimensions before `start`.
fn take(x: Arg, start: usize, indices: &[Arg], out: Arg) {
    dispatch_size!(x.dtype, T => take_typed::<T>(x, start, indices, out));
}

fn take_typed<T: Copy>(x: Arg, start: usize, indices: &[Arg], out: Arg) {
    if out.layout.numel() == 0 {
        return;
    }
    let size = size_of::<T>();
    let (sx, so) = (byte_strides(x.layout, size), byte_strides(out.layout, size));
    let positions = Positions::new(x, start, indices);
    let middle = indices[0].layout.ndim();
    let (end_x, end_o) = (start + indices.len(), start + middle);
    let shape = &out.layout.shape;
    let pre = Walk::new(&shape[..start], [&so[..start], &sx[..start]]);
    let at = Walk::new(&shape[start..end_o], [&so[start..end_o]]);
    let post = Walk::new(&shape[end_o..], [&so[end_o..], &sx[end_x..]]).sorted_by(0);
    let (n, block) = (at.len(), post.len());
    let (x, out) = (Base::of(&x), Base::of(&out));
    let (_, [step]) = at.inner();
    let (run, [po, px]) = post.inner();
    // single elements by one list of positions
    if let (1, 1, Some((index, by))) = (block, pre.len(), positions.contiguous())
        && at.dims().len() == 1
        && step == size as isize
    {
        parallel_for(n, GRAIN, &|range| {
            // SAFETY: a run of the result's window.
            let out = unsafe { std::slice::from_raw_parts_mut(out.at::<T>(0).add(range.start), range.len()) };
            take_run(x, by, &index[range], out);
        });
        return;
    }
    // one row of single elements: positions first, then every `pre` copies by the same offsets
    if block == 1 && pre.len() > 1 && at.dims().len() == 1 {
        parallel_for(pre.len(), (GRAIN / n).max(1), &|range| {
            let mut offsets = vec![0isize; n.min(OFFSETS)];
            for first in (0..n).step_by(OFFSETS) {
                let offsets = &mut offsets[..OFFSETS.min(n - first)];
                positions.offsets(first, offsets);
                pre.runs(range.clone(), |mut at, count| {
                    let (_, by) = pre.inner();
                    for _ in 0..count {
                        let to = at[0] + first as isize * step;
                        for (j, &from) in offsets.iter().enumerate() {
                            // SAFETY: elements of the windows; the indices were checked.
                            unsafe {
                                let v = x.at::<T>(at[1] + from).read();
                                out.at::<T>(to + j as isize * step).write(v);
                            }
                        }
                        at = [at[0] + by[0], at[1] + by[1]];
                    }
                });
            }
        });
        return;
    }
    parallel_for(pre.len() * n, (GRAIN / block).max(1), &|range| {
        let mut offsets = [0isize; CHUNK];
        let mut next = range.start;
        while next < range.end {
            let (outer, first) = (next / n, next % n);
            let count = CHUNK.min(n - first).min(range.end - next);
            let [pre_o, pre_x] = pre.at(outer);
            positions.offsets(first, &mut offsets[..count]);
            let mut done = 0;
            at.runs(first..first + count, |[o], len| {
                for (j, &from) in offsets[done..done + len].iter().enumerate() {
                    let (to, from) = (pre_o + o + j as isize * step, pre_x + from);
                    // SAFETY: elements of the windows; the indices were checked.
                    unsafe {
                        if block == 1 {
                            out.at::<T>(to).write(x.at::<T>(from).read());
                        } else if run == block {
                            copy_run::<T>(x, from, px, out, to, po, block);
                        } else {
                            post.runs(0..block, |[b, a], c| copy_run::<T>(x, from + a, px, out, to + b, po, c));
                        }
                    }
                }
                done += len;
            });
            next += count;
        }
    });
}

versions!(
    /// out[j] = element at `index[j] * jump` bytes, an index counted from `size` if negative, for `[size, jump]`.
    fn take_run[T: Copy](x: Base, by: [isize; 2], index: &[i64], out: &mut [T]) = take_run_body::<T>
);

#[inline(always)]
fn take_run_body<T: Copy>(x: Base, [size, jump]: [isize; 2], index: &[i64], out: &mut [T]) {
    for (o, &i) in out.iter_mut().zip(index) {
        let i = i as isize;
        // SAFETY: an element of the window; the indices were checked.
        *o = unsafe { x.at::<T>((if i < 0 { i + size } else { i }) * jump).read() };
    }
}

/// Byte offsets into a tensor of the slices that several indices of one shape name.
pub(crate) struct Positions {
    /// Per index: address, its walk, size and byte stride of the dimension it indexes.
    parts: SmallVec<[(Base, Walk<1>, isize, isize); 5]>,
}

impl Positions {
    pub fn new(x: Arg, start: usize, indices: &[Arg]) -> Positions {
        let parts = indices.iter().enumerate().map(|(k, index)| {
            let walk = Walk::new(&index.layout.shape, [&byte_strides(index.layout, 8)]);
            let stride = x.layout.strides[start + k] * x.dtype.size() as isize;
            (Base::of(index), walk, x.layout.shape[start + k] as isize, stride)
        });
        Positions { parts: parts.collect() }
    }
    /// A single index that lies in one run of memory, with the size of its dimension and that one's byte stride.
    fn contiguous(&self) -> Option<(&[i64], [isize; 2])> {
        let [(base, walk, size, stride)] = self.parts.as_slice() else { return None };
        let (n, [step]) = walk.inner();
        // SAFETY: the index's window, whose offset is in its base.
        let index = || unsafe { std::slice::from_raw_parts(base.at::<i64>(0), n) };
        (walk.dims().len() == 1 && step == 8).then(|| (index(), [*size, *stride]))
    }
    /// Offsets of positions `first..first + out.len()`.
    pub fn offsets(&self, first: usize, out: &mut [isize]) {
        out.fill(0);
        for (base, walk, size, stride) in &self.parts {
            let (_, [step]) = walk.inner();
            let mut done = 0;
            walk.runs(first..first + out.len(), |[at], count| {
                for (j, o) in out[done..done + count].iter_mut().enumerate() {
                    // SAFETY: an element of the index's window.
                    let i = unsafe { *base.at::<i64>(at + j as isize * step) } as isize;
                    *o += if i < 0 { i + size } else { i } * stride;
                }
                done += count;
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use rtorch_ir::DType;

    use super::*;
    use crate::testing::{Rng, T, call, layouts};

    fn split(i: usize, shape: &[usize]) -> Vec<usize> {
        let mut rest = i;
        let mut at = vec![0; shape.len()];
        for d in (0..shape.len()).rev() {
            at[d] = rest % shape[d];
            rest /= shape[d];
        }
        at
    }
    fn join(at: &[usize], shape: &[usize]) -> usize {
        at.iter().zip(shape).fold(0, |acc, (&i, &n)| acc * n + i)
    }

    #[test]
    fn gather_matches_the_definition() {
        let mut rng = Rng(1);
        let (xs, is) = ([5usize, 4, 6], [3usize, 4, 5]);
        for dtype in DType::ALL {
            for (axis, xl) in (0..3).flat_map(|a| layouts(&xs).into_iter().map(move |l| (a, l))) {
                for il in layouts(&is) {
                    let x = T::with(dtype, xl.clone(), &rng.numbers(120, 50));
                    let index = rng.indices(60, xs[axis]);
                    let values: Vec<f64> = index.iter().map(|&v| v as f64).collect();
                    let index_t = T::with(DType::I64, il.clone(), &values);
                    let out = T::full(dtype, &is, 0.0);
                    call(|i, o| gather(axis, i, o), &[&x, &index_t], &[&out]).unwrap();
                    let xv = x.get();
                    for (i, v) in out.get().into_iter().enumerate() {
                        let mut at = split(i, &is);
                        at[axis] = index[i] as usize;
                        assert_eq!(v, xv[join(&at, &xs)], "{dtype:?} axis {axis} {i}");
                    }
                }
            }
        }
    }

    #[test]
    fn an_expanded_index_moves_rows() {
        let mut rng = Rng(2);
        let x = T::new(DType::F32, &[7, 300], &rng.numbers(2100, 99));
        let index = rng.indices(90, 7);
        let column = T::ints(&[90, 1], &index);
        let wide = column.layout.broadcast_to(&[90, 300]).unwrap();
        let column = column.view(wide);
        let out = T::full(DType::F32, &[90, 300], 0.0);
        call(|i, o| gather(0, i, o), &[&x, &column], &[&out]).unwrap();
        let (xv, ov) = (x.get(), out.get());
        assert!((0..27000).all(|i| ov[i] == xv[index[i / 300] as usize * 300 + i % 300]));
    }

    #[test]
    fn index_select_matches_the_definition() {
        let mut rng = Rng(3);
        let xs = [5usize, 4, 6];
        for (axis, xl) in (0..3).flat_map(|a| layouts(&xs).into_iter().map(move |l| (a, l))) {
            let x = T::with(DType::I16, xl, &rng.numbers(120, 50));
            let index = rng.indices(14, xs[axis]);
            let index_t = T::ints(&[2, 7], &index);
            let mut shape = xs[..axis].to_vec();
            shape.extend([2, 7]);
            shape.extend(&xs[axis + 1..]);
            for layout in layouts(&shape) {
                let out = T::with(DType::I16, layout, &vec![0.0; shape.iter().product()]);
                call(|i, o| index_select(axis, i, o), &[&x, &index_t], &[&out]).unwrap();
                let xv = x.get();
                for (i, v) in out.get().into_iter().enumerate() {
                    let at = split(i, &shape);
                    let mut from = at[..axis].to_vec();
                    from.push(index[at[axis] * 7 + at[axis + 1]] as usize);
                    from.extend(&at[axis + 2..]);
                    assert_eq!(v, xv[join(&from, &xs)]);
                }
            }
        }
    }

    #[test]
    fn advanced_indexing_takes_negative_indices() {
        let mut rng = Rng(4);
        let x = T::new(DType::C128, &[5, 4, 6], &rng.numbers(120, 50));
        let (a, b) = (rng.indices(600, 5), rng.indices(600, 4));
        let minus: Vec<i64> = a.iter().map(|v| if v % 2 == 0 { v - 5 } else { *v }).collect();
        let out = T::full(DType::C128, &[600, 6], 0.0);
        call(|i, o| super::index(2, i, o), &[&x, &T::ints(&[600], &minus), &T::ints(&[600], &b)], &[&out]).unwrap();
        let (xv, ov) = (x.get(), out.get());
        assert!((0..3600).all(|i| ov[i] == xv[(a[i / 6] * 4 + b[i / 6]) as usize * 6 + i % 6]));
        // single elements by one list, shared among threads; the list in one run and not
        let line = T::new(DType::F32, &[1000], &rng.numbers(1000, 50));
        let places: Vec<i64> =
            rng.indices(50_000, 1000).iter().map(|v| if v % 3 == 0 { v - 1000 } else { *v }).collect();
        let (list, out) = (T::ints(&[50_000], &places), T::full(DType::F32, &[50_000], 0.0));
        call(|i, o| super::index(1, i, o), &[&line, &list], &[&out]).unwrap();
        let (lv, want) = (line.get(), out.get());
        assert!((0..50_000).all(|i| want[i] == lv[places[i].rem_euclid(1000) as usize]));
        let list = T::ints(&[25_000, 2], &places);
        let layout = list.layout.slice(1, 0, 2, 2);
        let (evens, out) = (list.view(layout), T::full(DType::F32, &[25_000, 1], 0.0));
        call(|i, o| super::index(1, i, o), &[&line, &evens], &[&out]).unwrap();
        assert!(out.get().iter().enumerate().all(|(i, v)| *v == want[2 * i]));
        let flat = T::full(DType::C128, &[3], 0.0);
        let all = [&x, &T::ints(&[3], &[0, -1, 4]), &T::ints(&[3], &[0, 3, -4]), &T::ints(&[3], &[5, -6, 2])];
        call(|i, o| super::index(3, i, o), &all, &[&flat]).unwrap();
        assert_eq!(flat.get(), [xv[5], xv[4 * 24 + 18], xv[4 * 24 + 2]]);
    }

    #[test]
    fn bad_indices_write_nothing() {
        let x = T::full(DType::F32, &[3, 4], 1.0);
        let out = T::full(DType::F32, &[1, 2], 7.0);
        let e = call(|i, o| gather(0, i, o), &[&x, &T::ints(&[1, 2], &[0, 5])], &[&out]).unwrap_err();
        assert_eq!(e.message, "index 5 is out of bounds for dimension 0 with size 3");
        let e = call(|i, o| gather(1, i, o), &[&x, &T::ints(&[1, 2], &[0, -1])], &[&out]).unwrap_err();
        assert_eq!(e.message, "index -1 is out of bounds for dimension 1 with size 4");
        assert_eq!(out.get(), [7.0, 7.0]);
        let e = call(|i, o| super::index(1, i, o), &[&x, &T::ints(&[1], &[-4])], &[&T::full(DType::F32, &[1, 4], 0.0)]);
        assert_eq!(e.unwrap_err().message, "index -4 is out of bounds for dimension 0 with size 3");
        let none = T::ints(&[0], &[]);
        call(|i, o| index_select(0, i, o), &[&x, &none], &[&T::full(DType::F32, &[0, 4], 0.0)]).unwrap();
    }
}
