//! How kernels of one value per element write it: types smaller than a word are packed, a thread writing whole words
//! where elements lie in a row. Pointwise kernels (`map.rs`) and reads by index (`gather.rs`) share this.

use std::fmt::Write;

use rtorch_ir::{DType, Result};
use smallvec::SmallVec;

use crate::GpuArg;
use crate::access::word;
use crate::device::Device;
use crate::emit;
use crate::kernel::{Kernel, Names, Operand, open_main};

/// How an output is written.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Put {
    /// Each element has words of its own.
    Words,
    /// Packed elements in a row: a thread writes whole words.
    Run,
    /// Packed elements anywhere: bits are set in words that threads share.
    Bits,
    /// Added to what is there (elements may coincide).
    Add,
}

/// An output with the layout that the kernel's iteration gives it.
pub(crate) struct Out {
    pub operand: Operand,
    pub put: Put,
}

fn way(dev: &Device, a: &GpuArg, add: bool) -> Put {
    if add {
        return Put::Add;
    }
    if a.dtype == DType::F16 && dev.profile.types.half {
        return Put::Words;
    }
    match emit::packed_bits(a.dtype) {
        None => Put::Words,
        Some(_) if a.layout.is_contiguous() && (a.layout.offset * a.dtype.size()).is_multiple_of(4) => Put::Run,
        Some(_) => Put::Bits,
    }
}

impl Out {
    /// Elements of a thread, so that it writes whole words.
    fn step(&self) -> usize {
        match self.put {
            Put::Run => 4 / self.operand.dtype.size(),
            Put::Words | Put::Bits | Put::Add => 1,
        }
    }
}

/// Binds outputs; their dims are counted by one group.
pub(crate) fn bind(k: &mut Kernel, outs: &[GpuArg], add: bool) -> Result<SmallVec<[Out; 2]>> {
    let mut results = SmallVec::new();
    for a in outs {
        let dims: SmallVec<[usize; 6]> = (0..a.layout.ndim()).collect();
        let put = way(k.dev, a, add);
        let operand = k.operand(a, &[&dims], matches!(put, Put::Bits | Put::Add))?;
        k.key(put as u32);
        results.push(Out { operand, put });
    }
    Ok(results)
}

/// Elements that a thread computes.
pub(crate) fn step(outs: &[Out]) -> usize {
    outs.iter().map(Out::step).max().unwrap_or(1)
}

/// A kernel over the elements 0..w[0].x: `element` computes `values` for element `i`.
pub(crate) fn frame(outs: &[Out], element: &str, values: &[String], names: &Names) -> String {
    let step = step(outs);
    let mut element = element.to_string();
    let (mut before, mut after) = (String::new(), String::new());
    for (i, (out, v)) in outs.iter().zip(values).enumerate() {
        let (b, d) = (names.of(out.operand.slot), out.operand.dtype);
        match out.put {
            Put::Run => {
                let per = 4 / d.size();
                let bits = 32 / per;
                for w in 0..step / per {
                    let _ = writeln!(before, "var r{i}_{w} = 0u;");
                    let put = format!("r{i}_{w} = r{i}_{w} | ({} << ((k % {per}u) * {bits}u));", emit::packed(d, v));
                    if step == per {
                        let _ = writeln!(element, "{put}");
                    } else {
                        let _ = writeln!(element, "if (k / {per}u == {w}u) {{ {put} }}");
                    }
                    after += &out.operand.access.print(&format!("o{i}_{w}"), &["first"]);
                    let at = format!("(o{i}_{w} / {per}u + {w}u)");
                    // the last word may end in elements that are somebody else's
                    let _ = writeln!(
                        after,
                        "{{\nlet have = min(count, {full}u);\nif (have >= {full}u) {{ {b}[{at}] = r{i}_{w}; }}\n\
                         else if (have > {start}u) {{\nlet mask = (1u << ((have - {start}u) * {bits}u)) - 1u;\n\
                         {b}[{at}] = ({b}[{at}] & ~mask) | (r{i}_{w} & mask);\n}}\n}}",
                        full = (w + 1) * per,
                        start = w * per
                    );
                }
            }
            Put::Words | Put::Bits | Put::Add => {
                let at = format!("o{i}");
                element += &out.operand.access.print(&at, &["i"]);
                element += &match out.put {
                    Put::Bits => emit::store_shared(&b, d, &at, v),
                    Put::Add => emit::store_add(&b, d, &at, v),
                    Put::Words | Put::Run => emit::store(&b, d, &at, v),
                };
            }
        }
    }
    let n = word(0);
    if step == 1 {
        return format!("{}if (t >= {n}) {{ return; }}\nlet i = t;\n{element}}}\n", open_main());
    }
    format!(
        "{}let first = t * {step}u;\nif (first >= {n}) {{ return; }}\nlet count = min({n} - first, {step}u);\n{before}\
         for (var k = 0u; k < count; k = k + 1u) {{\nlet i = first + k;\n{element}}}\n{after}}}\n",
        open_main()
    )
}
