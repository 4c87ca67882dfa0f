//! Embedding lookups. The rows are an index_select; what `padding_idx` and `scale_grad_by_freq` change is the gradient.

use rtorch_ir::prim::ScatterOp;
use rtorch_ir::program::ex;
use rtorch_ir::{DType, Prim, Result, Scalar, Shape, ensure};
use smallvec::SmallVec;

use super::rule::{Save, record};
use crate::autograd::mode;
use crate::dispatch::prim1;
use crate::ops::convert::to_dtype;
use crate::ops::pointwise::{Arg, Rule, Spec, run};
use crate::ops::{self, factory, shape};
use crate::tensor::Tensor;

/// Rows of the weight. `padding_idx` (negative: none): its row gets no gradient. `by_freq`: gradients are divided by
/// how
/// often their index occurs.
pub fn embedding(weight: &Tensor, indices: &Tensor, padding_idx: i64, by_freq: bool) -> Result<Tensor> {
    if padding_idx < 0 && !by_freq {
        return ops::index::embedding(weight, indices);
    }
    let out = {
        let _off = mode::Guard::new(false);
        ops::index::embedding(weight, indices)?
    };
    let index = to_dtype(indices, DType::I64)?;
    let (rows, width) = (weight.size(0), weight.size(1));
    record("EmbeddingBackward0", &[weight], &[&out], &[Save::Input(&index)], move |b| {
        let index = shape::reshape(&b.saved(0)?, &[-1])?;
        let n = index.numel();
        let g = shape::reshape_to(&b.grad(0)?, SmallVec::from_slice(&[n, width]))?;
        let g = scaled(&g, &index, rows, padding_idx, by_freq)?;
        let p = Prim::IndexAdd { axis: 0, op: ScatterOp::Add };
        Ok(vec![Some(crate::vjp::index::added("EmbeddingDenseBackward0", p, &[rows, width], &index, &g)?)])
    })?;
    Ok(out)
}

/// Sums (or means) of each bag's rows: `index` (n), `offsets` (bags) where each bag begins, `factors` (n) of the rows.
/// `padding_idx` (negative: none): its row counts for nothing and gets no gradient.
pub fn embedding_bag(
    weight: &Tensor,
    index: &Tensor,
    offsets: &Tensor,
    factors: Option<&Tensor>,
    mean: bool,
    padding_idx: i64,
) -> Result<Tensor> {
    let fits = weight.ndim() == 2 && index.ndim() == 1 && offsets.ndim() == 1 && offsets.numel() > 0;
    let alike = factors.is_none_or(|f| f.shape() == index.shape() && f.dtype() == weight.dtype());
    let integers = index.dtype() == DType::I64 && offsets.dtype() == DType::I64;
    if !fits || !alike || !integers || !matches!(weight.dtype(), DType::F32 | DType::F64) {
        return Err(ops::pointwise::not_implemented("embedding_bag", weight.dtype()));
    }
    let padding = usize::try_from(padding_idx).ok();
    let p = Prim::EmbeddingBag { mean, weighted: factors.is_some(), padding };
    let mut args: SmallVec<[&Tensor; 4]> = SmallVec::from_slice(&[weight, index, offsets]);
    args.extend(factors);
    prim1("EmbeddingBagBackward0", p, &args)
}

/// Each row of the cotangent by its own factor: 0 for the padding, 1 / occurrences with `by_freq`.
fn scaled(g: &Tensor, index: &Tensor, rows: usize, padding_idx: i64, by_freq: bool) -> Result<Tensor> {
    let n = index.numel();
    let mut factor = None;
    if by_freq {
        let ones = factory::ones(&[n], g.dtype(), g.device())?;
        let zeros = factory::zeros(&[rows], g.dtype(), g.device())?;
        let add = Prim::IndexAdd { axis: 0, op: ScatterOp::Add };
        let counts = prim1("", add, &[&zeros, index, &ones])?;
        let each = prim1("", Prim::IndexSelect { axis: 0 }, &[&counts, index])?;
        factor = Some(ops::unary(rtorch_ir::ScalarOp::Reciprocal, &each)?);
    }
    let column = |t: &Tensor| shape::reshape_to(t, Shape::from_slice(&[n, 1]));
    let g = match &factor {
        Some(f) => ops::mul(g, &column(f)?)?,
        None => g.clone(),
    };
    if padding_idx < 0 {
        return Ok(g);
    }
    let pad = ops::binary(rtorch_ir::ScalarOp::Eq, Arg::T(index), Arg::S(Scalar::Int(padding_idx)))?;
    let body = |a: &[rtorch_ir::Ex]| ex::where_(a[0], a[1].lit(0.0), a[1]);
    let spec =
        Spec { name: "embedding_pad", grad: "MaskedFillBackward0", rule: Rule::Same, body: &body, conditions: 1 };
    run(&spec, &[Arg::T(&column(&pad)?), Arg::T(&g)], None)
}

/// `embedding_renorm_`: rows that are looked up and longer than `max_norm` are scaled to it, in place.
pub fn embedding_renorm_(weight: &Tensor, indices: &Tensor, max_norm: f64, p: f64) -> Result<()> {
    ensure!(weight.ndim() == 2, runtime, "'weight' must be 2-D");
    let _off = mode::Guard::new(false);
    let mut rows = ops::convert::to_i64_vec(indices)?;
    rows.sort_unstable();
    rows.dedup();
    let bytes: Vec<u8> = rows.iter().flat_map(|v| v.to_ne_bytes()).collect();
    let index = Tensor::from_bytes(&bytes, &[rows.len()], DType::I64, weight.device())?;
    let picked = prim1("", Prim::IndexSelect { axis: 0 }, &[&weight.detach(), &index])?;
    let norm = ops::reduce::norm(&picked, p, &[-1], true, None)?;
    let number = Arg::S(Scalar::Float(max_norm));
    let scaled =
        ops::pointwise::compose("renorm", "", Rule::FloatOnly, &[Arg::T(&picked), Arg::T(&norm), number], None, |a| {
            ex::where_(ex::gt(a[1], a[2]), a[0] * (a[2] / (a[1] + 1e-7)), a[0])
        })?;
    let op = Prim::IndexAdd { axis: 0, op: ScatterOp::Set };
    crate::inplace::prim("EmbeddingRenormBackward0", weight, op, &[weight, &index, &scaled])
}
