//! Bound arguments: values of the core, so that an operator needs no GIL to read them.

use std::borrow::Cow;

use pyo3::prelude::*;
use rtorch_core::ops::Arg;
use rtorch_core::ops::random::generator::Generator;
use rtorch_core::{DType, Device, Scalar, Tensor};
use smallvec::SmallVec;

use crate::dtype::MemoryFormat;

/// One argument. Tensors are borrowed from the objects of the call, which live as long as it does.
pub enum Val<'a> {
    None,
    /// Owned where another tensor took the argument's place (autocast).
    Tensor(Cow<'a, Tensor>),
    Tensors(Vec<Tensor>),
    OptTensors(Vec<Option<Tensor>>),
    Scalar(Scalar),
    Int(i64),
    Ints(SmallVec<[i64; 4]>),
    Float(f64),
    Bool(bool),
    Str(String),
    DType(DType),
    Device(Device),
    Layout,
    MemoryFormat(MemoryFormat),
    Generator(Generator),
    Object(Py<PyAny>),
}

impl Val<'_> {
    /// A copy of a default (those hold no objects).
    pub fn of_default(v: &Val) -> Val<'static> {
        match v {
            Val::Int(i) => Val::Int(*i),
            Val::Ints(l) => Val::Ints(l.clone()),
            Val::Float(f) => Val::Float(*f),
            Val::Bool(b) => Val::Bool(*b),
            Val::Str(s) => Val::Str(s.clone()),
            Val::Scalar(s) => Val::Scalar(*s),
            Val::None
            | Val::Tensor(_)
            | Val::Tensors(_)
            | Val::OptTensors(_)
            | Val::DType(_)
            | Val::Device(_)
            | Val::Layout
            | Val::MemoryFormat(_)
            | Val::Generator(_)
            | Val::Object(_) => Val::None,
        }
    }
}

/// The arguments of one call, in the order of the signature; readers ask for the type the signature promised.
#[derive(Default)]
pub struct Args<'a> {
    pub vals: SmallVec<[Val<'a>; 4]>,
    /// Which of the overloads fitted.
    pub overload: usize,
    /// What a factory's `out=` decides.
    pub fill: Option<(DType, Device)>,
}

impl Args<'_> {
    /// The tensors among the arguments, in order.
    pub fn tensors(&self) -> Vec<&Tensor> {
        let mut found = Vec::new();
        for v in &self.vals {
            match v {
                Val::Tensor(t) => found.push(&**t),
                Val::Tensors(ts) => found.extend(ts),
                Val::OptTensors(ts) => found.extend(ts.iter().flatten()),
                Val::None
                | Val::Int(_)
                | Val::Ints(_)
                | Val::Float(_)
                | Val::Bool(_)
                | Val::Str(_)
                | Val::Scalar(_)
                | Val::DType(_)
                | Val::Device(_)
                | Val::Layout
                | Val::MemoryFormat(_)
                | Val::Generator(_)
                | Val::Object(_) => {}
            }
        }
        found
    }
}

/// A reader and its optional twin.
macro_rules! readers {
    ($($name:ident, $opt:ident, $kind:literal: $pat:pat => $out:expr, $ty:ty;)*) => {
        // one reader per kind, whether an operator asks for it today or not
        #[allow(dead_code)]
        impl Args<'_> {$(
            pub fn $name(&self, i: usize) -> $ty {
                match self.$opt(i) {
                    Some(v) => v,
                    None => panic!("argument {i} is not {}", $kind),
                }
            }
            /// None where the argument is None.
            pub fn $opt(&self, i: usize) -> Option<$ty> {
                match &self.vals[i] {
                    $pat => Some($out),
                    _ => None,
                }
            }
        )*}
    };
}

readers! {
    t, opt_t, "a tensor": Val::Tensor(t) => &**t, &Tensor;
    ts, opt_ts, "a list of tensors": Val::Tensors(t) => t, &[Tensor];
    ots, opt_ots, "a list of tensors": Val::OptTensors(t) => t, &[Option<Tensor>];
    s, opt_s, "a number": Val::Scalar(s) => *s, Scalar;
    i, opt_i, "an int": Val::Int(i) => *i, i64;
    ints, opt_ints, "ints": Val::Ints(l) => l, &[i64];
    f, opt_f, "a float": Val::Float(f) => *f, f64;
    b, opt_b, "a bool": Val::Bool(b) => *b, bool;
    str, opt_str, "a string": Val::Str(s) => s, &str;
    dtype_of, dtype, "a dtype": Val::DType(d) => *d, DType;
    device_of, device, "a device": Val::Device(d) => *d, Device;
    format_of, format, "a memory format": Val::MemoryFormat(m) => *m, MemoryFormat;
    generator_of, generator, "a generator": Val::Generator(g) => g, &Generator;
    obj, opt_obj, "an object": Val::Object(o) => o, &Py<PyAny>;
}

impl Args<'_> {
    /// A tensor or a number.
    pub fn arg(&self, i: usize) -> Arg<'_> {
        match &self.vals[i] {
            Val::Tensor(t) => Arg::T(t),
            _ => Arg::S(self.s(i)),
        }
    }
    /// A tensor or a number or None.
    pub fn opt_arg(&self, i: usize) -> Option<Arg<'_>> {
        match &self.vals[i] {
            Val::Tensor(t) => Some(Arg::T(t)),
            Val::Scalar(s) => Some(Arg::S(*s)),
            _ => None,
        }
    }
    /// The ints of a list, none where it is None.
    pub fn dims(&self, i: usize) -> &[i64] {
        self.opt_ints(i).unwrap_or(&[])
    }
    /// Elements of the largest tensor.
    pub fn numel(&self) -> usize {
        let one = |v: &Val| match v {
            Val::Tensor(t) => t.numel(),
            Val::Tensors(l) => l.iter().map(Tensor::numel).max().unwrap_or(0),
            _ => 0,
        };
        self.vals.iter().map(one).max().unwrap_or(0)
    }
    pub fn requires_grad(&self) -> bool {
        self.vals.iter().any(|v| match v {
            Val::Tensor(t) => t.requires_grad(),
            Val::Tensors(l) => l.iter().any(Tensor::requires_grad),
            _ => false,
        })
    }
}
