//! Programs over permuted, sliced, flipped, broadcast and overlapping operands of every kind of size: each element must
//! be, bit for bit, what the same program gives for that element alone.

use rtorch_cpu::threads::set_num_threads;
use rtorch_cpu::{Arg, map};
use rtorch_ir::program::{Ex, build, ex};
use rtorch_ir::{DType, Layout, Program};

struct Rng(u64);
impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) ^ (self.0 >> 13)
    }
    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// A layout of `shape` over fresh memory, and the elements of that memory.
fn layout(shape: &[usize], r: &mut Rng, out: bool) -> (Layout, usize) {
    let n = shape.len();
    let mut perm: Vec<usize> = (0..n).collect();
    if r.one_in(2) {
        for i in (1..n).rev() {
            perm.swap(i, r.below(i + 1));
        }
    }
    // memory order `perm`, each dimension perhaps a slice of a larger one, perhaps broadcast
    let mut sizes = vec![0; n];
    let mut starts = vec![0; n];
    let mut steps = vec![1; n];
    let mut broadcast = vec![false; n];
    for &d in &perm {
        broadcast[d] = !out && r.one_in(5);
        steps[d] = if r.one_in(6) { 1 + r.below(3) } else { 1 };
        starts[d] = if r.one_in(6) { r.below(3) } else { 0 };
        sizes[d] = if broadcast[d] { 1 } else { starts[d] + shape[d] * steps[d] };
    }
    let mut strides = vec![0isize; n];
    let mut step = 1usize;
    for &d in perm.iter().rev() {
        strides[d] = (step * steps[d]) as isize;
        step *= sizes[d];
    }
    let mut offset: usize = 0;
    let mut unit = 1usize;
    for &d in perm.iter().rev() {
        if broadcast[d] {
            strides[d] = 0;
        } else {
            offset += starts[d] * unit;
        }
        unit *= sizes[d];
    }
    let mut l = Layout::new(shape, &strides, offset);
    if !out && r.one_in(6) && n > 0 {
        l = l.flip(&[r.below(n)]);
    }
    (l, step.max(1))
}

fn programs() -> Vec<Program> {
    use DType::{BF16, Bool, F16, F32, F64, I8, I32, I64, U8};
    let mut all: Vec<Program> = Vec::new();
    let mut add = |f: &dyn Fn() -> Vec<Ex>| {
        let (mut p, outs) = build(Program::new(), f);
        p.outputs = outs.iter().map(|o| o.0).collect();
        p.verify().unwrap();
        all.push(p);
    };
    add(&|| vec![Ex::leaf(F32) + Ex::leaf(F32)]);
    add(&|| vec![Ex::leaf(F32)]);
    add(&|| vec![Ex::leaf(U8)]);
    add(&|| vec![Ex::leaf(F64).cast(F32)]);
    add(&|| {
        let (a, b) = (Ex::leaf(F32), Ex::leaf(F32));
        vec![a * ex::sigmoid(a) + ex::tanh(b) * 0.5 - ex::sqrt(ex::abs(b)), a + b, ex::lt(a, b)]
    });
    add(&|| vec![(Ex::leaf(BF16).cast(F32) * Ex::leaf(F16).cast(F32) + 1.5).cast(BF16)]);
    add(&|| {
        let c = Ex::leaf(Bool);
        vec![ex::where_(c, ex::exp(Ex::leaf(F64)), Ex::leaf(I64).cast(F64)), c]
    });
    add(&|| vec![Ex::index(), (Ex::index().cast(F32) * 0.25) + Ex::leaf(F32)]);
    add(&|| vec![(Ex::leaf(U8).cast(I32) * Ex::leaf(I8).cast(I32)).cast(I8), Ex::leaf(U8).cast(F32)]);
    add(&|| vec![ex::sin(Ex::leaf(F32)) + ex::cos(Ex::leaf(F32) * 1e6)]);
    all
}

fn fill(d: DType, n: usize, r: &mut Rng) -> Vec<u8> {
    let mut v = Vec::with_capacity(n * d.size());
    for _ in 0..n {
        let x = r.below(4001) as f64 / 1000.0 - 2.0;
        match d {
            DType::Bool => v.push(r.below(2) as u8),
            DType::U8 | DType::I8 => v.push(r.next() as u8),
            DType::I16 => v.extend((r.next() as i16).to_ne_bytes()),
            DType::I32 => v.extend((r.next() as i32).to_ne_bytes()),
            DType::I64 => v.extend((r.next() as i64).to_ne_bytes()),
            DType::F16 => v.extend(half::f16::from_f64(x).to_bits().to_ne_bytes()),
            DType::BF16 => v.extend(half::bf16::from_f64(x).to_bits().to_ne_bytes()),
            DType::F32 => v.extend((x as f32).to_ne_bytes()),
            DType::F64 => v.extend(x.to_ne_bytes()),
            DType::C64 | DType::C128 | rtorch_ir::storage_dtypes!() => unreachable!(),
        }
    }
    v
}

fn indices(shape: &[usize]) -> Vec<Vec<usize>> {
    let n: usize = shape.iter().product();
    (0..n)
        .map(|i| {
            let mut rest = i;
            let mut at = vec![0; shape.len()];
            for d in (0..shape.len()).rev() {
                at[d] = rest % shape[d];
                rest /= shape[d];
            }
            at
        })
        .collect()
}

fn check(p: &Program, shape: &[usize], r: &mut Rng) {
    let kinds: Vec<DType> = p.leaves.clone();
    let made: Vec<(Layout, usize)> = kinds.iter().map(|_| layout(shape, r, false)).collect();
    let mut data: Vec<Vec<u8>> = kinds.iter().zip(&made).map(|(&d, m)| fill(d, m.1, r)).collect();
    let outs: Vec<(Layout, usize)> = p.outputs.iter().map(|_| layout(shape, r, true)).collect();
    let mut out_data: Vec<Vec<u8>> =
        p.outputs.iter().zip(&outs).map(|(&o, m)| vec![0xaa; m.1 * p.dtype(o).size()]).collect();
    let leaves: Vec<Arg> = data
        .iter_mut()
        .zip(&made)
        .zip(&kinds)
        .map(|((b, m), &d)| Arg { ptr: b.as_mut_ptr(), dtype: d, layout: &m.0 })
        .collect();
    let targets: Vec<Arg> = out_data
        .iter_mut()
        .zip(&outs)
        .zip(&p.outputs)
        .map(|((b, m), &o)| Arg { ptr: b.as_mut_ptr(), dtype: p.dtype(o), layout: &m.0 })
        .collect();
    map(p, shape, &leaves, &targets).unwrap();
    let uses_index = p.values.iter().any(|v| v.0 == rtorch_ir::Inst::Index);
    for (i, at) in indices(shape).into_iter().enumerate() {
        if uses_index && i % 37 != 0 {
            continue;
        }
        let one: Vec<Layout> = made.iter().map(|m| Layout::new(&[1], &[1], m.0.at(&at))).collect();
        let single: Vec<Arg> = leaves.iter().zip(&one).map(|(l, o)| Arg { layout: o, ..*l }).collect();
        let unit = Layout::contiguous(&[1]);
        let mut p = p.clone();
        for v in &mut p.values {
            if v.0 == rtorch_ir::Inst::Index {
                p.consts.push(rtorch_ir::Const { scalar: rtorch_ir::Scalar::Int(i as i64) });
                v.0 = rtorch_ir::Inst::Const((p.consts.len() - 1) as u16);
            }
        }
        let mut want: Vec<[u8; 16]> = vec![[0; 16]; targets.len()];
        let want_args: Vec<Arg> = want
            .iter_mut()
            .zip(&targets)
            .map(|(w, t)| Arg { ptr: w.as_mut_ptr(), dtype: t.dtype, layout: &unit })
            .collect();
        map(&p, &[1], &single, &want_args).unwrap();
        for (k, t) in targets.iter().enumerate() {
            let size = t.dtype.size();
            let have = &out_data[k][outs[k].0.at(&at) * size..][..size];
            assert_eq!(have, &want[k][..size], "{p:?} {shape:?} at {at:?}, leaves {made:?}, outs {outs:?}");
        }
    }
}

#[test]
fn strided_operands() {
    let mut r = Rng(7);
    let programs = programs();
    for round in 0..400 {
        set_num_threads(1 + round % 3);
        let n = r.below(5);
        let most = [2000, 600, 60, 14, 7][n];
        let shape: Vec<usize> = (0..n).map(|_| 1 + r.below(most)).collect();
        check(&programs[round % programs.len()], &shape, &mut r);
    }
    for shape in [vec![100, 130], vec![64, 64, 3], vec![3, 70, 90], vec![2048, 33], vec![1, 5000], vec![40000]] {
        for p in &programs {
            check(p, &shape, &mut r);
        }
    }
}

#[test]
fn in_place() {
    let (mut p, o) = build(Program::new(), || {
        let (a, b) = (Ex::leaf(DType::F32), Ex::leaf(DType::F32));
        ex::exp(a) + b * a
    });
    p.outputs.push(o.0);
    for n in [3, 64, 65, 1000, 100_000] {
        let l = Layout::contiguous(&[n]);
        let mut r = Rng(n as u64);
        let (mut a, mut b) = (fill(DType::F32, n, &mut r), fill(DType::F32, n, &mut r));
        let mut want = vec![0u8; 4 * n];
        let arg = |v: &mut Vec<u8>| v.as_mut_ptr();
        let (pa, pb, pw) = (arg(&mut a), arg(&mut b), arg(&mut want));
        let of = |ptr| Arg { ptr, dtype: DType::F32, layout: &l };
        map(&p, &[n], &[of(pa), of(pb)], &[of(pw)]).unwrap();
        map(&p, &[n], &[of(pa), of(pb)], &[of(pa)]).unwrap();
        assert_eq!(a, want);
    }
}

#[test]
fn complex_values_are_copied_and_cast() {
    let l = Layout::contiguous(&[3, 2]).transpose(0, 1);
    let dense = Layout::contiguous(&[2, 3]);
    let mut z: Vec<f32> = (0..12).map(|x| x as f32).collect();
    let mut w = [0f64; 12];
    let leaf = Arg { ptr: z.as_mut_ptr().cast(), dtype: DType::C64, layout: &l };
    let out = Arg { ptr: w.as_mut_ptr().cast(), dtype: DType::C128, layout: &dense };
    map(&Program::copy(DType::C64, DType::C128), &[2, 3], &[leaf], &[out]).unwrap();
    assert_eq!(w, [0.0, 1.0, 4.0, 5.0, 8.0, 9.0, 2.0, 3.0, 6.0, 7.0, 10.0, 11.0]);
    let fill = Program::fill(rtorch_ir::Scalar::Complex(1.0, -2.0), DType::C128);
    map(&fill, &[2, 3], &[], &[out]).unwrap();
    assert_eq!(w, [1.0, -2.0].repeat(6)[..]);
}
