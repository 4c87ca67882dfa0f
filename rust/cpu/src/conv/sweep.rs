//! The walk that forward and input gradient share: weights (packed once) times patches, over images, groups and blocks
//! of positions. What is not one tap over the input is multiplied by `runs`. The weight gradient is in `weight`.

use rtorch_ir::prim::ConvParams;
use rtorch_ir::{Layout, Result};

use super::depthwise::{self, Depthwise};
use super::runs::Runs;
use super::window::Window;
use super::{Geometry, Operand, Output, Shared, Spatial3, zero};
use crate::gemm::tasks::{Stop, for_each};
use crate::gemm::{Blend, Gemm, PackedRows, Region, Rows, Scratch, Strided, Target, View, block};
use crate::operand::Tail;
use crate::{Arg, Epilogue, Source, threads};

/// Tasks per thread, so that none waits long for the last.
pub const TASKS_PER_THREAD: usize = 6;

/// Panels of positions per task, of `strips` per image and group.
pub fn strips_per_task(outer: usize, strips: usize) -> usize {
    let wanted = TASKS_PER_THREAD * threads::num_threads();
    (outer * strips).div_ceil(wanted).clamp(1, strips)
}

/// Where the positions of a phase lie in the gradient of the input.
#[derive(Clone, Copy)]
pub struct Place {
    pub phase: Spatial3,
    pub stride: Spatial3,
    /// Sizes of the plane.
    pub sizes: Spatial3,
}

impl Place {
    /// Are the positions the plane itself, in order?
    pub fn is_plane(&self) -> bool {
        self.stride == [1; 3]
    }
    /// Copies values of positions `p..p + n` of a grid to the plane at `dst`.
    ///
    /// # Safety
    /// `src` holds n values; the plane has `sizes`.
    pub unsafe fn scatter<T: Copy>(&self, window: &Window, p: usize, n: usize, src: *const T, dst: *mut T) {
        let mut src = src;
        window.rows(p, p + n, |d, h, from, to| {
            let row = (d * self.stride[0] + self.phase[0]) * self.sizes[1] + h * self.stride[1] + self.phase[1];
            for w in from..to {
                // SAFETY: as the caller's.
                unsafe {
                    *dst.add(row * self.sizes[2] + w * self.stride[2] + self.phase[2]) = *src;
                    src = src.add(1);
                }
            }
        });
    }
}

/// One walk. Planes of `src` and `dst` are contiguous, images and channels as well.
pub struct Sweep<'a, T> {
    pub window: &'a Window,
    pub images: usize,
    pub groups: usize,
    /// Rows (channels of `dst`) per group.
    pub m: usize,
    /// Channels of `src` per group.
    pub channels: usize,
    pub rows: Rows,
    pub weights: Vec<PackedRows<T>>,
    pub src: *const T,
    pub dst: Shared<T>,
    pub place: Place,
    pub bias: Option<&'a Operand>,
    pub tail: Option<&'a Tail<'a>>,
}

// SAFETY: tasks write disjoint parts of `dst`.
unsafe impl<T> Sync for Sweep<'_, T> {}

/// Runs sweeps that write the phases of one result.
fn run_all<T: Gemm>(sweeps: &[Sweep<T>]) -> Result<()> {
    match sweeps {
        [] => Ok(()),
        [one] if one.window.is_identity() => one.run(),
        _ => Runs::new(sweeps).run(),
    }
}

impl<T: Gemm> Sweep<'_, T> {
    /// The first channel of an image and group in the source.
    pub fn source(&self, image: usize, group: usize) -> *const T {
        self.src.wrapping_add((image * self.groups + group) * self.channels * self.window.plane())
    }
    /// The same in the result.
    pub fn result(&self, image: usize, group: usize) -> *mut T {
        self.dst.at((image * self.groups + group) * self.m * self.place.sizes.iter().product::<usize>())
    }
    /// The bias and the epilogue of a finished region (rows of a group, positions).
    pub fn finish(&self, image: usize, group: usize, rows: [usize; 2], cols: [usize; 2]) -> Result<()> {
        if let Some(bias) = self.bias {
            let one = T::from_f64(1.0);
            let bias = View::new(bias.as_ptr::<T>().wrapping_add(group * self.m), 1, 0);
            let (c, ld) = (self.result(image, group), self.place.sizes.iter().product());
            let b = Blend { rows, cols, c, ld, alpha: one, beta: one, bias: Some(bias) };
            // SAFETY: the region is its caller's; the bias has a value per channel.
            unsafe { T::run(&b) };
        }
        let first = group * self.m;
        self.tail.map_or(Ok(()), |t| t.run(image, [first + rows[0], first + rows[1]], cols))
    }

    /// A kernel of one tap that covers the input: a product of matrices.
    fn run(&self) -> Result<()> {
        let width = T::kernels().width;
        let strips = self.window.positions().div_ceil(width);
        let outer = self.images * self.groups;
        // blocks of positions per image and group; blocks of rows where there are too few of these
        let per = strips_per_task(outer, strips);
        let blocks = strips.div_ceil(per);
        let gm = (2 * threads::num_threads()).div_ceil(outer * blocks).min(self.rows.panels);
        for_each(outer * blocks * gm, &|t, stop| {
            let (ti, t) = (t % gm, t / gm);
            let (tb, t) = (t % blocks, t / blocks);
            let cut = |i: usize| i * self.rows.panels / gm;
            let cols = [tb * per * width, ((tb + 1) * per * width).min(self.window.positions())];
            self.task(t / self.groups, t % self.groups, Region { rows: [cut(ti), cut(ti + 1)], cols }, stop)
        })
    }

    fn task(&self, image: usize, group: usize, at: Region, stop: &Stop) -> Result<()> {
        let out = self.place.sizes.iter().product::<usize>();
        let (src, dst) = (self.source(image, group), self.result(image, group));
        let a = self.weights[group].panels();
        let view = View::new(src, 1, self.window.plane() as isize);
        let b = Strided { view, direct: self.rows.panels <= DIRECT };
        // SAFETY: planes as described; the tasks' regions are disjoint.
        let product = |c: &Target<T>| unsafe { block(&a, self.rows, &b, self.channels, c, at, stop) };
        if self.place.is_plane() {
            let finish = |rows: [usize; 2], cols: [usize; 2]| self.finish(image, group, rows, cols);
            let some = self.bias.is_some() || self.tail.is_some();
            return product(&Target { p: dst, ld: out, add: false, finish: if some { Some(&finish) } else { None } });
        }
        // positions of a phase are apart in the plane: computed in scratch, then put there
        let (r0, r1) = (self.rows.start(at.rows[0]), self.rows.start(at.rows[1]));
        let n = at.cols[1] - at.cols[0];
        let scratch = Scratch::<T>::new((r1 - r0) * n)?;
        let p = scratch.as_ptr().wrapping_sub(r0 * n + at.cols[0]);
        product(&Target { p, ld: n, add: false, finish: None })?;
        for r in r0..r1 {
            let row = scratch.as_ptr().wrapping_add((r - r0) * n);
            // SAFETY: the scratch holds the region; planes of `dst` have the place's sizes.
            unsafe { self.place.scatter(self.window, at.cols[0], n, row, dst.wrapping_add(r * out)) };
        }
        Ok(())
    }
}

/// Panels of weights up to which a 1x1 convolution reads its input where it lies.
const DIRECT: usize = 2;

pub fn forward<T: Gemm>(p: &ConvParams, inputs: &[Source], epilogue: Option<&Epilogue>, out: Arg) -> Result<()> {
    let g = Geometry::new(p, inputs[0].shape, inputs[1].shape, &out.layout.shape);
    let x = Operand::dense(&inputs[0], T::DTYPE)?;
    let w = Operand::dense(&inputs[1], T::DTYPE)?;
    let bias = inputs.get(2).map(|s| Operand::dense(s, T::DTYPE)).transpose()?;
    let y = Output::dense(out, T::DTYPE)?;
    let result = inputs[0].dtype();
    let positions: usize = g.output.iter().product();
    let channels = g.groups * g.cout;
    let tail = epilogue
        .filter(|_| y.is_in_place() && !g.is_depthwise() && !g.is_empty())
        .and_then(|e| Tail::new(e, out, &Layout::contiguous(&[g.images, channels, positions])));
    if g.is_empty() {
        // nothing to sum: the bias alone
        for i in 0..g.images * channels * positions {
            let v = bias.as_ref().map_or(T::ZERO, |b| {
                // SAFETY: a value per channel.
                unsafe { *b.as_ptr::<T>().add(i / positions % channels) }
            });
            // SAFETY: the result has this many elements.
            unsafe { *y.as_ptr::<T>().add(i) = v };
        }
    } else if g.is_depthwise() {
        depthwise::run(&Depthwise {
            window: &g.forward(),
            images: g.images,
            channels,
            per_source: g.cout,
            per_result: 1,
            taps: g.taps(),
            src: x.as_ptr::<T>(),
            w: w.as_ptr(),
            bias: bias.as_ref().map(|b| b.as_ptr()),
            dst: y.as_ptr(),
            place: Place { phase: [0; 3], stride: [1; 3], sizes: g.output },
        })?;
    } else {
        let k = g.cin * g.taps();
        let rows = Rows::new(g.cout, T::kernels().rows);
        let weights = (0..g.groups).map(|i| {
            let w = w.as_ptr::<T>().wrapping_add(i * g.cout * k);
            PackedRows::new(View::new(w, k as isize, 1), rows, g.cout, k)
        });
        let sweep = Sweep {
            window: &g.forward(),
            images: g.images,
            groups: g.groups,
            m: g.cout,
            channels: g.cin,
            rows,
            weights: weights.collect::<Result<_>>()?,
            src: x.as_ptr::<T>(),
            dst: Shared(y.as_ptr::<T>()),
            place: Place { phase: [0; 3], stride: [1; 3], sizes: g.output },
            bias: bias.as_ref(),
            tail: tail.as_ref(),
        };
        run_all(&[sweep])?;
    }
    y.store_with(result, epilogue.filter(|_| tail.is_none()))
}

pub fn backward<T: Gemm>(p: &ConvParams, inputs: &[Source], out: Arg) -> Result<()> {
    let geometry = Geometry::new(p, &out.layout.shape, inputs[1].shape, inputs[0].shape);
    let g = Operand::dense(&inputs[0], T::DTYPE)?;
    let w = Operand::dense(&inputs[1], T::DTYPE)?;
    let x = Output::dense(out, T::DTYPE)?;
    let plane: usize = geometry.input.iter().product();
    let all = geometry.images * geometry.groups * geometry.cin * plane;
    let windows: Vec<(Spatial3, Window)> = if geometry.is_empty() {
        Vec::new()
    } else {
        geometry.phases().into_iter().map(|p| (p, geometry.backward(p))).collect()
    };
    if windows.is_empty() || windows.iter().any(|w| w.1.taps.is_empty()) {
        // SAFETY: the result has this many elements.
        unsafe { zero(x.as_ptr::<T>(), all) };
    }
    let mut sweeps = Vec::new();
    for (phase, window) in windows.iter().filter(|w| !w.1.taps.is_empty()) {
        let place = Place { phase: *phase, stride: geometry.stride, sizes: geometry.input };
        if geometry.is_depthwise() {
            depthwise::run(&Depthwise {
                window,
                images: geometry.images,
                channels: geometry.groups,
                per_source: 1,
                per_result: geometry.cout,
                taps: geometry.taps(),
                src: g.as_ptr::<T>(),
                w: w.as_ptr(),
                bias: None,
                dst: x.as_ptr(),
                place,
            })?;
            continue;
        }
        let rows = Rows::new(geometry.cin, T::kernels().rows);
        sweeps.push(Sweep {
            window,
            images: geometry.images,
            groups: geometry.groups,
            m: geometry.cin,
            channels: geometry.cout,
            rows,
            weights: (0..geometry.groups)
                .map(|i| turned_weights::<T>(&geometry, window, &w, i, rows))
                .collect::<Result<_>>()?,
            src: g.as_ptr::<T>(),
            dst: Shared(x.as_ptr::<T>()),
            place,
            bias: None,
            tail: None,
        });
    }
    run_all(&sweeps)?;
    x.store()
}

/// The weights of a group as (input channel) x (output channel, tap), packed; of a window's taps.
fn turned_weights<T: Gemm>(
    g: &Geometry,
    window: &Window,
    w: &Operand,
    group: usize,
    rows: Rows,
) -> Result<PackedRows<T>> {
    let (some, taps) = (window.taps.len(), g.taps());
    let k = g.cout * some;
    let turned = Scratch::<T>::new(g.cin * k)?;
    let to = Shared(turned.as_ptr());
    for_each(g.cin, &|c, _| {
        for o in 0..g.cout {
            let row = w.as_ptr::<T>().wrapping_add(((group * g.cout + o) * g.cin + c) * taps);
            for (t, tap) in window.taps.iter().enumerate() {
                // SAFETY: a row of the weight has `taps` values, the scratch cin * k.
                unsafe { *to.at(c * k + o * some + t) = *row.add(tap.number) };
            }
        }
        Ok(())
    })?;
    PackedRows::new(View::new(turned.as_ptr(), k as isize, 1), rows, g.cin, k)
}
