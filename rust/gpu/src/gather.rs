//! Reading by index: gather, index_select, index. All are one kernel: an element's place is that of a base layout over
//! the result's shape plus, for each index, its value times a stride. A bad index reads element 0 and sets the
//! device's flag, which raises at the next synchronisation. Writing by index: `scatter.rs`.

use std::sync::Arc;

use rtorch_ir::{Layout, Result};
use smallvec::SmallVec;

use crate::access::word;
use crate::device::Device;
use crate::emit;
use crate::kernel::{Id, Kernel, Names, Operand, grid};
use crate::memory::Buffer;
use crate::stores;
use crate::{GpuArg, GpuSource};

/// An int64 index over the iteration shape: its value times `jump` elements is added to a place.
#[derive(Clone)]
pub(crate) struct Index<'a> {
    pub arg: GpuArg<'a>,
    pub layout: Layout,
    pub jump: isize,
    pub size: usize,
}

/// Places by index: a layout over the iteration shape whose indexed dims have stride 0, and the indices.
#[derive(Clone)]
pub(crate) struct Places<'a> {
    pub base: Layout,
    pub indices: SmallVec<[Index<'a>; 2]>,
}

/// An input as plain memory: itself, or its value where it has a prologue.
pub(crate) struct Plain<'a> {
    direct: Option<GpuArg<'a>>,
    made: Option<(Buffer, Layout)>,
    source: GpuSource<'a>,
}

impl<'a> Plain<'a> {
    pub fn of(dev: &Arc<Device>, source: &GpuSource<'a>) -> Result<Plain<'a>> {
        let direct = source.direct().filter(|a| a.layout.shape.as_slice() == source.shape);
        let made = if direct.is_some() { None } else { Some(dev.materialise(source, source.dtype())?) };
        Ok(Plain { direct, made, source: *source })
    }
    pub fn arg(&self) -> GpuArg<'_> {
        match (&self.direct, &self.made) {
            (None, Some((buffer, layout))) => GpuArg { buffer, dtype: self.source.dtype(), layout },
            (Some(a), _) => *a,
            (None, None) => self.source.leaves[0],
        }
    }
}

/// The places of `x` for a gather-like index over `shape` (at most x's in the other dims).
pub(crate) fn along<'a>(
    x: &Layout,
    axis: usize,
    shape: &[usize],
    index: GpuArg<'a>,
    index_layout: Layout,
) -> Places<'a> {
    let mut base = Layout { shape: SmallVec::from_slice(shape), ..x.clone() };
    let (mut jump, mut size) = (0, 1);
    if !x.shape.is_empty() {
        (jump, size) = (x.strides[axis], x.shape[axis]);
        base.strides[axis] = 0;
    }
    Places { base, indices: SmallVec::from_vec(vec![Index { arg: index, layout: index_layout, jump, size }]) }
}

/// The places of `x` for indices of one shape that replace the dims `first..first + n`.
pub(crate) fn replacing<'a>(x: &Layout, first: usize, indices: &[GpuArg<'a>]) -> Places<'a> {
    let n = indices.len();
    let inner = indices[0].layout;
    let join = |outer: &[isize], mid: &[isize], rest: &[isize]| [outer, mid, rest].concat();
    let shape = [&x.shape[..first], &inner.shape[..], &x.shape[first + n..]].concat();
    let zeros = |k: usize| vec![0isize; k];
    let rest = x.ndim() - first - n;
    let strides = join(&x.strides[..first], &zeros(inner.ndim()), &x.strides[first + n..]);
    let indices = indices.iter().enumerate().map(|(d, a)| {
        let strides = join(&zeros(first), &a.layout.strides, &zeros(rest));
        let layout = Layout::new(&shape, &strides, a.layout.offset);
        Index { arg: *a, layout, jump: x.strides[first + d], size: x.shape[first + d] }
    });
    Places { base: Layout::new(&shape, &strides, x.offset), indices: indices.collect() }
}

/// Bound places: the base operand, and per index its operand and the words of jump and size.
pub(crate) struct Bound {
    indices: SmallVec<[(Operand, usize); 2]>,
    flag: usize,
}

impl Places<'_> {
    /// Binds the indices (the base is bound by the caller, through its own access).
    pub fn bind(&self, k: &mut Kernel) -> Result<Bound> {
        let dims: SmallVec<[usize; 6]> = (0..self.base.ndim()).collect();
        let mut indices = SmallVec::new();
        for i in &self.indices {
            let w = k.word(i.jump as i32 as u32);
            k.word(i.size as u32);
            indices.push((k.operand(&GpuArg { layout: &i.layout, ..i.arg }, &[&dims], false)?, w));
        }
        Ok(Bound { indices, flag: k.flag() })
    }
}

impl Bound {
    /// Statements that add the indices' jumps of element `i` to the u32 variable `place`.
    pub fn print(&self, names: &Names, place: &str) -> String {
        let mut s = String::new();
        for (n, (operand, w)) in self.indices.iter().enumerate() {
            let at = format!("x{n}");
            s += &operand.access.print(&at, &["i"]);
            let v = emit::convert(
                &emit::load(&names.of(operand.slot), operand.dtype, &at),
                operand.dtype.ctype(),
                rtorch_ir::CType::I64,
            );
            s += &format!("{place} = {place} + checked({v}, {}) * {};\n", word(w + 1), word(*w));
        }
        s
    }
    /// `checked(index, size)`: negative ones count from the end; a bad one is reported and answers 0.
    pub fn function(&self, names: &Names) -> String {
        let flag = names.of(self.flag);
        format!(
            "fn checked(v: rt_i64, size: u32) -> u32 {{\nlet w = rt_words(v);\nif (w.y == 0u && w.x < size) {{ return \
             w.x; }}\nif (w.y == 0xffffffffu && ~w.x < size) {{ return size + w.x; }}\nif \
             (atomicCompareExchangeWeak(&{flag}[0], 0u, 1u).exchanged) {{ atomicStore(&{flag}[1], w.x); \
             atomicStore(&{flag}[2], w.y); atomicStore(&{flag}[3], size); }}\nreturn 0u;\n}}\n"
        )
    }
}

impl Device {
    /// Reads `x` at the places into `out`, which has the iteration shape.
    pub(crate) fn read_at(self: &Arc<Self>, x: &GpuArg, places: &Places, out: &GpuArg) -> Result<()> {
        let n = out.layout.numel();
        if n == 0 {
            return Ok(());
        }
        let dims: SmallVec<[usize; 6]> = (0..places.base.ndim()).collect();
        let mut k = Kernel::new(self, Id::Element);
        k.words(&[n as u32]);
        k.key(places.indices.len() as u32);
        let whole = k.operand_at(x, &places.base, &[&dims])?;
        let bound = places.bind(&mut k)?;
        let outs = stores::bind(&mut k, &[*out], false)?;
        let threads = (n as u64).div_ceil(stores::step(&outs) as u64);
        k.launch(grid(threads), |names| {
            let mut element = whole.access.print("base", &["i"]);
            element += "var place = base;\n";
            element += &bound.print(names, "place");
            let load = emit::load(&names.of(whole.slot), whole.dtype, "place");
            element += &format!("let v = {load};\n");
            bound.function(names) + &stores::frame(&outs, &element, &["v".to_string()], names)
        })
    }

    pub(crate) fn gather(self: &Arc<Self>, axis: usize, inputs: &[GpuSource], out: &GpuArg) -> Result<()> {
        let (x, index) = (Plain::of(self, &inputs[0])?, Plain::of(self, &inputs[1])?);
        let (x, index) = (x.arg(), index.arg());
        let places = along(x.layout, axis, &index.layout.shape, index, index.layout.clone());
        self.read_at(&x, &places, out)
    }

    /// `index_select` (one index, any dim) and `index` (the leading dims).
    pub(crate) fn index(self: &Arc<Self>, first: usize, inputs: &[GpuSource], out: &GpuArg) -> Result<()> {
        let plain: Result<SmallVec<[Plain; 4]>> = inputs.iter().map(|s| Plain::of(self, s)).collect();
        let plain = plain?;
        let x = plain[0].arg();
        let indices: SmallVec<[GpuArg; 4]> = plain[1..].iter().map(|p| p.arg()).collect();
        if x.layout.shape.is_empty() {
            let layout = indices[0].layout.clone();
            let base = Layout { offset: x.layout.offset, ..Layout::contiguous(&[]) }.broadcast_to(&layout.shape)?;
            let only = Index { arg: indices[0], layout, jump: 0, size: 1 };
            return self.read_at(&x, &Places { base, indices: SmallVec::from_iter([only]) }, out);
        }
        self.read_at(&x, &replacing(x.layout, first, &indices), out)
    }
}
