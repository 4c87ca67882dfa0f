//! Scaled dot product attention over `Prim::Attention`: masks, causal order, grouped heads, any leading dims. With
//! dropout of the weights it is a composition.

use rtorch_ir::prim::AttentionParams;
use rtorch_ir::shape::broadcast;
use rtorch_ir::{DType, Error, Prim, Result, Scalar, Shape, ensure};
use smallvec::SmallVec;

use super::activation::softmax;
use super::dropout::dropout;
use super::{missing, sizes_text};
use crate::dispatch::prim;
use crate::ops::convert::to_dtype;
use crate::ops::pointwise::{Arg, where_};
use crate::ops::{self, factory, shape};
use crate::tensor::Tensor;

const NAME: &str = "ScaledDotProductFlashAttentionForCpuBackward0";

/// The arguments beside query, key and value.
#[derive(Clone, Copy)]
pub struct Options<'a> {
    pub mask: Option<&'a Tensor>,
    pub dropout: f64,
    pub causal: bool,
    pub scale: Option<f64>,
    pub grouped: bool,
}

fn check(q: &Tensor, k: &Tensor, v: &Tensor, o: &Options) -> Result<()> {
    ensure!(
        q.dtype() == k.dtype() && k.dtype() == v.dtype(),
        runtime,
        "Expected query, key, and value to have the same dtype, but got query.dtype: {} key.dtype: {} and \
         value.dtype: {} \
         instead.",
        q.dtype().cpp_name().to_lowercase(),
        k.dtype().cpp_name().to_lowercase(),
        v.dtype().cpp_name().to_lowercase()
    );
    ensure!(
        q.ndim() >= 2 && k.ndim() >= 2 && v.ndim() >= 2,
        runtime,
        "Expected query, key, and value to all be  at least 2 dimensional, but got query.dim: {}, key.dim: {} and \
         value.dim: {} instead.",
        q.ndim(),
        k.ndim(),
        v.ndim()
    );
    if let Some(m) = o.mask {
        ensure!(
            m.dtype() == DType::Bool || m.dtype() == q.dtype() || m.dtype() == DType::F32,
            runtime,
            "Expected attn_mask dtype to be bool or float or to match query dtype, but got attn_mask.dtype: {} and  \
             query.dtype: {} instead.",
            m.dtype().name(),
            q.dtype().name()
        );
        ensure!(
            !o.causal || q.ndim() == 4 && o.dropout == 0.0,
            runtime,
            "_scaled_dot_product_attention: Explicit attn_mask should not be set when is_causal=True"
        );
    }
    ensure!(
        (0.0..=1.0).contains(&o.dropout),
        runtime,
        "dropout probability has to be between 0 and 1, but got {}",
        o.dropout
    );
    Ok(())
}

/// Heads of keys and values repeated for the groups of query heads (dim -3).
fn repeat_heads(t: &Tensor, heads: usize) -> Result<Tensor> {
    let (n, s) = (t.ndim(), t.shape());
    ensure!(n >= 3, runtime, "Number of heads in key and value must divide the number of heads in query");
    let have = s[n - 3];
    if have == heads {
        return Ok(t.clone());
    }
    ensure!(
        have > 0 && heads.is_multiple_of(have),
        runtime,
        "Number of heads in key and value must divide the number of heads in query"
    );
    let wide = shape::unsqueeze(t, n as i64 - 2)?;
    let mut full = wide.shape();
    full[n - 2] = heads / have;
    let wide = shape::expand_to(&wide, &full)?;
    let mut out = s;
    out[n - 3] = heads;
    shape::reshape_to(&wide, out)
}

/// The batch dims of all three, broadcast.
fn common_batch(q: &Tensor, k: &Tensor, v: &Tensor) -> Result<Shape> {
    let lead = |t: &Tensor| -> Shape { Shape::from_slice(&t.shape()[..t.ndim() - 2]) };
    let fail = |_| {
        Error::runtime(format!(
            "The batch dims of query {}, key {} and value {} do not broadcast",
            sizes_text(&q.shape()),
            sizes_text(&k.shape()),
            sizes_text(&v.shape())
        ))
    };
    let b = broadcast(&lead(q), &lead(k)).map_err(fail)?;
    broadcast(&b, &lead(v)).map_err(fail)
}

/// softmax(q k^T * scale + mask) v.
pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor, o: &Options) -> Result<Tensor> {
    check(q, k, v, o)?;
    let n = q.ndim();
    let (k, v) = if o.grouped && n >= 3 {
        let heads = q.size(n - 3);
        (repeat_heads(k, heads)?, repeat_heads(v, heads)?)
    } else {
        (k.clone(), v.clone())
    };
    let (qs, ks, vs) = (q.shape(), k.shape(), v.shape());
    let tail = |s: &[usize]| [s[s.len() - 2], s[s.len() - 1]];
    let ([t, d], [l, dk], [lv, dv]) = (tail(&qs), tail(&ks), tail(&vs));
    ensure!(
        d == dk && l == lv,
        runtime,
        "Expected size for first two dimensions of batch2 tensor to be compatible: query {}, key {}, value {}",
        sizes_text(&qs),
        sizes_text(&ks),
        sizes_text(&vs)
    );
    let batch = common_batch(q, &k, &v)?;
    let mask = match o.mask {
        Some(m) if o.causal => Some(below_diagonal(&expanded_mask(q, m, &batch, t, l)?, t, l)?),
        Some(m) => Some(expanded_mask(q, m, &batch, t, l)?),
        None => None,
    };
    let scale = o.scale.unwrap_or(1.0 / (d as f64).sqrt());
    let params = AttentionParams { causal: o.causal && mask.is_none(), scale, mask: mask.is_some() };
    let full = |x: &Tensor, tail: [usize; 2]| -> Result<Tensor> {
        let mut s = batch.clone();
        s.extend_from_slice(&tail);
        if x.shape() == s { Ok(x.clone()) } else { shape::expand_to(x, &s) }
    };
    let (q, k, v) = (full(q, [t, d])?, full(&k, [l, d])?, full(&v, [l, dv])?);
    let mut out = batch.clone();
    out.extend_from_slice(&[t, dv]);
    let empty = out.contains(&0) || l == 0 || d == 0;
    if o.dropout > 0.0 || empty || !q.dtype().is_float() {
        return composed(&q, &k, &v, mask.as_ref(), &params, o.dropout);
    }
    fused(&q, &k, &v, mask.as_ref(), params, &batch, out)
}

/// A mask of (batch.., queries, keys), bool or of the query's dtype.
fn expanded_mask(q: &Tensor, m: &Tensor, batch: &[usize], t: usize, l: usize) -> Result<Tensor> {
    let mut want = Shape::from_slice(batch);
    want.extend_from_slice(&[t, l]);
    ensure!(
        broadcast(&m.shape(), &want).is_ok_and(|s| s == want),
        runtime,
        "The expanded size of the tensor must match the existing size: attn_mask of shape {} does not broadcast to {}",
        sizes_text(&m.shape()),
        sizes_text(&want)
    );
    let m = if m.dtype() == DType::Bool { m.clone() } else { to_dtype(m, q.dtype())? };
    if m.shape() == want { Ok(m) } else { shape::expand_to(&m, &want) }
}

/// A mask that hides what comes after, too.
fn below_diagonal(mask: &Tensor, t: usize, l: usize) -> Result<Tensor> {
    let seen = crate::ops::factory::triangle(t, l, 0, true, mask.device())?;
    if mask.dtype() == DType::Bool {
        return crate::ops::binary(rtorch_ir::ScalarOp::LogicalAnd, Arg::T(mask), Arg::T(&seen));
    }
    crate::ops::pointwise::where_(&seen, Arg::T(mask), Arg::S(f64::NEG_INFINITY.into()))
}

/// Leading dims as (batch, heads).
fn four(t: &Tensor, lead: usize) -> Result<Tensor> {
    let s = t.shape();
    let tail = &s[lead..];
    let shape4: Shape = match lead {
        0 => SmallVec::from_slice(&[1, 1, tail[0], tail[1]]),
        1 => SmallVec::from_slice(&[s[0], 1, tail[0], tail[1]]),
        2 => return Ok(t.clone()),
        _ => SmallVec::from_slice(&[s[..lead - 1].iter().product(), s[lead - 1], tail[0], tail[1]]),
    };
    shape::reshape_to(t, shape4)
}

fn fused(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    mask: Option<&Tensor>,
    params: AttentionParams,
    batch: &[usize],
    out: Shape,
) -> Result<Tensor> {
    let lead = batch.len();
    let mut args: SmallVec<[Tensor; 4]> = SmallVec::new();
    for t in [q, k, v].into_iter().chain(mask) {
        args.push(four(t, lead)?);
    }
    let refs: SmallVec<[&Tensor; 4]> = args.iter().collect();
    let r = prim(NAME, Prim::Attention(params), &refs)?;
    let y = r.into_iter().next().ok_or_else(|| missing("scaled_dot_product_attention"))?;
    match lead {
        2 => Ok(y),
        0 => shape::reshape_named("MmBackward0", &y, out),
        _ => shape::reshape_named("UnsafeViewBackward0", &y, out),
    }
}

/// The plain meaning of the fused primitive, with dropout of the weights.
fn composed(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    mask: Option<&Tensor>,
    p: &AttentionParams,
    drop: f64,
) -> Result<Tensor> {
    let mut s = ops::linalg::matmul(&ops::mul_scalar(q, p.scale)?, &shape::mt(k)?)?;
    let low = Arg::S(Scalar::Float(f64::NEG_INFINITY));
    let n = s.ndim();
    if p.causal {
        let tri = factory::triangle(s.size(n - 2), s.size(n - 1), 0, true, s.device())?;
        s = where_(&tri, Arg::T(&s), low)?;
    }
    s = match mask {
        Some(m) if m.dtype() == DType::Bool => where_(m, Arg::T(&s), low)?,
        Some(m) => ops::add(&s, m)?,
        None => s,
    };
    let w = softmax(&s, -1, false)?;
    ops::linalg::matmul(&dropout(&w, drop, drop > 0.0)?, v)
}
