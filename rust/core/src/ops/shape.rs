//! Shape operators: views with PyTorch's checks, copies in a memory order, joining and splitting.

use rtorch_ir::layout::{Layout, copied, normalize_dim};
use rtorch_ir::shape::infer_size;
use rtorch_ir::{DType, Error, Prim, Result, Shape, ensure};
use smallvec::SmallVec;

use crate::dispatch;
use crate::kernel;
use crate::tensor::{Parts, Tensor};
use crate::view::ViewOp;

fn view(name: &'static str, op: ViewOp, x: &Tensor) -> Result<Tensor> {
    dispatch::view(name, op, x)?.ok_or_else(|| {
        Error::runtime(
            "view size is not compatible with input tensor's size and stride (at least one dimension spans across two \
             contiguous subspaces). Use .reshape(...) instead.",
        )
    })
}

pub fn view_as_shape(x: &Tensor, sizes: &[i64]) -> Result<Tensor> {
    let shape = infer_size(sizes, x.numel())?;
    view("ViewBackward0", ViewOp::Reshape { shape }, x)
}

/// A view where the strides allow one, else a copy.
pub fn reshape(x: &Tensor, sizes: &[i64]) -> Result<Tensor> {
    let shape = infer_size(sizes, x.numel())?;
    reshape_to(x, shape)
}

pub fn reshape_to(x: &Tensor, shape: Shape) -> Result<Tensor> {
    reshape_named("ViewBackward0", x, shape)
}

/// `reshape_to`, called `name` in the graph where it is a view.
pub fn reshape_named(name: &'static str, x: &Tensor, shape: Shape) -> Result<Tensor> {
    match dispatch::view(name, ViewOp::Reshape { shape: copied(&shape) }, x)? {
        Some(v) => Ok(v),
        None => view("UnsafeViewBackward0", ViewOp::Reshape { shape }, &clone_contiguous(x)?),
    }
}

pub fn permute(x: &Tensor, dims: &[i64]) -> Result<Tensor> {
    ensure!(
        dims.len() == x.ndim(),
        runtime,
        "permute(sparse_coo): number of dimensions in the tensor input does not match the length of the desired \
         ordering \
         of dimensions i.e. input.dim() = {} is not equal to len(dims) = {}",
        x.ndim(),
        dims.len()
    );
    let mut out = Shape::new();
    for &d in dims {
        let d = normalize_dim(d, x.ndim())?;
        ensure!(!out.contains(&d), runtime, "permute(): duplicate dims are not allowed.");
        out.push(d);
    }
    view("PermuteBackward0", ViewOp::Permute { dims: out }, x)
}

/// A permutation known to be one.
pub fn permute_raw(x: &Tensor, dims: &[usize]) -> Result<Tensor> {
    view("PermuteBackward0", ViewOp::Permute { dims: Shape::from_slice(dims) }, x)
}

/// Dimensions moved to new places, the others in their order.
pub fn movedim(x: &Tensor, source: &[i64], destination: &[i64]) -> Result<Tensor> {
    ensure!(
        source.len() == destination.len(),
        runtime,
        "movedim: Invalid source or destination dims: source ({} dims) should contain the same number of dims as \
         destination ({} dims)",
        source.len(),
        destination.len()
    );
    let n = x.ndim();
    let dims = |l: &[i64]| l.iter().map(|&d| normalize_dim(d, n)).collect::<Result<Shape>>();
    let (from, to) = (dims(source)?, dims(destination)?);
    let repeated = |l: &Shape| (1..l.len()).any(|i| l[..i].contains(&l[i]));
    ensure!(
        !repeated(&from) && !repeated(&to),
        runtime,
        "movedim: repeated dim in `source` or `destination` ({:?}, {:?})",
        from.as_slice(),
        to.as_slice()
    );
    if n == 0 {
        return view_as_shape(x, &[]);
    }
    let mut rest = (0..n).filter(|d| !from.contains(d));
    let order: Shape =
        (0..n).filter_map(|d| to.iter().position(|&t| t == d).map(|k| from[k]).or_else(|| rest.next())).collect();
    permute_raw(x, &order)
}

pub fn transpose(x: &Tensor, a: i64, b: i64) -> Result<Tensor> {
    transpose_named("TransposeBackward0", x, a, b)
}

fn transpose_named(name: &'static str, x: &Tensor, a: i64, b: i64) -> Result<Tensor> {
    let n = x.ndim();
    let (a, b) = (normalize_dim(a, n)?, normalize_dim(b, n)?);
    let mut dims: Shape = (0..n).collect();
    if n > 0 {
        dims.swap(a, b);
    }
    view(name, ViewOp::Permute { dims }, x)
}

pub fn t(x: &Tensor) -> Result<Tensor> {
    let n = x.ndim();
    ensure!(n <= 2, runtime, "t() expects a tensor with <= 2 dimensions, but self is {n}D");
    if n < 2 { view("TBackward0", ViewOp::Alias, x) } else { transpose_named("TBackward0", x, 0, 1) }
}

/// The last two dimensions swapped; a scalar as it is.
pub fn mt(x: &Tensor) -> Result<Tensor> {
    if x.ndim() == 0 {
        return alias(x);
    }
    transpose(x, -1, -2)
}

pub fn expand(x: &Tensor, sizes: &[i64]) -> Result<Tensor> {
    let have = x.shape();
    ensure!(
        sizes.len() >= have.len(),
        runtime,
        "expand(torch.{}Tensor{{{:?}}}, size={sizes:?}): the number of sizes provided ({}) must be greater or equal \
         to the \
         number of dimensions in the tensor ({})",
        x.dtype().cpp_name(),
        have.as_slice(),
        sizes.len(),
        have.len()
    );
    let lead = sizes.len() - have.len();
    let mut shape = Shape::new();
    for (i, &s) in sizes.iter().enumerate() {
        if s == -1 {
            ensure!(
                i >= lead,
                runtime,
                "The expanded size of the tensor ({s}) isn't allowed in a leading, non-existing dimension {i}"
            );
            shape.push(have[i - lead]);
        } else {
            ensure!(s >= 0, runtime, "expand: size {s} at dimension {i} is negative");
            shape.push(s as usize);
        }
    }
    expand_to(x, &shape)
}

pub fn expand_to(x: &Tensor, shape: &[usize]) -> Result<Tensor> {
    if x.with(|p| p.layout.shape.as_slice() == shape) {
        return view("ExpandBackward0", ViewOp::Alias, x);
    }
    view("ExpandBackward0", ViewOp::Expand { shape: Shape::from_slice(shape) }, x)
}

pub fn unsqueeze(x: &Tensor, dim: i64) -> Result<Tensor> {
    let dim = normalize_dim(dim, x.ndim() + 1)?;
    view("UnsqueezeBackward0", ViewOp::Unsqueeze { dim }, x)
}

/// Without the dims of size 1 among `dims` (all when None).
pub fn squeeze(x: &Tensor, dims: Option<&[i64]>) -> Result<Tensor> {
    let shape = x.shape();
    let mut out = Shape::new();
    match dims {
        None => out.extend((0..shape.len()).filter(|&d| shape[d] == 1)),
        Some(dims) => {
            for &d in dims {
                let d = normalize_dim(d, shape.len())?;
                if shape.get(d) == Some(&1) && !out.contains(&d) {
                    out.push(d);
                }
            }
            out.sort_unstable();
        }
    }
    let name = match dims {
        None => "SqueezeBackward0",
        Some([_]) => "SqueezeBackward1",
        Some(_) => "SqueezeBackward2",
    };
    view(name, ViewOp::Squeeze { dims: out }, x)
}

/// x without dim `d` of one element, called `name` in the graph.
pub fn squeeze_named(name: &'static str, x: &Tensor, d: usize) -> Result<Tensor> {
    view(name, ViewOp::Squeeze { dims: SmallVec::from_slice(&[d]) }, x)
}

pub fn flatten(x: &Tensor, start: i64, end: i64) -> Result<Tensor> {
    let n = x.ndim();
    let (a, b) = (normalize_dim(start, n)?, normalize_dim(end, n)?);
    ensure!(a <= b, runtime, "flatten() has invalid args: start_dim cannot come after end_dim");
    let shape = x.shape();
    if n == 0 {
        return reshape_to(x, SmallVec::from_slice(&[1]));
    }
    if a == b {
        return Ok(x.clone());
    }
    let mut out = Shape::from_slice(&shape[..a]);
    out.push(shape[a..=b].iter().product());
    out.extend_from_slice(&shape[b + 1..]);
    reshape_to(x, out)
}

/// `x[..., start:end:step, ...]` along a dim, with Python's clamping of negative and large bounds.
pub fn slice(x: &Tensor, dim: i64, start: Option<i64>, end: Option<i64>, step: i64) -> Result<Tensor> {
    ensure!(x.ndim() > 0, runtime, "slice() cannot be applied to a 0-dim tensor.");
    ensure!(step > 0, value, "step must be greater than zero");
    let dim = normalize_dim(dim, x.ndim())?;
    let n = x.size(dim) as i64;
    let clamp = |v: i64| (if v < 0 { v + n } else { v }).clamp(0, n);
    let (a, b) = (clamp(start.unwrap_or(0)), clamp(end.unwrap_or(n)));
    let (start, end) = (a as usize, b.max(a) as usize);
    view("SliceBackward0", ViewOp::Slice { dim, start, end, step: step as usize }, x)
}

pub fn select(x: &Tensor, dim: i64, index: i64) -> Result<Tensor> {
    ensure!(x.ndim() > 0, index, "select() cannot be applied to a 0-dim tensor.");
    let dim = normalize_dim(dim, x.ndim())?;
    let n = x.size(dim) as i64;
    ensure!((-n..n).contains(&index), index, "index {index} is out of bounds for dimension {dim} with size {n}");
    let index = if index < 0 { index + n } else { index } as usize;
    view("SelectBackward0", ViewOp::Select { dim, index }, x)
}

pub fn narrow(x: &Tensor, dim: i64, start: i64, length: i64) -> Result<Tensor> {
    ensure!(x.ndim() > 0, runtime, "narrow() cannot be applied to a 0-dim tensor.");
    ensure!(length >= 0, runtime, "narrow(): length must be non-negative.");
    let d = normalize_dim(dim, x.ndim())?;
    let n = x.size(d) as i64;
    ensure!(
        (-n..=n).contains(&start),
        index,
        "start out of range (expected to be in range of [{}, {n}], but got {start})",
        -n
    );
    let start = if start < 0 { start + n } else { start };
    ensure!(start + length <= n, runtime, "start ({start}) + length ({length}) exceeds dimension size ({n}).");
    slice(x, dim, Some(start), Some(start + length), 1)
}

pub fn diagonal(x: &Tensor, offset: i64, dim1: i64, dim2: i64) -> Result<Tensor> {
    let (a, b) = (normalize_dim(dim1, x.ndim())?, normalize_dim(dim2, x.ndim())?);
    ensure!(a != b, runtime, "diagonal dimensions cannot be identical {dim1}, {dim2}");
    view("DiagonalBackward0", ViewOp::Diagonal { offset, dim1: a, dim2: b }, x)
}

pub fn unfold(x: &Tensor, dim: i64, size: i64, step: i64) -> Result<Tensor> {
    let d = normalize_dim(dim, x.ndim())?;
    let n = if x.ndim() == 0 { 1 } else { x.size(d) as i64 };
    ensure!(size >= 0, runtime, "size is {size} but must be >= 0");
    ensure!(size <= n, runtime, "maximum size for tensor at dimension {d} is {n} but size is {size}");
    ensure!(step > 0, runtime, "step is {step} but must be > 0");
    view("UnfoldBackward0", ViewOp::Unfold { dim: d, size: size as usize, step: step as usize }, x)
}

/// The layout of a window of `bytes` bytes of memory, or PyTorch's refusal of one that does not lie inside.
pub fn checked_window(
    name: &str,
    sizes: &[i64],
    strides: &[i64],
    offset: i64,
    dtype: DType,
    bytes: usize,
) -> Result<Layout> {
    ensure!(
        sizes.len() == strides.len(),
        runtime,
        "mismatch in length of strides and shape: {} strides, {} sizes",
        strides.len(),
        sizes.len()
    );
    let shape = crate::ops::factory::checked_shape(sizes)?;
    ensure!(
        strides.iter().all(|&s| s >= 0),
        runtime,
        "{name}: Negative strides are not supported at the moment, got strides: {strides:?}"
    );
    ensure!(offset >= 0, runtime, "Tensor: invalid storage offset {offset}");
    let last = shape.iter().zip(strides).fold(offset as i128, |last, (&n, &s)| {
        // beyond any memory, but not beyond the type
        (last + (n as i128 - 1).max(0) * s as i128).min(i64::MAX as i128)
    });
    let size = dtype.size();
    ensure!(
        shape.contains(&0) || last < (bytes / size) as i128,
        runtime,
        "setStorage: sizes {sizes:?}, strides {strides:?}, storage offset {offset}, and itemsize {size} requiring a \
         storage size of {} are out of bounds for storage of size {bytes}",
        (last + 1) * size as i128
    );
    Ok(Layout { shape, strides: strides.iter().map(|&s| s as isize).collect(), offset: offset as usize })
}

pub fn as_strided(x: &Tensor, sizes: &[i64], strides: &[i64], offset: Option<i64>) -> Result<Tensor> {
    let offset = offset.unwrap_or_else(|| x.layout().offset as i64);
    let layout = checked_window("as_strided", sizes, strides, offset, x.dtype(), x.storage().len())?;
    view("AsStridedBackward0", ViewOp::AsStrided { layout }, x)
}

/// The same bytes as another dtype.
pub fn view_dtype(x: &Tensor, dtype: DType) -> Result<Tensor> {
    if x.dtype() == dtype {
        return view("AliasBackward0", ViewOp::Alias, x);
    }
    dispatch::view("ViewDtype", ViewOp::Dtype { dtype }, x)?.ok_or_else(|| {
        Error::runtime(format!(
            "self.size(-1) must be divisible by {} to view {} as {} (different element sizes), and self.stride(-1) \
             must be 1",
            dtype.size() as f64 / x.dtype().size() as f64,
            x.dtype().cpp_name(),
            dtype.cpp_name()
        ))
    })
}

/// A new handle on the same memory and history.
pub fn alias(x: &Tensor) -> Result<Tensor> {
    view("AliasBackward0", ViewOp::Alias, x)
}

// ---- copies

/// A copy with a given dense layout of the same shape.
fn copy_with(name: &'static str, x: &Tensor, layout: Layout) -> Result<Tensor> {
    let dtype = x.dtype();
    dispatch::map_with_layout(name, kernel::cast(dtype, dtype), x, layout)
}

/// `clone()`: memory order kept.
pub fn clone(x: &Tensor) -> Result<Tensor> {
    copy_with("CloneBackward0", x, crate::ops::factory::like_layout(x))
}

/// A copy with the memory order of a layout of the same shape.
pub fn clone_like(x: &Tensor, like: &Layout) -> Result<Tensor> {
    let strides =
        if like.shape == x.shape() { like.dense_strides_like() } else { crate::ops::factory::like_layout(x).strides };
    copy_with("CloneBackward0", x, Layout { shape: x.shape(), strides, offset: 0 })
}

pub fn clone_contiguous(x: &Tensor) -> Result<Tensor> {
    copy_with("CloneBackward0", x, Layout::contiguous(&x.shape()))
}

/// The tensor itself when it is row-major.
pub fn contiguous(x: &Tensor) -> Result<Tensor> {
    if x.is_contiguous() { Ok(x.clone()) } else { clone_contiguous(x) }
}

/// Channels-last memory order of 4 or 5 dimensions.
pub fn contiguous_channels_last(x: &Tensor) -> Result<Tensor> {
    if x.with(|p| p.layout.is_channels_last()) {
        return Ok(x.clone());
    }
    copy_channels_last(x)
}

/// A copy whose strides say that channels come last, whatever sizes of 1 leave open.
pub fn copy_channels_last(x: &Tensor) -> Result<Tensor> {
    let shape = x.shape();
    let n = shape.len();
    ensure!(n == 4 || n == 5, runtime, "required rank {} tensor to use channels_last format", 4);
    let mut order: Shape = SmallVec::from_slice(&[0]);
    order.extend(2..n);
    order.push(1);
    let mut strides: rtorch_ir::Strides = SmallVec::from_elem(0, n);
    let mut step = 1isize;
    for &d in order.iter().rev() {
        strides[d] = step;
        step *= shape[d].max(1) as isize;
    }
    copy_with("CloneBackward0", x, Layout { shape, strides, offset: 0 })
}

/// Reversed along dims (a copy, as in PyTorch).
pub fn flip(x: &Tensor, dims: &[i64]) -> Result<Tensor> {
    let dims = rtorch_ir::layout::normalize_dims(dims, x.ndim())?;
    if x.device().is_cpu() && !crate::batch::any(&[x]) {
        let backwards = x.parts();
        let layout = backwards.layout.flip(&dims);
        let view = Tensor::from_parts(Parts { layout, ..backwards });
        let out = copy_with("", &view, crate::ops::factory::like_layout(x))?;
        let back: SmallVec<[i64; 4]> = dims.iter().map(|&d| d as i64).collect();
        one_node("FlipBackward0", x, std::slice::from_ref(&out), move |g| flip(&g[0], &back))?;
        return Ok(out);
    }
    // as indices along each dim: the shaders know no strides below zero
    let mut out = clone(x)?;
    for d in dims {
        let n = out.size(d) as i64;
        let index =
            crate::ops::factory::arange((n - 1).into(), (-1i64).into(), (-1i64).into(), DType::I64, x.device())?;
        out = dispatch::prim1("FlipBackward0", Prim::IndexSelect { axis: d }, &[&out, &index])?;
    }
    Ok(out)
}

/// Matrices of one dtype on the diagonal of a larger one.
pub fn block_diag(xs: &[Tensor]) -> Result<Tensor> {
    let sizes: Vec<[i64; 2]> = xs.iter().map(|x| [x.size(0) as i64, x.size(1) as i64]).collect();
    let width: i64 = sizes.iter().map(|s| s[1]).sum();
    let refs: Vec<&Tensor> = xs.iter().collect();
    let mut at = [0i64; 2];
    if crate::batch::any(&refs) {
        let mut rows = Vec::new();
        for (x, [h, w]) in xs.iter().zip(&sizes) {
            let none = |n: i64| crate::ops::factory::zeros(&[*h as usize, n as usize], x.dtype(), x.device());
            rows.push(cat(&[none(at[1])?, x.clone(), none(width - at[1] - w)?], 1)?);
            at[1] += w;
        }
        return cat(&rows, 0);
    }
    let height: i64 = sizes.iter().map(|s| s[0]).sum();
    let shape = [height as usize, width as usize];
    crate::tensor::checked_bytes(&shape, xs[0].dtype())?;
    let out = crate::ops::factory::zeros(&shape, xs[0].dtype(), xs[0].device())?;
    for (x, [h, w]) in xs.iter().zip(&sizes) {
        crate::inplace::copy_(&narrow(&narrow(&out, 0, at[0], *h)?, 1, at[1], *w)?, &x.detach())?;
        at = [at[0] + h, at[1] + w];
    }
    super::nn::rule::record("BlockDiagBackward0", &refs, &[&out], &[], move |b| {
        let (g, mut at) = (b.grad(0)?, [0i64; 2]);
        let mut made = Vec::new();
        for [h, w] in &sizes {
            made.push(Some(narrow(&narrow(&g, 0, at[0], *h)?, 1, at[1], *w)?));
            at = [at[0] + h, at[1] + w];
        }
        Ok(made)
    })?;
    Ok(out)
}

/// Joined along a dim; 1-d empty tensors are skipped as in PyTorch.
pub fn cat(xs: &[Tensor], dim: i64) -> Result<Tensor> {
    ensure!(!xs.is_empty(), value, "torch.cat(): expected a non-empty list of Tensors");
    let args: Vec<crate::ops::Arg> = xs.iter().map(crate::ops::Arg::T).collect();
    let dtype = crate::ops::pointwise::result_type(&args)?;
    for (i, x) in xs.iter().enumerate() {
        ensure!(x.ndim() > 0, runtime, "zero-dimensional tensor (at position {i}) cannot be concatenated");
    }
    let skipped = |x: &Tensor| x.ndim() == 1 && x.size(0) == 0;
    let lead = xs.iter().find(|x| !skipped(x)).unwrap_or(&xs[0]);
    let axis = normalize_dim(dim, lead.ndim())?;
    let want = lead.shape();
    let mut parts: Vec<Tensor> = Vec::with_capacity(xs.len());
    for (i, x) in xs.iter().enumerate() {
        if skipped(x) && want.len() != 1 {
            // not seen in the result, and part of its graph
            if crate::autograd::record::wanted(&[x]) {
                let mut none = want.clone();
                none[axis] = 0;
                parts.push(crate::ops::convert::to_dtype(&reshape_to(x, none)?, dtype)?);
            }
            continue;
        }
        let shape = x.shape();
        ensure!(
            shape.len() == want.len(),
            runtime,
            "Tensors must have same number of dimensions: got {} and {}",
            want.len(),
            shape.len()
        );
        for d in (0..want.len()).filter(|&d| d != axis) {
            ensure!(
                shape[d] == want[d],
                runtime,
                "Sizes of tensors must match except in dimension {axis}. Expected size {} but got size {} for tensor \
                 number {i} in the list.",
                want[d],
                shape[d]
            );
        }
        parts.push(crate::ops::convert::to_dtype(x, dtype)?);
    }
    if parts.is_empty() {
        return crate::ops::convert::to_dtype(lead, dtype);
    }
    let refs: SmallVec<[&Tensor; 4]> = parts.iter().collect();
    ensure!(
        refs.iter().try_fold(0usize, |n, x| n.checked_add(x.size(axis))).is_some(),
        runtime,
        "cat: the sizes in dimension {axis} add up to more than a size can be"
    );
    dispatch::prim1("CatBackward0", Prim::Cat { axis }, &refs)
}

pub fn stack(xs: &[Tensor], dim: i64) -> Result<Tensor> {
    ensure!(!xs.is_empty(), runtime, "stack expects a non-empty TensorList");
    let shape = xs[0].shape();
    for (i, x) in xs.iter().enumerate() {
        ensure!(
            x.shape() == shape,
            runtime,
            "stack expects each tensor to be equal size, but got {:?} at entry 0 and {:?} at entry {i}",
            shape.as_slice(),
            x.shape().as_slice()
        );
    }
    let d = normalize_dim(dim, shape.len() + 1)? as i64;
    let parts: Vec<Tensor> = xs.iter().map(|x| unsqueeze(x, d)).collect::<Result<_>>()?;
    cat(&parts, d)
}

/// Pieces of `sizes` along a dim, as views.
pub fn split_sizes(x: &Tensor, sizes: &[i64], dim: i64) -> Result<Vec<Tensor>> {
    let d = normalize_dim(dim, x.ndim())?;
    ensure!(x.ndim() > 0, runtime, "split expects at least a 1-dimensional tensor");
    let n = x.size(d) as i64;
    ensure!(
        sizes.iter().sum::<i64>() == n && sizes.iter().all(|&s| s >= 0),
        runtime,
        "split_with_sizes expects split_sizes to sum exactly to {n} (input tensor's size at dimension {d}), but got \
         split_sizes={sizes:?}"
    );
    pieces("SplitWithSizesBackward0", x, sizes, d)
}

/// Are there more views asked for than any memory holds (of an empty dimension, or one of stride 0)?
fn check_pieces(name: &str, count: i64) -> Result<()> {
    const MOST: i64 = 1 << 26;
    ensure!(count <= MOST, runtime, "{name}: not enough memory for {count} views");
    Ok(())
}

/// Pieces along a dimension: views that are the outputs of one node, whose gradient is one concatenation.
fn pieces(name: &'static str, x: &Tensor, sizes: &[i64], d: usize) -> Result<Vec<Tensor>> {
    let mut at = 0;
    let made: Vec<Tensor> = sizes
        .iter()
        .map(|&s| {
            at += s;
            slice(x, d as i64, Some(at - s), Some(at), 1)
        })
        .collect::<Result<_>>()?;
    one_node(name, x, &made, move |parts| cat(&parts, d as i64))?;
    Ok(made)
}

/// Views of one tensor as the outputs of one node; `join` puts their cotangents together.
fn one_node(
    name: &'static str,
    x: &Tensor,
    made: &[Tensor],
    join: impl Fn(Vec<Tensor>) -> Result<Tensor> + Send + Sync + 'static,
) -> Result<()> {
    let (refs, n): (Vec<&Tensor>, usize) = (made.iter().collect(), made.len());
    super::nn::rule::record(name, &[x], &refs, &[], move |b| {
        let parts = (0..n).map(|i| b.grad(i)).collect::<Result<_>>()?;
        Ok(vec![Some(join(parts)?)])
    })
}

pub fn split(x: &Tensor, size: i64, dim: i64) -> Result<Vec<Tensor>> {
    ensure!(x.ndim() > 0, runtime, "split expects at least a 1-dimensional tensor");
    ensure!(size >= 0, runtime, "split expects split_size be non-negative, but got split_size={size}");
    let d = normalize_dim(dim, x.ndim())?;
    let n = x.size(d) as i64;
    ensure!(
        size > 0 || n == 0,
        runtime,
        "split_size can only be 0 if dimension size is 0, but got dimension size of {n}"
    );
    let count = if size == 0 { 1 } else { (n / size + i64::from(n % size != 0)).max(1) };
    check_pieces("split", count)?;
    let sizes: Vec<i64> = (0..count).map(|i| size.min(n - i * size).max(0)).collect();
    pieces("SplitBackward0", x, &sizes, d)
}

pub fn chunk(x: &Tensor, chunks: i64, dim: i64) -> Result<Vec<Tensor>> {
    ensure!(x.ndim() > 0, runtime, "chunk expects at least a 1-dimensional tensor");
    ensure!(chunks > 0, runtime, "chunk expects `chunks` to be greater than 0, got: {chunks}");
    let d = normalize_dim(dim, x.ndim())?;
    let n = x.size(d) as i64;
    if n == 0 {
        check_pieces("chunk", chunks)?;
        return split_sizes(x, &vec![0; chunks as usize], dim);
    }
    split(x, n / chunks + i64::from(n % chunks != 0), dim)
}

pub fn unbind(x: &Tensor, dim: i64) -> Result<Vec<Tensor>> {
    ensure!(x.ndim() > 0, index, "Dimension specified as {dim} but tensor has no dimensions");
    let d = normalize_dim(dim, x.ndim())?;
    check_pieces("unbind", x.size(d) as i64)?;
    let made: Vec<Tensor> = (0..x.size(d)).map(|i| select(x, d as i64, i as i64)).collect::<Result<_>>()?;
    if !made.is_empty() {
        one_node("UnbindBackward0", x, &made, move |parts| stack(&parts, d as i64))?;
    }
    Ok(made)
}
