//! Lines of operands and results in the type a kernel computes in: for softmax and the norms. A line that lies
//! contiguously in that type is used in place; others pass through a thread's scratch, several neighbours at a time.
//! Not here: what is done with a line (`softmax.rs`, `norm.rs`), walks over single elements (`walk.rs`).

use rtorch_ir::{DType, Layout, Result};
use smallvec::SmallVec;

use crate::alloc::Buffer;
use crate::element::{Element, dispatch_float};
use crate::reader::{Cursor, Reader};
use crate::simd::convert::converter;
use crate::simd::lane::Isa;
use crate::simd::{math_f32, math_f64};
use crate::threads::parallel_for;
use crate::walk::{Base, Walk, byte_strides};
use crate::{Arg, Source, map};

/// Lines that are staged together where neighbours lie side by side: a cache line of float.
const GROUP: usize = 16;
/// Elements that are worth a thread.
const GRAIN: usize = 1 << 14;
/// Accumulators of a sum: the same on every instruction set, so that sums are too.
const LANES: usize = 64;
/// Elements added up in the type itself before their sum enters the double total.
pub(crate) const BLOCK: usize = 4096;

/// What softmax and the norms compute in.
pub(crate) trait Float:
    Element<C = Self>
    + PartialOrd
    + std::ops::Add<Output = Self>
    + std::ops::Sub<Output = Self>
    + std::ops::Mul<Output = Self>
    + std::ops::Div<Output = Self>
    + std::ops::AddAssign
    + crate::element::Arith
{
    const DTYPE: DType;
    const LOWEST: Self;
    const ZERO: Self;
    fn of(v: f64) -> Self;
    fn wide(self) -> f64;
    fn exp<I: Isa>(self) -> Self;
    /// a * b + c, fused where the instruction set has it; in f32 rounded once everywhere (but for a tie of f64).
    fn fma<I: Isa>(self, b: Self, c: Self) -> Self;
}

macro_rules! float {
    ($t:ty, $dtype:expr, $math:ident) => {
        impl Float for $t {
            const DTYPE: DType = $dtype;
            const LOWEST: $t = <$t>::NEG_INFINITY;
            const ZERO: $t = 0.0;
            #[inline(always)]
            fn of(v: f64) -> $t {
                v as $t
            }
            #[inline(always)]
            fn wide(self) -> f64 {
                self as f64
            }
            #[inline(always)]
            fn exp<I: Isa>(self) -> $t {
                $math::exp::<I>(self)
            }
            #[inline(always)]
            fn fma<I: Isa>(self, b: $t, c: $t) -> $t {
                if I::FMA { self.mul_add(b, c) } else { <$t>::of(self.wide() * b.wide() + c.wide()) }
            }
        }
    };
}
float!(f32, DType::F32, math_f32);
float!(f64, DType::F64, math_f64);

/// The type that a floating dtype computes in.
pub(crate) fn compute_dtype(dtype: DType) -> DType {
    if dtype == DType::F64 { DType::F64 } else { DType::F32 }
}

/// Runs `$body` with `$t` bound to the type that `$dtype` computes in.
macro_rules! dispatch_compute {
    ($dtype:expr, $t:ident => $body:expr) => {
        match $crate::lines::compute_dtype($dtype) {
            rtorch_ir::DType::F64 => {
                type $t = f64;
                $body
            }
            _ => {
                type $t = f32;
                $body
            }
        }
    };
}
pub(crate) use dispatch_compute;

/// One operand or result, cut in lines.
struct Operand<'a> {
    /// A prologue, evaluated as lines are loaded; strides then count elements in row-major order.
    reader: Option<Reader<'a>>,
    base: Base,
    dtype: DType,
    /// Over the starts of the lines.
    starts: Walk<1>,
    /// Over the elements of a line.
    line: Walk<1>,
    /// Contiguous lines of the compute type: used where they lie.
    direct: bool,
    _keep: Option<Buffer>,
}

/// Operands and results of one shape, cut in lines along some of the dimensions.
pub(crate) struct Lines<'a> {
    ins: SmallVec<[Operand<'a>; 2]>,
    outs: SmallVec<[Operand<'a>; 1]>,
    pub count: usize,
    pub len: usize,
    group: usize,
    compute: DType,
}

/// A thread's share: one group of lines at a time.
pub(crate) struct Block<'a> {
    /// Number of the first line.
    pub first: usize,
    pub count: usize,
    pub len: usize,
    /// Address of the first line and bytes to the next.
    ins: &'a [(*mut u8, isize)],
    outs: &'a [(*mut u8, isize)],
}

impl Block<'_> {
    /// Line `i` of this block of operand `k`.
    #[inline(always)]
    pub fn input<T>(&self, k: usize, i: usize) -> &[T] {
        let (p, step) = self.ins[k];
        // SAFETY: `Lines::run` made the block of `count` lines of `len` elements of the compute type.
        unsafe { std::slice::from_raw_parts(p.offset(i as isize * step).cast(), self.len) }
    }
    /// Line `i` of result `k`. A line may only be borrowed once at a time, which the kernels do.
    #[inline(always)]
    #[allow(clippy::mut_from_ref)]
    pub fn output<T>(&self, k: usize, i: usize) -> &mut [T] {
        let (p, step) = self.outs[k];
        // SAFETY: as above; results are apart from operands and other threads' lines.
        unsafe { std::slice::from_raw_parts_mut(p.offset(i as isize * step).cast(), self.len) }
    }
}

impl<'a> Lines<'a> {
    /// Lines along the dimensions for which `along` is true, numbered row-major over the others.
    pub fn new(
        sources: &[Source<'a>],
        outs: &[Arg<'a>],
        shape: &[usize],
        compute: DType,
        along: &dyn Fn(usize) -> bool,
    ) -> Result<Lines<'a>> {
        let ins = sources.iter().map(|s| Operand::source(s, shape, compute, along)).collect::<Result<SmallVec<_>>>()?;
        let outs: SmallVec<[Operand<'a>; 1]> = outs.iter().map(|o| Operand::of(*o, None, compute, along)).collect();
        let size =
            |take: bool| shape.iter().enumerate().filter(|d| along(d.0) == take).map(|d| *d.1).product::<usize>();
        let (count, len) = (size(false), size(true));
        let strided = |o: &Operand| !o.direct && o.reader.is_none() && o.line.inner().1[0] != o.dtype.size() as isize;
        let group = if ins.iter().chain(&outs).any(strided) { GROUP } else { (BLOCK / len.max(1)).clamp(1, 64) };
        Ok(Lines { ins, outs, count, len, group, compute })
    }

    /// Calls `f` for blocks that cover all lines, on several threads. What a line's result is may depend on no other
    /// line: how they are shared is no part of the meaning.
    pub fn run(&self, f: &(dyn Fn(&Block) + Sync)) -> Result<()> {
        let failed = parking_lot::Mutex::new(None);
        parallel_for(self.count.div_ceil(self.group), (GRAIN / (self.len * self.group).max(1)).max(1), &|range| {
            if let Err(e) = self.run_lines(range.start * self.group, (range.end * self.group).min(self.count), f) {
                *failed.lock() = Some(e);
            }
        });
        failed.into_inner().map_or(Ok(()), Err)
    }

    /// As `run` for lines `start..end` on this thread.
    pub fn run_lines(&self, start: usize, end: usize, f: &dyn Fn(&Block)) -> Result<()> {
        let staged = self.ins.iter().chain(&self.outs).filter(|o| !o.direct).count();
        // an odd number of cache lines: neighbouring lines must not fall on the same cache set
        let line_bytes = ((self.len * self.compute.size()).next_multiple_of(64) | 64) as isize;
        let bytes = self.group * line_bytes as usize;
        let scratch = Buffer::uninit(staged * bytes)?;
        let mut cursors: SmallVec<[Option<Cursor>; 2]> =
            self.ins.iter().map(|o| o.reader.as_ref().map(Reader::cursor)).collect();
        let mut first = start;
        while first < end {
            let count = self.group.min(end - first);
            let mut next = scratch.as_ptr();
            let mut place = |o: &Operand| -> (*mut u8, isize) {
                let lead = o.starts.at(first)[0];
                if o.direct {
                    // lines of a group that are not evenly apart are staged (`Operand::even`)
                    return (o.base.at(lead), if count > 1 { o.starts.at(first + 1)[0] - lead } else { 0 });
                }
                let p = next;
                next = next.wrapping_add(bytes);
                (p, line_bytes)
            };
            let ins: SmallVec<[(*mut u8, isize); 4]> = self.ins.iter().map(&mut place).collect();
            let outs: SmallVec<[(*mut u8, isize); 4]> = self.outs.iter().map(&mut place).collect();
            for ((o, &(p, _)), cursor) in self.ins.iter().zip(&ins).zip(&mut cursors) {
                if let Some(cursor) = cursor {
                    o.evaluate(cursor, first, count, p, line_bytes as usize)?;
                } else if !o.direct {
                    o.load(first, count, self.len, p, line_bytes as usize, self.compute);
                }
            }
            f(&Block { first, count, len: self.len, ins: &ins, outs: &outs });
            for (o, &(p, _)) in self.outs.iter().zip(&outs) {
                if !o.direct {
                    o.store(first, count, self.len, p, line_bytes as usize, self.compute);
                }
            }
            first += count;
        }
        Ok(())
    }
}

impl<'a> Operand<'a> {
    fn source(s: &Source<'a>, shape: &[usize], compute: DType, along: &dyn Fn(usize) -> bool) -> Result<Operand<'a>> {
        if let Some(arg) = s.direct() {
            return Ok(Operand::of(arg, None, compute, along));
        }
        let layout = Layout::contiguous(shape);
        let strides = byte_strides(&layout, 1);
        let starts = Walk::of_dims(shape, [&strides], |d| !along(d));
        let line = Walk::of_dims(shape, [&strides], along);
        if line.inner().1[0] == 1 || line.len() <= 1 {
            let reader = Some(Reader::new(s, compute)?);
            let base = Base::new(std::ptr::null_mut());
            return Ok(Operand { reader, base, dtype: compute, starts, line, direct: false, _keep: None });
        }
        // lines across the program's order: elements are computed once, in order
        let buffer = Buffer::uninit(layout.numel() * compute.size())?;
        let mut program = s.program.clone();
        program.outputs[0] = program.cast(program.outputs[0], compute);
        let arg = Arg { ptr: buffer.as_ptr(), dtype: compute, layout: &layout };
        map(&program, shape, s.leaves, &[arg])?;
        Ok(Operand::of(arg, Some(buffer), compute, along))
    }

    fn of(arg: Arg, keep: Option<Buffer>, compute: DType, along: &dyn Fn(usize) -> bool) -> Operand<'a> {
        let size = arg.dtype.size();
        let strides = byte_strides(arg.layout, size);
        let starts = Walk::of_dims(&arg.layout.shape, [&strides], |d| !along(d));
        let line = Walk::of_dims(&arg.layout.shape, [&strides], along);
        let contiguous = line.dims().len() == 1 && (line.inner().1[0] == size as isize || line.len() <= 1);
        // a block's lines are found by one stride
        let even = starts.dims().len() == 1;
        let direct = contiguous && even && arg.dtype == compute;
        Operand { reader: None, base: Base::of(&arg), dtype: arg.dtype, starts, line, direct, _keep: keep }
    }

    /// Evaluates the prologue of some lines into the scratch.
    fn evaluate(&self, cursor: &mut Cursor, first: usize, count: usize, to: *mut u8, line_bytes: usize) -> Result<()> {
        let len = self.line.len();
        for l in 0..count {
            let [start] = self.starts.at(first + l);
            let mut p = to.wrapping_add(l * line_bytes);
            let mut done = Ok(());
            self.line.runs(0..len, |[at], n| {
                if done.is_ok() {
                    // SAFETY: room for the line in the scratch, which is the thread's own.
                    done = unsafe { cursor.read_into((start + at) as usize, n, p) };
                }
                p = p.wrapping_add(n * self.dtype.size());
            });
            done?;
        }
        Ok(())
    }

    /// Copies lines into contiguous ones of the compute type.
    fn load(&self, first: usize, count: usize, len: usize, to: *mut u8, line_bytes: usize, compute: DType) {
        if self.line.inner().1[0] == self.dtype.size() as isize {
            let convert = converter(self.dtype, compute);
            for l in 0..count {
                let start = self.starts.at(first + l)[0];
                let mut p = to.wrapping_add(l * line_bytes);
                self.line.runs(0..len, |[at], n| {
                    // SAFETY: a contiguous run of the window, and room for the line in the scratch.
                    unsafe { convert(p, self.base.at::<u8>(start + at), std::ptr::null(), std::ptr::null(), n) };
                    p = p.wrapping_add(n * compute.size());
                });
            }
            return;
        }
        let starts: SmallVec<[isize; 64]> = (0..count).map(|l| self.starts.at(first + l)[0]).collect();
        // SAFETY: elements of the window; the scratch holds `count` lines.
        dispatch_float!(self.dtype, S => unsafe {
            self.load_strided::<S>(&starts, len, to.cast(), line_bytes / size_of::<<S as Element>::C>())
        }, ());
    }

    fn store(&self, first: usize, count: usize, len: usize, from: *mut u8, line_bytes: usize, compute: DType) {
        if self.line.inner().1[0] == self.dtype.size() as isize {
            let convert = converter(compute, self.dtype);
            for l in 0..count {
                let start = self.starts.at(first + l)[0];
                let mut p = from.wrapping_add(l * line_bytes);
                self.line.runs(0..len, |[at], n| {
                    // SAFETY: as in `load`.
                    unsafe { convert(self.base.at::<u8>(start + at), p, std::ptr::null(), std::ptr::null(), n) };
                    p = p.wrapping_add(n * compute.size());
                });
            }
            return;
        }
        let starts: SmallVec<[isize; 64]> = (0..count).map(|l| self.starts.at(first + l)[0]).collect();
        // SAFETY: as in `load`.
        dispatch_float!(self.dtype, S => unsafe {
            self.store_strided::<S>(&starts, len, from.cast(), line_bytes / size_of::<<S as Element>::C>())
        }, ());
    }

    /// # Safety
    /// The starts are lines of the window; `to` holds as many lines.
    unsafe fn load_strided<S: Element>(&self, starts: &[isize], len: usize, to: *mut S::C, row: usize) {
        let (_, [step]) = self.line.inner();
        let mut i = 0;
        self.line.runs(0..len, |[at], n| {
            for j in 0..n {
                for (l, &start) in starts.iter().enumerate() {
                    // SAFETY: the caller's promise.
                    unsafe {
                        let v = *self.base.at::<S>(start + at + j as isize * step);
                        to.add(l * row + i + j).write(v.load());
                    }
                }
            }
            i += n;
        });
    }

    /// # Safety
    /// As `load_strided`.
    unsafe fn store_strided<S: Element>(&self, starts: &[isize], len: usize, from: *const S::C, row: usize) {
        let (_, [step]) = self.line.inner();
        let mut i = 0;
        self.line.runs(0..len, |[at], n| {
            for j in 0..n {
                for (l, &start) in starts.iter().enumerate() {
                    // SAFETY: the caller's promise.
                    unsafe {
                        *self.base.at::<S>(start + at + j as isize * step) = S::store(from.add(l * row + i + j).read());
                    }
                }
            }
            i += n;
        });
    }
}

/// A vector of parameters (a norm's weight) in the compute type, contiguous.
pub(crate) fn vector<T: Float>(source: &Source) -> Result<Vec<T>> {
    let n = source.shape.iter().product();
    let mut out = vec![T::default(); n];
    let layout = Layout::contiguous(source.shape);
    let mut program = source.program.clone();
    program.outputs[0] = program.cast(program.outputs[0], T::DTYPE);
    let arg = Arg { ptr: out.as_mut_ptr().cast(), dtype: T::DTYPE, layout: &layout };
    map(&program, source.shape, source.leaves, &[arg])?;
    Ok(out)
}

/// Writes contiguous values of the compute type to a result of any dtype and layout.
pub(crate) fn put<T: Float>(values: &[T], out: Arg) -> Result<()> {
    let layout = Layout::contiguous(&out.layout.shape);
    let from = Arg { ptr: values.as_ptr().cast_mut().cast(), dtype: T::DTYPE, layout: &layout };
    map(&rtorch_ir::Program::copy(T::DTYPE, out.dtype), &out.layout.shape, &[from], &[out])
}

// ---- sums over a line

/// Shorter lines than this are added up one by one.
const FEW: usize = 16;

/// Adds up `f` of every element: lanes within a block, blocks in double. The order is a function of the length.
/// (A part's values are computed before they are added: LLVM then sees whole vectors. Loops, because the closure of
/// `array::from_fn` would be compiled without the caller's instruction set.)
#[inline(always)]
pub(crate) fn sum_of<T: Float>(x: &[T], f: impl Fn(T) -> T) -> f64 {
    if x.len() < FEW {
        return x.iter().map(|&v| f(v).wide()).sum();
    }
    let mut total = 0.0;
    for block in x.chunks(BLOCK) {
        let mut lanes = [T::ZERO; LANES];
        let (parts, rest) = block.as_chunks::<LANES>();
        for part in parts {
            let mut values = [T::ZERO; LANES];
            for l in 0..LANES {
                values[l] = f(part[l]);
            }
            for l in 0..LANES {
                lanes[l] += values[l];
            }
        }
        for (lane, &v) in lanes.iter_mut().zip(rest) {
            *lane += f(v);
        }
        total += fold(lanes);
    }
    total
}

/// As `sum_of`, of two lines.
#[inline(always)]
pub(crate) fn sum_of_two<T: Float>(x: &[T], y: &[T], f: impl Fn(T, T) -> T) -> f64 {
    if x.len() < FEW {
        return x.iter().zip(y).map(|(&x, &y)| f(x, y).wide()).sum();
    }
    let mut total = 0.0;
    for (x, y) in x.chunks(BLOCK).zip(y.chunks(BLOCK)) {
        let mut lanes = [T::ZERO; LANES];
        let ((xs, x_rest), (ys, y_rest)) = (x.as_chunks::<LANES>(), y.as_chunks::<LANES>());
        for (x, y) in xs.iter().zip(ys) {
            let mut values = [T::ZERO; LANES];
            for l in 0..LANES {
                values[l] = f(x[l], y[l]);
            }
            for l in 0..LANES {
                lanes[l] += values[l];
            }
        }
        for ((lane, &x), &y) in lanes.iter_mut().zip(x_rest).zip(y_rest) {
            *lane += f(x, y);
        }
        total += fold(lanes);
    }
    total
}

#[inline(always)]
fn fold<T: Float>(mut lanes: [T; LANES]) -> f64 {
    let mut width = LANES / 2;
    while width > 0 {
        for l in 0..width {
            lanes[l] += lanes[l + width];
        }
        width /= 2;
    }
    lanes[0].wide()
}

/// The largest element; NaN is passed over.
#[inline(always)]
pub(crate) fn max_of<T: Float>(x: &[T]) -> T {
    if x.len() < FEW {
        return x.iter().fold(T::LOWEST, |a, &v| if v > a { v } else { a });
    }
    let mut lanes = [T::LOWEST; LANES];
    let (parts, rest) = x.as_chunks::<LANES>();
    for part in parts {
        for l in 0..LANES {
            lanes[l] = if part[l] > lanes[l] { part[l] } else { lanes[l] };
        }
    }
    for (lane, &v) in lanes.iter_mut().zip(rest) {
        *lane = if v > *lane { v } else { *lane };
    }
    // in halves: one after the other took as long as a line of a thousand
    let mut width = LANES / 2;
    while width > 0 {
        for l in 0..width {
            lanes[l] = if lanes[l + width] > lanes[l] { lanes[l + width] } else { lanes[l] };
        }
        width /= 2;
    }
    lanes[0]
}
