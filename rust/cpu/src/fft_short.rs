//! Short Fourier transforms of many lines at once: every lane of a register has a line of its own, so that all of a
//! transform is vector arithmetic. Lengths of small factors, up to `LONGEST`; `fft` has the others from rustfft, whose
//! transform of 10 points took ten times as long as this. A line's bits do not depend on its lane or its neighbours.
//! Source: the self-sorting form of T. G. Stockham, "High-speed convolution and correlation" (1966), over the mixed
//! radices of J. W. Cooley and J. W. Tukey (1965); odd radices fold conjugate roots.

use realfft::num_complex::Complex;

use crate::versions::versions;
use crate::walk::Base;

/// The longest transform that is done here.
pub const LONGEST: usize = 256;
/// Most lines of a block.
pub const MOST: usize = 16;
/// Elements of a line that are read or written in turn: neighbouring lines share cache lines.
const RUN: usize = 8;

/// A register of one number of each line.
pub trait Pack: Copy {
    type T: Copy + Send + Sync;
    const LINES: usize;
    const ZERO: Self;
    fn of(x: f64) -> Self::T;
    fn add(self, o: Self) -> Self;
    fn sub(self, o: Self) -> Self;
    fn times(self, by: Self::T) -> Self;
}

macro_rules! pack {
    ($t:ty, $n:literal) => {
        impl Pack for [$t; $n] {
            type T = $t;
            const LINES: usize = $n;
            const ZERO: Self = [0.0; $n];
            fn of(x: f64) -> $t {
                x as $t
            }
            #[inline(always)]
            fn add(mut self, o: Self) -> Self {
                for l in 0..$n {
                    self[l] += o[l];
                }
                self
            }
            #[inline(always)]
            fn sub(mut self, o: Self) -> Self {
                for l in 0..$n {
                    self[l] -= o[l];
                }
                self
            }
            #[inline(always)]
            fn times(mut self, by: $t) -> Self {
                for l in 0..$n {
                    self[l] *= by;
                }
                self
            }
        }
    };
}
pack!(f32, 16);
pack!(f64, 8);

/// Real and imaginary parts.
pub type Pair<V> = [V; 2];

/// One pass: `radix` parts of `count` groups of `stride` numbers are combined.
struct Pass<T> {
    radix: usize,
    count: usize,
    stride: usize,
    /// Powers 1 to radix - 1 of the root that belongs to each group.
    turns: Vec<[T; 2]>,
    /// Cosines and sines of the multiples of the radix' angle.
    roots: Vec<[T; 2]>,
}

/// A forward transform of `n` points; the inverse is the same with real and imaginary parts exchanged.
pub struct Plan<V: Pack> {
    n: usize,
    passes: Vec<Pass<V::T>>,
}

/// exp(-2 pi i k / n).
fn root<V: Pack>(k: usize, n: usize) -> [V::T; 2] {
    let k = k % n;
    // exact where it can be
    let (re, im) = match 4 * k {
        0 => (1.0, 0.0),
        k if k == n => (0.0, -1.0),
        k if k == 2 * n => (-1.0, 0.0),
        k if k == 3 * n => (0.0, 1.0),
        _ => {
            let angle = -std::f64::consts::TAU * k as f64 / n as f64;
            (angle.cos(), angle.sin())
        }
    };
    [V::of(re), V::of(im)]
}

impl<V: Pack> Plan<V> {
    /// None where `n` is too long or has a prime factor above 7.
    pub fn new(n: usize) -> Option<Plan<V>> {
        if n == 0 || n > LONGEST {
            return None;
        }
        let (mut rest, mut stride, mut passes) = (n, 1, Vec::new());
        while rest > 1 {
            let radix = *[4, 2, 3, 5, 7].iter().find(|&&r| rest.is_multiple_of(r))?;
            let count = rest / radix;
            let turns = (0..count).flat_map(|i| (1..radix).map(move |k| root::<V>(i * k, rest))).collect();
            let roots = (0..radix).map(|k| root::<V>(k, radix)).collect();
            passes.push(Pass { radix, count, stride, turns, roots });
            (rest, stride) = (count, stride * radix);
        }
        Some(Plan { n, passes })
    }
    pub fn len(&self) -> usize {
        self.n
    }
}

#[inline(always)]
fn add<V: Pack>(a: Pair<V>, b: Pair<V>) -> Pair<V> {
    [a[0].add(b[0]), a[1].add(b[1])]
}
#[inline(always)]
fn sub<V: Pack>(a: Pair<V>, b: Pair<V>) -> Pair<V> {
    [a[0].sub(b[0]), a[1].sub(b[1])]
}
/// a - i b and a + i b.
#[inline(always)]
fn turned<V: Pack>(a: Pair<V>, b: Pair<V>) -> [Pair<V>; 2] {
    [[a[0].add(b[1]), a[1].sub(b[0])], [a[0].sub(b[1]), a[1].add(b[0])]]
}
#[inline(always)]
fn mul<V: Pack>(a: Pair<V>, w: [V::T; 2]) -> Pair<V> {
    [a[0].times(w[0]).sub(a[1].times(w[1])), a[0].times(w[1]).add(a[1].times(w[0]))]
}

/// The transform of `R` numbers.
#[inline(always)]
fn combine<V: Pack, const R: usize>(a: [Pair<V>; R], roots: &[[V::T; 2]]) -> [Pair<V>; R] {
    let mut y = a;
    match R {
        2 => (y[0], y[1]) = (add(a[0], a[1]), sub(a[0], a[1])),
        4 => {
            let (even, odd) = (add(a[0], a[2]), add(a[1], a[3]));
            (y[0], y[2]) = (add(even, odd), sub(even, odd));
            [y[1], y[3]] = turned(sub(a[0], a[2]), sub(a[1], a[3]));
        }
        _ => {
            let half = R / 2;
            for j in 1..=half {
                y[0] = add(y[0], add(a[j], a[R - j]));
            }
            for k in 1..=half {
                let (mut even, mut odd) = (a[0], [V::ZERO; 2]);
                for j in 1..=half {
                    // sines were taken of negative angles
                    let [c, s] = roots[j * k % R];
                    let (sum, gap) = (add(a[j], a[R - j]), sub(a[R - j], a[j]));
                    even = [even[0].add(sum[0].times(c)), even[1].add(sum[1].times(c))];
                    odd = [odd[0].add(gap[0].times(s)), odd[1].add(gap[1].times(s))];
                }
                [y[k], y[R - k]] = turned(even, odd);
            }
        }
    }
    y
}

#[inline(always)]
fn pass<V: Pack, const R: usize>(p: &Pass<V::T>, x: &[Pair<V>], y: &mut [Pair<V>]) {
    let (s, m) = (p.stride, p.count);
    assert!(x.len() >= R * m * s && y.len() >= R * m * s && p.roots.len() == R && p.turns.len() == m * (R - 1));
    for i in 0..m {
        for q in 0..s {
            let a: [Pair<V>; R] = std::array::from_fn(|j| x[q + s * (i + m * j)]);
            let b = combine::<V, R>(a, &p.roots);
            y[q + s * R * i] = b[0];
            for k in 1..R {
                // the first group's factors are 1
                y[q + s * (R * i + k)] = if i == 0 { b[k] } else { mul(b[k], p.turns[i * (R - 1) + k - 1]) };
            }
        }
    }
}

/// Transforms `a`; answers whether the result is in `b`.
#[inline(always)]
fn passes<V: Pack>(plan: &Plan<V>, a: &mut [Pair<V>], b: &mut [Pair<V>]) -> bool {
    let (mut x, mut y) = (a, b);
    for p in &plan.passes {
        match p.radix {
            2 => pass::<V, 2>(p, x, y),
            3 => pass::<V, 3>(p, x, y),
            4 => pass::<V, 4>(p, x, y),
            5 => pass::<V, 5>(p, x, y),
            _ => pass::<V, 7>(p, x, y),
        }
        (x, y) = (y, x);
    }
    plan.passes.len() % 2 == 1
}
versions!(fn transform[V: Pack](plan: &Plan<V>, a: &mut [Pair<V>], b: &mut [Pair<V>]) -> bool = passes::<V>);

/// What a line's elements are.
#[derive(Clone, Copy, PartialEq)]
pub enum Form {
    Complex,
    Real,
    /// The first half of a Hermitian line and its middle.
    Half,
}

/// Where the lines of a block are: a base, each line's byte offset, and bytes from element to element.
pub struct Lines<'a> {
    pub base: Base,
    pub places: &'a [isize],
    pub step: isize,
    pub form: Form,
}

/// A thread's memory for a block.
pub struct Room<V: Pack>(Vec<Pair<V>>, Vec<Pair<V>>);

impl<V: Pack> Room<V> {
    pub fn new(n: usize) -> Room<V> {
        Room(vec![[V::ZERO; 2]; n], vec![[V::ZERO; 2]; n])
    }
}

/// Calls `f(line, element)` for `n` elements of each line, a few of each in turn.
#[inline(always)]
fn each(lines: usize, n: usize, mut f: impl FnMut(usize, usize)) {
    for first in (0..n).step_by(RUN) {
        for l in 0..lines {
            for i in first..(first + RUN).min(n) {
                f(l, i);
            }
        }
    }
}

/// Transforms a block of at most `V::LINES` lines and multiplies it by a number.
///
/// # Safety
/// Lines of `from` have elements for `plan` in their form (`n / 2 + 1` of a half), and those of `to` room for them.
pub unsafe fn block<V: Pack>(plan: &Plan<V>, inverse: bool, by: V::T, from: &Lines, to: &Lines, room: &mut Room<V>)
where
    V::T: std::ops::Mul<Output = V::T> + std::ops::Neg<Output = V::T>,
{
    let n = plan.len();
    let (re, im) = if inverse { (1, 0) } else { (0, 1) };
    let zero = V::of(0.0);
    let (lines, Room(a, b)) = (from.places.len().min(V::LINES), room);
    assert!(a.len() == n && b.len() == n);
    let (numbers, part) = (a.as_mut_ptr().cast::<V::T>(), V::LINES);
    // SAFETY: element `i` of `n`, line `l` of the lines.
    let put = |l: usize, i: usize, x: V::T, y: V::T| unsafe {
        numbers.add((2 * i + re) * part + l).write(x);
        numbers.add((2 * i + im) * part + l).write(y);
    };
    // SAFETY: the caller's promise.
    let read = |l: usize, i: usize| unsafe { *from.base.at::<Complex<V::T>>(from.places[l] + i as isize * from.step) };
    match from.form {
        Form::Complex => each(lines, n, |l, i| {
            let v = read(l, i);
            put(l, i, v.re, v.im);
        }),
        Form::Real => each(lines, n, |l, i| {
            // SAFETY: the caller's promise.
            put(l, i, unsafe { *from.base.at::<V::T>(from.places[l] + i as isize * from.step) }, zero);
        }),
        Form::Half => each(lines, n / 2 + 1, |l, i| {
            let v = read(l, i);
            // what a real signal's spectrum cannot hold is ignored
            let alone = i == 0 || 2 * i == n;
            put(l, i, v.re, if alone { zero } else { v.im });
            if !alone {
                put(l, n - i, v.re, -v.im);
            }
        }),
    }
    let y = if transform::<V>(plan, a, b) { &*b } else { &*a };
    let numbers = y.as_ptr().cast::<V::T>();
    // SAFETY: as in `put`.
    let get = |l: usize, i: usize, part_of: usize| unsafe { *numbers.add((2 * i + part_of) * part + l) * by };
    match to.form {
        Form::Complex | Form::Half => {
            each(lines, if to.form == Form::Half { n / 2 + 1 } else { n }, |l, k| {
                let v = Complex { re: get(l, k, re), im: get(l, k, im) };
                // SAFETY: the caller's promise.
                unsafe { *to.base.at::<Complex<V::T>>(to.places[l] + k as isize * to.step) = v };
            });
        }
        Form::Real => each(lines, n, |l, k| {
            // SAFETY: the caller's promise.
            unsafe { *to.base.at::<V::T>(to.places[l] + k as isize * to.step) = get(l, k, re) };
        }),
    }
}
