//! Convolution and its gradients in 1 to 3 spatial dims, as tiled products whose operands are windows of images,
//! computed where they are loaded (`gemm.rs`): nothing is unfolded in memory. Kernel sizes and
//! strides are part of a kernel's key.

use std::sync::Arc;

use rtorch_ir::prim::ConvParams;
use rtorch_ir::{DType, Result, Scalar};
use smallvec::SmallVec;

use crate::access::word;
use crate::device::Device;
use crate::emit::{convert, load};
use crate::gather::Plain;
use crate::gemm::Sizes;
use crate::kernel::{Id, Kernel, Names, Operand, Tail};
use crate::work::Work;
use crate::{GpuArg, GpuEpilogue, GpuSource};

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

/// `Pixel`, an image and a place in it, and `pixel_at`; sizes come from words (`which`: 3 input's, 4 output's).
fn pixel_text(spatial: usize, first: usize, which: usize) -> String {
    let fields: String = (0..spatial).map(|d| format!(", p{d}: u32")).collect();
    let mut s = format!("struct Pixel {{ img: u32{fields} }}\nfn pixel_at(i: u32) -> Pixel {{\nvar rest = i;\n");
    for d in (0..spatial).rev() {
        let size = word(first + 5 * d + which);
        s += &format!("let p{d} = rest % {size};\nrest = rest / {size};\n");
    }
    s + &format!("return Pixel(rest, {});\n}}\n", names_of("p", spatial).join(", "))
}

/// `Window`, a channel and a place in the kernel, and `window_at` (sizes are constants).
fn window_text(kernel: &[usize]) -> String {
    let n = kernel.len();
    let fields: String = (0..n).map(|d| format!(", k{d}: u32")).collect();
    let mut s = format!("struct Window {{ ch: u32{fields} }}\nfn window_at(i: u32) -> Window {{\nvar rest = i;\n");
    for (d, k) in kernel.iter().enumerate().rev() {
        s += &format!("let k{d} = rest % {k}u;\nrest = rest / {k}u;\n");
    }
    s + &format!("return Window(rest, {});\n}}\n", names_of("k", n).join(", "))
}

/// Statements that return the input's value under output pixel `p` at window `w`, or zero in the padding.
fn input_at(names: &Names, x: &Operand, s: &Shapes, first: usize, channel: &str) -> String {
    let mut t = String::new();
    let mut counters = vec!["p.img".to_string(), channel.to_string()];
    for (d, sizes) in s.spatial.iter().enumerate() {
        let w = |i: usize| word(first + 5 * d + i);
        let stride = sizes[0];
        t += &format!(
            "let q{d} = p.p{d} * {stride}u + w.k{d} * {} - {};\nif (q{d} >= {}) {{ return 0.0; }}\n",
            w(2),
            w(1),
            w(3)
        );
        counters.push(format!("q{d}"));
    }
    t + &value_at(names, x, &counters)
}

/// Statements that return the output gradient whose window covers input pixel `p` at window `w`, or zero.
fn output_at(names: &Names, g: &Operand, s: &Shapes, first: usize, channel: &str) -> String {
    let mut t = String::new();
    let mut counters = vec!["p.img".to_string(), channel.to_string()];
    for (d, sizes) in s.spatial.iter().enumerate() {
        let w = |i: usize| word(first + 5 * d + i);
        let stride = sizes[0];
        t += &format!(
            "let t{d} = p.p{d} + {} - w.k{d} * {};\nlet q{d} = t{d} / {stride}u;\n\
             if (t{d} >= 0x80000000u || q{d} * {stride}u != t{d} || q{d} >= {}) {{ return 0.0; }}\n",
            w(1),
            w(2),
            w(4)
        );
        counters.push(format!("q{d}"));
    }
    t + &value_at(names, g, &counters)
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
struct Bound<'a> {
    a: Operand,
    b: Operand,
    bias: Option<Operand>,
    tail: Option<Tail<'a>>,
    out: Operand,
    /// The first of the spatial words.
    first: usize,
    parts: usize,
}

/// The holes of the product's template. Along K and N there are windows and pixels: which is where depends on what is
/// computed.
fn text(what: What, s: &Shapes, o: &Bound, names: &Names) -> String {
    let n = s.spatial.len();
    let (first, cg, og) = (o.first, word(8), word(9));
    let of = |list: &str, prefix: &str| -> Vec<String> { (0..n).map(|d| format!("{list}.{prefix}{d}")).collect() };
    let place = |a: &str, b: &str, rest: Vec<String>| [vec![a.to_string(), b.to_string()], rest].concat();
    let out_channel = format!("b * {og} + m");
    let (load_a, load_b, mut counters) = match what {
        What::Forward => (
            value_at(names, &o.a, &place(&out_channel, "w.ch", of("w", "k"))),
            input_at(names, &o.b, s, first, &format!("b * {cg} + w.ch")),
            place("p.img", &out_channel, of("p", "p")),
        ),
        What::GradInput => (
            value_at(names, &o.a, &place(&format!("b * {og} + w.ch"), "m", of("w", "k"))),
            output_at(names, &o.b, s, first, &format!("b * {og} + w.ch")),
            place("p.img", &format!("b * {cg} + m"), of("p", "p")),
        ),
        What::GradWeight => (
            value_at(names, &o.a, &place("p.img", &out_channel, of("p", "p"))),
            input_at(names, &o.b, s, first, &format!("b * {cg} + w.ch")),
            place(&out_channel, "w.ch", of("w", "k")),
        ),
    };
    let along_k = if what == What::GradWeight { ("Pixel", "p") } else { ("Window", "w") };
    let along_n = if what == What::GradWeight { ("Window", "w") } else { ("Pixel", "p") };
    if o.parts > 1 {
        counters.push("part".to_string());
    }
    let mut v = "v".to_string();
    let mut before = String::new();
    if let Some(bias) = &o.bias {
        before = bias.access.print("bias_at", &[&out_channel]);
        let value =
            convert(&load(&names.of(bias.slot), bias.dtype, "bias_at"), bias.dtype.ctype(), rtorch_ir::CType::F32);
        v = format!("v + select(0.0, {value}, part == 0u)");
    }
    let mut t = pixel_text(n, first, if what == What::GradInput { 3 } else { 4 }) + &window_text(&s.kernel);
    for (alias, function, (ty, _)) in [("Deep", "deep_at", along_k), ("Column", "column_at", along_n)] {
        let from = if ty == "Pixel" { "pixel_at" } else { "window_at" };
        t += &format!("alias {alias} = {ty};\nfn {function}(i: u32) -> {ty} {{ return {from}(i); }}\n");
    }
    let (k, c) = (along_k.1, along_n.1);
    t += &format!("fn load_a(b: u32, m: u32, {k}: Deep) -> f32 {{\n{load_a}}}\n");
    t += &format!("fn load_b(b: u32, {k}: Deep, {c}: Column) -> f32 {{\n{load_b}}}\n");
    t += &o.out.store_function(names, "store");
    let at = counters.join(", ");
    if let Some(tail) = &o.tail {
        t += &tail.function(names, "tail", o.out.dtype.ctype());
        v = format!("tail({at}, {v})");
    }
    t + &format!("fn put(b: u32, part: u32, m: u32, {c}: Column, v: f32) {{\n{before}store({at}, {v});\n}}\n")
}

impl Device {
    fn conv_product(
        self: &Arc<Self>,
        what: What,
        s: &Shapes,
        a: &GpuArg,
        b: &GpuArg,
        bias: Option<&GpuArg>,
        tail: Option<&GpuEpilogue>,
        out: &GpuArg,
    ) -> Result<()> {
        if out.layout.numel() == 0 {
            return Ok(());
        }
        let sizes = s.sizes(what);
        if let Some(t) = tail
            && (sizes.k == 0 || sizes.parts(self.gemm_way()) > 1)
        {
            return self.apart(t, out, |temporary| self.conv_product(what, s, a, b, bias, None, temporary));
        }
        if sizes.k == 0 && bias.is_none() {
            return self.fill(out, Scalar::Int(0));
        }
        let work = Work::of(self, out)?;
        let parts = sizes.parts(self.gemm_way());
        let mut partial = None;
        if parts > 1 {
            let shape = [&[parts], work.layout.shape.as_slice()].concat();
            partial = Some(Work::temporary(self, DType::F32, &shape)?);
        }
        let mut k = Kernel::new(self, Id::Conv);
        k.words(&sizes.words(parts, self.gemm_way()));
        k.words(&[s.cg as u32, s.og as u32]);
        let first = k.build.params.len();
        for d in &s.spatial {
            k.words(d);
        }
        k.key(tail.is_some() as u32);
        k.key((what as u32) << 8 | (s.spatial.len() as u32) << 2 | (bias.is_some() as u32) << 1 | (parts > 1) as u32);
        for (&size, d) in s.kernel.iter().zip(&s.spatial) {
            k.key(size as u32);
            k.key(d[0]);
        }
        let dims: Vec<[usize; 1]> = (0..=s.spatial.len() + 2).map(|d| [d]).collect();
        let refs: Vec<&[usize]> = dims.iter().map(|d| d.as_slice()).collect();
        let n = s.spatial.len() + 2;
        let bound = Bound {
            a: k.operand(a, &refs[..n], false)?,
            b: k.operand(b, &refs[..n], false)?,
            bias: bias.map(|b| k.operand(b, &refs[..1], false)).transpose()?,
            tail: tail.map(|t| k.tail(t, &out.layout.shape, &refs[..n])).transpose()?,
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
    pub(crate) fn conv(
        self: &Arc<Self>,
        params: &ConvParams,
        inputs: &[GpuSource],
        tail: Option<&GpuEpilogue>,
        out: &GpuArg,
    ) -> Result<()> {
        let plain: Result<SmallVec<[Plain; 3]>> = inputs.iter().map(|s| Plain::of(self, s)).collect();
        let plain = plain?;
        let (x, w, bias) = (plain[0].arg(), plain[1].arg(), plain.get(2).map(|b| b.arg()));
        let s = Shapes::new(params, &x.layout.shape, &w.layout.shape, &out.layout.shape);
        self.conv_product(What::Forward, &s, &w, &x, bias.as_ref(), tail, out)
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
        self.conv_product(What::GradInput, &s, &w, &g, None, None, out)
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
        self.conv_product(What::GradWeight, &s, &g, &x, None, None, out)
    }
}
