//! Convolution and its gradients in 1 to 3 spatial dims, as tiled products whose operands are windows of images,
//! computed where they are loaded (`gemm.rs`): nothing is unfolded in memory. Kernel sizes are part of a kernel's key.

use std::sync::Arc;

use rtorch_ir::prim::ConvParams;
use rtorch_ir::{DType, Result, Scalar};
use smallvec::SmallVec;

use crate::access::word;
use crate::device::Device;
use crate::emit::{convert, load};
use crate::gather::Plain;
use crate::gemm::Sizes;
use crate::kernel::{Id, Kernel, Names, Operand};
use crate::work::Work;
use crate::{GpuArg, GpuSource};

/// Which of the three products.
#[derive(Clone, Copy, PartialEq, Debug)]
enum What {
    Forward,
    GradInput,
    GradWeight,
}

/// Sizes of a convolution, and the words that hold them in a kernel.
struct Shapes {
    kernel: SmallVec<[usize; 3]>,
    /// Per spatial dim: stride, padding, dilation, input size, output size.
    spatial: SmallVec<[[u32; 5]; 3]>,
    images: usize,
    /// Channels per group of the input and of the output.
    cg: usize,
    og: usize,
    groups: usize,
}

impl Shapes {
    fn new(params: &ConvParams, x: &[usize], w: &[usize], y: &[usize]) -> Shapes {
        let spatial = (0..params.stride.len())
            .map(|i| {
                let p = [params.stride[i], params.padding[i], params.dilation[i], x[2 + i], y[2 + i]];
                p.map(|v| v as u32)
            })
            .collect();
        Shapes {
            kernel: SmallVec::from_slice(&w[2..]),
            spatial,
            images: x[0],
            cg: w[1],
            og: w[0] / params.groups,
            groups: params.groups,
        }
    }
    fn window(&self) -> usize {
        self.kernel.iter().product()
    }
    fn pixels(&self, output: bool) -> usize {
        self.images * self.spatial.iter().map(|s| s[if output { 4 } else { 3 }] as usize).product::<usize>()
    }
    fn sizes(&self, what: What) -> Sizes {
        let (cg, og, kk) = (self.cg, self.og, self.window());
        let (m, n, k) = match what {
            What::Forward => (og, self.pixels(true), cg * kk),
            What::GradInput => (cg, self.pixels(false), og * kk),
            What::GradWeight => (og, cg * kk, self.pixels(true)),
        };
        Sizes { batch: self.groups, m, n, k, a_rows_first: false, b_rows_first: what == What::GradWeight }
    }
}

/// Statements that split a counter into an image and its pixel: `img`, `p0`, `p1`, ...; sizes come from words.
fn split_pixel(counter: &str, spatial: usize, first: usize, which: usize) -> String {
    let mut s = format!("var rest = {counter};\n");
    for d in (0..spatial).rev() {
        let size = word(first + 5 * d + which);
        s += &format!("let p{d} = rest % {size};\nrest = rest / {size};\n");
    }
    s + "let img = rest;\n"
}

/// Statements that split a counter into a channel and a place in the kernel: `ch`, `k0`, ... (sizes are constants).
fn split_window(counter: &str, kernel: &[usize]) -> String {
    let mut s = format!("var inner = {counter};\n");
    for (d, k) in kernel.iter().enumerate().rev() {
        s += &format!("let k{d} = inner % {k}u;\ninner = inner / {k}u;\n");
    }
    s + "let ch = inner;\n"
}

/// Statements that return the input's value under output pixel `p` and kernel place `k`, or zero in the padding.
fn input_at(names: &Names, x: &Operand, spatial: usize, first: usize, channel: &str) -> String {
    let mut s = String::new();
    let mut counters = vec!["img".to_string(), channel.to_string()];
    for d in 0..spatial {
        let w = |i: usize| word(first + 5 * d + i);
        s += &format!(
            "let q{d} = p{d} * {} + k{d} * {} - {};\nif (q{d} >= {}) {{ return 0.0; }}\n",
            w(0),
            w(2),
            w(1),
            w(3)
        );
        counters.push(format!("q{d}"));
    }
    s + &value_at(names, x, &counters)
}

/// Statements that return the output gradient whose window covers input pixel `p` at kernel place `k`, or zero.
fn output_at(names: &Names, g: &Operand, spatial: usize, first: usize, channel: &str) -> String {
    let mut s = String::new();
    let mut counters = vec!["img".to_string(), channel.to_string()];
    for d in 0..spatial {
        let w = |i: usize| word(first + 5 * d + i);
        s += &format!(
            "let t{d} = p{d} + {} - k{d} * {};\nlet q{d} = t{d} / {};\nif (t{d} >= 0x80000000u || q{d} * {} != t{d} || \
             q{d} >= {}) {{ return 0.0; }}\n",
            w(1),
            w(2),
            w(0),
            w(0),
            w(4)
        );
        counters.push(format!("q{d}"));
    }
    s + &value_at(names, g, &counters)
}

fn value_at(names: &Names, x: &Operand, counters: &[String]) -> String {
    let refs: Vec<&str> = counters.iter().map(String::as_str).collect();
    let v = convert(&load(&names.of(x.slot), x.dtype, "at"), x.dtype.ctype(), rtorch_ir::CType::F32);
    format!("{}return {v};\n", x.access.print("at", &refs))
}

fn names_of(prefix: &str, n: usize) -> Vec<String> {
    (0..n).map(|d| format!("{prefix}{d}")).collect()
}

/// The operands of a bound convolution kernel.
struct Bound {
    a: Operand,
    b: Operand,
    bias: Option<Operand>,
    out: Operand,
    /// The first of the spatial words.
    first: usize,
    parts: usize,
}

/// The holes of the product's template.
fn text(what: What, s: &Shapes, o: &Bound, names: &Names) -> String {
    let n = s.spatial.len();
    let (first, cg, og) = (o.first, word(8), word(9));
    let window = names_of("k", n);
    let pixel = names_of("p", n);
    let weight_at = |out_channel: &str, in_channel: &str| {
        let counters = [vec![out_channel.to_string(), in_channel.to_string()], window.clone()].concat();
        value_at(names, &o.a, &counters)
    };
    let (load_a, load_b, place, put) = match what {
        What::Forward => (
            split_window("k", &s.kernel) + &weight_at(&format!("b * {og} + m"), "ch"),
            split_window("k", &s.kernel)
                + &split_pixel("n", n, first, 4)
                + &input_at(names, &o.b, n, first, &format!("b * {cg} + ch")),
            split_pixel("n", n, first, 4),
            [vec!["img".to_string(), format!("b * {og} + m")], pixel].concat(),
        ),
        What::GradInput => (
            split_window("k", &s.kernel) + &weight_at(&format!("b * {og} + ch"), "m"),
            split_window("k", &s.kernel)
                + &split_pixel("n", n, first, 3)
                + &output_at(names, &o.b, n, first, &format!("b * {og} + ch")),
            split_pixel("n", n, first, 3),
            [vec!["img".to_string(), format!("b * {cg} + m")], pixel].concat(),
        ),
        What::GradWeight => (
            split_pixel("k", n, first, 4)
                + &value_at(names, &o.a, &[vec!["img".to_string(), format!("b * {og} + m")], pixel].concat()),
            split_pixel("k", n, first, 4)
                + &split_window("n", &s.kernel)
                + &input_at(names, &o.b, n, first, &format!("b * {cg} + ch")),
            split_window("n", &s.kernel),
            [vec![format!("b * {og} + m"), "ch".to_string()], window.clone()].concat(),
        ),
    };
    let mut counters = put;
    if o.parts > 1 {
        counters.push("part".to_string());
    }
    let mut v = "v".to_string();
    let mut before = String::new();
    if let Some(bias) = &o.bias {
        before = bias.access.print("bias_at", &[&format!("b * {og} + m")]);
        let value =
            convert(&load(&names.of(bias.slot), bias.dtype, "bias_at"), bias.dtype.ctype(), rtorch_ir::CType::F32);
        v = format!("v + select(0.0, {value}, part == 0u)");
    }
    format!(
        "fn load_a(b: u32, m: u32, k: u32) -> f32 {{\n{load_a}}}\nfn load_b(b: u32, k: u32, n: u32) -> f32 \
         {{\n{load_b}}}\n{}fn put(b: u32, part: u32, m: u32, n: u32, v: f32) {{\n{place}{before}store({}, {v});\n}}\n",
        o.out.store_function(names, "store"),
        counters.join(", ")
    )
}

impl Device {
    fn conv_product(
        self: &Arc<Self>,
        what: What,
        s: &Shapes,
        a: &GpuArg,
        b: &GpuArg,
        bias: Option<&GpuArg>,
        out: &GpuArg,
    ) -> Result<()> {
        if out.layout.numel() == 0 {
            return Ok(());
        }
        let sizes = s.sizes(what);
        if sizes.k == 0 && bias.is_none() {
            return self.fill(out, Scalar::Int(0));
        }
        let work = Work::of(self, out)?;
        let parts = sizes.parts(self.profile.software);
        let mut partial = None;
        if parts > 1 {
            let shape = [&[parts], work.layout.shape.as_slice()].concat();
            partial = Some(Work::temporary(self, DType::F32, &shape)?);
        }
        let mut k = Kernel::new(self, Id::Conv);
        k.words(&sizes.words(parts, self.profile.software));
        k.words(&[s.cg as u32, s.og as u32]);
        let first = k.build.params.len();
        for d in &s.spatial {
            k.words(d);
        }
        k.key((what as u32) << 8 | (s.spatial.len() as u32) << 2 | (bias.is_some() as u32) << 1 | (parts > 1) as u32);
        for &size in &s.kernel {
            k.key(size as u32);
        }
        let dims: Vec<[usize; 1]> = (0..=s.spatial.len() + 2).map(|d| [d]).collect();
        let refs: Vec<&[usize]> = dims.iter().map(|d| d.as_slice()).collect();
        let n = s.spatial.len() + 2;
        let bound = Bound {
            a: k.operand(a, &refs[..n], false)?,
            b: k.operand(b, &refs[..n], false)?,
            bias: bias.map(|b| k.operand(b, &refs[..1], false)).transpose()?,
            out: match &partial {
                // partial results have a first dim more, counted last
                Some(p) => k.operand(&p.arg(), &[&refs[1..=n], &refs[..1]].concat(), false)?,
                None => k.operand(&work.arg(), &refs[..n], false)?,
            },
            first,
            parts,
        };
        self.gemm(k, &sizes, parts, |names| text(what, s, &bound, names))?;
        if let Some(p) = partial {
            self.sum_parts(&p, &work.arg())?;
        }
        work.finish(self, out)
    }

    /// (x, w, bias if any) -> y.
    pub(crate) fn conv(self: &Arc<Self>, params: &ConvParams, inputs: &[GpuSource], out: &GpuArg) -> Result<()> {
        let plain: Result<SmallVec<[Plain; 3]>> = inputs.iter().map(|s| Plain::of(self, s)).collect();
        let plain = plain?;
        let (x, w, bias) = (plain[0].arg(), plain[1].arg(), plain.get(2).map(|b| b.arg()));
        let s = Shapes::new(params, &x.layout.shape, &w.layout.shape, &out.layout.shape);
        self.conv_product(What::Forward, &s, &w, &x, bias.as_ref(), out)
    }

    /// (g, w) -> gradient of x.
    pub(crate) fn conv_grad_input(
        self: &Arc<Self>,
        params: &ConvParams,
        inputs: &[GpuSource],
        out: &GpuArg,
    ) -> Result<()> {
        let (g, w) = (Plain::of(self, &inputs[0])?, Plain::of(self, &inputs[1])?);
        let (g, w) = (g.arg(), w.arg());
        let s = Shapes::new(params, &out.layout.shape, &w.layout.shape, &g.layout.shape);
        self.conv_product(What::GradInput, &s, &w, &g, None, out)
    }

    /// (g, x) -> gradient of w.
    pub(crate) fn conv_grad_weight(
        self: &Arc<Self>,
        params: &ConvParams,
        inputs: &[GpuSource],
        out: &GpuArg,
    ) -> Result<()> {
        let (g, x) = (Plain::of(self, &inputs[0])?, Plain::of(self, &inputs[1])?);
        let (g, x) = (g.arg(), x.arg());
        let s = Shapes::new(params, &x.layout.shape, &out.layout.shape, &g.layout.shape);
        self.conv_product(What::GradWeight, &s, &g, &x, None, out)
    }
}
