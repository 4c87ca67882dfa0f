//! `Reader`: an operand of a primitive as a stream of elements in logical (row-major) order, with its prologue
//! evaluated
//! on the way. What lies there already, contiguous and of the wanted dtype, is handed out without a copy.
//! Not here: operands that a kernel wants whole and strided (`operand`).
//!
//! One `Reader` per operand and kernel call, shared by the threads; each thread takes a `Cursor` of its own:
//!
//! ```ignore
//! let reader = Reader::new(&source, DType::F32)?;      // any dtype but complex; casts as PyTorch does
//! parallel_for(rows, grain, &|r| {
//!     let mut cursor = reader.cursor();
//!     for row in r {
//!         let x: &[f32] = cursor.read(row * width, width)?;  // valid until the next read
//!     }
//! });
//! ```

use std::marker::PhantomData;

use rtorch_ir::{CType, DType, Layout, Result};
use smallvec::SmallVec;

use crate::alloc::Buffer;
use crate::interp::{Exec, Tiles};
use crate::interp_plan::compile;
use crate::interp_walk::{Piece, Walk, transpose_block};
use crate::{Arg, Source};

enum Kind {
    /// The memory itself.
    Memory(Walk),
    Program(Box<Exec>),
}

/// See the module text.
pub struct Reader<'a> {
    kind: Kind,
    dtype: DType,
    cost: usize,
    numel: usize,
    _memory: PhantomData<&'a [u8]>,
}

/// A thread's own place to evaluate into.
pub struct Cursor<'r> {
    reader: &'r Reader<'r>,
    tiles: Option<Tiles<'r>>,
    buffer: Buffer,
    /// Rows of a transposed operand that were turned together: the first one's start, their length and number.
    turned: (usize, usize, usize),
}

/// Rows of a transposed operand that are turned at once: a cache line of f32.
const TURN: usize = 16;

/// An element type that a reader can hand out.
pub trait Element: Copy + Send + Sync + 'static {
    const DTYPE: DType;
}
macro_rules! element {
    ($($t:ty: $d:ident)*) => {$(
        impl Element for $t {
            const DTYPE: DType = DType::$d;
        }
    )*};
}
element!(f32: F32 f64: F64 i32: I32 i64: I64 u8: Bool);

impl<'a> Reader<'a> {
    /// Elements of `source`, cast to `dtype`.
    pub fn new(source: &Source<'a>, dtype: DType) -> Result<Reader<'a>> {
        let order: SmallVec<[usize; 6]> = (0..source.shape.len()).collect();
        let numel = source.shape.iter().product();
        let cost = source.program.cost() as usize;
        if let Some(a) = source.direct()
            && a.dtype == dtype
        {
            let walk = Walk::new(a.ptr, a.dtype, a.layout, &order);
            return Ok(Reader { kind: Kind::Memory(walk), dtype, cost, numel, _memory: PhantomData });
        }
        let mut program = source.program.clone();
        program.outputs.truncate(1);
        program.outputs[0] = program.cast(program.outputs[0], dtype);
        let plan = compile(&program, &[dtype])?;
        // each tile says where its output goes
        let nowhere = Layout::contiguous(source.shape);
        let out = Arg { ptr: std::ptr::null_mut(), dtype, layout: &nowhere };
        let exec = Exec::new(plan, source.shape, source.leaves, &[out], &order);
        Ok(Reader { kind: Kind::Program(Box::new(exec)), dtype, cost, numel, _memory: PhantomData })
    }
    /// Additions' worth of time per element.
    pub fn cost(&self) -> usize {
        self.cost
    }
    pub fn cursor(&self) -> Cursor<'_> {
        Cursor { reader: self, tiles: None, buffer: Buffer::empty(), turned: (0, 0, 0) }
    }
}

impl<'r> Cursor<'r> {
    /// Elements `start..start + n`; they stay valid until the next read.
    #[inline]
    pub fn read<T: Element>(&mut self, start: usize, n: usize) -> Result<&[T]> {
        debug_assert!(start + n <= self.reader.numel.max(n));
        assert_eq!(T::DTYPE, self.reader.dtype, "a reader of another dtype");
        if n == 0 {
            return Ok(&[]);
        }
        if let Kind::Memory(w) = &self.reader.kind
            && let Piece::Direct(p) = w.piece(start, n)
            && (p as usize).is_multiple_of(align_of::<T>())
        {
            // SAFETY: contiguous elements of the operand, which lives as long as the reader.
            return Ok(unsafe { std::slice::from_raw_parts(p.cast(), n) });
        }
        if let Kind::Memory(w) = &self.reader.kind
            && w.is_across()
            && n >= TURN
            && let Some(p) = self.turn(w, start, n)?
        {
            // SAFETY: the buffer holds the turned rows.
            return Ok(unsafe { std::slice::from_raw_parts(p.cast(), n) });
        }
        self.room(n * size_of::<T>())?;
        let p = self.buffer.as_ptr();
        // SAFETY: the buffer holds `n` elements.
        unsafe {
            self.read_into(start, n, p)?;
            Ok(std::slice::from_raw_parts(p.cast(), n))
        }
    }
    /// Elements that are best read at once, a multiple of `of`: all there are where they lie in memory.
    pub fn step(&self, of: usize) -> usize {
        match &self.reader.kind {
            Kind::Memory(_) => usize::MAX,
            Kind::Program(exec) => (exec.tile_len() / of * of).max(of),
        }
    }
    fn room(&mut self, bytes: usize) -> Result<()> {
        if self.buffer.len() < bytes {
            self.buffer = Buffer::uninit(bytes.next_power_of_two())?;
        }
        self.turned = (0, 0, 0);
        Ok(())
    }
    /// A piece of one row of an operand whose rows lie across: that piece of several rows is turned at once, and kept
    /// for the reads of the next rows. None where the range spans rows.
    fn turn(&mut self, w: &Walk, start: usize, n: usize) -> Result<Option<*const u8>> {
        let [outer, inner] = [w.dims[0], w.dims[1]];
        let (row, col) = (start / inner.size, start % inner.size);
        if col + n > inner.size {
            return Ok(None);
        }
        let (first, length, rows) = self.turned;
        let ahead = start.wrapping_sub(first);
        if length == n && ahead.is_multiple_of(inner.size) && ahead / inner.size < rows {
            return Ok(Some(self.buffer.as_ptr().wrapping_add(ahead / inner.size * n * w.size)));
        }
        let rows = TURN.min(outer.size - row);
        self.room(rows * n * w.size)?;
        let (src, _) = w.locate(start);
        // SAFETY: the block lies in the operand; the buffer has room for it.
        unsafe { transpose_block(self.buffer.as_ptr(), n, src, inner.stride, [rows, n], w.size) };
        self.turned = (start, n, rows);
        Ok(Some(self.buffer.as_ptr()))
    }
    /// Writes elements `start..start + n` to `dst`.
    ///
    /// # Safety
    /// `dst` holds `n` elements of the reader's dtype, apart from the operand's memory.
    pub unsafe fn read_into(&mut self, start: usize, n: usize, dst: *mut u8) -> Result<()> {
        match &self.reader.kind {
            // SAFETY: the range lies in the operand; the caller's promise for `dst`.
            Kind::Memory(w) => unsafe { w.gather(start, n, dst) },
            Kind::Program(exec) => {
                let tiles = match &mut self.tiles {
                    Some(t) => t,
                    none => none.insert(Tiles::new(exec, exec.tile_len())?),
                };
                let (out, size, tile) = (exec.first_out(), self.reader.dtype.size(), exec.tile_len());
                let mut i = 0;
                while i < n {
                    let count = (n - i).min(tile);
                    tiles.tile(start + i, count, std::iter::once((out, dst.wrapping_add(i * size))));
                    i += count;
                }
            }
        }
        Ok(())
    }
}

/// The compute type a value of `dtype` is read as by default.
pub fn compute_dtype(dtype: DType) -> DType {
    match dtype.ctype() {
        CType::Bool => DType::Bool,
        CType::I32 => DType::I32,
        CType::I64 => DType::I64,
        CType::F32 | CType::C64 => DType::F32,
        CType::F64 | CType::C128 => DType::F64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rtorch_ir::program::{Ex, build};
    use rtorch_ir::{Inst, Program};

    #[test]
    fn reads_memory_where_it_lies_and_programs_in_logical_order() {
        let (rows, cols) = (70, 90);
        let mut data: Vec<f32> = (0..rows * cols).map(|i| i as f32).collect();
        let ptr = data.as_mut_ptr().cast::<u8>();
        let shape = [rows, cols];
        let dense = Layout::contiguous(&shape);
        let identity = Program { leaves: vec![DType::F32], ..Program::copy(DType::F32, DType::F32) };
        assert!(identity.values[0].0 == Inst::Load(0));
        let leaves = [Arg { ptr, dtype: DType::F32, layout: &dense }];
        let r = Reader::new(&Source { program: &identity, leaves: &leaves, shape: &shape }, DType::F32).unwrap();
        let mut c = r.cursor();
        assert_eq!(c.read::<f32>(100, 500).unwrap().as_ptr(), data[100..].as_ptr());
        // a program over a transposed leaf, cast to f64
        let (mut p, o) = build(Program::new(), || Ex::leaf(DType::F32) * 2.0 + 1.0);
        p.outputs.push(o.0);
        let (turned, shape) = (dense.transpose(0, 1), [cols, rows]);
        let leaves = [Arg { ptr, dtype: DType::F32, layout: &turned }];
        let r = Reader::new(&Source { program: &p, leaves: &leaves, shape: &shape }, DType::F64).unwrap();
        let mut c = r.cursor();
        for (start, n) in [(0, 1), (5, 3000), (69, 2), (6299, 1)] {
            let x: &[f64] = c.read(start, n).unwrap();
            for (k, &v) in x.iter().enumerate() {
                let (col, row) = ((start + k) / rows, (start + k) % rows);
                assert_eq!(v, (row * cols + col) as f64 * 2.0 + 1.0);
            }
        }
    }
}
