//! Shape rules of several operands: broadcasting, and the strides of a pointwise result (TensorIterator's rule).

use smallvec::SmallVec;

use crate::error::{Error, Result};
use crate::layout::{Layout, Shape, Strides, contiguous_strides};

/// The broadcast shape of two shapes, or PyTorch's error.
pub fn broadcast(a: &[usize], b: &[usize]) -> Result<Shape> {
    let n = a.len().max(b.len());
    let mut out: Shape = SmallVec::from_elem(1, n);
    for i in 0..n {
        let x = if i + a.len() >= n { a[i + a.len() - n] } else { 1 };
        let y = if i + b.len() >= n { b[i + b.len() - n] } else { 1 };
        out[i] = if x == y || y == 1 {
            x
        } else if x == 1 {
            y
        } else {
            return Err(Error::runtime(format!(
                "The size of tensor a ({x}) must match the size of tensor b ({y}) at non-singleton dimension {i}"
            )));
        };
    }
    Ok(out)
}

/// Strides that PyTorch's TensorIterator gives a result of `shape` computed from `operands` (already of that shape,
/// or broadcastable to it): the memory order of the operands, the first with a say in each pair of dims winning.
pub fn result_strides(shape: &[usize], operands: &[&Layout]) -> Strides {
    let n = shape.len();
    if operands.iter().all(|l| l.shape.as_slice() == shape && l.is_contiguous()) {
        return contiguous_strides(shape);
    }
    // all of the full shape, equally strided and dense: the same strides again
    if let Some(first) = operands.first()
        && first.shape.as_slice() == shape
        && first.is_dense()
        && operands.iter().all(|l| l.shape == first.shape && l.strides == first.strides)
    {
        return first.strides.clone();
    }
    let stride_of = |l: &Layout, d: usize| -> isize {
        let lead = n - l.ndim();
        if d < lead || (l.shape[d - lead] == 1 && shape[d] != 1) { 0 } else { l.strides[d - lead] }
    };
    // PyTorch's insertion sort over dims, innermost first, with its ambiguous comparisons
    let mut perm: SmallVec<[usize; 5]> = (0..n).rev().collect();
    let should_swap = |d0: usize, d1: usize| -> i32 {
        for l in operands {
            if l.ndim() == 0 {
                continue;
            }
            let (s0, s1) = (stride_of(l, d0), stride_of(l, d1));
            if s0 == 0 || s1 == 0 {
                continue;
            }
            if s0 < s1 {
                return -1;
            }
            if s0 > s1 {
                return 1;
            }
            if shape[d0] > shape[d1] {
                return 1;
            }
        }
        0
    };
    for i in 1..n {
        let mut d1 = i;
        for d0 in (0..i).rev() {
            match should_swap(perm[d0], perm[d1]) {
                c if c > 0 => {
                    perm.swap(d0, d1);
                    d1 = d0;
                }
                c if c < 0 => break,
                _ => {}
            }
        }
    }
    let mut strides: Strides = SmallVec::from_elem(0, n);
    let mut step = 1isize;
    for &d in &perm {
        strides[d] = step;
        step *= shape[d].max(1) as isize;
    }
    strides
}

/// A shape argument with at most one -1, completed for `numel` elements.
pub fn infer_size(shape: &[i64], numel: usize) -> Result<Shape> {
    let text = || {
        let s: Vec<String> = shape.iter().map(|v| v.to_string()).collect();
        format!("[{}]", s.join(", "))
    };
    let mut known = 1usize;
    let mut hole = None;
    for (i, &s) in shape.iter().enumerate() {
        if s == -1 {
            if hole.replace(i).is_some() {
                return Err(Error::runtime("only one dimension can be inferred"));
            }
        } else if s < 0 {
            return Err(Error::runtime(format!("invalid shape dimension {s}")));
        } else {
            known =
                known.checked_mul(s as usize).ok_or_else(|| Error::runtime(format!("shape '{}' overflows", text())))?;
        }
    }
    let mut out = Shape::with_capacity(shape.len());
    for &s in shape {
        out.push(s.max(0) as usize);
    }
    if let Some(i) = hole {
        if known == 0 {
            return Err(Error::runtime(format!(
                "cannot reshape tensor of {numel} elements into shape {} because the unspecified dimension size -1 \
                 can be any value and is ambiguous",
                text()
            )));
        }
        if numel.is_multiple_of(known) {
            out[i] = numel / known;
            return Ok(out);
        }
    } else if known == numel {
        return Ok(out);
    }
    Err(Error::runtime(format!("shape '{}' is invalid for input of size {numel}", text())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broadcasting() {
        assert_eq!(broadcast(&[2, 1, 3], &[4, 1]).unwrap().as_slice(), &[2, 4, 3]);
        assert!(broadcast(&[2], &[3]).is_err());
        assert_eq!(broadcast(&[0], &[1]).unwrap().as_slice(), &[0]);
    }

    #[test]
    fn strides_follow_the_first_operand_with_a_say() {
        let t = Layout::contiguous(&[3, 2]).transpose(0, 1);
        assert_eq!(result_strides(&[2, 3], &[&t]).as_slice(), &[1, 2]);
        let c = Layout::contiguous(&[2, 3]);
        assert_eq!(result_strides(&[2, 3], &[&t, &c]).as_slice(), &[1, 2]);
        assert_eq!(result_strides(&[2, 3], &[&c, &t]).as_slice(), &[3, 1]);
        let row = Layout::contiguous(&[3]);
        assert_eq!(result_strides(&[2, 3], &[&row, &t]).as_slice(), &[1, 2]);
    }
}
