//! Geometry of a convolution: which input element each (output position, tap) reads, as spans that a register loads.
//! Forward, both gradients and the depthwise path all walk these; padding is what no span covers.

use super::Spatial3;

/// One kernel position: its offset in the input relative to `step * output position`, and its number in the weight.
#[derive(Clone, Copy, Debug)]
pub struct Tap {
    pub offset: [isize; 3],
    pub number: usize,
}

/// Output positions run over a grid of sizes `out`, row-major.
#[derive(Clone, Debug)]
pub struct Window {
    pub out: Spatial3,
    pub input: Spatial3,
    pub step: Spatial3,
    pub taps: Vec<Tap>,
}

/// Lanes `lo..hi` of a register: lane i lies at `offset + i * step` of the channel's plane.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    pub offset: isize,
    pub lo: u8,
    pub hi: u8,
}

/// The spans of a register of output positions, for every tap.
#[derive(Default)]
pub struct Spans {
    /// Of each tap, and the end.
    starts: Vec<u32>,
    list: Vec<Span>,
}

impl Window {
    pub fn positions(&self) -> usize {
        self.out.iter().product()
    }
    /// Input elements per channel.
    pub fn plane(&self) -> usize {
        self.input.iter().product()
    }
    /// Is the input read as it lies, one tap that covers it?
    pub fn is_identity(&self) -> bool {
        self.taps.len() == 1 && self.taps[0].offset == [0; 3] && self.step == [1; 3] && self.out == self.input
    }
    /// The position after flat number `p`, as (depth, row, column).
    fn split(&self, p: usize) -> Spatial3 {
        let w = self.out[2];
        [p / w / self.out[1], p / w % self.out[1], p % w]
    }
    /// Offset of the input row that `tap` reads for output row (d, h), if it exists.
    #[inline]
    pub fn row(&self, d: usize, h: usize, tap: &Tap) -> Option<isize> {
        let i = (d * self.step[0]) as isize + tap.offset[0];
        let j = (h * self.step[1]) as isize + tap.offset[1];
        let inside = (0..self.input[0] as isize).contains(&i) && (0..self.input[1] as isize).contains(&j);
        inside.then(|| (i * self.input[1] as isize + j) * self.input[2] as isize)
    }
    /// The columns `w` of an output row, among `from..to`, whose input column exists for `tap`.
    #[inline]
    pub fn columns(&self, from: usize, to: usize, tap: &Tap) -> (usize, usize) {
        let (step, offset) = (self.step[2] as isize, tap.offset[2]);
        // 0 <= w * step + offset < input
        let lo = if offset >= 0 { 0 } else { ((-offset) as usize).div_ceil(step as usize) };
        let end = self.input[2] as isize - offset;
        let hi = if end <= 0 { 0 } else { (end as usize).div_ceil(step as usize) };
        let lo = lo.clamp(from, to);
        (lo, hi.clamp(lo, to))
    }
    /// Cuts positions `p..end` at row ends: calls `f(d, h, first column, end column)`.
    #[inline]
    pub fn rows(&self, mut p: usize, end: usize, mut f: impl FnMut(usize, usize, usize, usize)) {
        let [mut d, mut h, mut w] = self.split(p);
        while p < end {
            let stop = (w + end - p).min(self.out[2]);
            f(d, h, w, stop);
            p += stop - w;
            w = 0;
            h += 1;
            if h == self.out[1] {
                h = 0;
                d += 1;
            }
        }
    }
}

impl Spans {
    /// For positions `p..end`, a register of them at most.
    pub fn build(&mut self, window: &Window, p: usize, end: usize) {
        self.starts.clear();
        self.list.clear();
        let step = window.step[2] as isize;
        let mut rows: smallvec::SmallVec<[[usize; 4]; 16]> = smallvec::SmallVec::new();
        window.rows(p, end, |d, h, from, to| rows.push([d, h, from, to]));
        for tap in &window.taps {
            self.starts.push(self.list.len() as u32);
            let mut lane = 0;
            for &[d, h, from, to] in &rows {
                if let Some(row) = window.row(d, h, tap) {
                    let (lo, hi) = window.columns(from, to, tap);
                    if lo < hi {
                        // lane `lane` is column `from`
                        let offset = row + (from as isize - lane as isize) * step + tap.offset[2];
                        let (lo, hi) = ((lane + lo - from) as u8, (lane + hi - from) as u8);
                        self.list.push(Span { offset, lo, hi });
                    }
                }
                lane += to - from;
            }
        }
        self.starts.push(self.list.len() as u32);
    }
    #[inline(always)]
    pub fn of(&self, tap: usize) -> &[Span] {
        // SAFETY: `build` made an entry for every tap, and ends within the list.
        unsafe {
            let (a, b) = (*self.starts.get_unchecked(tap) as usize, *self.starts.get_unchecked(tap + 1) as usize);
            self.list.get_unchecked(a..b)
        }
    }
}
