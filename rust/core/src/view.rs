//! Views: ops that change the layout only. `ViewOp` is data, so that a view can be replayed after its base was written
//! and differentiated (`vjp/view.rs`). Checks of what users pass stand in `ops/shape.rs`.

use rtorch_ir::{DType, Layout, Result, Shape};

#[derive(Clone, PartialEq, Debug)]
pub enum ViewOp {
    /// The same elements in row-major order under another shape (view, unsqueeze, squeeze, flatten ...).
    Reshape {
        shape: Shape,
    },
    Permute {
        dims: Shape,
    },
    Expand {
        shape: Shape,
    },
    Slice {
        dim: usize,
        start: usize,
        end: usize,
        step: usize,
    },
    Select {
        dim: usize,
        index: usize,
    },
    Unsqueeze {
        dim: usize,
    },
    Squeeze {
        dims: Shape,
    },
    Diagonal {
        offset: i64,
        dim1: usize,
        dim2: usize,
    },
    Unfold {
        dim: usize,
        size: usize,
        step: usize,
    },
    /// Any window of the storage.
    AsStrided {
        layout: Layout,
    },
    /// The same bytes as another dtype (not differentiable).
    Dtype {
        dtype: DType,
    },
    /// A complex tensor as real and imaginary parts in a new last dimension, and the way back.
    AsReal,
    AsComplex,
    /// The tensor itself as a new handle (detach without losing the version, `view_as(x)`).
    Alias,
}

impl ViewOp {
    /// The layout of the view of a tensor laid out so, or None where the strides do not allow it.
    pub fn apply(&self, x: &Layout, dtype: DType) -> Result<Option<Layout>> {
        Ok(Some(match self {
            ViewOp::Reshape { shape } => return Ok(x.reshape(shape)),
            ViewOp::Permute { dims } => x.permute(dims),
            ViewOp::Expand { shape } => x.broadcast_to(shape)?,
            ViewOp::Slice { dim, start, end, step } => x.slice(*dim, *start, *end, *step),
            ViewOp::Select { dim, index } => x.select(*dim, *index),
            ViewOp::Unsqueeze { dim } => x.unsqueeze(*dim),
            ViewOp::Squeeze { dims } => {
                let mut l = x.clone();
                for &d in dims.iter().rev() {
                    l = l.squeeze(d);
                }
                l
            }
            ViewOp::Diagonal { offset, dim1, dim2 } => x.diagonal(*offset, *dim1, *dim2),
            ViewOp::Unfold { dim, size, step } => x.unfold(*dim, *size, *step),
            ViewOp::AsStrided { layout } => layout.clone(),
            ViewOp::Dtype { dtype: to } => return Ok(cast_layout(x, dtype.size(), to.size())),
            ViewOp::AsReal => {
                let mut l = x.clone();
                for s in &mut l.strides {
                    *s *= 2;
                }
                l.offset *= 2;
                l.shape.push(2);
                l.strides.push(1);
                l
            }
            ViewOp::AsComplex => return Ok(paired(x)),
            ViewOp::Alias => x.clone(),
        }))
    }
}

impl ViewOp {
    /// The dtype of the view of a tensor of this one.
    pub fn dtype(&self, x: DType) -> DType {
        match self {
            ViewOp::Dtype { dtype } => *dtype,
            ViewOp::AsReal => x.real(),
            ViewOp::AsComplex => x.complex(),
            ViewOp::Reshape { .. }
            | ViewOp::Permute { .. }
            | ViewOp::Expand { .. }
            | ViewOp::Slice { .. }
            | ViewOp::Select { .. }
            | ViewOp::Unsqueeze { .. }
            | ViewOp::Squeeze { .. }
            | ViewOp::Diagonal { .. }
            | ViewOp::Unfold { .. }
            | ViewOp::AsStrided { .. }
            | ViewOp::Alias => x,
        }
    }
}

/// Pairs of the last dimension as one element each, where they lie beside each other at even places.
fn paired(x: &Layout) -> Option<Layout> {
    let mut l = x.clone();
    let (size, stride) = (l.shape.pop()?, l.strides.pop()?);
    if size != 2 || stride != 1 || !l.offset.is_multiple_of(2) || l.strides.iter().any(|s| s % 2 != 0) {
        return None;
    }
    for s in &mut l.strides {
        *s /= 2;
    }
    l.offset /= 2;
    Some(l)
}

/// The layout of the same bytes in elements of another size; the last dimension takes the difference.
fn cast_layout(x: &Layout, from: usize, to: usize) -> Option<Layout> {
    let mut l = x.clone();
    if from == to {
        return Some(l);
    }
    let last = l.ndim().checked_sub(1)?;
    if l.strides[last] != 1 {
        return None;
    }
    if from > to {
        let k = from / to;
        l.shape[last] *= k;
        l.offset *= k;
        for s in &mut l.strides[..last] {
            *s *= k as isize;
        }
    } else {
        let k = to / from;
        if !l.shape[last].is_multiple_of(k)
            || !l.offset.is_multiple_of(k)
            || l.strides[..last].iter().any(|s| s % k as isize != 0)
        {
            return None;
        }
        l.shape[last] /= k;
        l.offset /= k;
        for s in &mut l.strides[..last] {
            *s /= k as isize;
        }
    }
    Some(l)
}
