//! Binary search in sorted rows (`searchsorted`, `bucketize`).

use crate::threads::parallel_for;

/// Searches that one thread makes at least.
const GRAIN: usize = 4096;

/// For every value where it would be inserted into its sorted row: `rows` holds rows of `n` elements, each searched for
/// `per_row` values in turn. With `right` behind equal elements. NaN counts as not less than anything, as PyTorch has
/// it.
pub fn search<T: Copy + PartialOrd + Sync>(
    rows: &[T],
    n: usize,
    values: &[T],
    per_row: usize,
    right: bool,
) -> Vec<i64> {
    let mut out = vec![0i64; values.len()];
    let place = out.as_mut_ptr() as usize;
    parallel_for(values.len(), GRAIN, &|range| {
        for i in range {
            let start = i / per_row.max(1) * n;
            let row = &rows[start..start + n];
            let at = if right { first(row, |&v| v > values[i]) } else { first(row, |&v| v >= values[i]) };
            // SAFETY: ranges are disjoint and lie in `out`, which outlives the call.
            unsafe { (place as *mut i64).add(i).write(at as i64) };
        }
    });
    out
}

/// The first place from which `stop` holds, where it holds from some place on.
fn first<T>(row: &[T], stop: impl Fn(&T) -> bool) -> usize {
    let (mut low, mut high) = (0, row.len());
    while low < high {
        let middle = low + (high - low) / 2;
        if stop(&row[middle]) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::search;

    #[test]
    fn finds_left_and_right_of_equals_in_each_row() {
        let rows = [1.0, 2.0, 2.0, 5.0, 10.0, 20.0, 30.0, 40.0];
        let values = [0.0, 2.0, 9.0, 2.0, 20.0, f64::NAN];
        assert_eq!(search(&rows, 4, &values, 3, false), [0, 1, 4, 0, 1, 4]);
        assert_eq!(search(&rows, 4, &values, 3, true), [0, 3, 4, 0, 2, 4]);
        assert_eq!(search(&[], 0, &[1.0], 1, true), [0]);
    }
}
