//! Indexing: `Item`s of a subscript applied as views and one advanced-index primitive; gathers and scatters with
//! PyTorch's checks.

use std::borrow::Cow;

use rtorch_ir::layout::normalize_dim;
use rtorch_ir::prim::ScatterOp;
use rtorch_ir::program::ex;
use rtorch_ir::shape::broadcast;
use rtorch_ir::{DType, Error, Prim, Result, Scalar, ScalarOp, Shape, ensure};
use smallvec::SmallVec;

use super::convert::{to_device, to_dtype};
use super::pointwise::{Arg, Rule, compose, filled};
use super::shape;
use crate::device::Device;
use crate::dispatch::{prim, prim1};
use crate::inplace;
use crate::tensor::Tensor;

/// One part of `x[...]`.
#[derive(Clone)]
pub enum Item {
    Int(i64),
    Slice(Option<i64>, Option<i64>, i64),
    None,
    Ellipsis,
    /// True adds a dimension of size 1, False one of size 0.
    Bool(bool),
    /// Integers (positions) or bools (a mask).
    Tensor(Tensor),
}

impl Item {
    /// How many dims of the tensor it uses up.
    fn consumes(&self) -> usize {
        match self {
            Item::Int(_) | Item::Slice(..) => 1,
            Item::None | Item::Ellipsis | Item::Bool(_) => 0,
            Item::Tensor(t) if matches!(t.dtype(), DType::Bool | DType::U8) => t.ndim(),
            Item::Tensor(_) => 1,
        }
    }
}

/// The view part of a subscript, and what is left for advanced indexing: an index per dim of the view, or None.
fn views(x: &Tensor, items: &[Item]) -> Result<(Tensor, Vec<Option<Tensor>>)> {
    let used: usize = items.iter().map(Item::consumes).sum();
    ensure!(used <= x.ndim(), index, "too many indices for tensor of dimension {}", x.ndim());
    ensure!(
        items.iter().filter(|i| matches!(i, Item::Ellipsis)).count() <= 1,
        index,
        "an index can only have a single ellipsis ('...')"
    );
    let rest = x.ndim() - used;
    let (mut v, mut dim) = (x.clone(), 0usize);
    let mut at: Vec<Option<Tensor>> = Vec::new();
    for item in items {
        match item {
            Item::Int(i) => {
                let n = v.size(dim) as i64;
                ensure!((-n..n).contains(i), index, "index {i} is out of bounds for dimension {} with size {n}", dim);
                v = shape::select(&v, dim as i64, *i)?;
            }
            Item::Slice(a, b, step) => {
                if !(a.is_none() && b.is_none() && *step == 1) {
                    v = shape::slice(&v, dim as i64, *a, *b, *step)?;
                }
                dim += 1;
            }
            Item::None => {
                v = shape::unsqueeze(&v, dim as i64)?;
                dim += 1;
            }
            Item::Ellipsis => dim += rest,
            Item::Bool(b) => {
                v = shape::unsqueeze(&v, dim as i64)?;
                at.resize(dim, None);
                let n = i64::from(*b);
                at.push(Some(super::factory::arange(0i64.into(), n.into(), 1i64.into(), DType::I64, x.device())?));
                dim += 1;
            }
            Item::Tensor(t) => {
                at.resize(dim, None);
                for index in expand_index(t, &v, dim)? {
                    at.push(Some(index));
                    dim += 1;
                }
            }
        }
    }
    Ok((v, at))
}

/// A mask as the positions of its true elements, one index per dim; integers as they are.
fn expand_index(t: &Tensor, v: &Tensor, dim: usize) -> Result<Vec<Tensor>> {
    let t = to_device(t, v.device())?;
    if !matches!(t.dtype(), DType::Bool | DType::U8) {
        ensure!(
            t.dtype().is_int() && !t.dtype().is_storage(),
            index,
            "tensors used as indices must be long, int, byte or bool tensors"
        );
        return Ok(vec![to_dtype(&t, DType::I64)?]);
    }
    let (s, full) = (t.shape(), v.shape());
    for (i, &n) in s.iter().enumerate() {
        ensure!(
            full.get(dim + i) == Some(&n),
            index,
            "The shape of the mask {:?} at index {i} does not match the shape of the indexed tensor {:?} at index {}",
            s.as_slice(),
            full.as_slice(),
            dim + i
        );
    }
    if t.ndim() == 0 {
        return Err(Error::index("a 0-d mask is handled as a bool"));
    }
    let found = nonzero(&t)?;
    shape::unbind(&found, 1)
}

/// `nonzero()`: its size depends on the data, so it runs at once.
pub fn nonzero(x: &Tensor) -> Result<Tensor> {
    if x.ndim() == 0 {
        let n = usize::from(super::convert::item(x)?.is_true());
        return Tensor::empty(&[n, 0], DType::I64, x.device());
    }
    let device = x.device();
    let host = super::convert::copy_to_if(&x.detach(), Device::Cpu)?;
    let host = if x.dtype().is_storage() { super::convert::to_dtype(&host, DType::Bool)? } else { host };
    let n = crate::backend::nonzero_count(&crate::dispatch::window(&host)?)?;
    let out = Tensor::empty(&[n, x.ndim()], DType::I64, Device::Cpu)?;
    crate::dispatch::run_prim(&Prim::Nonzero, &[&host], std::slice::from_ref(&out), Device::Cpu)?;
    super::convert::copy_to_if(&out, device)
}

/// The advanced dims moved to the front, their indices broadcast; answers (tensor, indices, where the result's index
/// dims belong).
struct Advanced {
    x: Tensor,
    indices: Vec<Tensor>,
    /// Position of the index dims in the result when the advanced dims are adjacent.
    at: usize,
}

fn advanced(v: &Tensor, at: &[Option<Tensor>]) -> Result<Advanced> {
    let dims: Vec<usize> = (0..at.len()).filter(|&i| at[i].is_some()).collect();
    ensure!(!dims.is_empty(), index, "at least one index must be provided");
    let mut wide = Shape::new();
    for t in at.iter().flatten() {
        wide = broadcast(&wide, &t.shape()).map_err(|_| {
            let all: Vec<String> = at.iter().flatten().map(|t| t.shape_text()).collect();
            Error::index(format!(
                "shape mismatch: indexing tensors could not be broadcast together with shapes {}",
                all.join(", ")
            ))
        })?;
    }
    let indices: Vec<Tensor> =
        at.iter().flatten().map(|t| shape::expand_to(&t.detach(), &wide)).collect::<Result<_>>()?;
    let adjacent = dims.windows(2).all(|w| w[1] == w[0] + 1);
    let mut order: Shape = dims.iter().copied().collect();
    order.extend((0..v.ndim()).filter(|d| !dims.contains(d)));
    let x = if order.iter().enumerate().all(|(i, &d)| i == d) { v.clone() } else { shape::permute_raw(v, &order)? };
    Ok(Advanced { x, indices, at: if adjacent { dims[0] } else { 0 } })
}

/// `x[items]`.
pub fn get(x: &Tensor, items: &[Item]) -> Result<Tensor> {
    let items = zero_dim_masks(items)?;
    let (v, at) = views(x, &items)?;
    if at.iter().all(Option::is_none) {
        // a subscript always answers a new tensor
        return if v.same(x) { shape::alias(x) } else { Ok(v) };
    }
    index(&v, &at)
}

/// 0-d masks count as plain bools.
fn zero_dim_masks(items: &[Item]) -> Result<Cow<'_, [Item]>> {
    let mask = |t: &Tensor| t.ndim() == 0 && matches!(t.dtype(), DType::Bool | DType::U8);
    if !items.iter().any(|i| matches!(i, Item::Tensor(t) if mask(t))) {
        return Ok(Cow::Borrowed(items));
    }
    items
        .iter()
        .map(|i| match i {
            Item::Tensor(t) if mask(t) => Ok(Item::Bool(super::convert::item(t)?.is_true())),
            other => Ok(other.clone()),
        })
        .collect()
}

/// Indices as users give them, masks as positions: one int64 index (or None) per dim.
fn positions(v: &Tensor, at: &[Option<Tensor>]) -> Result<Vec<Option<Tensor>>> {
    let mut out = Vec::new();
    for t in at {
        match t {
            None => out.push(None),
            Some(t) => out.extend(expand_index(t, v, out.len())?.into_iter().map(Some)),
        }
    }
    ensure!(out.len() <= v.ndim(), index, "too many indices for tensor of dimension {} (got {})", v.ndim(), out.len());
    Ok(out)
}

/// Advanced indexing by an index (or None) per dim.
pub fn index(v: &Tensor, at: &[Option<Tensor>]) -> Result<Tensor> {
    let at = &positions(v, at)?;
    let a = advanced(v, at)?;
    let n = a.indices.len();
    let mut args: SmallVec<[&Tensor; 4]> = SmallVec::from_slice(&[&a.x]);
    args.extend(a.indices.iter());
    let r = prim1("IndexBackward0", Prim::Index { n }, &args)?;
    // the index dims go where the first advanced dim stood
    let k = a.indices[0].ndim();
    if a.at == 0 {
        return Ok(r);
    }
    let mut order: Shape = (k..k + a.at).collect();
    order.extend(0..k);
    order.extend(k + a.at..r.ndim());
    let y = shape::contiguous(&shape::permute_raw(&r, &order)?)?;
    let inputs: SmallVec<[&Tensor; 4]> = std::iter::once(v).chain(at.iter().flatten()).collect();
    crate::autograd::composite::collapse("IndexBackward0", &inputs, &[&y]);
    Ok(y)
}

/// `x[items] = value`.
pub fn set(x: &Tensor, items: &[Item], value: &Tensor) -> Result<()> {
    let items = zero_dim_masks(items)?;
    if items.iter().any(|i| matches!(i, Item::Bool(false))) {
        return Ok(());
    }
    if let ([Item::Tensor(mask)], 1) = (&items[..], value.numel())
        && mask.dtype() == DType::Bool
    {
        return put(x, &[Some(mask.clone())], value, false);
    }
    let (v, at) = views(x, &items)?;
    if at.iter().all(Option::is_none) {
        let value = drop_leading_ones(value, v.ndim())?;
        return inplace::copy_(&v, &value);
    }
    put(&v, &at, value, false)
}

fn drop_leading_ones(value: &Tensor, ndim: usize) -> Result<Tensor> {
    let mut value = value.clone();
    while value.ndim() > ndim && value.size(0) == 1 {
        value = shape::squeeze(&value, Some(&[0]))?;
    }
    Ok(value)
}

/// The mask of an index that is nothing else, as broadcast to `v`.
fn only_mask(v: &Tensor, at: &[Option<Tensor>]) -> Result<Option<Tensor>> {
    let mut masks = at.iter().enumerate().filter_map(|(d, t)| Some((d, t.as_ref()?)));
    let (Some((d, mask)), None) = (masks.next(), masks.next()) else { return Ok(None) };
    let (s, m) = (v.shape(), mask.shape());
    let fits = mask.dtype() == DType::Bool && s.get(d..d + m.len()) == Some(m.as_slice());
    if !fits || m.is_empty() || mask.device() != v.device() || crate::batch::any(&[v, mask]) {
        return Ok(None);
    }
    let mut full: Shape = m;
    full.resize(s.len() - d, 1);
    shape::reshape_to(mask, full).map(Some)
}

/// `index_put_`: writes (or adds) values at an index per dim.
pub fn put(v: &Tensor, at: &[Option<Tensor>], value: &Tensor, accumulate: bool) -> Result<()> {
    ensure!(
        value.dtype() == v.dtype() || (value.ndim() == 0 && !accumulate),
        runtime,
        "Index put requires the source and destination dtypes match, got {} for the destination and {} for the source.",
        v.dtype().cpp_name(),
        value.dtype().cpp_name()
    );
    let value = to_dtype(&to_device(value, v.device())?, v.dtype())?;
    if value.numel() == 1
        && !accumulate
        && let Some(mask) = only_mask(v, at)?
    {
        // no positions to look for
        let one = shape::reshape(&value, &[])?;
        return filled("IndexPutBackward0", v, &mask, Arg::T(&one), Some(v)).map(|_| ());
    }
    let at = &positions(v, at)?;
    let a = advanced(v, at)?;
    let k = a.indices[0].ndim();
    let tail = a.x.ndim() - a.indices.len();
    // the value's shape is that of the result of reading: index dims at `a.at`
    let mut want: Shape = a.x.shape()[a.indices.len()..].into();
    for (i, &s) in a.indices[0].shape().iter().enumerate() {
        want.insert(a.at + i, s);
    }
    let value = drop_leading_ones(&value, want.len())?;
    ensure!(
        broadcast(&value.shape(), &want).is_ok_and(|s| s == want),
        runtime,
        "shape mismatch: value tensor of shape {} cannot be broadcast to indexing result of shape {:?}",
        value.shape_text(),
        want.as_slice()
    );
    let value = shape::expand_to(&value, &want)?;
    let value = if a.at > 0 {
        let mut order: Shape = (a.at..a.at + k).collect();
        order.extend(0..a.at);
        order.extend(a.at + k..k + tail);
        shape::permute_raw(&value, &order)?
    } else {
        value
    };
    let p = Prim::IndexPut { n: a.indices.len(), accumulate };
    let mut args: SmallVec<[&Tensor; 4]> = SmallVec::from_slice(&[&a.x, &value]);
    args.extend(a.indices.iter());
    inplace::prim("IndexPutBackward0", &a.x, p, &args)
}

fn check_index_dtype(name: &str, index: &Tensor) -> Result<Tensor> {
    // an index without elements may have any dtype
    let good = matches!(index.dtype(), DType::I64 | DType::I32) || index.numel() == 0;
    ensure!(good, runtime, "{name}(): Expected dtype int64 for index");
    to_dtype(index, DType::I64)
}

fn at_least_1d(x: &Tensor) -> Result<Tensor> {
    if x.ndim() == 0 { shape::reshape(x, &[1]) } else { Ok(x.clone()) }
}

pub fn gather(x: &Tensor, dim: i64, index: &Tensor) -> Result<Tensor> {
    let axis = normalize_dim(dim, x.ndim())?;
    let index = check_index_dtype("gather", index)?;
    if index.numel() > 0 {
        ensure!(
            index.ndim().max(1) == x.ndim().max(1),
            runtime,
            "Index tensor must have the same number of dimensions as input tensor"
        );
        for d in 0..x.ndim().min(index.ndim()) {
            ensure!(
                d == axis || index.size(d) <= x.size(d),
                runtime,
                "Size does not match at dimension {d} expected index {} to be no larger than self {} apart from \
                 dimension \
                 {axis}",
                index.shape_text(),
                x.shape_text()
            );
        }
    }
    if index.numel() == 0 && x.ndim() != index.ndim() {
        // nothing of x, and part of its graph
        let none = shape::slice(&shape::reshape(x, &[-1])?, 0, Some(0), Some(0), 1)?;
        return shape::reshape_to(&none, index.shape());
    }
    let r = prim1("GatherBackward0", Prim::Gather { axis }, &[&at_least_1d(x)?, &at_least_1d(&index)?])?;
    shape::reshape_to(&r, index.shape())
}

/// Functional scatter; `src` is at least as large as `index` in every dim.
pub fn scatter(
    name: &'static str,
    x: &Tensor,
    dim: i64,
    index: &Tensor,
    src: &Tensor,
    op: ScatterOp,
) -> Result<Tensor> {
    let (index, src) = scatter_args(x, dim, index, src)?;
    if index.numel() == 0 {
        return shape::clone(x);
    }
    let axis = normalize_dim(dim, x.ndim())?;
    let r = prim1(name, Prim::Scatter { axis, op }, &[&at_least_1d(x)?, &index, &src])?;
    shape::reshape_to(&r, x.shape())
}

/// The same, into `x`.
pub fn scatter_(name: &'static str, x: &Tensor, dim: i64, index: &Tensor, src: &Tensor, op: ScatterOp) -> Result<()> {
    let (index, src) = scatter_args(x, dim, index, src)?;
    if index.numel() == 0 {
        return Ok(());
    }
    let axis = normalize_dim(dim, x.ndim())?;
    let target = at_least_1d(x)?;
    inplace::prim(name, &target, Prim::Scatter { axis, op }, &[&target, &index, &src])
}

fn scatter_args(x: &Tensor, dim: i64, index: &Tensor, src: &Tensor) -> Result<(Tensor, Tensor)> {
    let axis = normalize_dim(dim, x.ndim())?;
    let index = check_index_dtype("scatter", index)?;
    ensure!(src.dtype() == x.dtype(), runtime, "scatter(): Expected self.dtype to be equal to src.dtype");
    if index.numel() == 0 {
        return Ok((index, src.clone()));
    }
    let (n, m) = (x.ndim().max(1), index.ndim().max(1));
    ensure!(n == m, runtime, "Index tensor must have the same number of dimensions as self tensor");
    ensure!(src.ndim().max(1) == m, runtime, "Index tensor must have the same number of dimensions as src tensor");
    let (index, mut src) = (at_least_1d(&index)?, at_least_1d(src)?);
    let full = at_least_1d(x)?.shape();
    for d in 0..m {
        ensure!(
            (d == axis || index.size(d) <= full[d]) && index.size(d) <= src.size(d),
            runtime,
            "Expected index {} to be no larger than self {} apart from dimension {axis} and to be no larger size \
             than src {}",
            index.shape_text(),
            x.shape_text(),
            src.shape_text()
        );
    }
    for d in 0..m {
        if src.size(d) > index.size(d) {
            src = shape::slice(&src, d as i64, Some(0), Some(index.size(d) as i64), 1)?;
        }
    }
    Ok((index, src))
}

pub fn index_select(x: &Tensor, dim: i64, index: &Tensor) -> Result<Tensor> {
    let axis = normalize_dim(dim, x.ndim())?;
    ensure!(
        index.ndim() <= 1,
        index,
        "index_select(): Index is supposed to be a vector, but got dim: {}",
        index.ndim()
    );
    let index = check_index_dtype("index_select", index)?;
    if x.ndim() == 0 {
        let r =
            prim1("IndexSelectBackward0", Prim::IndexSelect { axis: 0 }, &[&at_least_1d(x)?, &at_least_1d(&index)?])?;
        return shape::reshape(&r, &[]);
    }
    prim1("IndexSelectBackward0", Prim::IndexSelect { axis }, &[x, &at_least_1d(&index)?])
}

/// `embedding(weight, indices)`: rows of the weight.
pub fn embedding(weight: &Tensor, indices: &Tensor) -> Result<Tensor> {
    ensure!(weight.ndim() == 2, runtime, "'weight' must be 2-D");
    ensure!(
        matches!(indices.dtype(), DType::I64 | DType::I32),
        runtime,
        "Expected tensor for argument #1 'indices' to have one of the following scalar types: Long, Int; but got \
         torch.{}Tensor instead (while checking arguments for embedding)",
        indices.dtype().cpp_name()
    );
    ensure!(
        weight.size(0) > 0 || indices.numel() == 0,
        runtime,
        "embedding(): indices of shape {:?} into a weight of shape {:?}, which has no rows",
        indices.shape().as_slice(),
        weight.shape().as_slice()
    );
    prim1("EmbeddingBackward0", Prim::IndexSelect { axis: 0 }, &[weight, &to_dtype(indices, DType::I64)?])
}

fn index_add_args(name: &str, x: &Tensor, dim: i64, index: &Tensor, src: &Tensor) -> Result<(usize, Tensor, Tensor)> {
    let axis = normalize_dim(dim, x.ndim())?;
    ensure!(index.ndim() <= 1, index, "{name}(): Index is supposed to be a vector");
    let index = at_least_1d(&check_index_dtype(name, index)?)?;
    ensure!(
        x.dtype() == src.dtype(),
        runtime,
        "{name}(): self ({}) and source ({}) must have the same scalar type",
        x.dtype().cpp_name(),
        src.dtype().cpp_name()
    );
    let (full, src) = (at_least_1d(x)?.shape(), at_least_1d(src)?);
    let fits = src.ndim() == full.len()
        && src.size(axis) == index.numel()
        && (0..full.len()).all(|d| d == axis || src.size(d) == full[d]);
    ensure!(
        fits,
        runtime,
        "{name}(): Number of indices ({}) should be equal to source.size(dim) ({}), and the other sizes to those of \
         self {} \
         (source {})",
        index.numel(),
        src.size(axis.min(src.ndim() - 1)),
        x.shape_text(),
        src.shape_text()
    );
    Ok((axis, index, src))
}

/// `index_add`, `index_copy`, `index_reduce` along a dim.
pub fn index_add(
    name: &'static str,
    x: &Tensor,
    dim: i64,
    index: &Tensor,
    src: &Tensor,
    op: ScatterOp,
) -> Result<Tensor> {
    let (axis, index, src) = index_add_args("index_add", x, dim, index, src)?;
    let r = prim1(name, Prim::IndexAdd { axis, op }, &[&at_least_1d(x)?, &index, &src])?;
    shape::reshape_to(&r, x.shape())
}

/// The slices at `index` along a dim set to a number, or to a 0-d tensor's. Indices may count from the end.
pub fn index_fill(x: &Tensor, dim: i64, index: &Tensor, value: Arg) -> Result<Tensor> {
    let axis = normalize_dim(dim, x.ndim())?;
    let mut sizes = x.shape();
    let size = [Arg::T(index), Arg::S(Scalar::Int(sizes[axis] as i64))];
    let index = compose("index_from_end", "", Rule::Same, &size, None, |a| {
        let from_end = ex::logical_and(ex::lt(a[0], a[0].lit(0.0)), ex::ge(a[0], -a[1]));
        ex::where_(from_end, a[0] + a[1], a[0])
    })?;
    sizes[axis] = index.numel();
    let value = match value {
        Arg::S(s) => {
            s.check_fits(x.dtype(), "index_fill_")?;
            super::factory::full(&[], s, x.dtype(), x.device())?
        }
        Arg::T(t) => to_dtype(t, x.dtype())?,
    };
    index_add("IndexFillBackward0", x, dim, &index, &shape::expand_to(&value, &sizes)?, ScatterOp::Set)
}

pub fn index_add_(name: &'static str, x: &Tensor, dim: i64, index: &Tensor, src: &Tensor, op: ScatterOp) -> Result<()> {
    let (axis, index, src) = index_add_args("index_add_", x, dim, index, src)?;
    let target = at_least_1d(x)?;
    inplace::prim(name, &target, Prim::IndexAdd { axis, op }, &[&target, &index, &src])
}

/// `masked_select`: the elements where the mask holds, as a vector.
pub fn masked_select(x: &Tensor, mask: &Tensor) -> Result<Tensor> {
    ensure!(
        mask.dtype() == DType::Bool,
        runtime,
        "masked_select: expected BoolTensor for mask, got {}",
        mask.dtype().cpp_name()
    );
    let s = broadcast(&x.shape(), &mask.shape())?;
    let (x, mask) = (shape::expand_to(x, &s)?, shape::expand_to(mask, &s)?);
    // one position for each element, not one per dimension; a scalar has one element
    let flat = |t: &Tensor| shape::reshape(t, &[-1]);
    get(&flat(&x)?, &[Item::Tensor(flat(&mask)?)])
}

/// Values and positions of an order along a dim.
pub fn sort(x: &Tensor, dim: i64, descending: bool, stable: bool) -> Result<(Tensor, Tensor)> {
    if x.dtype().is_complex() {
        return Err(super::pointwise::not_implemented("sort", x.dtype()));
    }
    let axis = normalize_dim(dim, x.ndim())?;
    let one = at_least_1d(x)?;
    if let Some(key) = signed_order(&one)? {
        let (_, index) = sort(&key, dim, descending, stable)?;
        return pair(SmallVec::from_iter([prim1("", Prim::Gather { axis }, &[&one, &index])?, index]), x.shape());
    }
    pair(prim("SortBackward0", Prim::Sort { axis, descending, stable }, &[&one])?, x.shape())
}

/// Signed integers in the order of a wider unsigned dtype's, None for the other dtypes.
fn signed_order(x: &Tensor) -> Result<Option<Tensor>> {
    if !x.dtype().is_storage() || !x.dtype().is_int() {
        return Ok(None);
    }
    let wide = super::convert::to_dtype(&x.detach(), DType::I64)?;
    if x.dtype() != DType::U64 {
        return Ok(Some(wide));
    }
    let top = Scalar::Int(i64::MIN);
    super::binary(ScalarOp::BitXor, super::Arg::T(&wide), super::Arg::S(top)).map(Some)
}

/// The k largest or smallest, always sorted: where that is not asked for, PyTorch leaves the order open.
pub fn topk(x: &Tensor, k: i64, dim: i64, largest: bool) -> Result<(Tensor, Tensor)> {
    if x.dtype().is_complex() || x.dtype() == DType::Bool {
        return Err(super::pointwise::not_implemented("topk", x.dtype()));
    }
    let axis = normalize_dim(dim, x.ndim())?;
    let n = if x.ndim() == 0 { 1 } else { x.size(axis) };
    ensure!((0..=n as i64).contains(&k), runtime, "selected index k out of range");
    let one = at_least_1d(x)?;
    let mut s = x.shape();
    // a number has one value to give, even where none was asked for
    let k = if s.is_empty() { 1 } else { k as usize };
    if !s.is_empty() {
        s[axis] = k;
    }
    pair(prim("TopkBackward0", Prim::TopK { k, axis, largest, sorted: true }, &[&one])?, s)
}

/// Positions of the k-th smallest elements (k from 1 on) along a dim, which stays with size 1: the first of equal ones,
/// NaN being the largest.
pub fn kth_position(x: &Tensor, k: i64, dim: i64) -> Result<Tensor> {
    let axis = normalize_dim(dim, x.ndim())?;
    let n = x.shape().get(axis).copied().unwrap_or(0);
    ensure!((1..=n as i64).contains(&k), runtime, "kth_position: {k} of {n} elements");
    let k = k as usize;
    let mut found = prim("", Prim::TopK { k, axis, largest: false, sorted: false }, &[&x.detach()])?;
    let at = found.pop().ok_or_else(|| Error::runtime("positions are missing"))?;
    shape::narrow(&at, axis as i64, k as i64 - 1, 1)
}

fn pair(mut r: SmallVec<[Tensor; 3]>, s: Shape) -> Result<(Tensor, Tensor)> {
    let index = r.pop().ok_or_else(|| Error::runtime("positions are missing"))?;
    let values = r.pop().ok_or_else(|| Error::runtime("values are missing"))?;
    Ok((shape::reshape_to(&values, s.clone())?, shape::reshape_to(&index, s)?))
}
