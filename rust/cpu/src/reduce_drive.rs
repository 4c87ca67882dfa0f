//! The order of a reduction: which elements make a piece, and how pieces merge. It is a function of the logical shape
//! and
//! the axes alone: not of threads, memory layout, or whether a prologue ran. Two ways, by whether the last dimension is
//! reduced: along rows (`along`) and across columns (`across`). Not here: what is accumulated (`reduce_fold`).

use std::sync::Mutex;

use rtorch_ir::{Error, Result};
use smallvec::SmallVec;

use crate::reader::{Cursor, Reader};
use crate::reduce_fold::{Columns, Rows};
use crate::threads::{Poll, check_interrupt, num_threads, parallel_for};

/// Elements of a piece of a row: 32 KB of f32, so that a second pass (variance, positions) finds it in L1.
const PIECE: usize = 1 << 13;
/// Columns that are accumulated together.
const WIDTH: usize = 512;
/// Rows narrower than this are joined to virtual rows of about this many columns.
const NARROW: usize = 64;
/// Rows of a block, added one by one; blocks merge in pairs.
const BLOCK: usize = 32;
/// Rows of a part that one thread reduces: a power of two of blocks, so that parts fit the same tree.
const PART: usize = BLOCK << 5;
/// Elements that a thread must get to be woken for.
const GRAIN: usize = 1 << 15;
/// Elements read at once for short rows.
const BATCH: usize = 1 << 10;
/// Results that are handed on together: a call for each costs more than reducing a few elements.
const RESULTS: usize = 64;

/// Where results go: those of the outputs from the first on. Every output comes once, from any thread.
pub type Sink<'a, S> = &'a (dyn Fn(usize, &[S]) + Sync);

/// Hands on the results of `n` outputs from `first` on.
#[inline(always)]
fn hand_on<S: Copy>(first: usize, n: usize, state: impl Fn(usize) -> S, sink: Sink<S>) {
    let mut some: SmallVec<[S; RESULTS]> = SmallVec::new();
    for start in (0..n).step_by(RESULTS) {
        some.clear();
        some.extend((start..(start + RESULTS).min(n)).map(&state));
        sink(first + start, &some);
    }
}

/// Logical dimensions in alternating groups of kept and reduced ones.
pub struct Geometry {
    /// Size and logical stride of each kept group, outermost first.
    kept: SmallVec<[(usize, usize); 4]>,
    reduced: SmallVec<[(usize, usize); 4]>,
    /// Is the last group reduced?
    along: bool,
    pub outputs: usize,
    pub count: usize,
}

impl Geometry {
    pub fn new(shape: &[usize], axes: &[usize]) -> Geometry {
        let mut groups: SmallVec<[(bool, usize, usize); 6]> = SmallVec::new();
        let mut stride = 1;
        for (d, &size) in shape.iter().enumerate().rev() {
            let reduced = axes.contains(&d);
            if size != 1 {
                match groups.last_mut() {
                    Some(g) if g.0 == reduced => g.1 *= size,
                    Some(_) | None => groups.push((reduced, size, stride)),
                }
            }
            stride *= size;
        }
        let along = groups.first().is_none_or(|g| g.0);
        let of = |want: bool| groups.iter().rev().filter(|g| g.0 == want).map(|g| (g.1, g.2)).collect();
        let (kept, reduced): (SmallVec<[(usize, usize); 4]>, SmallVec<[(usize, usize); 4]>) = (of(false), of(true));
        let product = |v: &[(usize, usize)]| v.iter().map(|g| g.0).product();
        Geometry { outputs: product(&kept), count: product(&reduced), kept, reduced, along }
    }
}

/// Logical offset of combination `i` of some groups.
fn offset(groups: &[(usize, usize)], mut i: usize) -> usize {
    let mut at = 0;
    for &(size, stride) in groups.iter().rev() {
        at += i % size * stride;
        i /= size;
    }
    at
}

/// Merges values in order as a balanced tree does: equal numbers of leaves in pairs, what is left from the right.
struct Cascade<S> {
    levels: SmallVec<[(u32, S); 24]>,
}

impl<S: Copy> Cascade<S> {
    fn new() -> Self {
        Cascade { levels: SmallVec::new() }
    }
    fn push(&mut self, mut s: S, merge: impl Fn(S, S) -> S) {
        let mut level = 0;
        while let Some(&(l, before)) = self.levels.last() {
            if l != level {
                break;
            }
            self.levels.pop();
            s = merge(before, s);
            level += 1;
        }
        self.levels.push((level, s));
    }
    fn finish(mut self, merge: impl Fn(S, S) -> S) -> Option<S> {
        let mut s = self.levels.pop()?.1;
        while let Some((_, before)) = self.levels.pop() {
            s = merge(before, s);
        }
        Some(s)
    }
}

/// The first error of several threads.
#[derive(Default)]
pub struct Failure(Mutex<Option<Error>>);

impl Failure {
    pub fn note(&self, r: Result<()>) {
        if let Err(e) = r {
            self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).get_or_insert(e);
        }
    }
    pub fn result(self) -> Result<()> {
        self.0.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner).map_or(Ok(()), Err)
    }
}

/// Reduces along rows. `count` is not 0.
pub fn along<R: Rows>(reader: &Reader, g: &Geometry, r: &R, sink: Sink<R::State>) -> Result<()> {
    let (m, outer) = match g.reduced.split_last() {
        Some((last, rest)) => (last.0, rest),
        None => (1, &[][..]),
    };
    let combos: usize = outer.iter().map(|x| x.0).product();
    let per_row = m.div_ceil(PIECE);
    let pieces = combos * per_row;
    let grain = (GRAIN / (reader.cost() + 1)).max(1);
    let failure = Failure::default();
    // one piece of one output
    let piece = |cursor: &mut Cursor, base: usize, p: usize| -> Result<R::State> {
        let (q, k) = (p / per_row, p % per_row * PIECE);
        r.read(cursor, base + offset(outer, q) + k, PIECE.min(m - k), q * m + k)
    };
    if pieces == 1 && m < BATCH / 2 {
        // short rows lie one after the other: several per read
        let rows = BATCH / m;
        parallel_for(g.outputs, (grain / m).max(rows), &|range| {
            let mut cursor = reader.cursor();
            failure.note((|| {
                for first in range.clone().step_by(rows) {
                    let n = rows.min(range.end - first);
                    let x = cursor.read::<R::In>(first * m, n * m)?;
                    hand_on(first, n, |i| r.piece(&x[i * m..(i + 1) * m], 0), sink);
                }
                Ok(())
            })());
        });
        return failure.result();
    }
    if g.outputs >= 4 * num_threads() || pieces == 1 {
        parallel_for(g.outputs, (grain / g.count).max(1), &|range| {
            let (mut cursor, mut poll) = (reader.cursor(), Poll::new());
            failure.note((|| {
                for o in range {
                    poll.round(g.count)?;
                    let base = offset(&g.kept, o);
                    if pieces == 1 {
                        // short rows: nothing to merge, and the tree costs a tenth of summing 1024 values
                        sink(o, &[piece(&mut cursor, base, 0)?]);
                        continue;
                    }
                    let mut c = Cascade::new();
                    for p in 0..pieces {
                        c.push(piece(&mut cursor, base, p)?, |a, b| r.merge(a, b));
                    }
                    if let Some(s) = c.finish(|a, b| r.merge(a, b)) {
                        sink(o, &[s]);
                    }
                }
                Ok(())
            })());
        });
        return failure.result();
    }
    // few outputs of many pieces: all pieces in parallel, then the same tree
    let states = slots::<R::State>(g.outputs * pieces)?;
    parallel_for(states.len(), (grain / m.min(PIECE)).max(1), &|range| {
        let (mut cursor, mut poll) = (reader.cursor(), Poll::new());
        failure.note((|| {
            for i in range {
                poll.round(m.min(PIECE))?;
                let s = piece(&mut cursor, offset(&g.kept, i / pieces), i % pieces)?;
                *states[i].lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(s);
            }
            Ok(())
        })());
    });
    failure.result()?;
    for o in 0..g.outputs {
        let mut c = Cascade::new();
        for s in &states[o * pieces..(o + 1) * pieces] {
            if let Some(s) = *s.lock().unwrap_or_else(std::sync::PoisonError::into_inner) {
                c.push(s, |a, b| r.merge(a, b));
            }
        }
        if let Some(s) = c.finish(|a, b| r.merge(a, b)) {
            sink(o, &[s]);
        }
    }
    Ok(())
}

/// Places for the results of parts. An expanded operand may have more parts than there is memory.
fn slots<T>(n: usize) -> Result<Vec<Mutex<Option<T>>>> {
    let mut made = Vec::new();
    let refused = |_| Error::memory(format!("reduction: no memory for {n} partial results"));
    made.try_reserve_exact(n).map_err(refused)?;
    made.resize_with(n, || Mutex::new(None));
    Ok(made)
}

/// As `Cascade`, for whole vectors of columns; spent ones are used again.
struct Stack<C> {
    levels: Vec<(u32, C)>,
    spare: Vec<C>,
    width: usize,
}

impl<C: Columns> Stack<C> {
    fn new(width: usize) -> Self {
        Stack { levels: Vec::new(), spare: Vec::new(), width }
    }
    fn fresh(&mut self) -> C {
        match self.spare.pop() {
            Some(mut c) => {
                c.clear();
                c
            }
            None => C::new(self.width),
        }
    }
    fn push(&mut self, mut c: C) {
        let mut level = 0;
        while self.levels.last().is_some_and(|l| l.0 == level) {
            if let Some((_, mut before)) = self.levels.pop() {
                before.absorb(&c);
                self.spare.push(std::mem::replace(&mut c, before));
            }
            level += 1;
        }
        self.levels.push((level, c));
    }
    fn finish(&mut self) -> Option<C> {
        let mut c = self.levels.pop()?.1;
        while let Some((_, mut before)) = self.levels.pop() {
            before.absorb(&c);
            self.spare.push(std::mem::replace(&mut c, before));
        }
        Some(c)
    }
}

/// How a reduction across columns is cut.
struct Across<'a> {
    g: &'a Geometry,
    /// Columns of a logical row, and how many rows make a virtual one.
    c: usize,
    join: usize,
    /// Rows of the innermost reduced group, virtual rows that they make, and combinations of the outer groups.
    m: usize,
    rows: usize,
    combos: usize,
    /// Column blocks of a row, and row parts.
    blocks: usize,
    parts: usize,
}

impl<'a> Across<'a> {
    fn new(g: &'a Geometry, joins: bool) -> Across<'a> {
        let c = g.kept.last().map_or(1, |k| k.0);
        let m = g.reduced.last().map_or(1, |k| k.0);
        let join = if joins && c < NARROW { (2 * NARROW / c).min(m) } else { 1 };
        let combos = g.count / m;
        let rows = m.div_ceil(join);
        let parts = (rows * combos).div_ceil(PART);
        Across { g, c, join, m, rows, combos, blocks: c.div_ceil(WIDTH), parts }
    }
    fn width(&self, block: usize) -> usize {
        if self.join > 1 { self.c * self.join } else { (self.c - block * WIDTH).min(WIDTH) }
    }
    /// Reduces rows of one part of one block of columns.
    fn part<C: Columns>(
        &self,
        cursor: &mut Cursor,
        stack: &mut Stack<C>,
        at: (usize, usize, usize),
    ) -> Result<Option<C>> {
        let (outer, block, part) = at;
        let base = offset(&self.g.kept[..self.g.kept.len() - 1], outer) + block * WIDTH;
        let groups = &self.g.reduced[..self.g.reduced.len().saturating_sub(1)];
        let step = self.g.reduced.last().map_or(0, |r| r.1);
        let end = ((part + 1) * PART).min(self.rows * self.combos);
        let mut row = part * PART;
        while row < end {
            let mut acc = stack.fresh();
            let stop = (row + BLOCK).min(end);
            while row < stop {
                let (q, v) = (row / self.rows, row % self.rows);
                let first = v * self.join;
                let start = base + offset(groups, q) + first * step;
                let n = if self.join > 1 { self.join.min(self.m - first) * self.c } else { self.width(block) };
                acc.add(cursor.read::<C::In>(start, n)?, q * self.m + first);
                row += 1;
            }
            stack.push(acc);
        }
        Ok(stack.finish())
    }
}

/// Reduces across columns. `join`: may columns of joined rows be merged by `merge`, in any order?
pub fn across<C: Columns>(
    reader: &Reader,
    g: &Geometry,
    join: Option<&(dyn Fn(C::State, C::State) -> C::State + Sync)>,
    sink: Sink<C::State>,
) -> Result<()> {
    let a = Across::new(g, join.is_some());
    let outers = g.outputs / a.c;
    if outers > 1 && g.kept.len() == 2 && a.combos == 1 && a.m <= BLOCK && 2 * a.m * a.c <= BATCH {
        return small::<C>(reader, [outers, a.m, a.c], sink);
    }
    let emit = |outer: usize, block: usize, acc: &C| {
        let first = outer * a.c + block * WIDTH;
        let n = a.width(block).min(a.c);
        match join {
            Some(merge) if a.join > 1 => {
                let joined = |col| (1..a.join).fold(acc.state(col), |s, k| merge(s, acc.state(k * a.c + col)));
                hand_on(first, n, joined, sink);
            }
            Some(_) | None => hand_on(first, n, |col| acc.state(col), sink),
        }
    };
    let failure = Failure::default();
    let results = slots::<C>(if a.parts == 1 { 0 } else { outers * a.blocks * a.parts })?;
    let work = a.width(0) * (a.rows * a.combos).min(PART) * (reader.cost() + 1);
    parallel_for(outers * a.blocks * a.parts, (GRAIN / work.max(1)).max(1), &|range| {
        let mut cursor = reader.cursor();
        let mut stacks: Vec<(usize, Stack<C>)> = Vec::new();
        failure.note((|| {
            for i in range {
                check_interrupt()?;
                let (unit, part) = (i / a.parts, i % a.parts);
                let (outer, block) = (unit / a.blocks, unit % a.blocks);
                let width = a.width(block);
                let known = stacks.iter().position(|s| s.0 == width);
                let known = known.unwrap_or_else(|| {
                    stacks.push((width, Stack::new(width)));
                    stacks.len() - 1
                });
                let stack = &mut stacks[known].1;
                let Some(acc) = a.part(&mut cursor, stack, (outer, block, part))? else { continue };
                if a.parts == 1 {
                    emit(outer, block, &acc);
                    stack.spare.push(acc);
                } else {
                    *results[i].lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(acc);
                }
            }
            Ok(())
        })());
    });
    failure.result()?;
    for unit in 0..results.len() / a.parts.max(1) {
        let (outer, block) = (unit / a.blocks, unit % a.blocks);
        let mut stack = Stack::new(a.width(block));
        for r in &results[unit * a.parts..(unit + 1) * a.parts] {
            if let Some(c) = r.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take() {
                stack.push(c);
            }
        }
        if let Some(acc) = stack.finish() {
            emit(outer, block, &acc);
        }
    }
    Ok(())
}

/// Reduces the rows of small matrices that lie one after the other, `[matrices, rows, columns]`: several are read at
/// once, and their rows put beside each other.
fn small<C: Columns>(reader: &Reader, [outers, m, c]: [usize; 3], sink: Sink<C::State>) -> Result<()> {
    let together = BATCH / (m * c);
    let failure = Failure::default();
    let grain = (GRAIN / (reader.cost() + 1) / (m * c)).max(together);
    parallel_for(outers, grain, &|range| {
        let mut cursor = reader.cursor();
        let mut acc = C::new(together * c);
        let mut row: Vec<C::In> = Vec::with_capacity(together * c);
        failure.note((|| {
            for first in range.clone().step_by(together) {
                let n = together.min(range.end - first);
                if n == together {
                    acc.clear();
                } else {
                    acc = C::new(n * c);
                }
                let x = cursor.read::<C::In>(first * m * c, n * m * c)?;
                for r in 0..m {
                    row.clear();
                    for matrix in x.chunks_exact(m * c) {
                        row.extend(matrix[r * c..(r + 1) * c].iter().copied());
                    }
                    acc.add(&row, r);
                }
                hand_on(first * c, n * c, |i| acc.state(i), sink);
            }
            Ok(())
        })());
    });
    failure.result()
}

impl Geometry {
    /// Are rows reduced that are short, and many for each output? Then their elements are better reduced apart first.
    pub fn has_short_rows(&self) -> bool {
        let row = self.reduced.last().map_or(1, |r| r.0);
        self.along && self.reduced.len() > 1 && row < NARROW && self.count / row >= NARROW
    }
    /// The reduction of all but the last group, the shape of its results, and what of the reduction remains on them.
    pub fn without_last(&self) -> (Geometry, SmallVec<[usize; 4]>, Geometry) {
        let row = self.reduced.last().map_or(1, |r| r.0);
        let mut groups: SmallVec<[(bool, (usize, usize)); 8]> = SmallVec::new();
        groups.extend(self.kept.iter().map(|&k| (false, k)));
        groups.extend(self.reduced.iter().map(|&r| (true, r)));
        groups.sort_by_key(|g| std::cmp::Reverse(g.1.1));
        let shape: SmallVec<[usize; 8]> = groups.iter().map(|g| g.1.0).collect();
        let axes: SmallVec<[usize; 8]> = (0..groups.len() - 1).filter(|&d| groups[d].0).collect();
        let left: SmallVec<[usize; 4]> = SmallVec::from_slice(&[self.outputs, row]);
        let rest = Geometry::new(&left, &[1]);
        (Geometry::new(&shape, &axes), left, rest)
    }
    /// Is the last dimension reduced (rows), or kept (columns)?
    pub fn is_along(&self) -> bool {
        self.along
    }
}
