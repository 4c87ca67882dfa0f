//! Signatures: `clamp(Tensor input, Scalar? min=None, Scalar? max=None)`, parsed once when the module is made.

use rtorch_core::Scalar;
use smallvec::SmallVec;

use super::value::Val;

/// What a parameter takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Tensor,
    TensorList,
    /// A list of tensors or None.
    TensorOptList,
    Scalar,
    Int,
    /// Ints; with a number, a single int stands for that many.
    IntList(u8),
    Float,
    Bool,
    BoolList,
    Str,
    DType,
    Device,
    Layout,
    MemoryFormat,
    Generator,
    Object,
}

impl Kind {
    fn parse(text: &str) -> Option<Kind> {
        Some(match text {
            "Tensor" => Kind::Tensor,
            "Tensor[]" => Kind::TensorList,
            "Tensor?[]" => Kind::TensorOptList,
            "Scalar" => Kind::Scalar,
            "int" => Kind::Int,
            "int[]" => Kind::IntList(0),
            "int[1]" => Kind::IntList(1),
            "int[2]" => Kind::IntList(2),
            "int[3]" => Kind::IntList(3),
            "float" => Kind::Float,
            "bool" => Kind::Bool,
            "bool[]" => Kind::BoolList,
            "str" => Kind::Str,
            "dtype" => Kind::DType,
            "device" => Kind::Device,
            "layout" => Kind::Layout,
            "memory_format" => Kind::MemoryFormat,
            "generator" => Kind::Generator,
            "object" => Kind::Object,
            _ => return None,
        })
    }
    /// As PyTorch's messages name it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Tensor => "Tensor",
            Kind::TensorList | Kind::TensorOptList => "tuple of Tensors",
            Kind::Scalar => "Number",
            Kind::Int => "int",
            Kind::IntList(_) => "tuple of ints",
            Kind::Float => "float",
            Kind::Bool => "bool",
            Kind::BoolList => "tuple of bools",
            Kind::Str => "str",
            Kind::DType => "torch.dtype",
            Kind::Device => "torch.device",
            Kind::Layout => "torch.layout",
            Kind::MemoryFormat => "torch.memory_format",
            Kind::Generator => "torch.Generator",
            Kind::Object => "object",
        }
    }
}

pub struct Param {
    pub name: String,
    pub kind: Kind,
    /// Takes None.
    pub optional: bool,
    pub default: Option<Val<'static>>,
    pub keyword_only: bool,
}

impl Param {
    /// NumPy's names for some of PyTorch's parameters.
    pub fn is_called(&self, name: &str) -> bool {
        self.name == name
            || match name {
                "axis" => self.name == "dim",
                "keepdims" => self.name == "keepdim",
                "x" | "a" | "x1" | "self" => self.name == "input",
                "x2" => self.name == "other",
                _ => false,
            }
    }
}

pub struct Signature {
    pub name: &'static str,
    pub params: Vec<Param>,
    /// How many may be given by position.
    pub positional: usize,
    /// The first parameter of a function, or of a method after self, that takes all positional ints.
    pub varargs: Option<usize>,
    pub text: &'static str,
}

impl Signature {
    /// Panics on a malformed signature: they are constants of this crate, and the module's own tests import it.
    pub fn parse(text: &'static str) -> Signature {
        let (name, rest) = text.split_once('(').unwrap_or((text, ")"));
        let body = rest.trim_end_matches(')').trim();
        let mut params: Vec<Param> = Vec::new();
        let mut keyword_only = false;
        for piece in split_commas(body) {
            if piece == "*" {
                keyword_only = true;
                continue;
            }
            params.push(param(piece, keyword_only).unwrap_or_else(|| panic!("bad parameter '{piece}' in '{text}'")));
        }
        let positional = params.iter().filter(|p| !p.keyword_only).count();
        let is_list = |i: usize| params.get(i).is_some_and(|p| matches!(p.kind, Kind::IntList(_)));
        let has_self = params.first().is_some_and(|p| p.kind == Kind::Tensor && p.name == "input");
        let varargs = match positional {
            1 if is_list(0) => Some(0),
            2 if has_self && is_list(1) => Some(1),
            _ => None,
        };
        Signature { name, params, positional, varargs, text }
    }
}

fn split_commas(body: &str) -> SmallVec<[&str; 8]> {
    let mut out = SmallVec::new();
    let (mut depth, mut start) = (0i32, 0usize);
    for (i, c) in body.char_indices() {
        match c {
            '[' | '(' => depth += 1,
            ']' | ')' => depth -= 1,
            ',' if depth == 0 => {
                out.push(body[start..i].trim());
                start = i + 1;
            }
            _ => {}
        }
    }
    if !body[start..].trim().is_empty() {
        out.push(body[start..].trim());
    }
    out
}

fn param(piece: &str, keyword_only: bool) -> Option<Param> {
    let (head, default) = match piece.split_once('=') {
        Some((h, d)) => (h.trim(), Some(d.trim())),
        None => (piece, None),
    };
    let (kind, name) = head.split_once(' ')?;
    let optional = kind.ends_with('?');
    let kind = Kind::parse(kind.trim_end_matches('?'))?;
    let default = match default {
        None => None,
        Some(d) => Some(default_value(kind, d)?),
    };
    Some(Param { name: name.trim().to_string(), kind, optional, default, keyword_only })
}

fn default_value(kind: Kind, text: &str) -> Option<Val<'static>> {
    if text == "None" {
        return Some(Val::None);
    }
    let ints = |t: &str| -> Option<SmallVec<[i64; 4]>> {
        let inner = t.trim_matches(|c| c == '[' || c == ']');
        if inner.trim().is_empty() {
            return Some(SmallVec::new());
        }
        inner.split(',').map(|x| x.trim().parse().ok()).collect()
    };
    Some(match kind {
        Kind::Int => Val::Int(text.parse().ok()?),
        Kind::Float => Val::Float(text.parse().ok()?),
        Kind::Bool => Val::Bool(text == "True"),
        Kind::Str => Val::Str(text.trim_matches('\'').to_string()),
        Kind::Scalar => Val::Scalar(match (text, text.parse::<i64>()) {
            ("True" | "False", _) => Scalar::Bool(text == "True"),
            (_, Ok(i)) => Scalar::Int(i),
            (_, Err(_)) => Scalar::Float(text.parse().ok()?),
        }),
        Kind::IntList(n) => {
            let mut list = ints(text)?;
            while !list.is_empty() && list.len() < n as usize && !text.starts_with('[') {
                list.push(list[0]);
            }
            Val::Ints(list)
        }
        Kind::Tensor
        | Kind::TensorList
        | Kind::TensorOptList
        | Kind::BoolList
        | Kind::DType
        | Kind::Device
        | Kind::Layout
        | Kind::MemoryFormat
        | Kind::Generator
        | Kind::Object => return None,
    })
}
