//! `Small`: a pointwise program made ready once, for the few elements of small tensors: when it runs there is nothing
//! to plan, to allocate or to split. The steps are those of `interp`, and so are the results; the modes' tests hold the
//! two equal, since a deferred program always runs there.

use std::mem::MaybeUninit;

use rtorch_ir::{DType, Layout, Program};

use crate::Arg;
use crate::interp::splat;
use crate::interp_plan::{Operand, Plan, compile};

/// Places of the programs that are taken; the expressions of a network's layers have fewer.
const PLACES: usize = 16;
/// Scratch memory on the stack, for constants, intermediate values and operands that are not row-major.
const SCRATCH: usize = 8 << 10;
/// Most dimensions of such an operand.
const DIMS: usize = 8;

pub struct Small(Plan);

#[repr(C, align(64))]
struct Scratch([MaybeUninit<u8>; SCRATCH]);

impl Small {
    /// For programs of one result, stored as `out`.
    pub fn new(program: &Program, out: DType) -> Option<Small> {
        let plan = compile(program, &[out]).ok()?;
        let places = plan.operands.len() + plan.consts.len() + plan.slots.len();
        let plain = plan.operands.iter().all(|o| !matches!(o, Operand::Index));
        (program.outputs.len() == 1 && places <= PLACES && plain).then_some(Small(plan))
    }

    /// Computes `n` elements over row-major operands that begin at these addresses into row-major memory. False, and
    /// nothing happened, where the scratch does not suffice.
    ///
    /// # Safety
    /// `out` holds `n` elements and overlaps no operand; at every address lie `n` elements of the leaf's dtype.
    #[inline]
    pub unsafe fn run_rows(&self, n: usize, leaves: &[*mut u8], out: *mut u8) -> bool {
        let plan = &self.0;
        if leaves.len() + 1 != plan.operands.len() {
            return false;
        }
        let mut at = [std::ptr::null_mut::<u8>(); PLACES];
        at[..leaves.len()].copy_from_slice(leaves);
        at[leaves.len()] = out;
        // SAFETY: the caller's promise; there is nothing to gather.
        unsafe {
            if plan.consts.len() + plan.slots.len() > 0 {
                return self.run_with_scratch(n, &[], at);
            }
            self.steps(n, &at);
        }
        true
    }

    /// Computes `n` elements over operands broadcast to one shape into row-major memory. False, and nothing happened,
    /// where the scratch does not suffice.
    ///
    /// # Safety
    /// `out` holds `n` elements and overlaps no operand; the operands are windows of `n` elements.
    #[inline]
    pub unsafe fn run(&self, n: usize, leaves: &[Arg], out: *mut u8) -> bool {
        let mut at = [std::ptr::null_mut::<u8>(); PLACES];
        if leaves.len() + 1 != self.0.operands.len() {
            return false;
        }
        for (p, l) in at.iter_mut().zip(leaves) {
            *p = l.base();
        }
        // SAFETY: the caller's promise.
        unsafe {
            if leaves.iter().all(|l| l.layout.is_contiguous()) {
                return self.run_rows(n, &at[..leaves.len()], out);
            }
            at[leaves.len()] = out;
            self.run_with_scratch(n, leaves, at)
        }
    }

    /// # Safety
    /// As `run`; places are set for operands in memory.
    #[inline(never)]
    unsafe fn run_with_scratch(&self, n: usize, leaves: &[Arg], mut at: [*mut u8; PLACES]) -> bool {
        let plan = &self.0;
        let mut memory = Scratch([const { MaybeUninit::uninit() }; SCRATCH]);
        let base = memory.0.as_mut_ptr().cast::<u8>();
        let mut used = 0usize;
        let mut take = |size: usize| {
            let p = base.wrapping_add(used);
            used += (n * size).next_multiple_of(64);
            (used <= SCRATCH).then_some(p)
        };
        for (p, l) in at.iter_mut().zip(leaves) {
            if !l.layout.is_contiguous() {
                let Some(tile) = take(l.dtype.size()) else { return false };
                // SAFETY: the tile holds `n` elements, which is what the layout shows.
                if !unsafe { gather(l, tile) } {
                    return false;
                }
                *p = tile;
            }
        }
        let first = plan.operands.len();
        for (i, c) in plan.consts.iter().enumerate() {
            let Some(tile) = take(c.size) else { return false };
            // SAFETY: the tile holds `n` elements of the constant's size.
            unsafe { splat(c, tile, n) };
            at[first + i] = tile;
        }
        for (i, &size) in plan.slots.iter().enumerate() {
            let Some(tile) = take(size) else { return false };
            at[first + plan.consts.len() + i] = tile;
        }
        // SAFETY: every place holds `n` elements.
        unsafe { self.steps(n, &at) };
        true
    }

    /// # Safety
    /// Every place holds `n` elements of the type that its steps expect.
    #[inline]
    unsafe fn steps(&self, n: usize, at: &[*mut u8; PLACES]) {
        for s in &self.0.steps {
            // SAFETY: the caller's promise.
            unsafe { s.run(|p| at[p as usize], n) };
        }
    }
}

/// The operand's elements in row-major order; false for more dimensions or other sizes than are known here.
///
/// # Safety
/// `dst` holds them.
unsafe fn gather(l: &Arg, dst: *mut u8) -> bool {
    if l.layout.ndim() == 0 || l.layout.ndim() > DIMS {
        return false;
    }
    // SAFETY: the caller's promise; elements are copied bit for bit.
    unsafe {
        match l.dtype.size() {
            1 => copy(l.base(), l.layout, dst),
            2 => copy(l.base().cast::<u16>(), l.layout, dst.cast()),
            4 => copy(l.base().cast::<u32>(), l.layout, dst.cast()),
            8 => copy(l.base().cast::<u64>(), l.layout, dst.cast()),
            _ => return false,
        }
    }
    true
}

/// # Safety
/// `src` is element 0 of a window with the layout; `dst` holds as many elements.
unsafe fn copy<T: Copy>(src: *const T, layout: &Layout, mut dst: *mut T) {
    let (shape, strides) = (layout.shape.as_slice(), layout.strides.as_slice());
    let last = shape.len() - 1;
    let mut index = [0usize; DIMS];
    let mut row = src;
    loop {
        for i in 0..shape[last] {
            // SAFETY: an element of the window, and the next free place.
            unsafe {
                *dst = *row.offset(i as isize * strides[last]);
                dst = dst.add(1);
            }
        }
        let mut d = last;
        loop {
            if d == 0 {
                return;
            }
            d -= 1;
            index[d] += 1;
            row = row.wrapping_offset(strides[d]);
            if index[d] < shape[d] {
                break;
            }
            row = row.wrapping_offset(-strides[d] * shape[d] as isize);
            index[d] = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use rtorch_ir::program::{Ex, build};
    use rtorch_ir::{Scalar, Shape};

    use super::*;

    /// (a + 2) * b where b is a transposed matrix, beside the interpreter.
    #[test]
    fn agrees_with_the_interpreter() {
        let (mut p, y) = build(Program::new(), || {
            let (a, b) = (Ex::leaf(DType::F32), Ex::leaf(DType::F32));
            (a + Ex::constant(Scalar::Float(2.0), DType::F32)) * b
        });
        p.outputs.push(y.0);
        let small = Small::new(&p, DType::F32).unwrap();
        for shape in [[3usize, 5], [1, 1], [40, 7]] {
            let n = shape[0] * shape[1];
            let mut a: Vec<f32> = (0..n).map(|i| i as f32).collect();
            let mut b: Vec<f32> = (0..n).map(|i| 1.0 / (i + 1) as f32).collect();
            let rows = Layout::contiguous(&shape);
            let across = Layout::contiguous(&[shape[1], shape[0]]).transpose(0, 1);
            let leaves = [
                Arg { ptr: a.as_mut_ptr().cast(), dtype: DType::F32, layout: &rows },
                Arg { ptr: b.as_mut_ptr().cast(), dtype: DType::F32, layout: &across },
            ];
            let (mut x, mut y) = (vec![0f32; n], vec![0f32; n]);
            // SAFETY: `n` elements each.
            assert!(unsafe { small.run(n, &leaves, x.as_mut_ptr().cast()) });
            let out = Arg { ptr: y.as_mut_ptr().cast(), dtype: DType::F32, layout: &rows };
            crate::map(&p, &Shape::from_slice(&shape), &leaves, &[out]).unwrap();
            assert_eq!(x, y);
        }
    }

    #[test]
    fn refuses_what_does_not_fit_the_stack() {
        let (mut p, y) = build(Program::new(), || Ex::leaf(DType::F32) + Ex::constant(Scalar::Float(1.0), DType::F32));
        p.outputs.push(y.0);
        let small = Small::new(&p, DType::F32).unwrap();
        let n = SCRATCH / 4 + 1;
        let (mut a, mut x) = (vec![0f32; n], vec![7f32; n]);
        let layout = Layout::contiguous(&[n]);
        let leaf = Arg { ptr: a.as_mut_ptr().cast(), dtype: DType::F32, layout: &layout };
        // SAFETY: `n` elements each.
        assert!(!unsafe { small.run(n, &[leaf], x.as_mut_ptr().cast()) });
        assert!(x.iter().all(|&v| v == 7.0));
    }
}
