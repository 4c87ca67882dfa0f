//! A = L D L^T (or L D L^H) of a symmetric (Hermitian) matrix that need not be definite, and what it solves: the
//! diagonal pivoting of J. R. Bunch and L. Kaufman, "Some stable methods for calculating inertia and solving symmetric
//! linear systems" (1977), in LAPACK's storage (sytrf, hetrf with the lower triangle).

use faer::Mat;

use super::element::Element;

/// The threshold that bounds growth best.
const ALPHA: f64 = 0.640_388_203_202_207_9; // (1 + sqrt 17) / 8

/// The strictly lower factor with D's entries on the diagonal (and below it for blocks of two), pivots that count
/// from 1 and are negative, twice, for blocks of two, and the first zero of D.
pub fn factor<T: Element>(mut a: Mat<T>, hermitian: bool) -> (Mat<T>, Vec<i32>, Option<usize>) {
    let n = a.nrows();
    let mut pivots = vec![0i32; n];
    let mut singular = None;
    let turn = |v: T| if hermitian { v.conjugate() } else { v };
    let mut k = 0;
    while k < n {
        let (p, two) = choose(&a, k);
        let step = 1 + usize::from(two);
        let target = k + step - 1;
        if p != target {
            swap(&mut a, target, p, hermitian);
            if two {
                let kept = a[(target, k)];
                a[(target, k)] = a[(p, k)];
                a[(p, k)] = kept;
            }
        }
        if hermitian {
            for i in k..k + step {
                a[(i, i)] = T::of(a[(i, i)].re(), 0.0);
            }
        }
        if two {
            eliminate_two(&mut a, k, &turn);
            pivots[k] = -(p as i32 + 1);
            pivots[k + 1] = pivots[k];
        } else {
            let d = a[(k, k)];
            if d.is_zero() {
                singular = singular.or(Some(k));
            } else {
                for j in k + 1..n {
                    let by = turn(a[(j, k)]).over(d);
                    for i in j..n {
                        a[(i, j)] = a[(i, j)].minus(a[(i, k)].times(by));
                    }
                }
                for i in k + 1..n {
                    a[(i, k)] = a[(i, k)].over(d);
                }
            }
            pivots[k] = p as i32 + 1;
        }
        k += step;
    }
    for j in 0..n {
        for i in 0..j {
            a[(i, j)] = T::zero();
        }
    }
    (a, pivots, singular)
}

/// The row to pivot with, and whether the block is of two.
fn choose<T: Element>(a: &Mat<T>, k: usize) -> (usize, bool) {
    let n = a.nrows();
    let here = a[(k, k)].size();
    let (mut far, mut largest) = (k, 0.0);
    for i in k + 1..n {
        if a[(i, k)].size() > largest {
            (far, largest) = (i, a[(i, k)].size());
        }
    }
    if here.max(largest) == 0.0 || here >= ALPHA * largest {
        return (k, false);
    }
    let mut row = 0.0f64;
    for j in k..far {
        row = row.max(a[(far, j)].size());
    }
    for i in far + 1..n {
        row = row.max(a[(i, far)].size());
    }
    if here >= ALPHA * largest * (largest / row) {
        (k, false)
    } else if a[(far, far)].size() >= ALPHA * row {
        (far, false)
    } else {
        (far, true)
    }
}

/// Swaps rows and columns `k` and `p` > k of the part that is not factored yet.
fn swap<T: Element>(a: &mut Mat<T>, k: usize, p: usize, hermitian: bool) {
    let n = a.nrows();
    let turn = |v: T| if hermitian { v.conjugate() } else { v };
    for i in p + 1..n {
        let kept = a[(i, k)];
        a[(i, k)] = a[(i, p)];
        a[(i, p)] = kept;
    }
    for j in k + 1..p {
        let kept = turn(a[(j, k)]);
        a[(j, k)] = turn(a[(p, j)]);
        a[(p, j)] = kept;
    }
    a[(p, k)] = turn(a[(p, k)]);
    let kept = a[(k, k)];
    a[(k, k)] = a[(p, p)];
    a[(p, p)] = kept;
}

fn eliminate_two<T: Element>(a: &mut Mat<T>, k: usize, turn: &impl Fn(T) -> T) {
    let n = a.nrows();
    let (d11, d21, d22) = (a[(k, k)], a[(k + 1, k)], a[(k + 1, k + 1)]);
    let det = d11.times(d22).minus(d21.times(turn(d21)));
    for j in k + 2..n {
        let (u, v) = (a[(j, k)], a[(j, k + 1)]);
        // row j of L: [u v] times the inverse of the block
        let w1 = u.times(d22).minus(v.times(d21)).over(det);
        let w2 = v.times(d11).minus(u.times(turn(d21))).over(det);
        for i in j..n {
            let (x, y) = (a[(i, k)], a[(i, k + 1)]);
            a[(i, j)] = a[(i, j)].minus(x.times(turn(w1))).minus(y.times(turn(w2)));
        }
        a[(j, k)] = w1;
        a[(j, k + 1)] = w2;
    }
}

/// A X = B from the factor and its pivots.
pub fn solve<T: Element>(ld: &Mat<T>, pivots: &[i32], mut x: Mat<T>, hermitian: bool) -> Mat<T> {
    let (n, columns) = (ld.nrows(), x.ncols());
    let turn = |v: T| if hermitian { v.conjugate() } else { v };
    let row_of = |p: i32| (p.unsigned_abs() as usize).clamp(1, n) - 1;
    let mut starts = Vec::new();
    let mut k = 0;
    while k < n {
        let two = pivots[k] < 0 && k + 1 < n;
        starts.push((k, two));
        k += 1 + usize::from(two);
    }
    for c in 0..columns {
        for &(k, two) in &starts {
            let (last, p) = (k + usize::from(two), row_of(pivots[k]));
            let kept = x[(last, c)];
            x[(last, c)] = x[(p, c)];
            x[(p, c)] = kept;
            for i in last + 1..n {
                let mut v = x[(i, c)].minus(ld[(i, k)].times(x[(k, c)]));
                if two {
                    v = v.minus(ld[(i, last)].times(x[(last, c)]));
                }
                x[(i, c)] = v;
            }
            if two {
                let (d11, d21, d22) = (ld[(k, k)], ld[(last, k)], ld[(last, last)]);
                let det = d11.times(d22).minus(d21.times(turn(d21)));
                let (u, v) = (x[(k, c)], x[(last, c)]);
                x[(k, c)] = u.times(d22).minus(v.times(turn(d21))).over(det);
                x[(last, c)] = v.times(d11).minus(u.times(d21)).over(det);
            } else {
                x[(k, c)] = x[(k, c)].over(ld[(k, k)]);
            }
        }
        for &(k, two) in starts.iter().rev() {
            let last = k + usize::from(two);
            for column in k..=last {
                let mut v = x[(column, c)];
                for i in last + 1..n {
                    v = v.minus(turn(ld[(i, column)]).times(x[(i, c)]));
                }
                x[(column, c)] = v;
            }
            let p = row_of(pivots[k]);
            let kept = x[(last, c)];
            x[(last, c)] = x[(p, c)];
            x[(p, c)] = kept;
        }
    }
    x
}
