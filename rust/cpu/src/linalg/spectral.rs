//! Eigenvalues of a symmetric matrix (Householder tridiagonalisation and the implicit QL algorithm) and singular values
//! (QR, then one-sided Jacobi rotations, which keep small values accurate). See Golub and Van Loan, "Matrix
//! Computations", chapters 8.3, 8.4 and 8.6. Triangular work is in `dense.rs`.

use rtorch_ir::Result;

use super::dense::{Matrix, Qr, axpy, dot, norm, reflect, reflection, rotate};
use crate::threads::check_interrupt;

/// QL steps per eigenvalue, and sweeps of rotations, after which the algorithm is taken not to converge.
const MOST_STEPS: usize = 60;
const MOST_SWEEPS: usize = 60;

/// Eigenvalues in ascending order and eigenvectors as columns, of the symmetric matrix with this lower triangle; None
/// where the algorithm does not converge.
pub fn eigh(lower: Matrix) -> Result<Option<(Vec<f64>, Matrix)>> {
    let n = lower.rows;
    let a = Matrix::from_fn(n, n, |i, j| if j <= i { lower.at(i, j) } else { lower.at(j, i) });
    let (mut d, mut e, mut vectors) = tridiagonal(a)?;
    if !implicit_ql(&mut d, &mut e, &mut vectors)? {
        return Ok(None);
    }
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|&a, &b| d[a].total_cmp(&d[b]));
    let values = order.iter().map(|&i| d[i]).collect();
    Ok(Some((values, Matrix::from_fn(n, n, |i, j| vectors.at(order[j], i)))))
}

/// A = Q T Q^T: diagonal and subdiagonal of T, and Q with its columns as rows.
fn tridiagonal(mut a: Matrix) -> Result<(Vec<f64>, Vec<f64>, Matrix)> {
    let n = a.rows;
    let (mut e, mut taus) = (vec![0.0; n], vec![0.0; n]);
    let mut reflections = Vec::new();
    for k in 0..n.saturating_sub(1) {
        check_interrupt()?;
        let mut x: Vec<f64> = a.row(k)[k + 1..].to_vec();
        taus[k] = reflection(&mut x);
        e[k] = x[0];
        x[0] = 1.0;
        let tau = taus[k];
        if tau != 0.0 {
            // A22 -= v w^T + w v^T, w = p - (tau / 2) (p v) v, p = tau A22 v
            let mut w: Vec<f64> = (k + 1..n).map(|i| tau * dot(&a.row(i)[k + 1..], &x)).collect();
            axpy(-0.5 * tau * dot(&w, &x), &x, &mut w);
            a.each_row(k + 1, 2 * (n - k), &|i, row| {
                axpy(-x[i - k - 1], &w, &mut row[k + 1..]);
                axpy(-w[i - k - 1], &x, &mut row[k + 1..]);
            });
        }
        reflections.push(x);
    }
    let d = (0..n).map(|i| a.at(i, i)).collect();
    let mut q = Matrix::identity(n);
    for k in (0..reflections.len()).rev() {
        if taus[k] != 0.0 {
            let v = &reflections[k][1..];
            q.each_row(k + 1, 2 * (n - k), &|_, column| reflect(v, taus[k], &mut column[k + 1..]));
        }
    }
    Ok((d, e, q))
}

/// Diagonalises a tridiagonal matrix; `z` holds vectors as rows, which are rotated along. Answers whether it converged.
fn implicit_ql(d: &mut [f64], e: &mut [f64], z: &mut Matrix) -> Result<bool> {
    let n = d.len();
    for l in 0..n {
        let mut steps = 0;
        loop {
            check_interrupt()?;
            let small = |i: usize| e[i].abs() <= f64::EPSILON * (d[i].abs() + d[i + 1].abs());
            let m = (l..n - 1).find(|&i| small(i)).unwrap_or(n - 1);
            if m == l {
                break;
            }
            steps += 1;
            if steps > MOST_STEPS {
                return Ok(false);
            }
            // Wilkinson's shift
            let g = (d[l + 1] - d[l]) / (2.0 * e[l]);
            let mut g = d[m] - d[l] + e[l] / (g + g.hypot(1.0).copysign(g));
            let (mut s, mut c, mut p) = (1.0, 1.0, 0.0);
            let mut deflated = false;
            for i in (l..m).rev() {
                let (f, b) = (s * e[i], c * e[i]);
                let r = f.hypot(g);
                e[i + 1] = r;
                if r == 0.0 {
                    d[i + 1] -= p;
                    e[m] = 0.0;
                    deflated = true;
                    break;
                }
                (s, c) = (f / r, g / r);
                g = d[i + 1] - p;
                let r = (d[i] - g) * s + 2.0 * c * b;
                p = s * r;
                d[i + 1] = g + p;
                g = c * r - b;
                let (low, high) = z.two_rows(i, i + 1);
                rotate(low, high, c, s);
            }
            if !deflated {
                d[l] -= p;
                e[l] = g;
                e[m] = 0.0;
            }
        }
    }
    Ok(true)
}

/// U, singular values in descending order, V with A = U S V^T; U and V square where `full`, thin otherwise.
pub fn svd(a: &Matrix, full: bool) -> Result<(Matrix, Vec<f64>, Matrix)> {
    if a.rows < a.cols {
        let (v, s, u) = svd(&a.transposed(), full)?;
        return Ok((u, s, v));
    }
    let (m, n) = (a.rows, a.cols);
    let qr = Qr::new(a)?;
    // rotations of the rows of R, columns of R^T, which is nearer to diagonal: R^T V' = U' S
    let mut work = Matrix::from_fn(n, n, |i, j| qr.r(i, j));
    let mut rotations = Matrix::identity(n);
    jacobi(&mut work, &mut rotations)?;
    let sizes: Vec<f64> = (0..n).map(|i| norm(work.row(i))).collect();
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|&a, &b| sizes[b].total_cmp(&sizes[a]));
    let s: Vec<f64> = order.iter().map(|&i| sizes[i]).collect();
    // rows of `work` are singular values times right vectors of R, columns of `rotations`^T its left vectors
    let right = Matrix::from_fn(n, n, |i, j| if s[i] > 0.0 { work.at(order[i], j) / s[i] } else { 0.0 });
    let rank = s.iter().take_while(|&&v| v > 0.0).count();
    let v = complete(right, rank)?.transposed();
    let columns = if full { m } else { n };
    let q = qr.q(columns)?;
    let mut u = Matrix::zeros(m, columns);
    for i in 0..m {
        for j in 0..columns {
            let value = if j < n { dot(&q.row(i)[..n], rotations.row(order[j])) } else { q.at(i, j) };
            u.set(i, j, value);
        }
    }
    Ok((u, s, v))
}

/// Rotates pairs of rows until all are orthogonal; `along` is rotated the same way.
fn jacobi(work: &mut Matrix, along: &mut Matrix) -> Result<()> {
    let n = work.rows;
    for _ in 0..MOST_SWEEPS {
        let mut rotated = false;
        for p in 0..n {
            check_interrupt()?;
            for q in p + 1..n {
                let (x, y) = work.two_rows(p, q);
                let (a, b, g) = (dot(x, x), dot(y, y), dot(x, y));
                if g.abs() <= f64::EPSILON * (a * b).sqrt() || g == 0.0 {
                    continue;
                }
                rotated = true;
                let zeta = (b - a) / (2.0 * g);
                let t = 1.0f64.copysign(zeta) / (zeta.abs() + zeta.hypot(1.0));
                let c = 1.0 / t.hypot(1.0);
                rotate(x, y, c, c * t);
                let (x, y) = along.two_rows(p, q);
                rotate(x, y, c, c * t);
            }
        }
        if !rotated {
            break;
        }
    }
    Ok(())
}

/// Replaces the rows from `rank` on so that all rows are orthonormal.
fn complete(mut rows: Matrix, rank: usize) -> Result<Matrix> {
    let n = rows.cols;
    if rank == rows.rows {
        return Ok(rows);
    }
    let basis = Qr::new(&Matrix::from_fn(n, rank, |i, j| rows.at(j, i)))?.q(n)?;
    for i in rank..rows.rows {
        for j in 0..n {
            rows.set(i, j, basis.at(j, i));
        }
    }
    Ok(rows)
}
