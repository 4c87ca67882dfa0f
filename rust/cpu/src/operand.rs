//! Operands and results in the form a kernel wants: a dtype to compute in, and contiguous where it must be. What
//! suits already is used where it lies; the rest passes through scratch memory and the tile interpreter.
//! Users: `matmul`, `conv`, `pool`, `attention`.

use rtorch_ir::program::Inst;
use rtorch_ir::{DType, Layout, Program, Result};
use smallvec::{SmallVec, smallvec};

use crate::{Arg, Buffer, Epilogue, Source, map};

/// An input: element 0 at `p`, elements as `layout` says (its offset is 0).
pub struct Operand {
    pub p: *const u8,
    pub layout: Layout,
    _keep: Option<Buffer>,
}

// SAFETY: memory that is only read while the kernel runs.
unsafe impl Send for Operand {}
// SAFETY: as above.
unsafe impl Sync for Operand {}

impl Operand {
    /// With the strides it has, unless there is a prologue or a conversion to evaluate.
    pub fn strided(source: &Source, dtype: DType) -> Result<Operand> {
        match source.direct() {
            Some(a) if a.dtype == dtype => {
                let layout = Layout { offset: 0, ..a.layout.clone() };
                Ok(Operand { p: a.base(), layout, _keep: None })
            }
            Some(_) | None => Operand::computed(source, dtype),
        }
    }

    /// Contiguous.
    pub fn dense(source: &Source, dtype: DType) -> Result<Operand> {
        match source.direct() {
            Some(a) if a.dtype == dtype && a.layout.is_contiguous() => {
                Ok(Operand { p: a.base(), layout: Layout::contiguous(source.shape), _keep: None })
            }
            Some(_) | None => Operand::computed(source, dtype),
        }
    }

    fn computed(source: &Source, dtype: DType) -> Result<Operand> {
        let layout = Layout::contiguous(source.shape);
        let buffer = Buffer::uninit(layout.numel() * dtype.size())?;
        let mut program = source.program.clone();
        program.outputs[0] = program.cast(program.outputs[0], dtype);
        let out = Arg { ptr: buffer.as_ptr(), dtype, layout: &layout };
        map(&program, source.shape, source.leaves, &[out])?;
        Ok(Operand { p: buffer.as_ptr(), layout, _keep: Some(buffer) })
    }

    pub fn as_ptr<T>(&self) -> *const T {
        self.p.cast()
    }
}

/// Copies elements between windows of one shape, with conversion.
pub fn copy(from: &Arg, to: &Arg) -> Result<()> {
    map(&Program::copy(from.dtype, to.dtype), &to.layout.shape, &[*from], &[*to])
}

/// A result that a kernel writes contiguously and in its compute dtype.
pub struct Output<'a> {
    to: Arg<'a>,
    dtype: DType,
    layout: Layout,
    scratch: Option<Buffer>,
    p: *mut u8,
}

// SAFETY: tasks write disjoint elements of it.
unsafe impl Sync for Output<'_> {}

impl<'a> Output<'a> {
    /// Where the kernel writes: the result itself if it is contiguous and of the dtype.
    pub fn dense(to: Arg<'a>, dtype: DType) -> Result<Output<'a>> {
        let layout = Layout::contiguous(&to.layout.shape);
        if to.dtype == dtype && to.layout.is_contiguous() {
            return Ok(Output { to, dtype, layout, scratch: None, p: to.base() });
        }
        let scratch = Buffer::uninit(layout.numel() * dtype.size())?;
        Ok(Output { to, dtype, layout, p: scratch.as_ptr(), scratch: Some(scratch) })
    }
    pub fn as_ptr<T>(&self) -> *mut T {
        self.p.cast()
    }
    /// Is it written to the result's own memory?
    pub fn is_in_place(&self) -> bool {
        self.scratch.is_none()
    }
    /// Brings what was written to where it belongs.
    pub fn store(self) -> Result<()> {
        if self.scratch.is_none() {
            return Ok(());
        }
        copy(&Arg { ptr: self.p, dtype: self.dtype, layout: &self.layout }, &self.to)
    }
    /// As `store`, through the dtype of the result proper and an epilogue.
    pub fn store_with(self, result: DType, epilogue: Option<&Epilogue>) -> Result<()> {
        let Some(e) = epilogue else { return self.store() };
        if self.to.dtype == result {
            let to = self.to;
            self.store()?;
            return finish(e, to, to);
        }
        let mid = Buffer::uninit(self.layout.numel() * result.size())?;
        let mid_arg = Arg { ptr: mid.as_ptr(), dtype: result, layout: &self.layout };
        copy(&Arg { ptr: self.p, dtype: self.dtype, layout: &self.layout }, &mid_arg)?;
        finish(e, mid_arg, self.to)
    }
}

/// Runs an epilogue from a stored result to where it belongs (which may be the same memory).
pub fn finish(e: &Epilogue, result: Arg, to: Arg) -> Result<()> {
    let mut leaves: SmallVec<[Arg; 8]> = smallvec![result];
    leaves.extend(e.leaves.iter().copied());
    map(e.program, &to.layout.shape, &leaves, &[to])
}

/// [batch, m, n] of a layout: the batch dimensions as one list, the last two apart.
pub struct Batched {
    batch: Layout,
    pub rs: isize,
    pub cs: isize,
}

impl Batched {
    pub fn new(l: &Layout) -> Batched {
        let n = l.ndim();
        let batch = Layout::new(&l.shape[..n - 2], &l.strides[..n - 2], 0);
        Batched { batch, rs: l.strides[n - 2], cs: l.strides[n - 1] }
    }
    /// Elements from the start to matrix `i`.
    pub fn offset(&self, mut i: usize) -> isize {
        let mut at = 0;
        for (&s, &st) in self.batch.shape.iter().zip(&self.batch.strides).rev() {
            at += (i % s) as isize * st;
            i /= s;
        }
        at
    }
}

/// An epilogue that runs on regions of a result in place, while they are in cache.
pub struct Tail<'a> {
    epilogue: &'a Epilogue<'a>,
    out: Arg<'a>,
    /// The result, then the other leaves, each as [batch, m, n] with the offset in its storage.
    windows: SmallVec<[(Batched, usize); 4]>,
}

impl<'a> Tail<'a> {
    /// Of a result that is seen as `like`'s shape; None where that does not fit the layouts, or the program needs to
    /// know where an element is, or changes the dtype: then it runs once at the end (`finish`).
    pub fn new(epilogue: &'a Epilogue<'a>, out: Arg<'a>, like: &Layout) -> Option<Tail<'a>> {
        let program = epilogue.program;
        let numbered = program.values.iter().any(|v| v.0 == Inst::Index);
        if numbered || program.leaves[0] != out.dtype || program.dtype(program.outputs[0]) != out.dtype {
            return None;
        }
        let layouts = std::iter::once(out.layout).chain(epilogue.leaves.iter().map(|l| l.layout));
        let windows = layouts.map(|l| {
            let offset = l.offset;
            l.reshape(&like.shape).map(|l| (Batched::new(&l), offset))
        });
        Some(Tail { epilogue, out, windows: windows.collect::<Option<_>>()? })
    }

    /// On rows and columns of matrix `i`.
    pub fn run(&self, i: usize, rows: [usize; 2], cols: [usize; 2]) -> Result<()> {
        let shape = [rows[1] - rows[0], cols[1] - cols[0]];
        let layouts: SmallVec<[Layout; 4]> = self
            .windows
            .iter()
            .map(|(b, offset)| {
                let at = b.offset(i) + rows[0] as isize * b.rs + cols[0] as isize * b.cs;
                Layout::new(&shape, &[b.rs, b.cs], (*offset as isize + at) as usize)
            })
            .collect();
        let to = Arg { layout: &layouts[0], ..self.out };
        let mut leaves: SmallVec<[Arg; 8]> = smallvec![to];
        for (l, layout) in self.epilogue.leaves.iter().zip(&layouts[1..]) {
            leaves.push(Arg { ptr: l.ptr, dtype: l.dtype, layout });
        }
        map(self.epilogue.program, &shape, &leaves, &[to])
    }
}
