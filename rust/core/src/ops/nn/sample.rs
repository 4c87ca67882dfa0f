//! Sampling images at given places, and resizing them. The CPU has a primitive for each; where the device has none,
//! sampling is a composition of gathers here, and so is what the gradient's own derivative is made of.
//! Not here: the checks of arguments, nearest and antialiased resizing (`rtorch.nn.functional`).

use rtorch_ir::prim::{ResizeParams, SampleMode, SamplePadding, SampleParams, Spatial};
use rtorch_ir::program::{Ex, ex};
use rtorch_ir::{DType, Error, Prim, Result, Shape, ensure};
use smallvec::{SmallVec, smallvec};

use crate::device::Device;
use crate::dispatch::{self, prim1};
use crate::kernel::Kernel;
use crate::ops::convert::to_dtype;
use crate::ops::pointwise::{Arg, Rule, Spec, program};
use crate::ops::{self, shape};
use crate::tensor::Tensor;

/// x (n, c, spatial...) at grid (n, places..., d), d of 2 or 3. `kinds`: mode and padding by PyTorch's numbers.
pub fn grid_sample(x: &Tensor, grid: &Tensor, kinds: [i64; 2], align_corners: bool) -> Result<Tensor> {
    let dims = grid.ndim().saturating_sub(2);
    let (s, t) = (x.shape(), grid.shape());
    ensure!(
        (2..=3).contains(&dims) && s.len() == dims + 2 && t[dims + 1] == dims && s[0] == t[0],
        runtime,
        "grid_sampler(): input of sizes {s:?} and grid of sizes {t:?} do not belong together"
    );
    ensure!(
        s[2..].iter().all(|&n| n > 0),
        runtime,
        "grid_sampler(): expected input to have non-empty spatial dimensions, but got input with sizes {s:?}"
    );
    let mode = match kinds[0] {
        0 => SampleMode::Bilinear,
        1 => SampleMode::Nearest,
        2 if dims == 2 => SampleMode::Bicubic,
        n => return Err(Error::runtime(format!("grid_sampler(): no interpolation mode {n} of {dims} dimensions"))),
    };
    let padding = match kinds[1] {
        0 => SamplePadding::Zeros,
        1 => SamplePadding::Border,
        2 => SamplePadding::Reflection,
        n => return Err(Error::runtime(format!("grid_sampler(): no padding mode {n}"))),
    };
    let params = SampleParams { mode, padding, align_corners };
    let name = if dims == 2 { "GridSampler2DBackward0" } else { "GridSampler3DBackward0" };
    if !matches!(x.device(), Device::Wgpu(_)) {
        return prim1(name, Prim::GridSample(params), &[x, grid]);
    }
    let wide = |t: &Tensor| if t.dtype().size() < 4 { to_dtype(t, DType::F32) } else { Ok(t.clone()) };
    let out = to_dtype(&sampled(&wide(x)?, &wide(grid)?, params)?, x.dtype())?;
    crate::autograd::composite::collapse(name, &[x, grid], &[&out]);
    Ok(out)
}

/// Coordinates reflected at the borders until they are inside.
fn reflected(v: Ex, size: f64, align: bool) -> Ex {
    let (low, span) = if align { (0.0, size - 1.0) } else { (-0.5, size) };
    if span <= 0.0 {
        return v.lit(0.0);
    }
    let from = ex::abs(v - low);
    let (rest, flips) = (ex::fmod(from, from.lit(span)), ex::floor(from / span));
    let odd = ex::ne(ex::fmod(flips, flips.lit(2.0)), v.lit(0.0));
    ex::where_(odd, -rest + (span + low), rest + low)
}

/// Pixel coordinates as the padding asks.
fn bounded(v: Ex, size: f64, p: SampleParams) -> Ex {
    let clip = |v: Ex| ex::minimum(ex::maximum(v, v.lit(0.0)), v.lit(size - 1.0));
    match p.padding {
        SamplePadding::Zeros => v,
        SamplePadding::Border => clip(v),
        SamplePadding::Reflection => clip(reflected(v, size, p.align_corners)),
    }
}

/// Keys' kernel with a = -0.75, at a distance that lies within 1 (`near`) or between 1 and 2.
fn keys(x: Ex, near: bool) -> Ex {
    let a = -0.75;
    if near { (x * (a + 2.0) - (a + 3.0)) * x * x + 1.0 } else { ((x - 5.0) * x + 8.0) * x * a - 4.0 * a }
}

/// One dimension's taps: whole coordinates and weights, 0 for what is outside.
type Taps = Vec<(Tensor, Tensor)>;

fn taps(v: &Tensor, size: f64, p: SampleParams) -> Result<Taps> {
    let map = |args: &[&Tensor], body: &dyn Fn(&[Ex]) -> Ex| {
        let leaves: SmallVec<[Arg; 2]> = args.iter().map(|t| Arg::T(t)).collect();
        // not from the cache of expressions, whose keys do not see what the expression captures
        let (spec, dtype) = (Spec { name: "grid_sample", grad: "", rule: Rule::Same, body, conditions: 0 }, v.dtype());
        dispatch::map("", &Kernel::new(program(&spec, &leaves, dtype, dtype, dtype)), args)
    };
    let cubic = p.mode == SampleMode::Bicubic;
    let place = map(&[v], &|a| {
        let v = if p.align_corners { (a[0] + 1.0) * ((size - 1.0) / 2.0) } else { (a[0] + 1.0) * (size / 2.0) - 0.5 };
        if cubic { v } else { bounded(v, size, p) }
    })?;
    let offsets = match p.mode {
        SampleMode::Nearest => 0..=0,
        SampleMode::Bilinear => 0..=1,
        SampleMode::Bicubic => -1..=2,
    };
    let mut found = Taps::new();
    for k in offsets {
        let k = f64::from(k);
        let at = map(&[&place.detach()], &|a| match p.mode {
            SampleMode::Nearest => ex::round(a[0]),
            SampleMode::Bilinear => ex::floor(a[0]) + k,
            SampleMode::Bicubic => bounded(ex::floor(a[0]) + k, size, p),
        })?;
        let weight = map(&[&place, &at], &|a| {
            let t = a[0] - ex::floor(a[0]);
            let weight = match p.mode {
                SampleMode::Nearest => a[0] * 0.0 + 1.0,
                SampleMode::Bilinear if k == 0.0 => -t + 1.0,
                SampleMode::Bilinear => t,
                // the distance without an absolute value, which has no second derivative at 0
                SampleMode::Bicubic => keys(if k > 0.0 { -t + k } else { t - k }, k == 0.0 || k == 1.0),
            };
            let zero = weight.lit(0.0);
            ex::where_(ex::ge(a[1], zero), ex::where_(ex::lt(a[1], zero.lit(size)), weight, zero), zero)
        })?;
        let index = map(&[&at], &|a| {
            let zero = a[0].lit(0.0);
            ex::where_(ex::ge(a[0], zero), ex::where_(ex::lt(a[0], zero.lit(size)), a[0], zero), zero)
        })?;
        found.push((to_dtype(&index, DType::I64)?, weight));
    }
    Ok(found)
}

/// `grid_sample` by gathers: every tap's pixels, weighed and added.
pub fn sampled(x: &Tensor, grid: &Tensor, p: SampleParams) -> Result<Tensor> {
    let (s, g) = (x.shape(), grid.shape());
    let (sizes, dims) = (&s[2..], s.len() - 2);
    let places: usize = g[1..=dims].iter().product();
    let flat = shape::reshape_to(x, smallvec![s[0], s[1], sizes.iter().product()])?;
    let points = shape::reshape_to(grid, smallvec![s[0], places, dims])?;
    let mut all: Taps = Vec::new();
    for (d, &size) in sizes.iter().enumerate() {
        let one = taps(&shape::select(&points, 2, (dims - 1 - d) as i64)?, size as f64, p)?;
        if d == 0 {
            all = one;
            continue;
        }
        let mut next = Taps::with_capacity(all.len() * one.len());
        for (at, weight) in &all {
            for (i, w) in &one {
                let row = ops::pointwise::binary(
                    rtorch_ir::ScalarOp::Mul,
                    Arg::T(at),
                    Arg::S(rtorch_ir::Scalar::Int(size as i64)),
                )?;
                next.push((ops::add(&row, i)?, ops::mul(weight, w)?));
            }
        }
        all = next;
    }
    let mut total: Option<Tensor> = None;
    for (at, weight) in &all {
        let index = shape::expand_to(&shape::unsqueeze(at, 1)?, &[s[0], s[1], places])?;
        let part = ops::mul(&ops::index::gather(&flat, 2, &index)?, &shape::unsqueeze(weight, 1)?)?;
        total = Some(match total {
            Some(t) => ops::add(&t, &part)?,
            None => part,
        });
    }
    let total = total.ok_or_else(|| super::missing("grid_sample"))?;
    let mut out: Shape = smallvec![s[0], s[1]];
    out.extend_from_slice(&g[1..=dims]);
    shape::reshape_to(&total, out)
}

/// Linear (or cubic) resizing of (n, c, spatial...) to `size`; `steps`: input steps per output step of each spatial
/// dimension, None where it stays as it is.
pub fn resize(x: &Tensor, size: &[i64], steps: &[Option<f64>], align_corners: bool, cubic: bool) -> Result<Tensor> {
    let dims = size.len();
    let s = x.shape();
    ensure!(
        (1..=3).contains(&dims) && s.len() == dims + 2 && steps.len() >= dims,
        runtime,
        "interpolate: sizes {size:?} of an input of sizes {s:?}"
    );
    ensure!(
        s[2..].iter().all(|&n| n > 0) && size.iter().all(|&n| n > 0),
        runtime,
        "Input and output sizes should be greater than 0, but got input {:?} output {size:?}",
        &s[2..]
    );
    let name = match (dims, cubic) {
        (1, _) => "UpsampleLinear1DBackward0",
        (2, false) => "UpsampleBilinear2DBackward0",
        (2, true) => "UpsampleBicubic2DBackward0",
        _ => "UpsampleTrilinear3DBackward0",
    };
    let out: Spatial = size.iter().map(|&n| n as usize).collect();
    let params = ResizeParams { out, steps: steps[..dims].iter().copied().collect(), align_corners, cubic };
    prim1(name, Prim::Resize { params }, &[x])
}
