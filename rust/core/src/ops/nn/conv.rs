//! Convolutions and transposed convolutions of 1 to 3 spatial dims over `Prim::Conv` and `Prim::ConvGradInput`:
//! PyTorch's checks, unbatched inputs, string padding.

use rtorch_ir::prim::{ConvParams, Spatial};
use rtorch_ir::{DType, Prim, Result, Scalar, Shape, ensure};
use smallvec::SmallVec;

use super::{push, sizes_text};
use crate::dispatch::prim1;
use crate::ops::convert::to_dtype;
use crate::ops::pointwise::{Arg, Rule, compose};
use crate::ops::{complex, factory, shape};
use crate::tensor::Tensor;

const NAME: &str = "ConvolutionBackward0";

/// `padding=`
#[derive(Clone, Debug)]
pub enum Padding {
    Sizes(Vec<i64>),
    Same,
    Valid,
}

/// The numbers of a convolution: one per spatial dim, or one for all.
#[derive(Clone, Debug)]
pub struct Conv {
    pub dims: usize,
    pub stride: Vec<i64>,
    pub padding: Padding,
    pub dilation: Vec<i64>,
    pub groups: i64,
}

fn spatial(name: &str, v: &[i64], n: usize) -> Result<Vec<i64>> {
    ensure!(
        v.len() == n || v.len() == 1,
        runtime,
        "expected {name} to be a single integer value or a list of {n} values to match the convolution dimensions, but \
         got {name}={v:?}"
    );
    Ok(if v.len() == n { v.to_vec() } else { vec![v[0]; n] })
}

/// Stride, padding, dilation, checked.
fn params(c: &Conv, padding: &[i64]) -> Result<ConvParams> {
    let stride = spatial("stride", &c.stride, c.dims)?;
    let padding = spatial("padding", padding, c.dims)?;
    let dilation = spatial("dilation", &c.dilation, c.dims)?;
    ensure!(padding.iter().all(|&p| p >= 0), runtime, "negative padding is not supported");
    ensure!(stride.iter().all(|&s| s > 0), runtime, "non-positive stride is not supported");
    ensure!(dilation.iter().all(|&d| d > 0), runtime, "dilation should be greater than zero");
    ensure!(c.groups > 0, runtime, "non-positive groups is not supported");
    let all = |v: Vec<i64>| v.into_iter().map(|s| s as usize).collect::<Spatial>();
    Ok(ConvParams { stride: all(stride), padding: all(padding), dilation: all(dilation), groups: c.groups as usize })
}

fn check_types(x: &Tensor, w: &Tensor, bias: Option<&Tensor>) -> Result<()> {
    let name = |t: &Tensor| format!("torch.{}Tensor", t.dtype().cpp_name());
    ensure!(
        x.dtype() == w.dtype(),
        runtime,
        "Input type ({}) and weight type ({}) should be the same",
        name(x),
        name(w)
    );
    if let Some(b) = bias {
        ensure!(
            x.dtype() == b.dtype(),
            runtime,
            "Input type ({}) and bias type ({}) should be the same",
            name(x),
            name(b)
        );
    }
    if !x.dtype().is_float() && !x.dtype().is_complex() {
        return Err(crate::ops::pointwise::not_implemented("slow_conv2d", x.dtype()));
    }
    Ok(())
}

/// The same over integers, where the three tensors are: in float64, which is exact as far as 2^53, wrapped like sums of
/// the dtype.
fn integral(
    x: &Tensor,
    w: &Tensor,
    bias: Option<&Tensor>,
    run: impl FnOnce(&Tensor, &Tensor, Option<&Tensor>) -> Result<Tensor>,
) -> Result<Option<Tensor>> {
    let dtype = x.dtype();
    let same = w.dtype() == dtype && bias.is_none_or(|b| b.dtype() == dtype);
    if !same || !dtype.is_integral() || dtype == DType::Bool {
        return Ok(None);
    }
    let bias = bias.map(|b| to_dtype(b, DType::F64)).transpose()?;
    let y = run(&to_dtype(x, DType::F64)?, &to_dtype(w, DType::F64)?, bias.as_ref())?;
    Ok(Some(to_dtype(&to_dtype(&y, DType::I64)?, dtype)?))
}

/// A batch, and whether it was made here of a single input.
fn batched(name: &str, x: &Tensor, dims: usize) -> Result<(Tensor, bool)> {
    let n = x.ndim();
    ensure!(
        n == dims + 1 || n == dims + 2,
        runtime,
        "Expected {}D (unbatched) or {}D (batched) input to {name}{dims}d, but got input of size: {}",
        dims + 1,
        dims + 2,
        sizes_text(&x.shape())
    );
    if n == dims + 1 { Ok((shape::unsqueeze(x, 0)?, true)) } else { Ok((x.clone(), false)) }
}

fn unbatched(y: Tensor, single: bool) -> Result<Tensor> {
    if single { shape::squeeze(&y, Some(&[0])) } else { Ok(y) }
}

fn check_weight(x: &Tensor, w: &Tensor, bias: Option<&Tensor>, p: &ConvParams, transposed: bool) -> Result<()> {
    let (xs, ws, groups) = (x.shape(), w.shape(), p.groups);
    ensure!(
        ws.len() == xs.len(),
        runtime,
        "Expected {}-dimensional input for {}-dimensional weight {}, but got {}-dimensional input of size {} instead",
        ws.len(),
        ws.len(),
        sizes_text(&ws),
        xs.len(),
        sizes_text(&xs)
    );
    ensure!(
        ws[0] >= groups,
        runtime,
        "Given groups={groups}, expected weight to be at least {groups} at dimension 0, but got weight of size {} \
         instead",
        sizes_text(&ws)
    );
    ensure!(
        ws[0].is_multiple_of(groups),
        runtime,
        "Given groups={groups}, expected weight to be divisible by {groups} at dimension 0, but got weight of size {} \
         instead",
        sizes_text(&ws)
    );
    let (channels, outputs) = if transposed { (ws[0], ws[1] * groups) } else { (ws[1] * groups, ws[0]) };
    ensure!(
        xs[1] == channels,
        runtime,
        "Given {}groups={groups}, weight of size {}, expected input{} to have {channels} channels, but got {} channels \
         instead",
        if transposed { "transposed=1, " } else { "" },
        sizes_text(&ws),
        sizes_text(&xs),
        xs[1]
    );
    ensure!(
        ws[2..].iter().all(|&k| k > 0),
        runtime,
        "kernel size should be greater than zero, but got weight of size {}",
        sizes_text(&ws)
    );
    ensure!(
        !transposed || ws[1] > 0,
        runtime,
        "non-empty {}D weight tensor expected, but got: {}",
        ws.len(),
        sizes_text(&ws)
    );
    if let Some(b) = bias {
        ensure!(
            b.ndim() == 1 && b.size(0) == outputs,
            runtime,
            "Given {}weight of size {}, expected bias to be 1-dimensional with {outputs} elements, but got bias of \
             size {} \
             instead",
            if transposed { "transposed=1, " } else { "" },
            sizes_text(&ws),
            sizes_text(&b.shape())
        );
    }
    Ok(())
}

/// The padding of 'same': both sides equal, the odd one put on the right of a padded copy.
fn same_padding(c: &Conv, x: &Tensor, w: &Tensor) -> Result<(Tensor, Vec<i64>)> {
    let stride = spatial("stride", &c.stride, c.dims)?;
    ensure!(stride.iter().all(|&s| s == 1), runtime, "padding='same' is not supported for strided convolutions");
    let dilation = spatial("dilation", &c.dilation, c.dims)?;
    let ws = w.shape();
    let mut left = Vec::new();
    let mut extra = vec![0i64; 2 * c.dims];
    for i in 0..c.dims {
        let total = dilation[i] * (ws[2 + i] as i64 - 1);
        left.push(total / 2);
        // `pad` takes the last dim first
        extra[2 * (c.dims - 1 - i) + 1] = total % 2;
    }
    if extra.iter().all(|&e| e == 0) {
        return Ok((x.clone(), left));
    }
    Ok((super::pad::constant(x, &extra, Scalar::Float(0.0))?, left))
}

/// `conv1d` .. `conv3d`.
pub fn conv(x: &Tensor, w: &Tensor, bias: Option<&Tensor>, c: &Conv) -> Result<Tensor> {
    if let Some(y) = integral(x, w, bias, |x, w, b| conv(x, w, b, c))? {
        return Ok(y);
    }
    let (x, single) = batched("conv", x, c.dims)?;
    ensure!(
        w.ndim() == c.dims + 2,
        runtime,
        "weight should have at least three dimensions: expected a {}-dimensional weight, but got {}",
        c.dims + 2,
        sizes_text(&w.shape())
    );
    let (x, padding) = match &c.padding {
        Padding::Sizes(p) => (x, p.clone()),
        Padding::Valid => (x, vec![0; c.dims]),
        Padding::Same => same_padding(c, &x, w)?,
    };
    let p = params(c, &padding)?;
    check_weight(&x, w, bias, &p, false)?;
    check_types(&x, w, bias)?;
    let (xs, ws) = (x.shape(), w.shape());
    let padded: Vec<usize> = (0..c.dims).map(|i| xs[2 + i] + 2 * p.padding[i]).collect();
    let reach: Vec<usize> = (0..c.dims).map(|i| p.dilation[i] * (ws[2 + i].max(1) - 1) + 1).collect();
    let text = |v: &[usize]| v.iter().map(|s| s.to_string()).collect::<Vec<_>>().join(" x ");
    ensure!(
        padded.iter().zip(&reach).all(|(a, b)| a >= b),
        runtime,
        "Calculated padded input size per channel: ({}). Kernel size: ({}). Kernel size can't be greater than actual \
         input \
         size",
        text(&padded),
        text(&reach)
    );
    if x.dtype().is_complex() {
        let real = |x: &Tensor, w: &Tensor| prim1(NAME, Prim::Conv { params: p.clone(), bias: false }, &[x, w]);
        return unbatched(biased(complex::bilinear(NAME, &x, w, real)?, bias)?, single);
    }
    let mut args: SmallVec<[&Tensor; 4]> = SmallVec::from_slice(&[&x, w]);
    let bias = push(&mut args, bias);
    let y = prim1(NAME, Prim::Conv { params: p, bias }, &args)?;
    unbatched(y, single)
}

fn biased(y: Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    match bias {
        None => Ok(y),
        Some(b) => add_bias(&y, b),
    }
}

/// `conv_transpose1d` .. `conv_transpose3d`: the gradient of a convolution with respect to its input.
pub fn conv_transpose(
    x: &Tensor,
    w: &Tensor,
    bias: Option<&Tensor>,
    c: &Conv,
    output_padding: &[i64],
) -> Result<Tensor> {
    // of the integers PyTorch has int64 alone
    if x.dtype() == DType::I64
        && let Some(y) = integral(x, w, bias, |x, w, b| conv_transpose(x, w, b, c, output_padding))?
    {
        return Ok(y);
    }
    if x.dtype().is_integral() && x.dtype() != DType::I64 {
        return Err(crate::ops::pointwise::not_implemented("slow_conv_transpose2d_out", x.dtype()));
    }
    let (x, single) = batched("conv_transpose", x, c.dims)?;
    let Padding::Sizes(padding) = &c.padding else {
        return Err(rtorch_ir::Error::type_("conv_transpose(): argument 'padding' must be a tuple of ints"));
    };
    let extra = spatial("output_padding", output_padding, c.dims)?;
    ensure!(extra.iter().all(|&e| e >= 0), runtime, "negative output_padding is not supported");
    let p = params(c, padding)?;
    check_weight(&x, w, bias, &p, true)?;
    check_types(&x, w, bias)?;
    let (xs, ws) = (x.shape(), w.shape());
    let mut out: Shape = SmallVec::from_slice(&[xs[0], ws[1] * p.groups]);
    for i in 0..c.dims {
        let e = extra[i] as usize;
        ensure!(
            e < p.stride[i] || e < p.dilation[i],
            runtime,
            "output padding must be smaller than either stride or dilation, but got output_padding: {extra:?}, stride: \
             {:?}, dilation: {:?}",
            p.stride.as_slice(),
            p.dilation.as_slice()
        );
        let full = (xs[2 + i].max(1) - 1) * p.stride[i] + p.dilation[i] * (ws[2 + i].max(1) - 1) + 1 + e;
        ensure!(
            full > 2 * p.padding[i] && xs[2 + i] > 0,
            runtime,
            "Given input size per channel: {}. Calculated output size per channel is too small",
            sizes_text(&xs[2..])
        );
        out.push(full - 2 * p.padding[i]);
    }
    let back =
        |x: &Tensor, w: &Tensor| prim1(NAME, Prim::ConvGradInput { params: p.clone(), input: out.clone() }, &[x, w]);
    // unconjugated: the transposed map, not the adjoint
    let y = if x.dtype().is_complex() { complex::bilinear(NAME, &x, w, back)? } else { back(&x, w)? };
    unbatched(biased(y, bias)?, single)
}

/// y + b over dim 1.
pub fn add_bias(y: &Tensor, b: &Tensor) -> Result<Tensor> {
    let mut column = Shape::from_elem(1, y.ndim() - 1);
    column[0] = b.numel();
    let b = shape::reshape_to(b, column)?;
    compose("conv_bias", NAME, Rule::Same, &[Arg::T(y), Arg::T(&b)], None, |a| a[0] + a[1])
}

/// Windows of a padded image as columns [n, c, k.., out..]: a view.
pub struct Windows {
    pub kernel: [usize; 2],
    pub dilation: [usize; 2],
    pub stride: [usize; 2],
    pub out: [usize; 2],
}

impl Windows {
    /// PyTorch's checks of `unfold` and `fold` over a padded image.
    pub fn new(name: &str, size: [i64; 2], k: &[i64], d: &[i64], p: &[i64], s: &[i64]) -> Result<Windows> {
        let two = |v: &[i64]| -> Result<[i64; 2]> {
            ensure!(
                v.len() == 1 || v.len() == 2,
                runtime,
                "{name}: It is expected sizes equals to 2, but got size {}",
                v.len()
            );
            Ok([v[0], v[v.len() - 1]])
        };
        let (k, d, p, s) = (two(k)?, two(d)?, two(p)?, two(s)?);
        ensure!(
            k.iter().all(|&v| v > 0),
            runtime,
            "kernel size should be greater than zero, but got kernel_height: {} kernel_width: {}",
            k[0],
            k[1]
        );
        ensure!(
            d.iter().all(|&v| v > 0),
            runtime,
            "dilation should be greater than zero, but got dilation_height: {} dilation_width: {}",
            d[0],
            d[1]
        );
        ensure!(
            p.iter().all(|&v| v >= 0),
            runtime,
            "padding should be non-negative, but got pad_height: {} pad_width: {}",
            p[0],
            p[1]
        );
        ensure!(
            s.iter().all(|&v| v > 0),
            runtime,
            "stride should be greater than zero, but got stride_height: {} stride_width: {}",
            s[0],
            s[1]
        );
        let mut out = [0usize; 2];
        for i in 0..2 {
            // wide: a product that wraps would pass for a small one
            let [n, kernel, dilation, padding] = [size[i], k[i], d[i], p[i]].map(i128::from);
            let room = n + 2 * padding - dilation * (kernel - 1) - 1;
            ensure!(
                (0..=i64::MAX.into()).contains(&room),
                runtime,
                "Given input with spatial size ({}, {}), kernel_size=({}, {}), dilation=({}, {}), padding=({}, {}), \
                 calculated shape of the array of sliding blocks is too small, but its components must be at least \
                 one.",
                size[0],
                size[1],
                k[0],
                k[1],
                d[0],
                d[1],
                p[0],
                p[1]
            );
            out[i] = (room / i128::from(s[i]) + 1) as usize;
        }
        let u = |v: [i64; 2]| [v[0] as usize, v[1] as usize];
        Ok(Windows { kernel: u(k), dilation: u(d), stride: u(s), out })
    }
    /// The windows of a contiguous padded image [n, c, h, w].
    pub fn layout(&self, s: &[usize]) -> rtorch_ir::Layout {
        let (plane, w) = ((s[2] * s[3]) as isize, s[3] as isize);
        let shape = [s[0], s[1], self.kernel[0], self.kernel[1], self.out[0], self.out[1]];
        let strides = [
            s[1] as isize * plane,
            plane,
            self.dilation[0] as isize * w,
            self.dilation[1] as isize,
            self.stride[0] as isize * w,
            self.stride[1] as isize,
        ];
        rtorch_ir::Layout::new(&shape, &strides, 0)
    }
}

/// `unfold` (im2col): [n, c, h, w] -> [n, c * kh * kw, windows].
pub fn unfold(x: &Tensor, k: &[i64], d: &[i64], p: &[i64], s: &[i64]) -> Result<Tensor> {
    let (x, single) = image(x, "im2col")?;
    let w = Windows::new("im2col", [x.size(2) as i64, x.size(3) as i64], k, d, p, s)?;
    let (ph, pw) = (p[0], p[p.len() - 1]);
    let padded = if ph == 0 && pw == 0 { x } else { super::pad::constant(&x, &[pw, pw, ph, ph], Scalar::Float(0.0))? };
    let padded = shape::contiguous(&padded)?;
    // the storage offset of a contiguous slice stays
    let mut layout = w.layout(&padded.shape());
    layout.offset = padded.layout().offset;
    let view = crate::view::ViewOp::AsStrided { layout };
    let view = crate::dispatch::view("Im2ColBackward0", view, &padded)?.ok_or_else(|| super::missing("im2col"))?;
    let sh = view.shape();
    let y = shape::reshape_to(&view, SmallVec::from_slice(&[sh[0], sh[1] * sh[2] * sh[3], sh[4] * sh[5]]))?;
    unbatched(y, single)
}

fn image(x: &Tensor, name: &str) -> Result<(Tensor, bool)> {
    let n = x.ndim();
    ensure!(n > 2, index, "{name}: expected an input of 3 or 4 dimensions, but got {n}");
    ensure!(
        n == 3 || n == 4,
        runtime,
        "Expected 3D or 4D (batch mode) tensor with possibly 0 batch size and other non-zero dimensions for input of \
         {name}, but got: {}",
        sizes_text(&x.shape())
    );
    if x.dtype().is_int() {
        return Err(crate::ops::pointwise::not_implemented("im2col_out", x.dtype()));
    }
    if n == 3 { Ok((shape::unsqueeze(x, 0)?, true)) } else { Ok((x.clone(), false)) }
}

/// `fold` (col2im): columns summed to where they came from.
pub fn fold(x: &Tensor, size: &[i64], k: &[i64], d: &[i64], p: &[i64], s: &[i64]) -> Result<Tensor> {
    let n = x.ndim();
    ensure!(
        n == 2 || n == 3,
        runtime,
        "Expected 2D or 3D (batch mode) tensor for input with possibly 0 batch size and non-zero dimensions for input, \
         but got: {}",
        sizes_text(&x.shape())
    );
    let (x, single) = if n == 2 { (shape::unsqueeze(x, 0)?, true) } else { (x.clone(), false) };
    ensure!(
        size.len() == 1 || size.len() == 2,
        runtime,
        "It is expected output_size equals to 2, but got size {}",
        size.len()
    );
    let size = [size[0], size[size.len() - 1]];
    let w = Windows::new("col2im", size, k, d, p, s)?;
    let (kk, windows) = (w.kernel[0] * w.kernel[1], w.out[0] * w.out[1]);
    ensure!(
        x.size(1).is_multiple_of(kk),
        runtime,
        "Expected size of input's dimension 1 to be divisible by the product of kernel_size, but got \
         input.size(1)={} and kernel_size=({}, {}).",
        x.size(1),
        w.kernel[0],
        w.kernel[1]
    );
    ensure!(
        x.size(2) == windows,
        runtime,
        "Given output_size=({}, {}), expected size of input's dimension 2 to match the calculated number of sliding \
         blocks {} * {} = {windows}, but got input.size(2)={}.",
        size[0],
        size[1],
        w.out[0],
        w.out[1],
        x.size(2)
    );
    if x.dtype().is_int() {
        return Err(crate::ops::pointwise::not_implemented("col2im_out", x.dtype()));
    }
    let (ph, pw) = (p[0], p[p.len() - 1]);
    let c = x.size(1) / kk;
    let base: Shape = SmallVec::from_slice(&[x.size(0), c, (size[0] + 2 * ph) as usize, (size[1] + 2 * pw) as usize]);
    let columns: Shape = SmallVec::from_slice(&[x.size(0), c, w.kernel[0], w.kernel[1], w.out[0], w.out[1]]);
    let columns = shape::reshape_to(&x, columns)?;
    let y = prim1("Col2ImBackward0", Prim::ScatterView { view: w.layout(&base), base }, &[&columns])?;
    let y = shape::narrow(&shape::narrow(&y, 2, ph, size[0])?, 3, pw, size[1])?;
    unbatched(if ph == 0 && pw == 0 { y } else { shape::contiguous(&y)? }, single)
}

/// x1^T A x2 + b for every output feature.
pub fn bilinear(x1: &Tensor, x2: &Tensor, w: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let same = [Some(x2), Some(w), bias].into_iter().flatten().all(|t| t.dtype() == x1.dtype());
    ensure!(
        same,
        runtime,
        "All tensors must have the same dtype, got input1: {}, input2: {}, weight: {}, bias: {}",
        x1.dtype().cpp_name(),
        x2.dtype().cpp_name(),
        w.dtype().cpp_name(),
        bias.map_or("None", |b| b.dtype().cpp_name())
    );
    ensure!(w.ndim() > 2, index, "bilinear(): weight must be 3-D, got {}", sizes_text(&w.shape()));
    ensure!(w.ndim() == 3, runtime, "bilinear(): weight must be 3-D, got {}", sizes_text(&w.shape()));
    let (n, ws) = (x1.ndim(), w.shape());
    ensure!(n == x2.ndim() && n > 0, runtime, "bilinear(): input dimensions do not match: got {n} and {}", x2.ndim());
    let (a, b) = (x1.shape(), x2.shape());
    ensure!(
        a[..n - 1] == b[..n - 1],
        runtime,
        "bilinear(): input batch dimensions do not match at dim 0: got {} and {}",
        a[0],
        b[0]
    );
    ensure!(
        a[n - 1] == ws[1],
        runtime,
        "bilinear(): input1 size does not match weight size: got {} but expected {}",
        a[n - 1],
        ws[1]
    );
    ensure!(
        b[n - 1] == ws[2],
        runtime,
        "bilinear(): input2 size does not match weight size: got {} but expected {}",
        b[n - 1],
        ws[2]
    );
    let rows: usize = a[..n - 1].iter().product();
    let left = shape::reshape_to(x1, SmallVec::from_slice(&[rows, ws[1]]))?;
    let right = shape::reshape_to(x2, SmallVec::from_slice(&[rows, 1, ws[2]]))?;
    // [rows, i] x [i, o * j] -> [rows, o, j], then the dot with x2
    let flat = shape::reshape_to(&shape::permute_raw(w, &[1, 0, 2])?, SmallVec::from_slice(&[ws[1], ws[0] * ws[2]]))?;
    let t = crate::ops::linalg::mm(&left, &flat)?;
    let t = shape::reshape_to(&t, SmallVec::from_slice(&[rows, ws[0], ws[2]]))?;
    let y = crate::ops::reduce::sum(&crate::ops::mul(&t, &right)?, &[-1], false, None)?;
    let mut out = Shape::from_slice(&a[..n - 1]);
    out.push(ws[0]);
    let y = shape::reshape_to(&y, out)?;
    match bias {
        Some(b) => crate::ops::add(&y, b),
        None => Ok(y),
    }
}

/// `one_hot`: int64 zeros and ones, a new last dim.
pub fn one_hot(t: &Tensor, classes: i64) -> Result<Tensor> {
    ensure!(t.dtype() == DType::I64, runtime, "one_hot is only applicable to index tensor of type LongTensor.");
    if t.numel() == 0 {
        ensure!(classes > 0, runtime, "Can not infer total number of classes from empty tensor.");
        let mut s = t.shape();
        s.push(classes as usize);
        return Tensor::empty(&s, DType::I64, t.device());
    }
    let n = if t.device().is_cpu() || classes == -1 {
        let ends = |largest| crate::ops::convert::item(&crate::ops::reduce::max_all(&t.detach(), largest)?);
        ensure!(ends(false)?.to_i64() >= 0, runtime, "Class values must be non-negative.");
        let top = ends(true)?.to_i64();
        if classes != -1 {
            ensure!(classes > 0, runtime, "num_classes should be positive");
            ensure!(top < classes, runtime, "Class values must be smaller than num_classes.");
            classes
        } else {
            top + 1
        }
    } else {
        ensure!(classes > 0, runtime, "num_classes should be positive");
        classes
    };
    let line = factory::arange(0i64.into(), n.into(), 1i64.into(), DType::I64, t.device())?;
    let column = shape::unsqueeze(t, -1)?;
    let hit = crate::ops::binary(rtorch_ir::ScalarOp::Eq, Arg::T(&column), Arg::T(&line))?;
    crate::ops::convert::to_dtype(&hit, DType::I64)
}
