//! Matrix products in f32 and f64: the blocking around the register tiles, over operands with any strides.
//! C = A B is cut into tasks; a task packs panels of A and B into its own scratch and runs tiles over them. Every
//! element of C is the sum over blocks of `KC` along k, each block one chain of fused multiply-adds: the order depends
//! on k alone, not on the cut, the thread count or the tile size.
//! Not here: dtypes, batches of tensors, prologues and epilogues (`matmul`), convolution's packing (`conv`).

pub mod blend;
pub mod dot;
pub mod kernel;
pub mod lanes;
pub mod pack;
pub mod tasks;

use rtorch_ir::Result;

pub use blend::Blend;
pub use kernel::{Body, Gemm, Kernels, Tile};
use pack::{Panel, SLACK};
use tasks::{Stop, for_each};

use crate::{Buffer, threads};

/// Values of k in a block: a panel of B (32 columns of f32) then takes 32 KB, which with a panel of A fits 48 KB of L1.
pub const KC: usize = 256;
/// Panels of A packed at once: 12 * 14 rows * 256 * 4 bytes = 168 KB of L2 (1 MB on Zen 5).
const MC_PANELS: usize = 12;
/// Panels of B packed at once by a task: 32 * 32 KB = 1 MB.
const NC_PANELS: usize = 32;
/// Panels of C after which the epilogue runs: with `MC_PANELS`, a block of 168 x 256.
const FINISH_PANELS: usize = 8;
/// Multiply-adds below which one thread is faster than two (8 us on Zen 5).
const SERIAL: usize = 1 << 20;
/// Multiply-adds that a task should have at least.
const TASK: usize = 1 << 19;
/// Cost of packing a value, in eighths of a multiply-add of a register pair (Zen 5).
const PACK: u64 = 3;
/// Parts of the scratch start at multiples of this many values.
const ALIGNED: usize = 16;
/// Bytes of B that are packed once for all tasks of a large product.
const SHARED: usize = 8 << 20;

/// A strided matrix: element (i, j) at `p + i * rs + j * cs`.
#[derive(Clone, Copy, Debug)]
pub struct View<T> {
    pub p: *const T,
    pub rs: isize,
    pub cs: isize,
}

impl<T> View<T> {
    pub fn new(p: *const T, rs: isize, cs: isize) -> View<T> {
        View { p, rs, cs }
    }
    pub fn t(self) -> View<T> {
        View { p: self.p, rs: self.cs, cs: self.rs }
    }
    pub(crate) fn at(self, i: usize, j: usize) -> *const T {
        self.p.wrapping_offset(self.rs * i as isize + self.cs * j as isize)
    }
}

// SAFETY: plain descriptions of memory that the caller of a product keeps alive and, for C, unshared.
unsafe impl<T> Send for View<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for View<T> {}

/// Where a task gets panels of an operand from. Panels lie across m (of A) or n (of B), `along` is k.
pub trait Panels<T>: Sync {
    /// The panel of `width` values from `at`, for `k` steps from `k0`: its address and the step between its rows. It
    /// may be written to `dst` with step `step`, or be found where it lies.
    ///
    /// # Safety
    /// `dst` has room for `step * k + SLACK` values.
    unsafe fn panel(&self, at: usize, width: usize, k0: usize, k: usize, dst: *mut T, step: usize)
    -> (*const T, usize);
}

/// Panels of a strided matrix: `across` and `along` are its strides. `direct`: used where they lie when they can be.
#[derive(Clone, Copy)]
pub struct Strided<T> {
    pub view: View<T>,
    pub direct: bool,
}

impl<T: Gemm> Panels<T> for Strided<T> {
    unsafe fn panel(
        &self,
        at: usize,
        width: usize,
        k0: usize,
        k: usize,
        dst: *mut T,
        step: usize,
    ) -> (*const T, usize) {
        let (across, along) = (self.view.rs, self.view.cs);
        let src = self.view.at(at, k0);
        if self.direct && across == 1 && along >= 0 && width == step {
            return (src, along as usize);
        }
        // SAFETY: the caller vouches for `dst`; the view covers the panel.
        unsafe { T::run(&Panel { src, across, along, width, k, dst, step }) };
        (dst, step)
    }
}

/// Panels that were packed beforehand: block after block of `KC` along k, `block` values each.
pub struct Packed<T> {
    pub p: *const T,
    pub block: usize,
    /// The first column (or row).
    pub from: usize,
}

// SAFETY: read-only while the product runs.
unsafe impl<T> Sync for Packed<T> {}

impl<T: Gemm> Panels<T> for Packed<T> {
    unsafe fn panel(&self, at: usize, _: usize, k0: usize, k: usize, _: *mut T, step: usize) -> (*const T, usize) {
        (self.p.wrapping_add(self.block * (k0 / KC) + (at - self.from) * k), step)
    }
}

/// All of A's panels, packed.
pub struct PackedRows<T> {
    scratch: Scratch<T>,
    block: usize,
}

impl<T: Gemm> PackedRows<T> {
    pub fn new(a: View<T>, rows: Rows, m: usize, k: usize) -> Result<PackedRows<T>> {
        let block = m * KC + SLACK;
        let scratch = Scratch::<T>::new(block * k.div_ceil(KC))?;
        let dst = View::new(scratch.as_ptr().cast_const(), 1, 0);
        let a = Strided { view: a, direct: false };
        for_each(k.div_ceil(KC), &|b, _| {
            let kc = (k - b * KC).min(KC);
            for i in 0..rows.panels {
                let (r0, r1) = (rows.start(i), rows.start(i + 1));
                let dst = dst.at(block * b + r0 * kc, 0).cast_mut();
                // SAFETY: blocks do not overlap, their slack included; what a panel writes behind its end, the next
                // one overwrites.
                unsafe { a.panel(r0, r1 - r0, b * KC, kc, dst, r1 - r0) };
            }
            Ok(())
        })?;
        Ok(PackedRows { scratch, block })
    }
    pub fn panels(&self) -> Packed<T> {
        Packed { p: self.scratch.as_ptr(), block: self.block, from: 0 }
    }
}

/// Rows cut into panels of nearly equal height: the first `more` have one row more than the others.
#[derive(Clone, Copy)]
pub struct Rows {
    pub panels: usize,
    base: usize,
    more: usize,
}

impl Rows {
    pub fn new(m: usize, max: usize) -> Rows {
        let panels = m.div_ceil(max).max(1);
        Rows { panels, base: m / panels, more: m % panels }
    }
    pub fn start(&self, i: usize) -> usize {
        i * self.base + i.min(self.more)
    }
}

/// C, with what happens to a finished region of it (rows, columns), while that is in cache.
pub struct Target<'a, T> {
    pub p: *mut T,
    pub ld: usize,
    /// Add to what C holds.
    pub add: bool,
    pub finish: Option<&'a (dyn Fn([usize; 2], [usize; 2]) -> Result<()> + Sync)>,
}

// SAFETY: tasks write disjoint regions.
unsafe impl<T> Sync for Target<'_, T> {}

/// A region of C that one task computes: panels of rows and columns.
#[derive(Clone, Copy)]
pub struct Region {
    pub rows: [usize; 2],
    pub cols: [usize; 2],
}

/// One task: the region over all of k. `cols` are columns of B, starting at a multiple of the panel width.
///
/// # Safety
/// The operands cover the region and k; nobody else touches the region of C.
pub unsafe fn block<T: Gemm>(
    a: &impl Panels<T>,
    rows: Rows,
    b: &impl Panels<T>,
    k: usize,
    c: &Target<'_, T>,
    at: Region,
    stop: &Stop,
) -> Result<()> {
    let kn = T::kernels();
    let width = kn.width;
    let kc_max = k.min(KC);
    // a panel of B that one block of A's rows uses up is packed over the last one, and stays in L1
    let once = at.rows[1] - at.rows[0] <= MC_PANELS;
    let strips = if once { 1 } else { (at.cols[1] - at.cols[0]).div_ceil(width).min(NC_PANELS) };
    let a_size = ((at.rows[1] - at.rows[0]).min(MC_PANELS) * kn.rows * kc_max + SLACK).next_multiple_of(ALIGNED);
    let scratch = Scratch::<T>::new(a_size + strips * width * kc_max + SLACK)?;
    let (pa, pb) = (scratch.as_ptr(), scratch.as_ptr().wrapping_add(a_size));
    let mut bs = [(std::ptr::null::<T>(), 0usize); NC_PANELS];
    let mut as_ = [(std::ptr::null::<T>(), 0usize); MC_PANELS];
    for jc in (at.cols[0]..at.cols[1]).step_by(NC_PANELS * width) {
        let jc_end = (jc + NC_PANELS * width).min(at.cols[1]);
        for k0 in (0..k).step_by(KC) {
            let kc = (k - k0).min(KC);
            for ic in (at.rows[0]..at.rows[1]).step_by(MC_PANELS) {
                if stop.now() {
                    return Ok(());
                }
                let ic_end = (ic + MC_PANELS).min(at.rows[1]);
                let mut dst = pa;
                for i in ic..ic_end {
                    let (r0, r1) = (rows.start(i), rows.start(i + 1));
                    // SAFETY: the scratch has room for MC_PANELS panels.
                    as_[i - ic] = unsafe { a.panel(r0, r1 - r0, k0, kc, dst, r1 - r0) };
                    dst = dst.wrapping_add((r1 - r0) * kc);
                }
                for (s, j) in (jc..jc_end).step_by(width).enumerate() {
                    let n = (jc_end - j).min(width);
                    if ic == at.rows[0] {
                        // packed when first needed: it is in L1 for the first row of tiles
                        // SAFETY: the scratch has room for `strips` panels.
                        bs[s] = unsafe {
                            b.panel(j, n, k0, kc, pb.wrapping_add(if once { 0 } else { s * width * kc }), width)
                        };
                    }
                    for i in ic..ic_end {
                        let (r0, r1) = (rows.start(i), rows.start(i + 1));
                        let ((a, lda), (b, ldb)) = (as_[i - ic], bs[s]);
                        let p = c.p.wrapping_add(r0 * c.ld + j);
                        let t = Tile { k: kc, a, lda, b, ldb, c: p, ldc: c.ld, n, add: c.add || k0 > 0 };
                        // SAFETY: panels are as the tile needs them, C as the caller vouches.
                        unsafe { kn.run(r1 - r0, &t) };
                    }
                    if let (true, Some(finish)) = (k0 + kc == k, c.finish) {
                        let last = j + n == jc_end;
                        if last || (s + 1) % FINISH_PANELS == 0 {
                            let from = jc + s / FINISH_PANELS * FINISH_PANELS * width;
                            finish([rows.start(ic), rows.start(ic_end)], [from, j + n])?;
                        }
                    }
                }
            }
        }
    }
    Ok(())
}

/// A product of strided matrices into rows of C, `ld` apart: C = A B, then `finish`.
pub struct Product<'a, T> {
    pub m: usize,
    pub n: usize,
    pub k: usize,
    pub a: View<T>,
    pub b: View<T>,
    pub c: Target<'a, T>,
}

impl<T: Gemm> Product<'_, T> {
    fn work(&self) -> usize {
        self.m.saturating_mul(self.n).saturating_mul(self.k)
    }

    /// # Safety
    /// The views cover the sizes, C is unshared.
    pub unsafe fn run(&self) -> Result<()> {
        if self.m == 0 || self.n == 0 {
            return Ok(());
        }
        // SAFETY: as the caller's, in all branches.
        unsafe {
            if self.k == 0 {
                dot::fill_zero(self.c.p, self.c.ld as isize, 1, self.m, self.n);
                return self.finish_all();
            }
            if self.skinny()? {
                return Ok(());
            }
            let threads = if self.work() < SERIAL || threads::in_parallel() { 1 } else { threads::num_threads() };
            if threads == 1 {
                threads::check_interrupt()?;
                return self.serial();
            }
            self.parallel(threads)
        }
    }

    fn finish_all(&self) -> Result<()> {
        self.c.finish.map_or(Ok(()), |f| f([0, self.m], [0, self.n]))
    }

    /// Is packing B worth its cost? Its rows are used once per panel of A.
    fn strided(&self, panels_a: usize) -> (Strided<T>, Strided<T>) {
        let direct = panels_a <= DIRECT_PANELS || self.k * self.n * size_of::<T>() <= DIRECT_BYTES;
        (Strided { view: self.a, direct: false }, Strided { view: self.b.t(), direct })
    }

    /// # Safety
    /// As `run`'s.
    unsafe fn serial(&self) -> Result<()> {
        let rows = Rows::new(self.m, T::kernels().rows);
        let (a, b) = self.strided(rows.panels);
        let at = Region { rows: [0, rows.panels], cols: [0, self.n] };
        let stop = Stop::on_interrupt();
        // SAFETY: as the caller's.
        unsafe { block(&a, rows, &b, self.k, &self.c, at, &stop) }?;
        stop.result()
    }

    unsafe fn parallel(&self, threads: usize) -> Result<()> {
        let kn = T::kernels();
        let rows = Rows::new(self.m, kn.rows);
        let strips = self.n.div_ceil(kn.width);
        let (a, b) = self.strided(rows.panels);
        if rows.panels >= 2 * MC_PANELS && strips >= 4 {
            // SAFETY: as the caller's.
            return unsafe { self.shared(rows, strips) };
        }
        let (gm, gn) = self.grid(threads, rows.panels, strips, b.direct);
        for_each(gm * gn, &|t, stop| {
            let (ti, tj) = (t / gn, t % gn);
            let cut = |x: usize, parts: usize, i: usize| i * x / parts;
            let at = Region {
                rows: [cut(rows.panels, gm, ti), cut(rows.panels, gm, ti + 1)],
                cols: [cut(strips, gn, tj) * kn.width, (cut(strips, gn, tj + 1) * kn.width).min(self.n)],
            };
            // SAFETY: as the caller's; the tasks' regions are disjoint.
            unsafe { block(&a, rows, &b, self.k, &self.c, at, stop) }
        })
    }

    /// Into how many tasks rows and columns are cut: the least time for the slowest thread, counted in tiles and in
    /// panels packed (by each task for itself).
    fn grid(&self, threads: usize, panels: usize, strips: usize, direct: bool) -> (usize, usize) {
        let kn = T::kernels();
        let most = (self.work() / TASK).clamp(1, 2 * threads);
        let mut best = (u64::MAX, (1, 1));
        for gm in 1..=panels.min(most) {
            for gn in 1..=strips.min(most / gm) {
                let (p, s) = (panels.div_ceil(gm) as u64, strips.div_ceil(gn) as u64);
                let (rows, cols) = (kn.rows as u64 * p, if direct { 0 } else { kn.width as u64 * s });
                let time = (gm * gn).div_ceil(threads) as u64 * (kn.rows as u64 * p * s + (rows + cols) * PACK / 8);
                if time < best.0 {
                    best = (time, (gm, gn));
                }
            }
        }
        best.1
    }

    /// Large products: B is packed once, some columns at a time, and the tasks are blocks of rows.
    unsafe fn shared(&self, rows: Rows, strips: usize) -> Result<()> {
        let width = T::kernels().width;
        let some = (SHARED / (self.k * width * size_of::<T>())).clamp(4, strips);
        let packed = Scratch::<T>::new(some * width * self.k + SLACK)?;
        let dst = View::new(packed.as_ptr().cast_const(), 1, 0);
        let (a, b) = (Strided { view: self.a, direct: false }, Strided { view: self.b.t(), direct: false });
        for from in (0..strips).step_by(some) {
            let to = (from + some).min(strips);
            let columns = (to - from) * width;
            for_each(to - from, &|s, _| {
                let j = (from + s) * width;
                for k0 in (0..self.k).step_by(KC) {
                    let kc = (self.k - k0).min(KC);
                    let dst = dst.at(columns * k0 + s * width * kc, 0).cast_mut();
                    // SAFETY: strips lie one after the other in the scratch; B is packed in full width, whatever
                    // a strip writes behind its end (nothing: its step is a multiple of the register).
                    unsafe { b.panel(j, (self.n - j).min(width), k0, kc, dst, width) };
                }
                Ok(())
            })?;
            let b = Packed { p: dst.at(0, 0), block: columns * KC, from: from * width };
            let cols = [from * width, (to * width).min(self.n)];
            for_each(rows.panels.div_ceil(MC_PANELS), &|t, stop| {
                let at = Region { rows: [t * MC_PANELS, ((t + 1) * MC_PANELS).min(rows.panels)], cols };
                // SAFETY: as the caller's; the tasks' regions are disjoint.
                unsafe { block(&a, rows, &b, self.k, &self.c, at, stop) }
            })?;
        }
        Ok(())
    }

    /// `dots` or `axpys` where one side is short. Answers whether it did the work.
    unsafe fn skinny(&self) -> Result<bool> {
        let (m, n, k) = (self.m, self.n, self.k);
        let kn = T::kernels();
        if self.a.cs == 1 && self.b.rs == 1 && m.min(n) <= DOTS_SIDE && k >= kn.lanes {
            let (a, b) = (View::new(self.a.p, self.a.rs, 1), View::new(self.b.p, self.b.cs, 1));
            let ld = self.c.ld as isize;
            let c = View::new(self.c.p, ld, 1);
            let (short, long, s, l, c) = if m <= n { (m, n, a, b, c) } else { (n, m, b, a, c.t()) };
            let grain = (SERIAL / 4 / (short * k)).max(4).next_multiple_of(4);
            let parts = long.div_ceil(grain);
            for_each(parts, &|t, stop| {
                let (j0, j1) = (t * grain, ((t + 1) * grain).min(long));
                if stop.now() {
                    return Ok(());
                }
                let d = dot::Dots {
                    m: short,
                    n: j1 - j0,
                    k,
                    a: s.at(0, 0),
                    lda: s.rs,
                    b: l.at(j0, 0),
                    ldb: l.rs,
                    c: c.at(0, j0).cast_mut(),
                    rs: c.rs,
                    cs: c.cs,
                };
                // SAFETY: as the caller's; the tasks' columns are disjoint.
                unsafe { T::run(&d) };
                Ok(())
            })?;
            self.finish_all()?;
            return Ok(true);
        }
        if m <= AXPY_ROWS && self.b.cs == 1 {
            let grain = AXPY_COLUMNS;
            for_each(n.div_ceil(grain), &|t, stop| {
                let (j0, j1) = (t * grain, ((t + 1) * grain).min(n));
                if stop.now() {
                    return Ok(());
                }
                let d = dot::Axpys {
                    m,
                    n: j1 - j0,
                    k,
                    a: self.a.p,
                    ars: self.a.rs,
                    acs: self.a.cs,
                    b: self.b.at(0, j0),
                    ldb: self.b.rs,
                    c: self.c.p.wrapping_add(j0),
                    ldc: self.c.ld as isize,
                };
                // SAFETY: as the caller's; the tasks' columns are disjoint.
                unsafe { T::run(&d) };
                Ok(())
            })?;
            self.finish_all()?;
            return Ok(true);
        }
        Ok(false)
    }
}

/// Panels of A up to which B is read where it lies: each row of B is used too seldom to pay for packing it.
const DIRECT_PANELS: usize = 2;
/// Bytes of B up to which it is read where it lies: it stays in L1 or L2.
const DIRECT_BYTES: usize = 512 << 10;
/// Shorter side of C up to which operands that both lie along k are multiplied as dot products.
const DOTS_SIDE: usize = 16;
/// Rows of A up to which rows of B are added up one after the other.
const AXPY_ROWS: usize = 4;
/// Columns per task there: 4 rows of B and as many of C fit L1.
const AXPY_COLUMNS: usize = 1024;

/// Scratch memory for `n` values, 64-byte aligned, not initialised.
pub struct Scratch<T> {
    buffer: Buffer,
    _t: std::marker::PhantomData<T>,
}

impl<T> Scratch<T> {
    pub fn new(n: usize) -> Result<Scratch<T>> {
        Ok(Scratch { buffer: Buffer::uninit(n * size_of::<T>())?, _t: std::marker::PhantomData })
    }
    pub fn as_ptr(&self) -> *mut T {
        self.buffer.as_ptr().cast()
    }
}
