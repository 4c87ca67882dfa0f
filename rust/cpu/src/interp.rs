//! The tile interpreter: runs a pointwise `Program` over strided operands, one L1-sized tile at a time, on several
//! threads. The order of tiles means nothing: every element goes through the same lane bodies.
//! Not here: choosing kernels (`interp_plan`), finding elements (`interp_walk`), reading for other kernels (`reader`).

use std::sync::Mutex;

use rtorch_ir::layout::contiguous_strides;
use rtorch_ir::{DType, Error, Inst, Program, Result};
use smallvec::SmallVec;

use crate::Arg;
use crate::alloc::Buffer;
use crate::interp_plan::{Filled, Operand, Plan, TILE, compile, const_bits};
use crate::interp_walk::{Dim, Piece, Walk, merge, transpose_block};
use crate::simd::convert::converter;
use crate::simd::kernels::kernel;
use crate::threads::parallel_for;

/// Additions' worth of work that a thread must get to be woken for (2-core Zen 5: a wake-up is about 3 us).
const GRAIN: usize = 1 << 15;
/// Tiles of up to `MOST` times the size, and down to half of it, where all of a program's fit in this with the operands
/// that are read and written where they lie: two thirds of a 48 KB L1. What a tile costs besides its elements is about
/// the time of a step. (A double's product and sum: 135 us for 1M, 210 where only tiles were counted; Zen 5.)
const TILE_BYTES: usize = 32 << 10;
const MOST: usize = 8;
/// Elements per call where no tile slot limits it: everything lies in memory already.
const RUN: usize = 1 << 14;
/// Up to this many elements the tiny path runs, without plan, heap or threads.
const TINY: usize = 64;
const TINY_VALUES: usize = 8;
/// A block for operands that lie across the iteration: rows (a few cache lines of the operand) and columns.
const BLOCK_ROWS: usize = 32;
const BLOCK_COLS: usize = 64;
/// Below this a transposed operand is gathered element by element.
const BLOCK_FROM: usize = 1 << 10;

/// Runs `program` over `shape`; leaf layouts are broadcast to it (stride 0), outputs have it. An output may be exactly
/// the memory of a leaf with the same layout.
pub fn map(program: &Program, shape: &[usize], leaves: &[Arg], outs: &[Arg]) -> Result<()> {
    let n: usize = shape.iter().product();
    if n == 0 {
        return Ok(());
    }
    if n <= TINY && program.values.len() <= TINY_VALUES && tiny(program, n, leaves, outs) {
        return Ok(());
    }
    if let ([x], [y]) = (leaves, outs)
        && x.dtype == y.dtype
        && program.is_identity()
        && crate::assemble::copy_short(*x, *y)
    {
        return Ok(());
    }
    if program.leaves.len() != leaves.len() || program.outputs.len() != outs.len() {
        return Err(Error::runtime("map: a program got the wrong number of operands"));
    }
    let dtypes: SmallVec<[DType; 2]> = outs.iter().map(|o| o.dtype).collect();
    let plan = compile(program, &dtypes)?;
    let order = iteration_order(shape, outs);
    let mut exec = Exec::new(plan, shape, leaves, outs, &order);
    exec.copies = program.is_identity() && exec.moves();
    if let Some(value) = exec.filling() {
        fill(&value, outs[0].base(), n);
        return Ok(());
    }
    let grain = GRAIN / (program.cost() as usize).clamp(1, 64);
    match exec.blocked(shape, leaves, &order) {
        Some(blocks) if n >= BLOCK_FROM => exec.run_blocks(&blocks, grain),
        Some(_) | None => exec.run_all(n, grain),
    }
}

/// Small contiguous operands in their compute types: no plan, no allocation. Answers whether it ran.
#[inline]
fn tiny(p: &Program, n: usize, leaves: &[Arg], outs: &[Arg]) -> bool {
    let ([out], [r]) = (outs, p.outputs.as_slice()) else { return false };
    let last = *r as usize;
    if last + 1 != p.values.len() || out.dtype != p.values[last].1.ctype().dtype() || !out.layout.is_contiguous() {
        return false;
    }
    if !leaves.iter().all(|a| a.dtype == a.dtype.ctype().dtype()) {
        return false;
    }
    let mut space = [const { std::mem::MaybeUninit::<[u64; TINY]>::uninit() }; TINY_VALUES];
    let mut at = [std::ptr::null::<u8>(); TINY_VALUES];
    let target = out.base();
    let in_place = leaves.iter().any(|l| l.base() == target);
    for (i, (inst, dtype)) in p.values.iter().enumerate() {
        if dtype.is_complex() || dtype.is_storage() {
            return false;
        }
        let own = space[i].as_mut_ptr().cast::<u8>();
        let dst = if i == last && !in_place { target } else { own };
        // SAFETY: slots hold TINY elements of 8 bytes; operands hold `n` contiguous elements of their dtype.
        unsafe {
            match *inst {
                Inst::Load(k) if i != last => {
                    let leaf = &leaves[k as usize];
                    at[i] = leaf.base();
                    if !leaf.layout.is_contiguous() {
                        let order = [0, 1, 2, 3, 4, 5, 6, 7];
                        let Some(order) = order.get(..leaf.layout.ndim()) else { return false };
                        Walk::new(leaf.ptr, leaf.dtype, leaf.layout, order).gather(0, n, own);
                        at[i] = own;
                    }
                }
                Inst::Const(k) => {
                    splat(&const_bits(p, k, *dtype), dst, n);
                    at[i] = dst;
                }
                Inst::Cast(a) if *dtype == dtype.ctype().dtype() => {
                    converter(p.values[a as usize].1.ctype().dtype(), *dtype)(
                        dst,
                        at[a as usize],
                        at[a as usize],
                        at[a as usize],
                        n,
                    );
                    at[i] = dst;
                }
                Inst::Op(op, a) => {
                    let t = p.ctype(if op == rtorch_ir::ScalarOp::Where { a[1] } else { a[0] });
                    let Some(k) = kernel(op, t) else { return false };
                    k(dst, at[a[0] as usize], at[a[1] as usize], at[a[2] as usize], n);
                    at[i] = dst;
                }
                Inst::Load(_) | Inst::Cast(_) | Inst::Index => return false,
            }
        }
    }
    if in_place {
        // SAFETY: both hold `n` elements.
        unsafe { std::ptr::copy_nonoverlapping(at[last], target, n * out.dtype.size()) };
    }
    true
}

/// Writes a constant `n` times.
///
/// # Safety
/// `dst` holds `n` elements of the constant's size.
pub unsafe fn splat(c: &Filled, dst: *mut u8, n: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        match c.size {
            1 => dst.write_bytes(c.bits[0], n),
            4 => {
                let v = c.bits.as_ptr().cast::<u32>().read_unaligned();
                std::slice::from_raw_parts_mut(dst.cast::<u32>(), n).fill(v);
            }
            8 => {
                let v = c.bits.as_ptr().cast::<u64>().read_unaligned();
                std::slice::from_raw_parts_mut(dst.cast::<u64>(), n).fill(v);
            }
            _ => {
                for i in 0..n {
                    std::ptr::copy_nonoverlapping(c.bits.as_ptr(), dst.add(i * c.size), c.size);
                }
            }
        }
    }
}

/// The same by several threads.
fn fill(c: &Filled, dst: *mut u8, n: usize) {
    let at = dst as usize;
    parallel_for(n.div_ceil(RUN), GRAIN / RUN, &|r| {
        let (start, end) = (r.start * RUN, (r.end * RUN).min(n));
        let dst = (at + start * c.size) as *mut u8;
        // SAFETY: elements of the output, which holds `n`.
        unsafe {
            if c.bits[..c.size].iter().all(|&b| b == c.bits[0]) {
                dst.write_bytes(c.bits[0], (end - start) * c.size);
            } else {
                splat(c, dst, end - start);
            }
        }
    });
}

/// Fills `total` bytes with copies of `bytes` bytes, the last one cut off.
///
/// # Safety
/// `src` holds `bytes`, `dst` `total` bytes, apart from each other.
unsafe fn repeat(src: *const u8, dst: *mut u8, bytes: usize, total: usize) {
    // what was copied is copied on: a run of one element would take a call each
    let mut done = bytes.min(total);
    // SAFETY: the caller's promise; `done + n <= total`.
    unsafe {
        std::ptr::copy_nonoverlapping(src, dst, done);
        while done < total {
            let n = done.min(total - done);
            std::ptr::copy_nonoverlapping(dst, dst.add(done), n);
            done += n;
        }
    }
}

/// Dimensions in the memory order of the first output, so that it is written in one sweep.
fn iteration_order(shape: &[usize], outs: &[Arg]) -> SmallVec<[usize; 6]> {
    let mut order: SmallVec<[usize; 6]> = (0..shape.len()).collect();
    if let Some(o) = outs.first()
        && !o.layout.is_contiguous()
    {
        order.sort_by_key(|&d| (shape[d] > 1, std::cmp::Reverse(o.layout.strides[d].unsigned_abs())));
    }
    order
}

/// Where an operand's elements come from.
enum Source {
    Memory(Walk),
    /// A short run that repeats (a row added to every row): laid out once per thread, for a tile at any phase.
    Periodic(Walk, usize),
    /// Logical numbers: base 0, "bytes" are numbers.
    Index(Walk),
}

impl Source {
    /// Bytes of an element.
    fn size(&self) -> usize {
        match self {
            Source::Memory(w) | Source::Periodic(w, _) | Source::Index(w) => w.size,
        }
    }
}

/// A plan over operands in memory, iterated in some order of the dimensions; elements are numbered in that order.
pub struct Exec {
    plan: Plan,
    sources: SmallVec<[Source; 8]>,
    /// Operands that must go through a tile although they are contiguous: an output overwrites them.
    staged: SmallVec<[bool; 8]>,
    /// Byte offsets of constants, slots and staging tiles in a thread's scratch memory.
    offsets: SmallVec<[usize; 24]>,
    scratch: usize,
    /// Elements after which tiles end anyway.
    row: Option<usize>,
    /// Is it a copy of one operand into a contiguous result?
    copies: bool,
    /// Elements per call.
    tile: usize,
    outs_from: usize,
}

/// A thread's own state: scratch memory and where each place is now.
pub struct Tiles<'a> {
    exec: &'a Exec,
    _scratch: Buffer,
    base: *mut u8,
    at: SmallVec<[*mut u8; 32]>,
}

/// The iteration cut in blocks of two dimensions, for operands that lie across it.
struct Blocks {
    dims: SmallVec<[usize; 6]>,
    /// Iteration number of one step along each dimension.
    steps: SmallVec<[usize; 6]>,
    /// The dimension that is contiguous for the operands across.
    rows: usize,
    /// Operands across, and their byte strides per dimension.
    across: SmallVec<[(usize, SmallVec<[isize; 6]>); 2]>,
}

fn overlap(a: &Arg, b: &Arg) -> bool {
    let (Some(x), Some(y)) = (a.layout.extent(), b.layout.extent()) else { return false };
    let span = |p: &Arg, e: (usize, usize)| {
        let (s, base) = (p.dtype.size(), p.ptr as usize);
        (base + e.0 * s, base + e.1 * s)
    };
    let ((a0, a1), (b0, b1)) = (span(a, x), span(b, y));
    a0 < b1 && b0 < a1
}

impl Exec {
    pub fn new(plan: Plan, shape: &[usize], leaves: &[Arg], outs: &[Arg], order: &[usize]) -> Exec {
        let mut sources: SmallVec<[Source; 8]> = SmallVec::new();
        let mut staged: SmallVec<[bool; 8]> = SmallVec::new();
        for l in leaves {
            let walk = Walk::new(l.ptr, l.dtype, l.layout, order);
            let overwritten = outs.iter().any(|o| overlap(l, o));
            sources.push(match walk.period() {
                Some(p) if p <= TILE && !overwritten => Source::Periodic(walk, p),
                Some(_) | None => Source::Memory(walk),
            });
            staged.push(overwritten);
        }
        if plan.operands.iter().any(|o| matches!(o, Operand::Index)) {
            let steps = contiguous_strides(shape);
            let dims = merge(order.iter().map(|&d| Dim { size: shape[d], stride: steps[d] }));
            sources.push(Source::Index(Walk { base: std::ptr::null_mut(), size: 8, dims }));
            staged.push(true);
        }
        let outs_from = sources.len();
        for o in outs {
            sources.push(Source::Memory(Walk::new(o.ptr, o.dtype, o.layout, order)));
            staged.push(false);
        }
        Exec::with(plan, sources, staged, outs_from)
    }

    fn with(plan: Plan, sources: SmallVec<[Source; 8]>, staged: SmallVec<[bool; 8]>, outs_from: usize) -> Exec {
        // bytes per element of each place in the scratch memory; what is contiguous anyway needs none
        let mut sizes: SmallVec<[usize; 24]> = SmallVec::new();
        for (s, &overwritten) in sources.iter().zip(&staged) {
            sizes.push(match s {
                Source::Memory(w) if w.is_linear() && !overwritten => 0,
                Source::Memory(w) | Source::Index(w) => w.size,
                // one period more than a tile: it is at most as long
                Source::Periodic(w, _) => 2 * w.size,
            });
        }
        sizes.extend(plan.consts.iter().map(|c| c.size));
        sizes.extend(plan.slots.iter().copied());
        let streamed: usize = sources.iter().zip(&sizes).filter(|s| *s.1 == 0).map(|s| s.0.size()).sum();
        // a period is at most as long as a tile
        let long = sources.iter().any(|s| matches!(s, Source::Periodic(_, p) if *p > TILE / 2));
        let least = if long { TILE } else { TILE / 2 };
        let tile = match sizes.iter().sum::<usize>() {
            0 => RUN,
            s => (TILE_BYTES / (s + streamed) / least * least).clamp(least, MOST * TILE),
        };
        // long rows are read where they lie by tiles that end where they do, the repeating ones first
        let row = |long: fn(&Walk) -> Option<usize>| {
            sources[..outs_from].iter().find_map(|s| match s {
                Source::Memory(w) => long(w).filter(|&p| p >= TILE),
                Source::Periodic(..) | Source::Index(_) => None,
            })
        };
        let row = row(Walk::period).or_else(|| row(Walk::row));
        let mut scratch = 0;
        let offsets = sizes
            .iter()
            .map(|&size| {
                let at = scratch;
                scratch += (tile * size).next_multiple_of(64);
                at
            })
            .collect();
        Exec { plan, sources, staged, offsets, scratch, tile, row, copies: false, outs_from }
    }

    /// One operand of the result's type, neither of which overlaps the other, and a contiguous result?
    fn moves(&self) -> bool {
        match self.sources.as_slice() {
            [Source::Memory(x), Source::Memory(out)] => x.size == out.size && out.is_linear() && !self.staged[0],
            _ => false,
        }
    }

    /// The number that a program without operands writes into a contiguous result.
    fn filling(&self) -> Option<Filled> {
        let Source::Memory(out) = self.sources.last()? else { return None };
        if self.sources.len() != self.outs_from + 1 || !out.is_linear() {
            return None;
        }
        self.plan.constant(out.size)
    }

    /// Number of the first output's place.
    pub fn first_out(&self) -> usize {
        self.outs_from
    }
    /// Most elements of a tile.
    pub fn tile_len(&self) -> usize {
        self.tile
    }

    /// Runs the whole iteration of `n` elements.
    fn run_all(&self, n: usize, grain: usize) -> Result<()> {
        let tiles = n.div_ceil(self.tile);
        let failed = Mutex::new(None);
        parallel_for(tiles, (grain / self.tile).max(1), &|r| {
            let (start, end) = (r.start * self.tile, (r.end * self.tile).min(n));
            match Tiles::new(self, end - start) {
                Ok(mut t) => t.run(start, end - start),
                Err(e) => *failed.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(e),
            }
        });
        failed.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner).map_or(Ok(()), Err)
    }

    /// The blocks for this iteration, if a leaf lies across it: contiguous along a dimension that is not the innermost.
    fn blocked(&self, shape: &[usize], leaves: &[Arg], order: &[usize]) -> Option<Blocks> {
        let crosses = |s: &Source| match s {
            Source::Memory(w) => {
                w.dims.len() > 1 && w.dims.last().is_some_and(|d| d.stride != 0 && d.stride != w.size as isize)
            }
            Source::Periodic(..) | Source::Index(_) => false,
        };
        if !self.sources[..leaves.len()].iter().any(crosses) {
            return None;
        }
        let order: SmallVec<[usize; 6]> = order.iter().copied().filter(|&d| shape[d] > 1).collect();
        let inner = *order.last()?;
        let mut rows = None;
        let mut across: SmallVec<[(usize, SmallVec<[isize; 6]>); 2]> = SmallVec::new();
        for (i, l) in leaves.iter().enumerate() {
            if !crosses(&self.sources[i]) || matches!(l.layout.strides[inner], 0 | 1) {
                continue;
            }
            let Some(k) = order.iter().position(|&d| l.layout.strides[d] == 1) else { continue };
            if rows.is_none_or(|r| r == k) {
                rows = Some(k);
                let size = l.dtype.size() as isize;
                across.push((i, order.iter().map(|&d| l.layout.strides[d] * size).collect()));
            }
        }
        let dims: SmallVec<[usize; 6]> = order.iter().map(|&d| shape[d]).collect();
        let mut steps: SmallVec<[usize; 6]> = smallvec::smallvec![1; dims.len()];
        for d in (0..dims.len().saturating_sub(1)).rev() {
            steps[d] = steps[d + 1] * dims[d + 1];
        }
        // thin ones gain nothing
        let rows = rows.filter(|&r| dims[r] >= 4 && dims[dims.len() - 1] >= 4)?;
        Some(Blocks { dims, steps, rows, across })
    }

    fn run_blocks(&self, b: &Blocks, grain: usize) -> Result<()> {
        let last = b.dims.len() - 1;
        let counts: SmallVec<[usize; 6]> = (0..b.dims.len())
            .map(|d| match d {
                d if d == last => b.dims[d].div_ceil(BLOCK_COLS),
                d if d == b.rows => b.dims[d].div_ceil(BLOCK_ROWS),
                d => b.dims[d],
            })
            .collect();
        let total: usize = counts.iter().product();
        let failed = Mutex::new(None);
        parallel_for(total, (grain / (BLOCK_ROWS * BLOCK_COLS)).max(1), &|range| {
            let done = (|| {
                let mut tiles = Tiles::new(self, BLOCK_COLS)?;
                let room = b.across.len() * BLOCK_ROWS * BLOCK_COLS * 16;
                let staging = Buffer::uninit(room)?;
                for i in range {
                    self.run_block(b, &counts, i, &mut tiles, staging.as_ptr());
                }
                Ok(())
            })();
            if let Err(e) = done {
                *failed.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(e);
            }
        });
        failed.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner).map_or(Ok(()), Err)
    }

    fn run_block(&self, b: &Blocks, counts: &[usize], number: usize, tiles: &mut Tiles, staging: *mut u8) {
        let last = b.dims.len() - 1;
        let mut at: SmallVec<[usize; 6]> = smallvec::smallvec![0; b.dims.len()];
        let mut rest = number;
        for d in (0..b.dims.len()).rev() {
            at[d] = rest % counts[d];
            rest /= counts[d];
        }
        at[last] *= BLOCK_COLS;
        at[b.rows] *= BLOCK_ROWS;
        let cols = (b.dims[last] - at[last]).min(BLOCK_COLS);
        let rows = (b.dims[b.rows] - at[b.rows]).min(BLOCK_ROWS);
        let mut lin = 0;
        for d in 0..b.dims.len() {
            lin += at[d] * b.steps[d];
        }
        if let (true, Some(Source::Memory(out)), [(_, strides)]) =
            (self.copies, self.sources.get(self.outs_from), b.across.as_slice())
        {
            // nothing is computed: the block goes where it belongs
            let off: isize = at.iter().zip(strides).map(|(&c, &s)| c as isize * s).sum();
            let Source::Memory(w) = &self.sources[0] else { return };
            // SAFETY: the block lies in both operands; the result is contiguous in the order of the iteration.
            unsafe {
                let dst = out.base.wrapping_add(lin * out.size);
                let from = w.base.wrapping_offset(off);
                transpose_block(dst, b.steps[b.rows], from, strides[last], [rows, cols], w.size);
            }
            return;
        }
        for (k, (leaf, strides)) in b.across.iter().enumerate() {
            let off: isize = at.iter().zip(strides).map(|(&c, &s)| c as isize * s).sum();
            let Source::Memory(w) = &self.sources[*leaf] else { continue };
            // SAFETY: the block lies in the operand; staging has room for it.
            unsafe {
                let dst = staging.add(k * BLOCK_ROWS * BLOCK_COLS * 16);
                transpose_block(dst, cols, w.base.wrapping_offset(off), strides[last], [rows, cols], w.size);
            }
        }
        for r in 0..rows {
            let given = b.across.iter().enumerate().map(|(k, a)| {
                let Source::Memory(w) = &self.sources[a.0] else { return (a.0, std::ptr::null_mut()) };
                (a.0, staging.wrapping_add(k * BLOCK_ROWS * BLOCK_COLS * 16 + r * cols * w.size))
            });
            tiles.tile(lin + r * b.steps[b.rows], cols, given);
        }
    }
}

impl<'a> Tiles<'a> {
    /// `most`: the most elements that a tile of this thread will have (constants are written that often).
    pub fn new(exec: &'a Exec, most: usize) -> Result<Tiles<'a>> {
        let scratch = Buffer::uninit(exec.scratch)?;
        let base = scratch.as_ptr();
        let at: SmallVec<[*mut u8; 32]> = exec.offsets.iter().map(|&o| base.wrapping_add(o)).collect();
        let n = most.min(exec.tile);
        let first = exec.plan.operands.len();
        for (i, c) in exec.plan.consts.iter().enumerate() {
            // SAFETY: the scratch holds a tile of this constant at its place.
            unsafe { splat(c, at[first + i], n) };
        }
        let tiles = Tiles { exec, _scratch: scratch, base, at };
        for (i, s) in exec.sources[..exec.outs_from].iter().enumerate() {
            match s {
                Source::Memory(w) if w.is_constant() && !w.dims.is_empty() => {
                    // SAFETY: one element, `n` times, into its staging tile.
                    unsafe { w.gather(0, n, tiles.at[i]) };
                }
                Source::Periodic(w, period) => {
                    // SAFETY: the staging tile holds a tile and a period of elements.
                    unsafe { repeat(w.base, tiles.at[i], period * w.size, (n + period) * w.size) };
                }
                Source::Memory(_) | Source::Index(_) => {}
            }
        }
        Ok(tiles)
    }

    /// Runs elements `start..start + n` of the iteration.
    pub fn run(&mut self, start: usize, n: usize) {
        let mut i = 0;
        while i < n {
            let mut count = (n - i).min(self.exec.tile);
            if let Some(row) = self.exec.row {
                count = count.min(row - (start + i) % row);
            }
            self.tile(start + i, count, std::iter::empty());
            i += count;
        }
    }

    /// One tile; `given` places are where the caller put them.
    pub fn tile(&mut self, start: usize, n: usize, given: impl Iterator<Item = (usize, *mut u8)>) {
        let exec = self.exec;
        let mut skip = 0u64;
        for (i, p) in given {
            self.at[i] = p;
            skip |= 1 << i.min(63);
        }
        for (i, s) in exec.sources.iter().enumerate() {
            if skip & (1 << i.min(63)) != 0 {
                continue;
            }
            let stage = self.base.wrapping_add(exec.offsets[i]);
            match s {
                Source::Memory(w) => {
                    let leaf = i < exec.outs_from;
                    if leaf && w.is_constant() && !w.dims.is_empty() {
                        continue;
                    }
                    match w.piece(start, n) {
                        Piece::Direct(p) if !exec.staged[i] => self.at[i] = p,
                        Piece::Direct(_) | Piece::Strided => {
                            self.at[i] = stage;
                            if leaf {
                                // SAFETY: the range lies in the iteration; the staging tile holds `n` elements.
                                unsafe { w.gather(start, n, stage) };
                            }
                        }
                    }
                }
                Source::Periodic(w, period) => self.at[i] = stage.wrapping_add(start % period * w.size),
                Source::Index(w) => {
                    self.at[i] = stage;
                    // SAFETY: the staging tile holds `n` numbers.
                    unsafe { w.numbers(start, n, stage.cast()) };
                }
            }
        }
        for s in &exec.plan.steps {
            // SAFETY: every place holds at least `n` elements of the type the step's kernel expects.
            unsafe { s.run(|p| self.at[p as usize], n) };
        }
        for i in exec.outs_from..exec.sources.len() {
            if let Source::Memory(w) = &exec.sources[i] {
                let stage = self.base.wrapping_add(exec.offsets[i]);
                if self.at[i] == stage {
                    // SAFETY: as for the gather.
                    unsafe { w.scatter(start, n, stage) };
                }
            }
        }
    }
}
