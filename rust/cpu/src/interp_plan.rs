//! A program made ready for tiles: steps over numbered places (operands, constants, tile slots) with kernels chosen,
//! conversions inserted and slots shared by liveness. Not here: where operands lie (`interp_walk`), the run
//! (`interp`).

use rtorch_ir::{CType, DType, Error, Inst, Program, Reg, Result, ScalarOp};
use smallvec::SmallVec;

use crate::simd::convert::converter;
use crate::simd::kernels::{Kernel, kernel};
use crate::simd::pairs::{Form, Kernel4, choice, clamp, pair};

/// Elements of a tile: a few registers of 2 to 4 KB each stay in L1 (chain of 8 ops on 1M floats, Zen 5: tiles of 256
/// to 1024 within 5 % of each other).
pub const TILE: usize = 512;

/// Choices that one comparison is joined with.
const CHOICES: usize = 3;

/// Number of a place. Leaves first, then outputs, then constants, then slots.
pub type Place = u16;

/// What a step calls.
#[derive(Clone, Copy)]
enum Call {
    Three(Kernel),
    Four(Kernel4),
}

/// One call of a kernel.
#[derive(Clone, Copy)]
pub struct Step {
    call: Call,
    dst: Place,
    src: [Place; 4],
}

impl Step {
    /// Computes `n` elements; `at` says where places are.
    ///
    /// # Safety
    /// Every place holds at least `n` elements of the type that its steps expect.
    #[inline]
    pub unsafe fn run(&self, at: impl Fn(Place) -> *mut u8, n: usize) {
        let (dst, s) = (at(self.dst), self.src);
        // SAFETY: the caller's promise; the plan keeps destinations apart from sources.
        unsafe {
            match self.call {
                Call::Three(f) => f(dst, at(s[0]), at(s[1]), at(s[2]), n),
                Call::Four(f) => f(dst, at(s[0]), at(s[1]), at(s[2]), at(s[3]), n),
            }
        }
    }
}

impl Plan {
    /// The element, of `size` bytes, that a plan of one step writes everywhere.
    pub fn constant(&self, size: usize) -> Option<Filled> {
        let ([step], [value]) = (self.steps.as_slice(), self.consts.as_slice()) else { return None };
        let first = self.operands.len();
        if step.src.iter().any(|&s| s as usize != first) {
            return None;
        }
        let mut to = Filled { bits: [0; 16], size };
        let (from, dst) = (value.bits.as_ptr().cast_mut(), to.bits.as_mut_ptr());
        // SAFETY: one element of at most 16 bytes each.
        unsafe { step.run(|p| if p as usize == first { from } else { dst }, 1) };
        Some(to)
    }
}

/// What stands at the first places.
#[derive(Clone, Copy)]
pub enum Operand {
    Leaf,
    /// The logical number of the element.
    Index,
    Out,
}

#[derive(Clone, Copy, PartialEq)]
pub struct Filled {
    /// Bits of the element, at most 16 bytes.
    pub bits: [u8; 16],
    pub size: usize,
}

pub struct Plan {
    /// Leaves of the program, then `Index` where it is used, then the outputs.
    pub operands: SmallVec<[Operand; 8]>,
    pub consts: SmallVec<[Filled; 4]>,
    pub steps: SmallVec<[Step; 8]>,
    /// Bytes of each slot's element.
    pub slots: SmallVec<[usize; 8]>,
}

/// Where a value stands, and in which storage dtype.
#[derive(Clone, Copy)]
struct At {
    place: Place,
    dtype: DType,
}

struct Builder<'a> {
    p: &'a Program,
    out_base: usize,
    const_base: usize,
    operands: SmallVec<[Operand; 8]>,
    consts: SmallVec<[Filled; 4]>,
    /// Destinations and sources; places from `slot_base` on are still one per value.
    steps: SmallVec<[Step; 8]>,
    /// The row that a step computes, if it is one.
    rows: SmallVec<[Option<(ScalarOp, CType)>; 8]>,
    slot_base: usize,
    /// Element size of each virtual slot.
    virtual_slots: SmallVec<[usize; 16]>,
    at: SmallVec<[Option<At>; 16]>,
    computed: SmallVec<[Option<Place>; 16]>,
}

/// Bytes of a constant as the compute type of its dtype.
pub fn const_bits(p: &Program, n: u16, dtype: DType) -> Filled {
    let c = p.consts[n as usize];
    let mut bits = [0u8; 16];
    let mut put = |b: &[u8], at: usize| bits[at..at + b.len()].copy_from_slice(b);
    let t = dtype.ctype();
    match t {
        CType::Bool => put(&[c.scalar.is_true() as u8], 0),
        CType::I32 => put(&(c.as_i64() as i32).to_ne_bytes(), 0),
        CType::I64 => put(&c.as_i64().to_ne_bytes(), 0),
        CType::F32 => put(&(c.as_f64() as f32).to_ne_bytes(), 0),
        CType::F64 => put(&c.as_f64().to_ne_bytes(), 0),
        CType::C64 => {
            put(&(c.as_f64() as f32).to_ne_bytes(), 0);
            put(&(c.scalar.imag() as f32).to_ne_bytes(), 4);
        }
        CType::C128 => {
            put(&c.as_f64().to_ne_bytes(), 0);
            put(&c.scalar.imag().to_ne_bytes(), 8);
        }
    }
    Filled { bits, size: t.size() }
}

/// Compiles `p`. `outs[i]` is the dtype that output `i` is stored as (converted to where it differs from the value's).
pub fn compile(p: &Program, outs: &[DType]) -> Result<Plan> {
    let mut operands: SmallVec<[Operand; 8]> = p.leaves.iter().map(|_| Operand::Leaf).collect();
    if p.values.iter().any(|v| v.0 == Inst::Index) {
        operands.push(Operand::Index);
    }
    let out_base = operands.len();
    operands.extend(outs.iter().map(|_| Operand::Out));
    let const_base = operands.len();
    let consts: SmallVec<[Filled; 4]> = SmallVec::new();
    let mut b = Builder {
        p,
        out_base,
        const_base,
        operands,
        consts,
        steps: SmallVec::new(),
        rows: SmallVec::new(),
        // operations on constants are constants, too
        slot_base: const_base + p.values.len(),
        virtual_slots: SmallVec::new(),
        at: smallvec::smallvec![None; p.values.len()],
        computed: smallvec::smallvec![None; p.values.len()],
    };
    for i in 0..p.values.len() {
        b.value(i as Reg, outs)?;
    }
    for (o, &r) in p.outputs.iter().enumerate() {
        b.output(o, r, outs[o]);
    }
    b.drop_unread();
    b.join();
    Ok(b.finish())
}

impl Builder<'_> {
    fn slot(&mut self, size: usize) -> Place {
        self.virtual_slots.push(size);
        (self.slot_base + self.virtual_slots.len() - 1) as Place
    }
    /// The output that a value can be computed into: it is stored as `dtype`, and nobody claimed it.
    fn target(&mut self, r: Reg, dtype: DType, outs: &[DType]) -> Place {
        match self.p.outputs.iter().zip(outs).position(|(&o, &d)| o == r && d == dtype) {
            Some(o) => (self.out_base + o) as Place,
            None => self.slot(dtype.size()),
        }
    }
    fn step(&mut self, kernel: Kernel, dst: Place, src: [Place; 3], row: Option<(ScalarOp, CType)>) {
        let src = [src[0], src[1], src[2], src[0]];
        self.steps.push(Step { call: Call::Three(kernel), dst, src });
        self.rows.push(row);
    }
    fn convert(&mut self, from: At, to: DType, dst: Place) {
        self.step(converter(from.dtype, to), dst, [from.place; 3], None);
    }
    /// One tile per value, however often a chain names it.
    fn constant(&mut self, value: Filled) -> Place {
        let i = self.consts.iter().position(|c| *c == value).unwrap_or_else(|| {
            self.consts.push(value);
            self.consts.len() - 1
        });
        (self.const_base + i) as Place
    }
    /// The constant that stands at a place, if one does.
    fn known(&self, place: Place) -> Option<Filled> {
        let i = (place as usize).checked_sub(self.const_base)?;
        self.consts.get(i).copied()
    }
    fn stands(&self, r: Reg) -> Result<At> {
        self.at[r as usize].ok_or_else(|| Error::runtime("a program's value refers to a later one"))
    }
    /// The value in its compute type.
    fn compute(&mut self, r: Reg) -> Result<Place> {
        if let Some(place) = self.computed[r as usize] {
            return Ok(place);
        }
        let at = self.stands(r)?;
        let want = self.p.ctype(r).dtype();
        let place = if at.dtype == want {
            at.place
        } else {
            let dst = self.slot(want.size());
            self.convert(at, want, dst);
            dst
        };
        self.computed[r as usize] = Some(place);
        Ok(place)
    }
    fn value(&mut self, r: Reg, outs: &[DType]) -> Result<()> {
        let (inst, dtype) = self.p.values[r as usize];
        let at = match inst {
            Inst::Load(n) => At { place: n, dtype },
            Inst::Const(n) => {
                let value = const_bits(self.p, n, dtype);
                At { place: self.constant(value), dtype: dtype.ctype().dtype() }
            }
            Inst::Index => At { place: (self.out_base - 1) as Place, dtype: DType::I64 },
            Inst::Cast(a) => {
                // a value of a 16-bit or small integer dtype is kept as it is stored: that is the rounding
                let from = self.stands(a)?;
                let plain = dtype == dtype.ctype().dtype();
                if matches!((from.dtype, dtype), (DType::U64, DType::I64) | (DType::I64, DType::U64)) {
                    // the same bits, but not the same number to a conversion that follows
                    At { place: from.place, dtype }
                } else if from.dtype == dtype
                    || (plain && self.p.ctype(a) == dtype.ctype() && from.dtype == self.p.dtype(a))
                {
                    // widening within a compute type is left to whoever needs it
                    from
                } else if let Some(value) = self.known(from.place) {
                    let mut to = Filled { bits: [0; 16], size: dtype.size() };
                    let p = value.bits.as_ptr();
                    // SAFETY: one element of at most 16 bytes.
                    unsafe { converter(from.dtype, dtype)(to.bits.as_mut_ptr(), p, p, p, 1) };
                    At { place: self.constant(to), dtype }
                } else {
                    let dst = self.target(r, dtype, outs);
                    self.convert(from, dtype, dst);
                    At { place: dst, dtype }
                }
            }
            Inst::Op(op, a) => {
                let arity = op.row().arity;
                let mut src = [0; 3];
                for i in 0..arity {
                    src[i] = self.compute(a[i])?;
                }
                for i in arity..3 {
                    src[i] = src[0];
                }
                let t = self.p.ctype(if op == ScalarOp::Where { a[1] } else { a[0] });
                let k = kernel(op, t).ok_or_else(|| {
                    Error::not_implemented(format!("\"{}\" not implemented for '{}'", op.name(), t.dtype().cpp_name()))
                })?;
                let known = src.map(|s| self.known(s));
                if let [Some(a), Some(b), Some(c)] = known {
                    let mut value = Filled { bits: [0; 16], size: dtype.ctype().size() };
                    let p = |f: &Filled| f.bits.as_ptr();
                    // SAFETY: one element of at most 16 bytes each.
                    unsafe { k(value.bits.as_mut_ptr(), p(&a), p(&b), p(&c), 1) };
                    At { place: self.constant(value), dtype }
                } else if let Some(i) = passes_on(op, t, known) {
                    At { place: src[i], dtype }
                } else if let Some(place) = self.computed_before(op, t, src) {
                    At { place, dtype }
                } else {
                    let dst = self.target(r, dtype, outs);
                    self.step(k, dst, src, Some((op, t)));
                    At { place: dst, dtype }
                }
            }
        };
        self.at[r as usize] = Some(at);
        if at.dtype == self.p.ctype(r).dtype() {
            self.computed[r as usize] = Some(at.place);
        }
        Ok(())
    }
    /// Where a step left what a row of these sources is: derivatives often say the same twice.
    fn computed_before(&self, op: ScalarOp, t: CType, src: [Place; 3]) -> Option<Place> {
        let same = |i: &usize| self.rows[*i] == Some((op, t)) && self.steps[*i].src[..3] == src;
        (0..self.steps.len()).find(same).map(|i| self.steps[i].dst)
    }
    fn output(&mut self, o: usize, r: Reg, dtype: DType) {
        let place = (self.out_base + o) as Place;
        let Some(at) = self.at[r as usize] else { return };
        if at.place as usize >= self.slot_base && at.dtype == dtype {
            self.rename(at.place, place);
        } else if at.place != place {
            // a constant of a small dtype still stands unrounded: by way of the value's own dtype
            let own = self.p.dtype(r);
            if at.dtype != own && own != dtype {
                let mid = self.slot(own.size());
                self.convert(at, own, mid);
                self.convert(At { place: mid, dtype: own }, dtype, place);
            } else {
                self.convert(at, dtype, place);
            }
        }
    }
    /// Lets what is computed into a slot be computed into another place.
    fn rename(&mut self, slot: Place, to: Place) {
        for step in &mut self.steps {
            for p in step.src.iter_mut().chain(std::iter::once(&mut step.dst)).filter(|p| **p == slot) {
                *p = to;
            }
        }
        self.at.iter_mut().flatten().filter(|a| a.place == slot).for_each(|a| a.place = to);
        self.computed.iter_mut().flatten().filter(|p| **p == slot).for_each(|p| *p = to);
    }
    /// Drops the steps whose slots nobody reads: what a constant condition did not choose.
    fn drop_unread(&mut self) {
        for i in (0..self.steps.len()).rev() {
            let dst = self.steps[i].dst;
            if dst as usize >= self.slot_base && !self.steps[i + 1..].iter().any(|s| s.src.contains(&dst)) {
                self.steps.remove(i);
                self.rows.remove(i);
            }
        }
    }
    /// Joins a step whose slot only one later step reads with that one, where there is a kernel for both. A comparison
    /// is joined with every choice that it makes, if these are few: it costs each of them a load.
    fn join(&mut self) {
        let mut gone: SmallVec<[bool; 16]> = smallvec::smallvec![false; self.steps.len()];
        for i in 0..self.steps.len() {
            let (first, Some((op, t))) = (self.steps[i], self.rows[i]) else { continue };
            if (first.dst as usize) < self.slot_base {
                continue;
            }
            let reads = |&j: &usize| self.steps[j].src.contains(&first.dst);
            let readers: SmallVec<[usize; 4]> = (i + 1..self.steps.len()).filter(reads).collect();
            let all: Option<SmallVec<[Step; 4]>> = readers
                .iter()
                .map(|&j| {
                    let (next, u) = self.rows[j]?;
                    let several = next == ScalarOp::Where && readers.len() <= CHOICES;
                    if t != u || readers.len() > 1 && !several {
                        return None;
                    }
                    joined((op, &first), (next, &self.steps[j]), t)
                })
                .collect();
            let Some(all) = all.filter(|a| !a.is_empty()) else { continue };
            for (j, step) in readers.into_iter().zip(all) {
                self.steps[j] = step;
                // a choice says by which comparison it is made
                self.rows[j] = self.rows[j].filter(|r| r.0 == ScalarOp::Where).map(|r| (op, r.1));
            }
            gone[i] = true;
        }
        self.join_bounds(&mut gone);
        let mut at = 0..;
        self.steps.retain(|_| !at.next().is_some_and(|i| gone[i]));
    }
    /// Joins two choices that cut a number to bounds.
    fn join_bounds(&mut self, gone: &mut [bool]) {
        for j in 0..self.steps.len() {
            let (second, Some((next, t))) = (self.steps[j], self.rows[j]) else { continue };
            let inner = second.src[3];
            let Some(i) = (0..j).find(|&i| !gone[i] && self.steps[i].dst == inner) else { continue };
            let (first, Some((op, u))) = (self.steps[i], self.rows[i]) else { continue };
            let read = (i + 1..self.steps.len()).any(|k| k != j && !gone[k] && self.steps[k].src.contains(&inner));
            if gone[j] || (inner as usize) < self.slot_base || read || t != u {
                continue;
            }
            if let Some(step) = bounded((op, &first), (next, &second), t) {
                self.steps[j] = step;
                self.rows[j] = None;
                gone[i] = true;
            }
        }
    }
    /// Drops the constants that no step reads: those that others were made of.
    fn drop_constants(&mut self) {
        let base = self.const_base;
        let mut number: SmallVec<[Option<Place>; 16]> = smallvec::smallvec![None; self.consts.len()];
        let mut kept: SmallVec<[Filled; 4]> = SmallVec::new();
        for p in self.steps.iter_mut().flat_map(|s| &mut s.src) {
            let Some(i) = (*p as usize).checked_sub(base).filter(|&i| i < number.len()) else { continue };
            *p = *number[i].get_or_insert_with(|| {
                kept.push(self.consts[i]);
                (base + kept.len() - 1) as Place
            });
        }
        self.consts = kept;
    }
    /// Lets values share slots: a slot is free again after the last step that reads it.
    fn finish(mut self) -> Plan {
        self.drop_constants();
        // slots stood behind as many constants as the program names; now behind those that differ
        let (base, first) = (self.slot_base, self.const_base + self.consts.len());
        let mut last: SmallVec<[usize; 16]> = smallvec::smallvec![0; self.virtual_slots.len()];
        for (i, s) in self.steps.iter().enumerate() {
            for &p in s.src.iter().chain(std::iter::once(&s.dst)) {
                if p as usize >= base {
                    last[p as usize - base] = i;
                }
            }
        }
        let mut slots: SmallVec<[usize; 8]> = SmallVec::new();
        let mut free: SmallVec<[usize; 8]> = SmallVec::new();
        let mut real: SmallVec<[usize; 16]> = smallvec::smallvec![usize::MAX; self.virtual_slots.len()];
        for i in 0..self.steps.len() {
            let s = self.steps[i];
            // the destination is taken before the sources are freed: kernels need them apart
            if s.dst as usize >= base {
                let v = s.dst as usize - base;
                let size = self.virtual_slots[v];
                real[v] = match free.iter().position(|&f| slots[f] == size) {
                    Some(k) => free.swap_remove(k),
                    None => {
                        slots.push(size);
                        slots.len() - 1
                    }
                };
                self.steps[i].dst = (first + real[v]) as Place;
            }
            let mut done: SmallVec<[usize; 4]> = SmallVec::new();
            for (k, &p) in s.src.iter().enumerate() {
                if p as usize >= base {
                    let v = p as usize - base;
                    self.steps[i].src[k] = (first + real[v]) as Place;
                    if last[v] == i && !done.contains(&real[v]) {
                        done.push(real[v]);
                    }
                }
            }
            free.extend(done);
        }
        Plan { operands: self.operands, consts: self.consts, steps: self.steps, slots }
    }
}

/// The argument that a row passes on as it is because of its constants: what a constant condition chooses, a factor
/// beside 1, what is divided by 1.
fn passes_on(op: ScalarOp, t: CType, known: [Option<Filled>; 3]) -> Option<usize> {
    let one = |k: Option<Filled>| {
        k.is_some_and(|k| match t {
            CType::F32 => k.bits[..4] == 1f32.to_ne_bytes(),
            CType::F64 => k.bits[..8] == 1f64.to_ne_bytes(),
            CType::I32 => k.bits[..4] == 1i32.to_ne_bytes(),
            CType::I64 => k.bits[..8] == 1i64.to_ne_bytes(),
            CType::Bool | CType::C64 | CType::C128 => false,
        })
    };
    match op {
        ScalarOp::Where => known[0].map(|c| if c.bits[0] != 0 { 1 } else { 2 }),
        ScalarOp::Mul if one(known[0]) => Some(1),
        ScalarOp::Mul | ScalarOp::Div if one(known[1]) => Some(0),
        _ => None,
    }
}

/// The step for two rows of one type, the second of which reads the first's result.
fn joined(first: (ScalarOp, &Step), second: (ScalarOp, &Step), t: CType) -> Option<Step> {
    let ((op, a), (next, b)) = (first, second);
    if next == ScalarOp::Where {
        let kernel = choice(op, t)?;
        let chosen = b.src[0] == a.dst && b.src[1] != a.dst && b.src[2] != a.dst;
        return chosen.then_some(Step {
            call: Call::Four(kernel),
            dst: b.dst,
            src: [a.src[0], a.src[1], b.src[1], b.src[2]],
        });
    }
    let right = b.src[0] != a.dst;
    let other = b.src[usize::from(!right)];
    let kernel = pair(op, next, t, right)?;
    let src = [a.src[0], a.src[1], other, other];
    (b.src[0] != b.src[1]).then_some(Step { call: Call::Three(kernel), dst: b.dst, src })
}

/// The step for two choices, the second of which passes on what the first made where it does not choose a bound.
fn bounded(first: (ScalarOp, &Step), second: (ScalarOp, &Step), t: CType) -> Option<Step> {
    let (Call::Four(_), Call::Four(_)) = (first.1.call, second.1.call) else { return None };
    // where(x OP bound, bound, else)
    let bound = |op: ScalarOp, s: &Step| match op {
        _ if s.src[1] != s.src[2] => None,
        ScalarOp::Lt => Some((false, true)),
        ScalarOp::Le => Some((false, false)),
        ScalarOp::Gt => Some((true, true)),
        ScalarOp::Ge => Some((true, false)),
        _ => None,
    };
    let ((upper, strict), (then_upper, then_strict)) = (bound(first.0, first.1)?, bound(second.0, second.1)?);
    let (a, b) = (first.1.src, second.1.src);
    if strict != then_strict || upper == then_upper || a[3] != a[0] || b[1] == first.1.dst {
        return None;
    }
    let form = match (then_upper, b[0]) {
        (true, x) if x == a[0] => Form::UpperFirst,
        (false, x) if x == a[0] => Form::LowerFirst,
        (true, x) if x == first.1.dst => Form::LowerThenUpper,
        _ => return None,
    };
    let (low, high) = if then_upper { (a[1], b[1]) } else { (b[1], a[1]) };
    let kernel = clamp(form, strict, t)?;
    Some(Step { call: Call::Three(kernel), dst: second.1.dst, src: [a[0], low, high, high] })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rtorch_ir::program::{Ex, build, ex};

    fn steps(body: impl FnOnce(Ex, Ex) -> Ex) -> (usize, usize) {
        let (mut p, y) = build(Program::new(), || body(Ex::leaf(DType::F32), Ex::leaf(DType::F32)));
        p.outputs.push(y.0);
        let plan = compile(&p, &[DType::F32]).unwrap();
        (plan.steps.len(), plan.consts.len())
    }

    #[test]
    fn constants_are_folded_and_what_nobody_reads_is_dropped() {
        // a condition on numbers, and the branch it does not choose
        let lerp = |a: Ex, b: Ex| {
            let w = a.lit(0.4);
            let small = ex::lt(ex::abs(w), w.lit(0.5));
            ex::where_(small, a + w * (b - a), b - (b - a) * (-w + 1.0))
        };
        assert_eq!(steps(lerp), (2, 1));
        assert_eq!(steps(|a, b| a * 1.0 + b / b.lit(1.0)), (1, 0));
    }

    #[test]
    fn a_comparison_is_joined_with_its_choice() {
        assert_eq!(steps(|a, b| ex::where_(ex::lt(a, b), b, a)), (1, 0));
        assert_eq!(steps(|a, b| ex::where_(ex::isnan(a), b, a + b)), (2, 0));
        // with several choices, too
        assert_eq!(
            steps(|a, b| {
                let c = ex::lt(a, b);
                ex::where_(c, a, ex::where_(c, b, a + b))
            }),
            (3, 0)
        );
        // not where something else reads the comparison
        assert_eq!(
            steps(|a, b| {
                let c = ex::lt(a, b);
                ex::where_(ex::logical_not(c), a, ex::where_(c, b, a + b))
            }),
            (5, 0)
        );
    }

    #[test]
    fn two_choices_that_cut_to_bounds_are_one_step() {
        let upper_first =
            |x: Ex, b: Ex| ex::where_(ex::gt(x, b), b, ex::where_(ex::lt(x, x.lit(-1.0)), x.lit(-1.0), x));
        assert_eq!(steps(upper_first), (1, 1));
        let one_then_other = |x: Ex, b: Ex| {
            let low = ex::where_(ex::le(x, b), b, x);
            ex::where_(ex::ge(low, x.lit(1.0)), x.lit(1.0), low)
        };
        assert_eq!(steps(one_then_other), (1, 1));
        // not where the bounds are of two kinds, or what is between them is wanted
        let mixed = |x: Ex, b: Ex| ex::where_(ex::ge(x, b), b, ex::where_(ex::lt(x, x.lit(-1.0)), x.lit(-1.0), x));
        assert_eq!(steps(mixed), (2, 1));
        let wanted = |x: Ex, b: Ex| {
            let low = ex::where_(ex::lt(x, b), b, x);
            ex::maximum(low, ex::where_(ex::gt(low, x.lit(1.0)), x.lit(1.0), low))
        };
        assert_eq!(steps(wanted), (3, 1));
    }

    #[test]
    fn what_is_said_twice_is_computed_once() {
        assert_eq!(steps(|a, b| ex::exp(a) * ex::log(ex::exp(a) + b)), (4, 0));
        assert_eq!(steps(|a, b| ex::where_(ex::lt(a, b), a, b) + ex::where_(ex::lt(a, b), b, a)), (3, 0));
    }
}
