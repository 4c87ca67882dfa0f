//! The tiled product behind matmul and convolution: tile sizes, cutting of K, the launch. What is multiplied comes as
//! WGSL functions `load_a`, `load_b` and `put`, with `Deep` and `Column` for what they need to know of a place.
//! Shaders: `gemm.wgsl`, and `gemm_direct.wgsl` for adapters that are CPUs.

use std::fmt::Write;
use std::sync::Arc;

use rtorch_ir::{DType, Result};

use crate::device::Device;
use crate::kernel::{Kernel, Names, fold, splice};
use crate::work::Work;
use crate::{GpuArg, GpuSource};

const TEMPLATE: &str = include_str!("../../../shaders/gemm.wgsl");
const DIRECT: &str = include_str!("../../../shaders/gemm_direct.wgsl");
/// Rows of a thread, and threads, of the direct kernel.
const DIRECT_ROWS: u32 = 16;
const DIRECT_THREADS: u32 = 64;
/// K is cut when the tiles of C are fewer than this and K is at least this deep per part.
const FEW_TILES: usize = 32;
const PART: usize = 512;

/// Tile sizes; see the template.
#[derive(Clone, Copy)]
pub(crate) struct Tile {
    bm: u32,
    bn: u32,
    bk: u32,
    tm: u32,
    tn: u32,
}

/// Which kernel makes a product.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Way {
    Tiled { software: bool },
    Direct,
}

/// Sizes of one product.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    pub batch: usize,
    pub m: usize,
    pub n: usize,
    pub k: usize,
    /// Rows (columns for B) are what lies next to each other in memory.
    pub a_rows_first: bool,
    pub b_rows_first: bool,
}

impl Sizes {
    /// Wide tiles where the result fills them. On a CPU adapter larger register blocks pay (measured on lavapipe, 2
    /// cores, N = 512: 64x64 with 8x8 16.9 GFLOP/s, with 4x4 10.7, 32x32 with 4x4 10.3).
    fn tile(&self, way: Way) -> Tile {
        let software = match way {
            Way::Direct => {
                let rows = if self.m <= 8 { 8 } else { DIRECT_ROWS };
                return Tile { bm: rows, bn: DIRECT_THREADS, bk: 1, tm: rows, tn: 1 };
            }
            Way::Tiled { software } => software,
        };
        let small = self.m.min(self.n) <= 32;
        match (small, software) {
            (true, _) => Tile { bm: 32, bn: 32, bk: 16, tm: 4, tn: 4 },
            (false, true) => Tile { bm: 64, bn: 64, bk: 16, tm: 8, tn: 8 },
            (false, false) => Tile { bm: 64, bn: 64, bk: 16, tm: 4, tn: 4 },
        }
    }
    fn tiles(&self, t: Tile) -> usize {
        self.m.div_ceil(t.bm as usize) * self.n.div_ceil(t.bn as usize) * self.batch
    }
    /// Parts of K; more than one only where a result is small and its sums are long.
    pub fn parts(&self, way: Way) -> usize {
        let t = self.tile(way);
        if self.tiles(t) >= FEW_TILES || self.k < 2 * PART {
            return 1;
        }
        (self.k / PART).min(FEW_TILES.div_ceil(self.tiles(t)).next_power_of_two()).max(1)
    }
}

impl Sizes {
    /// The parameter words every product starts with.
    pub fn words(&self, parts: usize, way: Way) -> [u32; 8] {
        let t = self.tile(way);
        let (nt, mt) = (self.n.div_ceil(t.bn as usize), self.m.div_ceil(t.bm as usize));
        let all = nt * mt * self.batch * parts;
        [self.m, self.n, self.k, parts, self.k.div_ceil(parts), nt, mt, all].map(|v| v as u32)
    }
}

impl Device {
    /// Launches a product whose kernel already has `Sizes::words` as its first parameters; `text` prints `load_a`,
    /// `load_b` and `put`.
    pub(crate) fn gemm(
        self: &Arc<Self>,
        mut k: Kernel,
        s: &Sizes,
        parts: usize,
        text: impl FnOnce(&Names) -> String,
    ) -> Result<()> {
        if self.gemm_way() == Way::Direct {
            return self.gemm_direct(k, s, parts, text);
        }
        let t = s.tile(self.gemm_way());
        let code = (s.a_rows_first as u32) << 1 | s.b_rows_first as u32;
        k.key(t.bm << 24 | t.bn << 16 | t.tm << 8 | code);
        let threads = (t.bm / t.tm) * (t.bn / t.tn);
        let groups = fold((s.tiles(t) * parts) as u64);
        k.launch(groups, |names| {
            let Tile { bm, bn, bk, tm, tn } = t;
            let tile = format!(
                "const BM = {bm}u;\nconst BN = {bn}u;\nconst BK = {bk}u;\nconst TM = {tm}u;\nconst TN = {tn}u;\n\
                 const THREADS = {threads}u;\nconst WIDE = {}u;\nconst A_ROWS_FIRST = {};\nconst B_ROWS_FIRST = {};\n",
                bn / tn,
                s.a_rows_first,
                s.b_rows_first
            );
            let (sums, multiply, results) = blocks(t);
            let holes =
                [("io", text(names)), ("tile", tile), ("sums", sums), ("multiply", multiply), ("results", results)];
            let holes: Vec<(&str, &str)> = holes.iter().map(|(n, t)| (*n, t.as_str())).collect();
            splice(TEMPLATE, &holes)
        })
    }

    /// How products are made here: without workgroup memory on a CPU that plays GPU, where eight threads of a subgroup
    /// can tell each other what they loaded (CPU time on lavapipe, 2 busy cores: a 3 x 3 convolution of 16 to 32
    /// channels 14 ms, tiled 30; a product of 256 x 256 matrices 7.9 ms, tiled 10).
    pub(crate) fn gemm_way(&self) -> Way {
        if self.profile.software && self.profile.subgroups && self.profile.subgroup_least >= 8 {
            Way::Direct
        } else {
            Way::Tiled { software: self.profile.software }
        }
    }

    fn gemm_direct(
        self: &Arc<Self>,
        mut k: Kernel,
        s: &Sizes,
        parts: usize,
        text: impl FnOnce(&Names) -> String,
    ) -> Result<()> {
        let t = s.tile(Way::Direct);
        k.key(u32::MAX - t.bm);
        k.launch(fold((s.tiles(t) * parts) as u64), |names| {
            let (mut sums, mut multiply, mut results) = (String::new(), String::new(), String::new());
            for i in 0..t.bm {
                let _ = writeln!(sums, "var c{i} = 0.0;");
                if i % 8 == 0 {
                    let _ = writeln!(multiply, "let a{i} = load_a(batch, min(m0 + {i}u + lane % 8u, last), k);");
                }
                let _ = writeln!(multiply, "c{i} = c{i} + subgroupBroadcast(a{}, {}u) * b;", i / 8 * 8, i % 8);
                let _ = writeln!(results, "if (m0 + {i}u <= last) {{ put(batch, part, m0 + {i}u, column, c{i}); }}");
            }
            let tile = format!("const TM = {}u;\n", t.bm);
            let io = text(names);
            let holes = [("io", &io), ("tile", &tile), ("sums", &sums), ("multiply", &multiply), ("results", &results)];
            splice(DIRECT, &holes.map(|(n, t)| (n, t.as_str())))
        })
    }

    /// Adds up partial results [parts, results...] into `out`.
    pub(crate) fn sum_parts(self: &Arc<Self>, partial: &Work, out: &GpuArg) -> Result<()> {
        let program = rtorch_ir::Program::copy(DType::F32, DType::F32);
        let leaves = [partial.arg()];
        let source = GpuSource { program: &program, leaves: &leaves, shape: &partial.layout.shape };
        let axes = rtorch_ir::prim::Axes::from_slice(&[0]);
        self.reduce(rtorch_ir::prim::ReduceOp::Sum, &axes, &source, out, DType::F32)
    }
}

/// The registers of a thread as blocks of 4 x 4: their declaration, one step along K, and how they are stored.
fn blocks(t: Tile) -> (String, String, String) {
    let (rows, columns) = (t.tm / 4, t.tn / 4);
    let (high, wide) = (t.bm / t.tm, t.bn / t.tn);
    let (mut sums, mut multiply, mut results) = (String::new(), String::new(), String::new());
    for i in 0..rows {
        let _ = writeln!(multiply, "let a{i} = tile_a[k * ROW_A + ty + {}u];", i * high);
    }
    for j in 0..columns {
        let _ = writeln!(multiply, "let b{j} = tile_b[k * ROW_B + tx + {}u];", j * wide);
    }
    for i in 0..rows {
        for j in 0..columns {
            for (r, part) in ["x", "y", "z", "w"].iter().enumerate() {
                let c = format!("c{i}_{j}_{r}");
                let _ = writeln!(sums, "var {c} = vec4<f32>();");
                let _ = writeln!(multiply, "{c} = {c} + a{i}.{part} * b{j};");
                let _ = writeln!(results, "c[{}] = {c};", (i * columns + j) * 4 + r as u32);
            }
        }
    }
    (sums, multiply, results)
}
