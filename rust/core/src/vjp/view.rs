//! Views: a reshape or permutation goes back as one, an expansion as a sum, a window as zeros with the cotangent in it.

use rtorch_ir::layout::Layout;
use rtorch_ir::{Error, Prim, Result, Shape};

use crate::dispatch;
use crate::ops;
use crate::tensor::Tensor;
use crate::view::ViewOp;

pub fn vjp(op: &ViewOp, input: &Layout, g: &Tensor) -> Result<Tensor> {
    match op {
        ViewOp::Reshape { .. } | ViewOp::Unsqueeze { .. } | ViewOp::Squeeze { .. } => {
            ops::shape::reshape_to(g, rtorch_ir::layout::copied(&input.shape))
        }
        ViewOp::Permute { dims } => {
            let mut inverse: Shape = dims.clone();
            for (i, &d) in dims.iter().enumerate() {
                inverse[d] = i;
            }
            ops::shape::permute_raw(g, &inverse)
        }
        ViewOp::Expand { .. } => ops::reduce::sum_to(g, &input.shape),
        ViewOp::Alias => Ok(g.clone()),
        ViewOp::Slice { .. } | ViewOp::Select { .. } | ViewOp::Diagonal { .. } | ViewOp::Unfold { .. } => {
            let base = Layout::contiguous(&input.shape);
            let view = op.apply(&base, g.dtype())?.ok_or_else(|| Error::runtime("a view without a layout"))?;
            scatter(g, view, &input.shape)
        }
        ViewOp::AsStrided { layout } => as_strided(layout, input, g),
        ViewOp::AsReal => ops::complex::view_as_complex(&ops::shape::contiguous(g)?),
        ViewOp::AsComplex => ops::complex::view_as_real(g),
        ViewOp::Dtype { .. } => Err(Error::runtime("view(dtype) is not differentiable")),
    }
}

fn scatter(g: &Tensor, view: Layout, base: &[usize]) -> Result<Tensor> {
    dispatch::prim1("ScatterViewBackward0", Prim::ScatterView { view, base: Shape::from_slice(base) }, &[g])
}

/// The storage's cotangent first, then the input's window of it, divided where the input shows an element repeatedly.
fn as_strided(layout: &Layout, input: &Layout, g: &Tensor) -> Result<Tensor> {
    let size = layout.extent().map_or(0, |e| e.1).max(input.extent().map_or(0, |e| e.1));
    let flat = scatter(g, layout.clone(), &[size])?;
    let strided = |t: &Tensor| -> Result<Tensor> {
        dispatch::view("AsStridedBackward0", ViewOp::AsStrided { layout: input.clone() }, t)?
            .ok_or_else(|| Error::runtime("as_strided of a gradient"))
    };
    let part = strided(&flat)?;
    if !input.overlaps_itself() {
        return Ok(part);
    }
    let ones = ops::factory::ones(&input.shape, g.dtype(), g.device())?;
    let count = strided(&scatter(&ones, input.clone(), &[size])?)?;
    ops::div(&part, &count)
}
