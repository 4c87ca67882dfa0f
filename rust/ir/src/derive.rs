//! The derivative of a program, from the rows' derivative column. The result is again a program, so that it fuses,
//! runs on every backend, and can be differentiated once more.

use smallvec::SmallVec;

use crate::dtype::DType;
use crate::program::{Ex, Inst, Program, Reg, build, ex::*};
use crate::table::ScalarOp;

/// Cotangents of a row's arguments: `x` the arguments, `y` the result, `g` its cotangent, all of one float type.
fn row_grads(op: ScalarOp, x: [Ex; 3], y: Ex, g: Ex) -> SmallVec<[Option<Ex>; 3]> {
    macro_rules! grads {
        ($([$name:ident $fn:ident ($($arg:ident),+; $y:ident, $g:ident) $class:ident, $body:expr, $wgsl:literal,
            [$($d:expr),+ $(,)?], $cost:literal, $ulp:literal, $doc:literal])*) => {
            match op {$(
                ScalarOp::$name => {
                    let mut args = x.iter().copied();
                    $(let $arg = args.next().unwrap_or(y);)+
                    #[allow(unused_variables)]
                    let ($y, $g) = (y, g);
                    let _ = ($($arg,)+ $y, $g);
                    let d: SmallVec<[Option<Ex>; 3]> = SmallVec::from_slice(&[$($d),+]);
                    d
                }
            )*}
        };
    }
    crate::for_each_scalar_op!(grads)
}

/// Is the row constant almost everywhere or without derivative, so that gradients stop there?
pub fn is_differentiable(op: ScalarOp) -> bool {
    let mut p = Program::new();
    let x = p.load(DType::F32);
    let c = p.load(DType::Bool);
    let first = if op == ScalarOp::Where { c } else { x };
    let (_, d) = build(p, || row_grads(op, [Ex(first), Ex(x), Ex(x)], Ex(x), Ex(x)));
    d.iter().any(|d| d.is_some())
}

/// A cotangent that flows only where some choices' conditions hold, or do not. The choice is put around it as late as
/// possible: both branches of one meet in one choice again, and what a branch that was not taken computes with the
/// cotangent (0 times infinity) reaches nobody.
#[derive(Clone)]
struct Term {
    /// Conditions, the outermost choice first, and whether they must hold.
    under: SmallVec<[(Reg, bool); 4]>,
    ex: Ex,
}

impl Term {
    /// Another value under the same conditions.
    fn with(&self, ex: Ex) -> Term {
        Term { under: self.under.clone(), ex }
    }
    fn branch(&self, condition: Reg, holds: bool) -> Term {
        let mut t = self.clone();
        t.under.push((condition, holds));
        t
    }
    /// The cotangent as a value, 0 where the conditions are not met.
    fn whole(self) -> Ex {
        self.under.iter().rev().fold(self.ex, |ex, &(c, holds)| match holds {
            true => where_(Ex(c), ex, ex.lit(0.0)),
            false => where_(Ex(c), ex.lit(0.0), ex),
        })
    }
}

/// The cotangents that arrived at a value.
#[derive(Clone, Default)]
struct Arrived(SmallVec<[Term; 2]>);

impl Arrived {
    /// The zeros of rows that are constant almost everywhere are left out beside others, so that the fractional part
    /// passes its cotangent on as it is.
    fn add(&mut self, t: Term) {
        if t.ex.is_zero() && !self.0.is_empty() {
            return;
        }
        self.0.retain(|s| !s.ex.is_zero());
        self.0.push(t);
    }
    /// Their sum as one term.
    fn settled(self) -> Option<Term> {
        let mut terms = self.0;
        while let Some((i, j)) = pair_of(&terms) {
            let (b, a) = (terms.remove(j), terms[i].clone());
            let mut under = a.under;
            let ex = if under == b.under {
                a.ex + b.ex
            } else {
                match under.pop() {
                    Some(_) if a.ex.0 == b.ex.0 => a.ex,
                    Some((c, true)) => where_(Ex(c), a.ex, b.ex),
                    Some((c, false)) => where_(Ex(c), b.ex, a.ex),
                    None => a.ex,
                }
            };
            terms[i] = Term { under, ex };
        }
        let mut terms = terms.into_iter();
        let first = terms.next()?;
        if terms.len() == 0 {
            return Some(first);
        }
        let ex = terms.fold(first.whole(), |sum, t| sum + t.whole());
        Some(Term { under: SmallVec::new(), ex })
    }
}

/// Two terms under the same conditions, or those of one choice's branches.
fn pair_of(terms: &[Term]) -> Option<(usize, usize)> {
    let meet = |a: &Term, b: &Term| match (a.under.split_last(), b.under.split_last()) {
        (Some((x, outer)), Some((y, other))) => x.0 == y.0 && outer == other,
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    };
    (0..terms.len()).find_map(|i| (i + 1..terms.len()).find(|&j| meet(&terms[i], &terms[j])).map(|j| (i, j)))
}

/// The vector-Jacobian product of a one-output program: a program over the leaves of `program` followed by a leaf for
/// its result and one for the cotangent (of dtype `g`), whose outputs are the cotangents of the leaves `wanted`, stored
/// as these leaves' dtypes (None where the output does not depend on the leaf). Unused leaves are kept: numbers stay
/// those of `program`, the result's is `program.leaves.len()` and the cotangent's the one after.
pub fn vjp(program: &Program, g: DType, wanted: &[usize]) -> (Program, SmallVec<[Option<usize>; 4]>) {
    let mut start = program.clone();
    let out = start.outputs[0];
    start.outputs.clear();
    let result = start.load(program.dtype(out));
    let g = start.load(g);
    let n = program.values.len();
    let last = last_op(program, out);
    let needs = depends_on(program, wanted);
    let (mut p, found) = build(start, || {
        let mut cot: Vec<Arrived> = vec![Arrived::default(); n];
        let out_t = program.ctype(out).dtype();
        cot[out as usize].add(Term { under: SmallVec::new(), ex: Ex(g).cast(out_t) });
        for i in (0..n).rev() {
            let (inst, _) = program.values[i];
            if !needs[i] || matches!(inst, Inst::Load(_) | Inst::Const(_) | Inst::Index) {
                continue;
            }
            let Some(term) = std::mem::take(&mut cot[i]).settled() else { continue };
            match inst {
                Inst::Load(_) | Inst::Const(_) | Inst::Index => {}
                Inst::Cast(a) => {
                    let from = program.dtype(a);
                    if from.is_differentiable() && needs[a as usize] {
                        cot[a as usize].add(term.with(term.ex.cast(from.ctype().dtype())));
                    }
                }
                Inst::Op(ScalarOp::Where, [c, a, b]) => {
                    for (r, holds) in [(a, true), (b, false)] {
                        if needs[r as usize] {
                            cot[r as usize].add(term.branch(c, holds));
                        }
                    }
                }
                Inst::Op(op, a) => {
                    // the row that makes the result (but for rounding) reads it rather than computing it again
                    let y = if i == last { Ex(result).cast(program.ctype(i as u16).dtype()) } else { Ex(i as u16) };
                    let d = row_grads(op, a.map(Ex), y, term.ex);
                    for (k, d) in d.into_iter().enumerate() {
                        let r = a[k] as usize;
                        if let Some(d) = d
                            && needs[r]
                        {
                            cot[r].add(term.with(d));
                        }
                    }
                }
            }
        }
        // a leaf may be loaded by several values
        let mut found: SmallVec<[Option<Ex>; 4]> = SmallVec::new();
        for &w in wanted {
            let mut sum = Arrived::default();
            for (i, v) in program.values.iter().enumerate() {
                if v.0 == Inst::Load(w as u16) {
                    cot[i].0.drain(..).for_each(|t| sum.add(t));
                }
            }
            found.push(sum.settled().map(|t| t.whole().cast(program.leaves[w])));
        }
        found
    });
    let mut which = SmallVec::new();
    for f in found {
        which.push(f.map(|ex| {
            p.outputs.push(ex.0);
            p.outputs.len() - 1
        }));
    }
    (p, which)
}

/// The Jacobian-vector product of a one-output program, from the same column: a program over the leaves of `program`
/// followed by a leaf for its result and one tangent for each leaf of `wanted`. A row's derivative is linear in the
/// cotangent and elementwise, so the tangent may stand in its place. None where the output depends on none of them.
pub fn jvp(program: &Program, wanted: &[usize]) -> Option<Program> {
    let mut start = program.clone();
    let out = start.outputs[0];
    start.outputs.clear();
    let result = start.load(program.dtype(out));
    let tangents: Vec<u16> = wanted.iter().map(|&w| start.load(program.leaves[w])).collect();
    let last = last_op(program, out);
    let (mut p, found) = build(start, || {
        let mut tan: Vec<Option<Ex>> = vec![None; program.values.len()];
        for (i, (inst, dtype)) in program.values.iter().enumerate() {
            let inner = dtype.ctype().dtype();
            tan[i] = match *inst {
                Inst::Const(_) | Inst::Index => None,
                Inst::Load(n) => wanted.iter().position(|&w| w == n as usize).map(|k| Ex(tangents[k]).cast(inner)),
                Inst::Cast(a) => tan[a as usize].filter(|_| dtype.is_differentiable()).map(|t| t.cast(inner)),
                Inst::Op(op, a) => {
                    let y = if i == last { Ex(result).cast(inner) } else { Ex(i as u16) };
                    let mut sum = None;
                    for k in 0..op.row().arity {
                        if let Some(t) = tan[a[k] as usize]
                            && let Some(d) = row_grads(op, a.map(Ex), y, t)[k]
                        {
                            add_to(&mut sum, d);
                        }
                    }
                    sum
                }
            };
        }
        tan[out as usize].map(|t| t.cast(program.dtype(out)))
    });
    p.outputs.push(found?.0);
    Some(p)
}

/// The instruction behind an output, conversions between floats left out.
fn last_op(p: &Program, out: u16) -> usize {
    let mut r = out;
    while let Inst::Cast(a) = p.values[r as usize].0
        && p.dtype(a).is_float()
        && p.dtype(r).is_float()
    {
        r = a;
    }
    r as usize
}

/// Adds a tangent, zeros left out beside others as in `Arrived`.
fn add_to(slot: &mut Option<Ex>, d: Ex) {
    *slot = Some(match *slot {
        Some(s) if d.is_zero() => s,
        Some(s) if !s.is_zero() => s + d,
        Some(_) | None => d,
    });
}

/// Which values depend, through floats, on one of the leaves.
fn depends_on(p: &Program, leaves: &[usize]) -> Vec<bool> {
    let mut needs = vec![false; p.values.len()];
    for (i, (inst, dtype)) in p.values.iter().enumerate() {
        needs[i] = dtype.is_differentiable()
            && match inst {
                Inst::Load(n) => leaves.contains(&(*n as usize)),
                Inst::Const(_) | Inst::Index => false,
                Inst::Op(..) | Inst::Cast(_) => Program::args(inst).iter().any(|&a| needs[a as usize]),
            };
    }
    needs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle;
    use crate::table::{Class, ROWS};

    /// A program of one row on f64 leaves.
    fn single(op: ScalarOp) -> Program {
        let (mut p, out) = build(Program::new(), || {
            let r = op.row();
            let mut args: Vec<Ex> = Vec::new();
            if r.class == Class::Select {
                args.push(Ex::leaf(DType::Bool));
            }
            while args.len() < r.arity {
                args.push(Ex::leaf(DType::F64));
            }
            Ex::apply(op, &args)
        });
        p.outputs.push(out.0);
        p
    }

    #[test]
    fn every_derivative_agrees_with_central_differences() {
        let points = [[0.3, 0.7], [0.8, 0.45], [0.15, 2.2]];
        for r in ROWS {
            if !is_differentiable(r.op) {
                continue;
            }
            for mut at in points {
                if r.op == ScalarOp::Acosh {
                    at[0] += 1.0;
                }
                let p = single(r.op);
                let skip = usize::from(r.class == Class::Select);
                let wanted: Vec<usize> = (skip..r.arity).collect();
                let (d, which) = vjp(&p, DType::F64, &wanted);
                d.verify().unwrap_or_else(|e| panic!("{}: {e}", r.name));
                let mut xs: Vec<oracle::Val> = Vec::new();
                if skip == 1 {
                    xs.push(oracle::Val::Int(1));
                }
                xs.extend(at.iter().take(r.arity - skip).map(|&v| oracle::Val::Float(v)));
                let mut with_g = xs.clone();
                with_g.push(oracle::run(&p, &xs, 0)[0]);
                with_g.push(oracle::Val::Float(1.0));
                let got = oracle::run(&d, &with_g, 0);
                for (k, &w) in wanted.iter().enumerate() {
                    let Some(o) = which[k] else { continue };
                    let h = 1e-6;
                    let f = |dx: f64| {
                        let mut v = xs.clone();
                        v[w] = oracle::Val::Float(v[w].float() + dx);
                        oracle::run(&p, &v, 0)[0].float()
                    };
                    let numeric = (f(h) - f(-h)) / (2.0 * h);
                    let g = got[o].float();
                    if let Some(j) = jvp(&p, &[w]) {
                        assert_eq!(oracle::run(&j, &with_g, 0)[0].float(), g, "{} arg {w}: jvp", r.name);
                    }
                    assert!((numeric - g).abs() < 1e-4 * (1.0 + numeric.abs()), "{} arg {w}: {numeric} {g}", r.name);
                }
            }
        }
    }

    #[test]
    fn branches_of_a_choice_meet_in_one() {
        // hard: x - 1 above 1, x + 1 below -1, else 0 times x
        let (mut p, y) = build(Program::new(), || {
            let x = Ex::leaf(DType::F64);
            let low = where_(lt(x, x.lit(-1.0)), x + 1.0, x * 0.0);
            where_(gt(x, x.lit(1.0)), x - 1.0, low)
        });
        p.outputs.push(y.0);
        let (mut d, which) = vjp(&p, DType::F64, &[0]);
        assert_eq!(which.as_slice(), &[Some(0)]);
        d.prune();
        // two comparisons, two choices and a product
        assert_eq!(d.len(), 5);
        let at = |x: f64, g: f64| oracle::run(&d, &[oracle::Val::Float(x), oracle::Val::Float(g)], 0)[0].float();
        assert_eq!([at(3.0, 2.0), at(-3.0, 2.0), at(0.5, 2.0)], [2.0, 2.0, 0.0]);
    }

    #[test]
    fn what_a_branch_not_taken_computes_reaches_nobody() {
        let (mut p, y) = build(Program::new(), || {
            let x = Ex::leaf(DType::F64);
            where_(gt(x, x.lit(0.0)), sqrt(x), x * x)
        });
        p.outputs.push(y.0);
        let (d, which) = vjp(&p, DType::F64, &[0]);
        let leaves = [0.0, 0.0, 1.0].map(oracle::Val::Float);
        assert_eq!(oracle::run(&d, &leaves, 0)[which[0].unwrap()].float(), 0.0);
    }
}
