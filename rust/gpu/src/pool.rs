//! Pooling: maxima and means of windows, fixed or adaptive, and the gradients of means (each input element collects
//! from the windows that hold it). One thread per element. The gradient of max pooling is a scatter (`scatter.rs`).

use std::sync::Arc;

use rtorch_ir::prim::PoolParams;
use rtorch_ir::{CType, Result};
use smallvec::SmallVec;

use crate::access::word;
use crate::device::Device;
use crate::emit::{convert, suffix, type_name};
use crate::kernel::{Id, Kernel, grid};
use crate::stores;
use crate::{GpuArg, GpuSource};

/// Words per spatial dim: kernel, stride, padding, dilation, input size, output size.
const PER_DIM: usize = 6;
/// First spatial word; w[0] is the element count, w[1] a fixed divisor or 0.
const FIRST: usize = 2;

#[derive(Clone, Copy, PartialEq, Debug)]
enum What {
    Max,
    Mean,
    /// Of a mean: elements are the input's.
    MeanGrad,
}

struct Window {
    what: What,
    adaptive: bool,
    count_pad: bool,
    divisor: u32,
    /// See `PER_DIM`.
    dims: SmallVec<[[usize; PER_DIM]; 3]>,
}

impl Window {
    fn fixed(what: What, p: &PoolParams, input: &[usize]) -> Window {
        let dims = (0..p.out.len()).map(|d| {
            let size = input[input.len() - p.out.len() + d];
            [p.kernel[d], p.stride[d], p.padding[d], p.dilation[d], size, p.out[d]]
        });
        let divisor = p.divisor.unwrap_or(0) as u32;
        Window { what, adaptive: false, count_pad: p.count_include_pad, divisor, dims: dims.collect() }
    }
    fn adaptive(what: What, input: &[usize], out: &[usize]) -> Window {
        let dims = (0..out.len()).map(|d| [0, 1, 0, 1, input[input.len() - out.len() + d], out[d]]);
        Window { what, adaptive: true, count_pad: false, divisor: 0, dims: dims.collect() }
    }

    /// The range of input positions under output position `o` along `d`, as `lo{d}`, `hi{d}` and the count for means.
    fn bounds(&self, d: usize, o: &str) -> String {
        let w = |i: usize| word(FIRST + PER_DIM * d + i);
        if self.adaptive {
            return format!(
                "let lo{d} = i32({o} * {} / {});\nlet hi{d} = i32((({o} + 1u) * {} + {} - 1u) / {});\nlet count{d} = \
                 hi{d} - lo{d};\n",
                w(4),
                w(5),
                w(4),
                w(5),
                w(5)
            );
        }
        let count = if self.count_pad {
            format!("min(start{d} + i32({}), i32({} + {})) - start{d}", w(0), w(4), w(2))
        } else {
            format!("hi{d} - lo{d}")
        };
        format!(
            "let start{d} = i32({o} * {}) - i32({});\n\
             let lo{d} = start{d} + select(0, (-start{d} + i32({}) - 1) / i32({}) * i32({}), start{d} < 0);\n\
             let hi{d} = min(start{d} + i32(({} - 1u) * {}) + 1, i32({}));\nlet count{d} = {count};\n",
            w(1),
            w(2),
            w(3),
            w(3),
            w(3),
            w(0),
            w(3),
            w(4)
        )
    }

    /// Loops over the positions between bounds, `body` inside.
    fn loops(&self, body: &str) -> String {
        let n = self.dims.len();
        let mut s = String::new();
        for d in 0..n {
            let step = word(FIRST + PER_DIM * d + 3);
            s += &format!("for (var y{d} = lo{d}; y{d} < hi{d}; y{d} = y{d} + i32({step})) {{\n");
        }
        s += body;
        s + &"}\n".repeat(n)
    }

    fn forward(&self, t: CType) -> (String, Vec<String>) {
        let n = self.dims.len();
        let mut s: String = (0..n).map(|d| self.bounds(d, &format!("p{d}"))).collect();
        let at: Vec<String> = (0..n).map(|d| format!("u32(y{d})")).collect();
        let value = format!("src(plane, {})", at.join(", "));
        if self.what == What::Max {
            let place =
                (0..n).fold("0u".to_string(), |p, d| format!("({p} * {} + u32(y{d}))", word(FIRST + PER_DIM * d + 4)));
            let float = matches!(t, CType::F32 | CType::F64 | CType::C64 | CType::C128);
            let nan = if float { " || rt_isnan_f32(v)" } else { "" };
            let body = format!(
                "let v = {value};\nlet at = {place};\nif (at_best == 0xffffffffu || rt_gt_{}(v, best){nan}) {{\n\
                 best = v;\nat_best = at;\n}}\n",
                suffix(t)
            );
            s += &format!("var best: {};\nvar at_best = 0xffffffffu;\n", type_name(t));
            s += &self.loops(&body);
            return (s, vec!["best".to_string(), "rt_i64_of_u32(at_best)".to_string()]);
        }
        s += "var sum = 0.0;\n";
        s += &self.loops(&format!("sum = sum + {};\n", convert(&value, t, CType::F32)));
        let count: Vec<String> = (0..n).map(|d| format!("count{d}")).collect();
        s += &format!(
            "let divisor = select(f32({}), f32(bitcast<i32>({})), {} != 0u);\n",
            count.join(" * "),
            word(1),
            word(1)
        );
        (s, vec!["(sum / divisor)".to_string()])
    }

    /// Sums the gradients of the windows over input position `p`.
    fn gradient(&self, t: CType) -> (String, Vec<String>) {
        let n = self.dims.len();
        let mut s = "var sum = 0.0;\n".to_string();
        let mut close = String::new();
        for d in 0..n {
            let w = |i: usize| word(FIRST + PER_DIM * d + i);
            let (first, last) = if self.adaptive {
                (format!("p{d} * {} / {}", w(5), w(4)), format!("((p{d} + 1u) * {} + {} - 1u) / {}", w(5), w(4), w(4)))
            } else {
                let a = format!("(p{d} + {})", w(2));
                (
                    format!("select(0u, ({a} - {}) / {} + 1u, {a} >= {})", w(0), w(1), w(0)),
                    format!("min({a} / {} + 1u, {})", w(1), w(5)),
                )
            };
            s += &format!("for (var o{d} = {first}; o{d} < {last}; o{d} = o{d} + 1u) {{\n");
            s += &self.bounds(d, &format!("o{d}"));
            close += "}\n";
        }
        let at: Vec<String> = (0..n).map(|d| format!("o{d}")).collect();
        let count: Vec<String> = (0..n).map(|d| format!("count{d}")).collect();
        let value = convert(&format!("src(plane, {})", at.join(", ")), t, CType::F32);
        s += &format!(
            "sum = sum + {value} / select(f32({}), f32(bitcast<i32>({})), {} != 0u);\n{close}",
            count.join(" * "),
            word(1),
            word(1)
        );
        (s, vec!["sum".to_string()])
    }
}

impl Device {
    fn windows(self: &Arc<Self>, w: &Window, source: &GpuSource, outs: &[GpuArg]) -> Result<()> {
        let n = outs[0].layout.numel();
        if n == 0 {
            return Ok(());
        }
        let spatial = w.dims.len();
        let lead = source.shape.len() - spatial;
        let planes: SmallVec<[usize; 4]> = (0..lead).collect();
        let singles: Vec<[usize; 1]> = (lead..source.shape.len()).map(|d| [d]).collect();
        let mut groups: Vec<&[usize]> = vec![&planes];
        groups.extend(singles.iter().map(|s| s.as_slice()));
        let mut k = Kernel::new(self, Id::Pool);
        k.words(&[n as u32, w.divisor]);
        for d in &w.dims {
            k.words(&d.map(|v| v as u32));
        }
        k.key((w.what as u32) << 8 | (spatial as u32) << 2 | (w.adaptive as u32) << 1 | w.count_pad as u32);
        let src = k.source(source, &groups)?;
        let outs = stores::bind(&mut k, outs, false)?;
        let threads = (n as u64).div_ceil(stores::step(&outs) as u64);
        k.launch(grid(threads), |names| {
            let which = if w.what == What::MeanGrad { 4 } else { 5 };
            let mut element = "var rest = i;\n".to_string();
            for d in (0..spatial).rev() {
                let size = word(FIRST + PER_DIM * d + which);
                element += &format!("let p{d} = rest % {size};\nrest = rest / {size};\n");
            }
            element += "let plane = rest;\n";
            let (text, values) = match w.what {
                What::Max | What::Mean => w.forward(src.ctype()),
                What::MeanGrad => w.gradient(src.ctype()),
            };
            element += &text;
            src.function(names, "src") + &stores::frame(&outs, &element, &values, names)
        })
    }

    pub(crate) fn max_pool(self: &Arc<Self>, p: &PoolParams, x: &GpuSource, outs: &[GpuArg]) -> Result<()> {
        self.windows(&Window::fixed(What::Max, p, x.shape), x, outs)
    }
    pub(crate) fn avg_pool(self: &Arc<Self>, p: &PoolParams, x: &GpuSource, outs: &[GpuArg]) -> Result<()> {
        self.windows(&Window::fixed(What::Mean, p, x.shape), x, outs)
    }
    pub(crate) fn avg_pool_grad(
        self: &Arc<Self>,
        p: &PoolParams,
        input: &[usize],
        g: &GpuSource,
        outs: &[GpuArg],
    ) -> Result<()> {
        self.windows(&Window::fixed(What::MeanGrad, p, input), g, outs)
    }
    pub(crate) fn adaptive_pool(
        self: &Arc<Self>,
        largest: bool,
        out: &[usize],
        x: &GpuSource,
        outs: &[GpuArg],
    ) -> Result<()> {
        let what = if largest { What::Max } else { What::Mean };
        self.windows(&Window::adaptive(what, x.shape, out), x, outs)
    }
    pub(crate) fn adaptive_avg_pool_grad(
        self: &Arc<Self>,
        input: &[usize],
        g: &GpuSource,
        outs: &[GpuArg],
    ) -> Result<()> {
        // all dims beyond (n, c) are spatial
        let out = &g.shape[input.len().min(2)..];
        self.windows(&Window::adaptive(What::MeanGrad, input, out), g, outs)
    }
}
