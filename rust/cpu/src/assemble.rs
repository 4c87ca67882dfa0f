//! Strided copies: `cat`, and the copy that other kernels start from. A copy that converts or computes is a program
//! (`interp`); indexed moves are in `gather.rs` and `scatter.rs`.

use rtorch_ir::{Layout, Result};

use crate::element::dispatch_size;
use crate::threads::parallel_for;
use crate::versions::versions;
use crate::walk::{Base, Walk, byte_strides, direct};
use crate::{Arg, Source};

/// Elements that are worth a thread.
const GRAIN: usize = 1 << 15;
/// Side of the blocks in which a transposing copy walks: a block's lines of both sides stay in the L1 cache.
const BLOCK: usize = 16;
/// Runs of fewer elements are copied by loops over the next dimension: a run by itself costs more than its elements.
const SHORT: usize = 16;

/// `Prim::Cat`: inputs joined along an axis.
pub fn cat(axis: usize, inputs: &[Source], outs: &[Arg]) -> Result<()> {
    let out = outs[0];
    let mut start = 0;
    for source in inputs {
        let x = direct(source)?;
        // PyTorch lets empty one-dimensional operands of any kind join
        if x.layout.numel() == 0 {
            start += if x.layout.ndim() == out.layout.ndim() { x.layout.shape[axis] } else { 0 };
            continue;
        }
        let n = x.layout.shape[axis];
        let part = out.layout.slice(axis, start, start + n, 1);
        copy(x, Arg { ptr: out.ptr, dtype: out.dtype, layout: &part });
        start += n;
    }
    Ok(())
}

/// Copies between windows of one shape and one dtype.
pub(crate) fn copy(from: Arg, to: Arg) {
    if to.layout.numel() == 0 {
        return;
    }
    dispatch_size!(to.dtype, T => copy_typed::<T>(from, to));
}

/// As `copy`, the source broadcast to the target's shape.
pub(crate) fn copy_broadcast(from: Arg, to: Arg) -> Result<()> {
    let layout: Layout = from.layout.broadcast_to(&to.layout.shape)?;
    copy(Arg { ptr: from.ptr, dtype: from.dtype, layout: &layout }, to);
    Ok(())
}

/// Pairs of elements that one core writes at a time; parts that are one number are laid out as often.
const PAIRS: usize = 512;

/// Two row-major operands of one dtype next to each other, as the parts of complex numbers lie; one that has a single
/// element is read again and again.
pub fn interleave(re: Arg, im: Arg, out: Arg) {
    let n = out.layout.numel();
    dispatch_size!(re.dtype, T => {
        let part = |a: &Arg| {
            // SAFETY: the operand has an element.
            (a.layout.numel() == n, [unsafe { a.base().cast::<T>().read_unaligned() }; PAIRS])
        };
        let ((whole_re, re_tile), (whole_im, im_tile)) = (part(&re), part(&im));
        parallel_for(n.div_ceil(PAIRS), GRAIN / PAIRS, &|range| {
            for i in range {
                let (start, count) = (i * PAIRS, PAIRS.min(n - i * PAIRS));
                // SAFETY: elements of the operands, and as many pairs of the result, which no other task writes.
                unsafe {
                    let at = |a: &Arg, whole: bool, tile: &[T; PAIRS]| match whole {
                        true => std::slice::from_raw_parts(a.base().cast::<T>().add(start), count),
                        false => std::slice::from_raw_parts(tile.as_ptr(), count),
                    };
                    let to = std::slice::from_raw_parts_mut(out.base().cast::<[T; 2]>().add(start), count);
                    pairs::<T>(to, at(&re, whole_re, &re_tile), at(&im, whole_im, &im_tile));
                }
            }
        });
    });
}

#[inline(always)]
fn zip<T: Copy>(to: &mut [[T; 2]], a: &[T], b: &[T]) {
    for ((to, &a), &b) in to.iter_mut().zip(a).zip(b) {
        *to = [a, b];
    }
}
versions!(fn pairs[T: Copy](to: &mut [[T; 2]], a: &[T], b: &[T]) = zip::<T>);

fn copy_typed<T: Copy>(from: Arg, to: Arg) {
    let size = size_of::<T>();
    let (st, sf) = (byte_strides(to.layout, size), byte_strides(from.layout, size));
    let walk = Walk::new(&to.layout.shape, [&st, &sf]).sorted_by(0);
    let (x, y) = (Base::of(&from), Base::of(&to));
    let (run, [sy, sx]) = walk.inner();
    let whole = size as isize;
    if sy == whole && sx != whole && sx != 0 && run >= BLOCK && transposed::<T>(&walk, x, y) {
        return;
    }
    if run < SHORT && walk.dims().len() > 1 {
        return short_runs::<T>(&walk, x, y);
    }
    parallel_for(walk.len(), GRAIN, &|range| {
        walk.runs(range, |[to, from], count| {
            // SAFETY: runs of elements of the two windows, which share no memory.
            unsafe {
                if sy == whole && sx == whole {
                    std::ptr::copy_nonoverlapping(x.at::<u8>(from), y.at::<u8>(to), count * size);
                } else if sx == 0 {
                    let v = x.at::<T>(from).read();
                    for j in 0..count as isize {
                        y.at::<T>(to + j * sy).write(v);
                    }
                } else {
                    for j in 0..count as isize {
                        y.at::<T>(to + j * sy).write(x.at::<T>(from + j * sx).read());
                    }
                }
            }
        });
    });
}

/// Copies elements in rows of `N` (0: of `run`), `count` rows: `steps` from row to row, `inner` within one.
///
/// # Safety
/// Elements of two windows, which share no memory; they may be unaligned.
#[inline(always)]
unsafe fn rows<T: Copy, const N: usize>(
    [y, x]: [*mut T; 2],
    count: usize,
    steps: [isize; 2],
    run: usize,
    inner: [isize; 2],
) {
    let (mut to, mut from) = (y, x);
    for _ in 0..count {
        for j in 0..if N > 0 { N } else { run } as isize {
            // SAFETY: as the caller's.
            unsafe { to.byte_offset(j * inner[0]).write_unaligned(from.byte_offset(j * inner[1]).read_unaligned()) };
        }
        (to, from) = (to.wrapping_byte_offset(steps[0]), from.wrapping_byte_offset(steps[1]));
    }
}

/// Copies whose innermost runs are short.
fn short_runs<T: Copy>(walk: &Walk<2>, x: Base, y: Base) {
    let last = walk.dims().len() - 1;
    let (run, inner) = walk.inner();
    let outer = walk.without(&[last]);
    let (_, steps) = outer.inner();
    parallel_for(outer.len(), GRAIN / SHORT, &|range| {
        outer.runs(range, |[to, from], count| {
            let at = [y.at::<T>(to), x.at::<T>(from)];
            // SAFETY: rows of the two windows, which share no memory.
            unsafe {
                match run {
                    2 => rows::<T, 2>(at, count, steps, run, inner),
                    3 => rows::<T, 3>(at, count, steps, run, inner),
                    4 => rows::<T, 4>(at, count, steps, run, inner),
                    5 => rows::<T, 5>(at, count, steps, run, inner),
                    _ => rows::<T, 0>(at, count, steps, run, inner),
                }
            }
        });
    });
}

/// A copy whose innermost runs are short; answers false, with nothing done, if it is another.
pub(crate) fn copy_short(from: Arg, to: Arg) -> bool {
    let size = to.dtype.size();
    let (st, sf) = (byte_strides(to.layout, size), byte_strides(from.layout, size));
    let walk = Walk::new(&to.layout.shape, [&st, &sf]).sorted_by(0);
    if walk.inner().0 >= SHORT || walk.dims().len() < 2 || from.base() == to.base() {
        return false;
    }
    let (x, y) = (Base::of(&from), Base::of(&to));
    dispatch_size!(to.dtype, T => short_runs::<T>(&walk, x, y));
    true
}

/// Copies where the source is contiguous along another dimension than the target: in square blocks of the two.
/// Answers false where there is no such dimension.
fn transposed<T: Copy>(walk: &Walk<2>, x: Base, y: Base) -> bool {
    let dims = walk.dims();
    let last = dims.len() - 1;
    let Some(other) = dims[..last].iter().position(|d| d.1[1] == size_of::<T>() as isize && d.0 >= BLOCK) else {
        return false;
    };
    let (rows, [row_y, row_x]) = dims[other];
    let (cols, [col_y, col_x]) = dims[last];
    let outer = walk.without(&[other, last]);
    let (tiles_r, tiles_c) = (rows.div_ceil(BLOCK), cols.div_ceil(BLOCK));
    let tiles = tiles_r * tiles_c;
    parallel_for(outer.len() * tiles, (GRAIN / (BLOCK * BLOCK)).max(1), &|range| {
        for t in range {
            let [oy, ox] = outer.at(t / tiles);
            let (r0, c0) = (t % tiles / tiles_c * BLOCK, t % tiles_c * BLOCK);
            let (r1, c1) = ((r0 + BLOCK).min(rows), (c0 + BLOCK).min(cols));
            for r in r0..r1 {
                let (ry, rx) = (oy + r as isize * row_y, ox + r as isize * row_x);
                for c in c0..c1 {
                    // SAFETY: an element of each window.
                    unsafe {
                        let v = x.at::<T>(rx + c as isize * col_x).read();
                        y.at::<T>(ry + c as isize * col_y).write(v);
                    }
                }
            }
        }
    });
    true
}

#[cfg(test)]
mod tests {
    use rtorch_ir::DType;

    use super::*;
    use crate::testing::{Rng, T, call, layouts};

    #[test]
    fn cat_joins_every_layout() {
        let mut rng = Rng(1);
        for dtype in DType::ALL {
            for axis in 0..2 {
                let shapes = if axis == 0 { [[3usize, 40], [5, 40], [0, 40]] } else { [[40, 3], [40, 37], [40, 0]] };
                for l in 0..3 {
                    let parts: Vec<T> = shapes
                        .iter()
                        .map(|s| T::with(dtype, layouts(s)[l].clone(), &rng.numbers(s[0] * s[1], 9)))
                        .collect();
                    let shape = if axis == 0 { [8, 40] } else { [40, 40] };
                    let mut want = Vec::new();
                    if axis == 0 {
                        parts.iter().for_each(|p| want.extend(p.get()));
                    } else {
                        let (a, b) = (parts[0].get(), parts[1].get());
                        (0..40).for_each(|r| {
                            want.extend(&a[r * 3..][..3]);
                            want.extend(&b[r * 37..][..37]);
                        });
                    }
                    for layout in layouts(&shape) {
                        let out = T::with(dtype, layout, &vec![0.0; want.len()]);
                        let all: Vec<&T> = parts.iter().collect();
                        call(|i, o| cat(axis, i, o), &all, &[&out]).unwrap();
                        assert_eq!(out.get(), want);
                    }
                }
            }
        }
    }
}
