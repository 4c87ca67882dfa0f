//! The weight gradient: (output channels) x (input channels, taps), summed over the positions of all images.
//! With enough channels the input is first copied channels last, a few images at a time, so that panels of patches
//! are copies of runs; with few, registers of positions are transposed. Images are always added in order; those of a
//! small sum in shares, which do not depend on the threads that take them.

use rtorch_ir::Result;
use rtorch_ir::prim::ConvParams;

use super::patches::{Pixels, Turned};
use super::window::Window;
use super::{Geometry, Operand, Output, Shared, depthwise, zero};
use crate::gemm::pack::{Panel, SLACK};
use crate::gemm::tasks::{Stop, for_each};
use crate::gemm::{Gemm, Region, Rows, Scratch, Strided, Target, View, block};
use crate::{Arg, Source, threads};

/// Input channels per group from which a channels-last copy pays.
const CHANNELS_LAST: usize = 8;
/// Shares of the images where the sum itself has too few tiles to occupy all threads, and how few.
const SHARES: usize = 16;
/// Bytes of input that are held channels last at a time.
const COPIED: usize = 4 << 20;

struct Job<'a, T> {
    g: &'a Geometry,
    window: &'a Window,
    grad: *const T,
    x: *const T,
    /// Images `first..last`; channels last where not null, with `image` values per image.
    images: [usize; 2],
    turned: *const T,
    image: usize,
    out: Shared<T>,
    rows: Rows,
}

// SAFETY: tasks write disjoint regions of `out`.
unsafe impl<T> Sync for Job<'_, T> {}

pub fn weight<T: Gemm>(p: &ConvParams, inputs: &[Source], out: Arg) -> Result<()> {
    let geometry = Geometry::new(p, inputs[1].shape, &out.layout.shape, inputs[0].shape);
    let grad = Operand::dense(&inputs[0], T::DTYPE)?;
    let x = Operand::dense(&inputs[1], T::DTYPE)?;
    let w = Output::dense(out, T::DTYPE)?;
    let (taps, cin) = (geometry.taps(), geometry.cin);
    let outputs = geometry.groups * geometry.cout;
    if geometry.is_empty() {
        // SAFETY: the result has this many elements.
        unsafe { zero(w.as_ptr::<T>(), outputs * cin * taps) };
        return w.store();
    }
    let window = geometry.forward();
    if geometry.is_depthwise() {
        depthwise::weights::<T>(&geometry, &window, &grad, &x, w.as_ptr())?;
        return w.store();
    }
    let rows = Rows::new(geometry.cout, T::kernels().rows);
    let (plane, channels) = (window.plane(), geometry.groups * cin);
    let image = plane * channels + SLACK;
    let last = cin >= CHANNELS_LAST;
    let tiles = geometry.groups * rows.panels * (cin * taps).div_ceil(T::kernels().width);
    if !last && tiles < SHARES && geometry.images > 1 {
        in_shares::<T>(&geometry, &window, rows, [grad.as_ptr(), x.as_ptr()], w.as_ptr())?;
        return w.store();
    }
    let some = if last { (COPIED / (image * size_of::<T>())).clamp(1, geometry.images) } else { geometry.images };
    let turned = Scratch::<T>::new(if last { some * image } else { 0 })?;
    // with channels last the sum's columns are (tap, channel) and change places at the end
    let sums = Scratch::<T>::new(if last { outputs * cin * taps } else { 0 })?;
    for first in (0..geometry.images).step_by(some) {
        let end = (first + some).min(geometry.images);
        let job = Job {
            g: &geometry,
            window: &window,
            grad: grad.as_ptr::<T>(),
            x: x.as_ptr::<T>(),
            images: [first, end],
            turned: if last { turned.as_ptr() } else { std::ptr::null() },
            image,
            out: Shared(if last { sums.as_ptr() } else { w.as_ptr::<T>() }),
            rows,
        };
        if last {
            let to = Shared(turned.as_ptr());
            for_each(end - first, &|i, _| {
                let src = x.as_ptr::<T>().wrapping_add((first + i) * plane * channels);
                let (dst, across) = (to.at(i * image), plane as isize);
                let panel = Panel { src, across, along: 1, width: channels, k: plane, dst, step: channels };
                // SAFETY: an image of the input, and room for it with its slack.
                unsafe { T::run(&panel) };
                Ok(())
            })?;
        }
        job.run()?;
    }
    if last {
        let (from, to) = (Shared(sums.as_ptr()), Shared(w.as_ptr::<T>()));
        for_each(outputs, &|o, _| {
            for c in 0..cin {
                for t in 0..taps {
                    // SAFETY: both have outputs * cin * taps elements.
                    unsafe { *to.at((o * cin + c) * taps + t) = *from.at((o * taps + t) * cin + c) };
                }
            }
            Ok(())
        })?;
    }
    w.store()
}

/// The sums of some images each, then the sum of these in order.
fn in_shares<T: Gemm>(g: &Geometry, window: &Window, rows: Rows, [grad, x]: [*const T; 2], w: *mut T) -> Result<()> {
    let (size, shares) = (g.groups * g.cout * g.cin * g.taps(), SHARES.min(g.images));
    let sums = Scratch::<T>::new(shares * size)?;
    let (from, out) = (Shared(sums.as_ptr()), Shared(w));
    let (grad, x) = (Shared(grad.cast_mut()), Shared(x.cast_mut()));
    let at = Region { rows: [0, rows.panels], cols: [0, g.cin * g.taps()] };
    for_each(shares, &|s, stop| {
        let images = [s * g.images / shares, (s + 1) * g.images / shares];
        let turned = std::ptr::null();
        let (grad, x) = (grad.at(0).cast_const(), x.at(0).cast_const());
        let job = Job { g, window, grad, x, images, turned, image: 0, out: Shared(from.at(s * size)), rows };
        (images[0]..images[1])
            .flat_map(|i| (0..g.groups).map(move |group| (i, group)))
            .try_for_each(|(i, group)| job.task(i, group, i > images[0], at, stop))
    })?;
    for i in 0..size {
        // SAFETY: every share has a sum of all elements.
        unsafe { *out.at(i) = (1..shares).fold(*from.at(i), |sum, s| sum + *from.at(s * size + i)) };
    }
    Ok(())
}

impl<T: Gemm> Job<'_, T> {
    fn run(&self) -> Result<()> {
        let width = T::kernels().width;
        let columns = self.g.cin * self.window.taps.len();
        let strips = columns.div_ceil(width);
        let threads = threads::num_threads();
        let gn = threads.div_ceil(self.g.groups).min(strips);
        let gm = threads.div_ceil(self.g.groups * gn).min(self.rows.panels);
        for_each(self.g.groups * gm * gn, &|t, stop| {
            let (tj, t) = (t % gn, t / gn);
            let (ti, group) = (t % gm, t / gm);
            let cut = |x: usize, parts: usize, i: usize| i * x / parts;
            let at = Region {
                rows: [cut(self.rows.panels, gm, ti), cut(self.rows.panels, gm, ti + 1)],
                cols: [cut(strips, gn, tj) * width, (cut(strips, gn, tj + 1) * width).min(columns)],
            };
            (self.images[0]..self.images[1]).try_for_each(|i| self.task(i, group, i > 0, at, stop))
        })
    }

    /// One image's part of a region, added to what is there or written.
    fn task(&self, image: usize, group: usize, add: bool, at: Region, stop: &Stop) -> Result<()> {
        let g = self.g;
        let positions = self.window.positions();
        let columns = g.cin * self.window.taps.len();
        let grad = self.grad.wrapping_add((image * g.groups + group) * g.cout * positions);
        let a = Strided { view: View::new(grad, positions as isize, 1), direct: false };
        let p = self.out.at(group * g.cout * columns);
        let c = Target { p, ld: columns, add, finish: None };
        // SAFETY: operands are contiguous and of the geometry's sizes; regions are disjoint.
        unsafe {
            if self.turned.is_null() {
                let x = self.x.wrapping_add((image * g.groups + group) * g.cin * self.window.plane());
                block(&a, self.rows, &Turned { window: self.window, x }, positions, &c, at, stop)
            } else {
                let x = self.turned.wrapping_add((image - self.images[0]) * self.image + group * g.cin);
                let b = Pixels { window: self.window, x, channels: g.cin, all: g.groups * g.cin };
                block(&a, self.rows, &b, positions, &c, at, stop)
            }
        }
    }
}
