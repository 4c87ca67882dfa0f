//! Programs and storage as WGSL text. Arithmetic goes by type through the helpers that the table names, in
//! `shaders/*.wgsl`; constants are parameter words. Not here: where elements lie (`access.rs`), whole kernels.

use std::fmt::Write;

use rtorch_ir::{CType, DType, Error, Inst, Program, Reg, Result, ScalarOp, storage_dtypes};
use smallvec::SmallVec;

use crate::access::{Build, word};
use crate::pipeline::Element;

/// The WGSL type of a compute type.
pub(crate) fn type_name(t: CType) -> &'static str {
    match t {
        CType::Bool => "bool",
        CType::I32 => "i32",
        CType::I64 => "rt_i64",
        CType::F32 => "f32",
        CType::F64 | CType::C64 | CType::C128 => "f32",
    }
}

/// The suffix of helpers on a compute type.
pub(crate) fn suffix(t: CType) -> &'static str {
    match t {
        CType::Bool => "bool",
        CType::I32 => "i32",
        CType::I64 => "i64",
        CType::F32 | CType::F64 | CType::C64 | CType::C128 => "f32",
    }
}

/// Fails for the dtypes that no GPU kernel takes.
pub(crate) fn check_dtype(d: DType) -> Result<()> {
    match d {
        DType::Bool
        | DType::U8
        | DType::I8
        | DType::I16
        | DType::I32
        | DType::I64
        | DType::F16
        | DType::BF16
        | DType::F32 => Ok(()),
        DType::F64 => Err(Error::type_(
            "the wgpu device has no float64: GPUs lack it or run it many times slower. Use .float() first, or the CPU",
        )),
        DType::C64 | DType::C128 | storage_dtypes!() => {
            Err(Error::type_(format!("the wgpu device has no {}: use the CPU", d.name())))
        }
    }
}

/// Bits of a storage type, where it is smaller than a word.
pub(crate) fn packed_bits(d: DType) -> Option<u32> {
    match d.size() {
        1 => Some(8),
        2 => Some(16),
        _ => None,
    }
}

/// Does a binding hold float16 elements rather than words?
fn halves(binding: &str) -> bool {
    binding.starts_with(Element::Half.letter())
}

/// The expression of element `at` of a binding.
pub(crate) fn load(binding: &str, d: DType, at: &str) -> String {
    match d {
        DType::F32 | DType::F64 | DType::C64 | DType::C128 | storage_dtypes!() => {
            format!("bitcast<f32>({binding}[{at}])")
        }
        DType::I32 => format!("bitcast<i32>({binding}[{at}])"),
        DType::I64 => format!("rt_i64_make({binding}[2u * {at}], {binding}[2u * {at} + 1u])"),
        DType::U8 => format!("rt_get_u8({binding}[{at} >> 2u], {at})"),
        DType::I8 => format!("rt_get_i8({binding}[{at} >> 2u], {at})"),
        DType::Bool => format!("rt_get_bool({binding}[{at} >> 2u], {at})"),
        DType::I16 => format!("rt_get_i16({binding}[{at} >> 1u], {at})"),
        // exact, but that an adapter may take a denormal for zero
        DType::F16 if halves(binding) => format!("f32({binding}[{at}])"),
        DType::F16 => format!("rt_get_f16({binding}[{at} >> 1u], {at})"),
        DType::BF16 => format!("rt_get_bf16({binding}[{at} >> 1u], {at})"),
    }
}

/// The low bits of a value as stored, in a u32 expression (types smaller than a word).
pub(crate) fn packed(d: DType, v: &str) -> String {
    match d {
        DType::Bool => format!("select(0u, 1u, {v})"),
        DType::U8 | DType::I8 => format!("(bitcast<u32>({v}) & 0xffu)"),
        DType::I16 => format!("(bitcast<u32>({v}) & 0xffffu)"),
        DType::F16 => format!("rt_f16_bits({v})"),
        DType::BF16 => format!("rt_bf16_bits({v})"),
        DType::I32 | DType::I64 | DType::F32 | DType::F64 | DType::C64 | DType::C128 | storage_dtypes!() => {
            format!("bitcast<u32>({v})")
        }
    }
}

/// Statements that store a value of a type of whole words, or one of float16 where elements are.
pub(crate) fn store(binding: &str, d: DType, at: &str, v: &str) -> String {
    if d == DType::I64 {
        return format!("{{ let w = rt_words({v}); {binding}[2u * {at}] = w.x; {binding}[2u * {at} + 1u] = w.y; }}\n");
    }
    if halves(binding) {
        // how f16() rounds is the adapter's choice: rounded before
        return format!("{binding}[{at}] = f16(rt_round_f16({v}));\n");
    }
    format!("{binding}[{at}] = bitcast<u32>({v});\n")
}

/// Statements that store a packed value into a word that other threads write too (an atomic binding).
pub(crate) fn store_shared(binding: &str, d: DType, at: &str, v: &str) -> String {
    let (shift, mask, scale) = if d.size() == 1 { (2, 0xff, 3) } else { (1, 0xffff, 4) };
    format!(
        "{{ let s = ({at} & {}u) << {scale}u; atomicAnd(&{binding}[{at} >> {shift}u], ~({mask:#x}u << s)); \
         atomicOr(&{binding}[{at} >> {shift}u], {} << s); }}\n",
        (1 << shift) - 1,
        packed(d, v)
    )
}

/// Statements that add a value of a word type to an atomic binding.
pub(crate) fn store_add(binding: &str, d: DType, at: &str, v: &str) -> String {
    match d.ctype() {
        CType::I64 => format!(
            "{{ let w = rt_words({v}); let low = atomicAdd(&{binding}[2u * {at}], w.x); \
             atomicAdd(&{binding}[2u * {at} + 1u], w.y + select(0u, 1u, low + w.x < low)); }}\n"
        ),
        CType::I32 | CType::Bool => format!("atomicAdd(&{binding}[{at}], bitcast<u32>({v}));\n"),
        CType::F32 | CType::F64 | CType::C64 | CType::C128 => update(binding, at, &format!("was + ({v})")),
    }
}

/// A compare-and-swap loop that replaces the float `was` by an expression of it.
pub(crate) fn update(binding: &str, at: &str, expr: &str) -> String {
    format!(
        "{{ var old = atomicLoad(&{binding}[{at}]); loop {{ let was = bitcast<f32>(old); let r = \
         atomicCompareExchangeWeak(&{binding}[{at}], old, bitcast<u32>({expr})); if (r.exchanged) {{ break; }} old = \
         r.old_value; }} }}\n"
    )
}

/// A conversion between compute types, by value (no rounding to storage types).
pub(crate) fn convert(v: &str, from: CType, to: CType) -> String {
    let (a, b) = (suffix(from), suffix(to));
    if a == b { v.to_string() } else { format!("rt_{b}_of_{a}({v})") }
}

/// PyTorch's conversion between dtypes.
pub(crate) fn cast(v: &str, from: DType, to: DType) -> String {
    let wide = convert(v, from.ctype(), to.ctype());
    let fits = match from {
        DType::Bool => true,
        DType::U8 => matches!(to, DType::U8 | DType::I16),
        DType::I8 => matches!(to, DType::I8 | DType::I16),
        DType::I16 => to == DType::I16,
        DType::I32
        | DType::I64
        | DType::F16
        | DType::BF16
        | DType::F32
        | DType::F64
        | DType::C64
        | DType::C128
        | storage_dtypes!() => false,
    };
    if fits {
        return wide;
    }
    match to {
        DType::U8 => format!("({wide} & 0xff)"),
        DType::I8 => format!("(({wide} << 24u) >> 24u)"),
        DType::I16 => format!("(({wide} << 16u) >> 16u)"),
        DType::F16 => format!("rt_round_f16({wide})"),
        DType::BF16 => format!("rt_round_bf16({wide})"),
        DType::Bool
        | DType::I32
        | DType::I64
        | DType::F32
        | DType::F64
        | DType::C64
        | DType::C128
        | storage_dtypes!() => wide,
    }
}

/// The helper of a row, for arguments of a compute type.
pub(crate) fn helper(op: ScalarOp, t: CType) -> String {
    let row = op.row();
    if row.wgsl.is_empty() {
        format!("rt_row_{}_{}", row.name, suffix(t))
    } else {
        format!("{}_{}", row.wgsl, suffix(t))
    }
}

/// A row's body as WGSL: calls of functions become calls of their helpers, `lit(a, x)` the number itself.
pub(crate) fn body(row: &rtorch_ir::table::Row, t: CType) -> String {
    // the name that bodies use for a row is that of the plain call which is its whole body
    let called = |name: &str| {
        rtorch_ir::table::ROWS
            .iter()
            .find(|r| !r.wgsl.is_empty() && r.body.replace(' ', "") == format!("{name}({})", r.args.join(",")))
            .map(|r| helper(r.op, t))
    };
    let mut out = String::new();
    let mut rest = row.body;
    while let Some(at) = rest.find(|c: char| c.is_ascii_alphabetic() || c == '_') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        let (word, tail) = rest.split_at(end);
        let tail = tail.trim_start();
        if word == "lit" {
            // lit(x, number): the number, a literal of the helper's float type
            let close = tail.find(')').unwrap_or(tail.len());
            out.push_str(tail[..close].rsplit(',').next().unwrap_or("").trim());
            rest = tail.get(close + 1..).unwrap_or("");
        } else {
            out.push_str(&if tail.starts_with('(') { called(word).unwrap_or_default() } else { word.to_string() });
            rest = tail;
        }
    }
    out + rest
}

/// The helpers of the rows that have none of their own, printed from their bodies.
pub(crate) fn printed_helpers() -> String {
    let mut s = String::new();
    for row in rtorch_ir::table::ROWS.iter().filter(|r| r.wgsl.is_empty()) {
        let args: Vec<String> = row.args.iter().map(|a| format!("{a}: f32")).collect();
        let code = body(row, CType::F32).split_whitespace().collect::<Vec<_>>().join(" ");
        let _ = writeln!(s, "fn {}({}) -> f32 {{ return {code}; }}", helper(row.op, CType::F32), args.join(", "));
    }
    s
}

/// Adds a program's code to the key and its constants to the parameters; answers the first constant's word.
pub(crate) fn fill(p: &Program, b: &mut Build) -> usize {
    let start = b.params.len();
    b.key.push((p.values.len() as u32) << 16 | (p.leaves.len() as u32) << 8 | p.outputs.len() as u32);
    for (inst, dtype) in &p.values {
        let d = (*dtype as u32) << 24;
        match *inst {
            Inst::Load(n) => b.key.push(d | 1 << 16 | n as u32),
            Inst::Const(n) => b.key.push(d | 2 << 16 | n as u32),
            Inst::Index => b.key.push(d | 3 << 16),
            Inst::Cast(a) => b.key.push(d | 4 << 16 | a as u32),
            Inst::Op(op, a) => {
                b.key.push(d | 5 << 16 | op as u32);
                b.key.push((a[0] as u32) << 16 | a[1] as u32);
                b.key.push(a[2] as u32);
            }
        }
    }
    b.key.extend(p.leaves.iter().map(|&d| d as u32));
    b.key.extend(p.outputs.iter().map(|&r| r as u32));
    for (inst, dtype) in &p.values {
        let Inst::Const(n) = *inst else { continue };
        let c = p.consts[n as usize];
        match dtype.ctype() {
            CType::F32 | CType::F64 | CType::C64 | CType::C128 => b.params.push((c.as_f64() as f32).to_bits()),
            CType::I32 | CType::Bool => b.params.push(c.as_i64() as u32),
            CType::I64 => b.params.extend([c.as_i64() as u32, (c.as_i64() >> 32) as u32]),
        }
    }
    start
}

/// Statements that compute a program's values, named `{tag}{n}`; answers the outputs' names, each rounded to its dtype.
pub(crate) fn program(
    p: &Program,
    tag: &str,
    consts: usize,
    load: impl Fn(usize) -> String,
    index: &str,
) -> (String, SmallVec<[String; 2]>) {
    let mut s = String::new();
    let mut w = consts;
    for (i, (inst, dtype)) in p.values.iter().enumerate() {
        let name = |r: Reg| format!("{tag}{r}");
        let expr = match *inst {
            Inst::Load(n) => load(n as usize),
            Inst::Index => index.to_string(),
            Inst::Const(_) => {
                w += 1;
                match dtype.ctype() {
                    CType::F32 | CType::F64 | CType::C64 | CType::C128 => format!("bitcast<f32>({})", word(w - 1)),
                    CType::I32 => format!("bitcast<i32>({})", word(w - 1)),
                    CType::Bool => format!("({} != 0u)", word(w - 1)),
                    CType::I64 => {
                        w += 1;
                        format!("rt_i64_make({}, {})", word(w - 2), word(w - 1))
                    }
                }
            }
            Inst::Cast(a) => cast(&name(a), p.dtype(a), *dtype),
            Inst::Op(op, a) => {
                let t = p.ctype(if op == ScalarOp::Where { a[1] } else { a[0] });
                let args: Vec<String> = a[..op.row().arity].iter().map(|&r| name(r)).collect();
                format!("{}({})", helper(op, t), args.join(", "))
            }
        };
        let _ = writeln!(s, "let {tag}{i} = {expr};");
    }
    let outs = p
        .outputs
        .iter()
        .map(|&r| match p.values[r as usize].0 {
            // a constant is kept at the inner precision
            Inst::Const(_) => cast(&format!("{tag}{r}"), p.ctype(r).dtype(), p.dtype(r)),
            Inst::Load(_) | Inst::Index | Inst::Op(..) | Inst::Cast(_) => format!("{tag}{r}"),
        })
        .collect();
    (s, outs)
}
