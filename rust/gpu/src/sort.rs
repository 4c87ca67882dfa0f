//! Sort and topk along an axis: keys that order as the values do (NaN largest), a stable bitonic sort of keys and
//! positions (`sort.wgsl`), and a last kernel that fetches values by position.

use std::sync::Arc;

use rtorch_ir::{CType, Result};
use smallvec::SmallVec;

use crate::access::word;
use crate::device::Device;
use crate::kernel::{Id, Kernel, Names, Operand, fold, grid, open_main, splice};
use crate::stores;
use crate::work::Work;
use crate::{GpuArg, GpuSource};

const TEMPLATE: &str = include_str!("../../../shaders/sort.wgsl");
/// Elements that one workgroup sorts in its memory.
const BLOCK: usize = 1024;

/// A pass between elements further apart than a block: one thread per pair.
const FAR: &str = "@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) gid: vec3<u32>) {
let t = gid.x + gid.y * 8388608u;
if (t >= P.w[0].x / 2u) { return; }
let gap = P.w[1].x;
let i = (t / gap) * gap * 2u + t % gap;
let up = ((i % P.w[0].y) & P.w[0].z) == 0u;
let a = load(i);
let b = load(i + gap);
if (after(a, b) == up) {
save(i, b);
save(i + gap, a);
}
}
";

/// Statements that make `key` (two words, the first the more significant) of a value `v`.
fn key_of(t: CType, descending: bool) -> String {
    let key = match t {
        CType::Bool => "let key = vec2<u32>(select(0u, 1u, v), 0u);\n",
        CType::I32 => "let key = vec2<u32>(bitcast<u32>(v) ^ 0x80000000u, 0u);\n",
        CType::I64 => "let key = vec2<u32>(rt_words(v).y ^ 0x80000000u, rt_words(v).x);\n",
        CType::F32 | CType::F64 | CType::C64 | CType::C128 => {
            "let raw = select(bitcast<u32>(v), 0u, rt_mag(v) == 0u);\n\
             let flipped = select(raw ^ 0x80000000u, ~raw, raw >= 0x80000000u);\n\
             let key = vec2<u32>(select(flipped, 0xffffffffu, rt_isnan_f32(v)), 0u);\n"
        }
    };
    // only the words in use are compared
    let end = match (descending, t) {
        (false, _) => "let k2 = key;\n",
        (true, CType::I64) => "let k2 = ~key;\n",
        (true, _) => "let k2 = vec2<u32>(~key.x, key.y);\n",
    };
    format!("{key}{end}")
}

/// `load` and `save` of pairs in memory.
fn pair_text(names: &Names, pairs: &Operand, wide: bool) -> String {
    let b = names.of(pairs.slot);
    let base = word(pairs.access.word);
    let at = |per: u32| format!("let at = {base} + {per}u * i;");
    if wide {
        format!(
            "fn load(i: u32) -> vec3<u32> {{ {at} return vec3<u32>({b}[at], {b}[at + 1u], {b}[at + 2u]); }}\n\
             fn save(i: u32, v: vec3<u32>) {{ {at} {b}[at] = v.x; {b}[at + 1u] = v.y; {b}[at + 2u] = v.z; }}\n",
            at = at(3)
        )
    } else {
        format!(
            "fn load(i: u32) -> vec3<u32> {{ {at} return vec3<u32>({b}[at], 0u, {b}[at + 1u]); }}\n\
             fn save(i: u32, v: vec3<u32>) {{ {at} {b}[at] = v.x; {b}[at + 1u] = v.z; }}\n",
            at = at(2)
        )
    }
}

/// The sorted pairs of an operand's lines.
struct Sorted {
    pairs: Work,
    padded: usize,
    wide: bool,
}

impl Device {
    /// Sorts lines along an axis; `outs` (values, positions) take the first elements of each.
    pub(crate) fn sort(
        self: &Arc<Self>,
        axis: usize,
        descending: bool,
        source: &GpuSource,
        outs: &[GpuArg],
    ) -> Result<()> {
        if outs[0].layout.numel() == 0 {
            return Ok(());
        }
        let one = [1usize];
        let shape: &[usize] = if source.shape.is_empty() { &one } else { source.shape };
        let source = GpuSource { shape, ..*source };
        let sorted = self.sorted_pairs(axis, descending, &source)?;
        let kept: SmallVec<[usize; 5]> = (0..shape.len()).filter(|&d| d != axis).collect();
        let inner: usize = shape[axis + 1..].iter().product();
        let taken = outs[0].layout.shape.get(axis).copied().unwrap_or(1);
        let n = outs[0].layout.numel();
        let mut k = Kernel::new(self, Id::Sort);
        k.key(3 << 8 | sorted.wide as u32);
        k.words(&[n as u32, inner as u32, taken as u32, sorted.padded as u32]);
        let src = k.source(&source, &[&kept, &[axis]])?;
        let pairs = k.operand(&sorted.pairs.arg(), &[&[0]], false)?;
        let outs = stores::bind(&mut k, outs, false)?;
        let threads = (n as u64).div_ceil(stores::step(&outs) as u64);
        k.launch(grid(threads), |names| {
            let base = word(pairs.access.word);
            let per = if sorted.wide { 3 } else { 2 };
            let element = format!(
                "let j = (i / {inner}) % {taken};\nlet row = (i / ({inner} * {taken})) * {inner} + i % {inner};\n\
                 let from = {}[{base} + (row * {} + j) * {per}u + {}u];\nlet v = src(row, from);\n",
                names.of(pairs.slot),
                word(3),
                per - 1,
                inner = word(1),
                taken = word(2)
            )
            .replace("let from", "let place")
            .replace("src(row, from)", "src(row, place)");
            let values = ["v".to_string(), "rt_i64_of_u32(place)".to_string()];
            src.function(names, "src") + &stores::frame(&outs, &element, &values, names)
        })
    }

    fn sorted_pairs(self: &Arc<Self>, axis: usize, descending: bool, source: &GpuSource) -> Result<Sorted> {
        let shape = source.shape;
        let kept: SmallVec<[usize; 5]> = (0..shape.len()).filter(|&d| d != axis).collect();
        let n = shape[axis];
        let rows = shape.iter().product::<usize>() / n;
        let padded = n.next_power_of_two();
        let all = rows * padded;
        let t = source.program.ctype(source.program.outputs[0]);
        let wide = t == CType::I64;
        let pairs = Work::temporary(self, rtorch_ir::DType::I32, &[all * if wide { 3 } else { 2 }])?;
        let mut k = Kernel::new(self, Id::Sort);
        k.key((t as u32) << 4 | (wide as u32) << 1 | descending as u32);
        k.words(&[all as u32, n as u32, padded as u32, 0]);
        let src = k.source(source, &[&kept, &[axis]])?;
        let to = k.operand(&pairs.arg(), &[&[0]], false)?;
        k.launch(grid(all as u64), |names| {
            let mut s = src.function(names, "src") + &pair_text(names, &to, wide) + &open_main();
            s += &format!(
                "if (t >= {}) {{ return; }}\nlet row = t / {padded};\nlet j = t - row * {padded};\n\
                 if (j >= {}) {{ save(t, vec3<u32>(0xffffffffu, 0xffffffffu, j)); return; }}\nlet v = src(row, j);\n",
                word(0),
                word(1),
                padded = word(2)
            );
            s + &key_of(t, descending) + "save(t, vec3<u32>(k2, j));\n}\n"
        })?;
        self.bitonic(&pairs, all, padded, wide)?;
        Ok(Sorted { pairs, padded, wide })
    }

    fn bitonic(self: &Arc<Self>, pairs: &Work, all: usize, padded: usize, wide: bool) -> Result<()> {
        if padded == 1 {
            return Ok(());
        }
        // passes within blocks: all short runs at once, then the ends of each longer run
        self.bitonic_near(pairs, all, padded, wide, 2, padded.min(BLOCK), 1)?;
        let mut run = 2 * BLOCK;
        while run <= padded {
            let mut gap = run / 2;
            while gap >= BLOCK {
                self.bitonic_far(pairs, all, padded, wide, run, gap)?;
                gap /= 2;
            }
            self.bitonic_near(pairs, all, padded, wide, run, run, BLOCK / 2)?;
            run *= 2;
        }
        Ok(())
    }

    fn bitonic_near(
        self: &Arc<Self>,
        pairs: &Work,
        all: usize,
        padded: usize,
        wide: bool,
        first: usize,
        last: usize,
        gap: usize,
    ) -> Result<()> {
        let mut k = Kernel::new(self, Id::Sort);
        k.key(1 << 8 | wide as u32);
        k.words(&[all as u32, padded as u32, first as u32, last as u32, gap as u32]);
        let to = k.operand(&pairs.arg(), &[&[0]], false)?;
        k.launch(fold(all.div_ceil(BLOCK) as u64), |names| splice(TEMPLATE, &[("io", &pair_text(names, &to, wide))]))
    }

    fn bitonic_far(
        self: &Arc<Self>,
        pairs: &Work,
        all: usize,
        padded: usize,
        wide: bool,
        run: usize,
        gap: usize,
    ) -> Result<()> {
        let mut k = Kernel::new(self, Id::Sort);
        k.key(2 << 8 | wide as u32);
        k.words(&[all as u32, padded as u32, run as u32, run as u32, gap as u32]);
        let to = k.operand(&pairs.arg(), &[&[0]], false)?;
        k.launch(grid(all as u64 / 2), |names| splice(TEMPLATE, &[("io", &pair_text(names, &to, wide)), ("main", FAR)]))
    }
}
