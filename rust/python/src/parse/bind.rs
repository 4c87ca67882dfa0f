//! Binding a call to a signature, and the texts of calls that fit none.

use std::borrow::Cow;

use pyo3::exceptions::PyTypeError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyList, PyString, PyTuple};
use rtorch_core::Scalar;
use smallvec::SmallVec;

use super::signature::{Kind, Param, Signature};
use super::value::{Args, Val};
use crate::dtype::{LayoutKind, PyDType, PyLayout, PyMemoryFormat};
use crate::error::OrRaise;
use crate::generator::PyGenerator;
use crate::{convert, device, tensor};

/// The arguments of a call as Python gave them: borrowed, its caller holds them.
pub struct Call<'a, 'py> {
    pub py: Python<'py>,
    pub args: SmallVec<[Borrowed<'a, 'py, PyAny>; 6]>,
    pub kwargs: SmallVec<[(&'a str, Borrowed<'a, 'py, PyAny>); 2]>,
    /// The first argument is the object whose method was called: messages do not count it.
    pub method: bool,
}

impl<'a, 'py> Call<'a, 'py> {
    /// # Safety
    /// `args` points to `nargs` objects followed by one per name in `names` (a tuple of strings, or null); `slf`, if
    /// not
    /// null, is an object that goes before them. All of them live for `'a`.
    pub unsafe fn from_vector(
        py: Python<'py>,
        slf: *mut ffi::PyObject,
        args: *const *mut ffi::PyObject,
        nargs: usize,
        names: *mut ffi::PyObject,
    ) -> PyResult<Call<'a, 'py>> {
        let mut call = Call { py, args: SmallVec::new(), kwargs: SmallVec::new(), method: !slf.is_null() };
        if !slf.is_null() {
            // SAFETY: the caller's promise.
            call.args.push(unsafe { Borrowed::from_ptr(py, slf) });
        }
        for i in 0..nargs {
            // SAFETY: the caller's promise.
            call.args.push(unsafe { Borrowed::from_ptr(py, *args.add(i)) });
        }
        if !names.is_null() {
            // SAFETY: the caller's promise: a tuple of as many strings as there are objects behind the positional ones,
            // which keep their UTF-8 form as long as they live.
            unsafe {
                for i in 0..ffi::PyTuple_Size(names).max(0) as usize {
                    let name = ffi::PyTuple_GetItem(names, i as ffi::Py_ssize_t);
                    let mut len = 0;
                    let text = ffi::PyUnicode_AsUTF8AndSize(name, &mut len);
                    if text.is_null() {
                        return Err(PyErr::fetch(py));
                    }
                    let text = std::slice::from_raw_parts(text.cast::<u8>(), len as usize);
                    let text = std::str::from_utf8_unchecked(text);
                    call.kwargs.push((text, Borrowed::from_ptr(py, *args.add(nargs + i))));
                }
            }
        }
        Ok(call)
    }
    pub fn take_keyword(&mut self, name: &str) -> Option<Borrowed<'a, 'py, PyAny>> {
        let i = self.kwargs.iter().position(|k| k.0 == name)?;
        Some(self.kwargs.remove(i).1)
    }
    /// Positional and keyword arguments as Python objects.
    pub fn to_python(&self) -> PyResult<(Bound<'py, PyTuple>, Bound<'py, PyDict>)> {
        let kwargs = PyDict::new(self.py);
        for (k, v) in &self.kwargs {
            kwargs.set_item(k, v)?;
        }
        Ok((PyTuple::new(self.py, self.args.iter().map(|a| a.to_owned()))?, kwargs))
    }
}

/// Why a value does not fit.
enum Misfit {
    /// Another overload may fit.
    Type,
    /// The conversion itself raised.
    Raised(PyErr),
}

impl From<PyErr> for Misfit {
    fn from(e: PyErr) -> Misfit {
        Misfit::Raised(e)
    }
}

type Fit<T> = Result<T, Misfit>;

fn sequence<'py>(obj: &Bound<'py, PyAny>) -> Option<SmallVec<[Bound<'py, PyAny>; 6]>> {
    if let Ok(t) = obj.cast::<PyTuple>() {
        return Some(t.iter().collect());
    }
    if let Ok(l) = obj.cast::<PyList>() {
        return Some(l.iter().collect());
    }
    None
}

fn need<T>(v: Option<T>) -> Fit<T> {
    v.ok_or(Misfit::Type)
}

fn scalar(obj: &Bound<'_, PyAny>) -> Fit<Scalar> {
    if let Some(t) = tensor::get(obj) {
        if t.ndim() == 0 && !t.requires_grad() && !rtorch_core::autograd::transformed(t) {
            return Ok(convert::item(obj.py(), t)?);
        }
        return Err(Misfit::Type);
    }
    need(convert::number(obj)?)
}

fn float(obj: &Bound<'_, PyAny>) -> Fit<f64> {
    match scalar(obj)? {
        Scalar::Complex(..) => Err(Misfit::Type),
        s @ (Scalar::Int(_) | Scalar::UInt(_) | Scalar::Float(_) | Scalar::Bool(_)) => Ok(s.to_f64()),
    }
}

fn boolean(obj: &Bound<'_, PyAny>) -> Fit<bool> {
    if obj.is_instance_of::<PyBool>() {
        return Ok(obj.is_truthy()?);
    }
    match convert::is_numpy(obj).then(|| convert::number(obj)) {
        Some(Ok(Some(Scalar::Bool(b)))) => Ok(b),
        _ => Err(Misfit::Type),
    }
}

/// The k-th integer of a list. As in PyTorch only the first must not be a bool.
fn int_item(k: usize, x: &Bound<'_, PyAny>) -> Fit<i64> {
    match x.cast::<PyBool>() {
        Ok(b) if k > 0 => Ok(b.is_true().into()),
        _ => need(convert::int(x)?),
    }
}

fn ints(obj: &Bound<'_, PyAny>, expand: u8) -> Fit<SmallVec<[i64; 4]>> {
    if let Some(items) = sequence(obj) {
        return items.iter().enumerate().map(|(k, x)| int_item(k, x)).collect();
    }
    if expand > 0
        && let Some(i) = convert::int(obj)?
    {
        return Ok(SmallVec::from_elem(i, expand as usize));
    }
    Err(Misfit::Type)
}

fn tensors(obj: &Bound<'_, PyAny>) -> Fit<Vec<rtorch_core::Tensor>> {
    need(sequence(obj))?.iter().map(|x| need(tensor::get(x).cloned())).collect()
}

/// One argument in the form its parameter wants.
fn value<'a>(p: &Param, obj: &'a Bound<'_, PyAny>) -> Fit<Val<'a>> {
    if obj.is_none() {
        return if p.optional || p.kind == Kind::Object { Ok(Val::None) } else { Err(Misfit::Type) };
    }
    Ok(match p.kind {
        Kind::Tensor => Val::Tensor(Cow::Borrowed(need(tensor::get(obj))?)),
        Kind::TensorList => Val::Tensors(tensors(obj)?),
        Kind::TensorOptList => {
            let one = |x: &Bound<'_, PyAny>| {
                if x.is_none() { Ok(None) } else { need(tensor::get(x)).map(|t| Some(t.clone())) }
            };
            Val::OptTensors(need(sequence(obj))?.iter().map(one).collect::<Fit<_>>()?)
        }
        Kind::Scalar => Val::Scalar(scalar(obj)?),
        Kind::Int => Val::Int(need(convert::int(obj)?)?),
        Kind::IntList(n) => Val::Ints(ints(obj, n)?),
        Kind::Float => Val::Float(float(obj)?),
        Kind::Bool => Val::Bool(boolean(obj)?),
        Kind::BoolList => {
            Val::Ints(need(sequence(obj))?.iter().map(|x| boolean(x).map(i64::from)).collect::<Fit<_>>()?)
        }
        Kind::Str => Val::Str(obj.cast::<PyString>().map_err(|_| Misfit::Type)?.to_str()?.to_string()),
        Kind::DType => Val::DType(match obj.cast::<PyDType>() {
            Ok(d) => d.get().0,
            Err(_) => return python_type(obj),
        }),
        Kind::Device => Val::Device(need(device::extract(obj)?)?),
        Kind::Layout => {
            let asked = obj.cast::<PyLayout>().map_err(|_| Misfit::Type)?.get().0;
            if asked != LayoutKind::Strided {
                return Err(Misfit::Type);
            }
            Val::Layout
        }
        Kind::MemoryFormat => Val::MemoryFormat(obj.cast::<PyMemoryFormat>().map_err(|_| Misfit::Type)?.get().0),
        Kind::Generator => Val::Generator(obj.cast::<PyGenerator>().map_err(|_| Misfit::Type)?.get().0.clone()),
        Kind::Object => Val::Object(obj.clone().unbind()),
    })
}

/// `dtype=float`: Python's own number types name dtypes.
fn python_type(obj: &Bound<'_, PyAny>) -> Fit<Val<'static>> {
    let py = obj.py();
    let d = if obj.is(py.get_type::<PyFloat>()) {
        rtorch_core::DType::F64
    } else if obj.is(py.get_type::<pyo3::types::PyInt>()) {
        rtorch_core::DType::I64
    } else if obj.is(py.get_type::<PyBool>()) {
        rtorch_core::DType::Bool
    } else if obj.is(py.get_type::<pyo3::types::PyComplex>()) {
        rtorch_core::DType::C128
    } else {
        return Err(Misfit::Type);
    };
    Ok(Val::DType(d))
}

/// A call bound to one signature.
fn bind_one<'c>(
    sig: &Signature,
    call: &'c Call<'_, '_>,
    vals: &mut SmallVec<[Val<'c>; 4]>,
    value: impl Fn(&Param, &'c Bound<'_, PyAny>) -> Fit<Val<'c>>,
) -> Fit<()> {
    vals.clear();
    let given = call.args.len();
    let mut used = 0;
    // x.view(2, 3): all remaining ints are the list
    let mut packed = None;
    if let Some(v) = sig.varargs
        && given > v
        && (given > v + 1 || matches!(convert::int(&call.args[v]), Ok(Some(_))))
    {
        let list: Fit<SmallVec<[i64; 4]>> = call.args[v..].iter().enumerate().map(|(k, x)| int_item(k, x)).collect();
        packed = Some((v, list?));
    } else if given > sig.positional {
        return Err(Misfit::Type);
    }
    for (i, p) in sig.params.iter().enumerate() {
        if let Some((v, list)) = &mut packed
            && *v == i
        {
            vals.push(Val::Ints(std::mem::take(list)));
            continue;
        }
        if packed.is_none() && i < given && !p.keyword_only {
            vals.push(value(p, &call.args[i])?);
            continue;
        }
        if packed.as_ref().is_some_and(|k| i < k.0) {
            vals.push(value(p, &call.args[i])?);
            continue;
        }
        match call.kwargs.iter().find(|k| p.is_called(k.0)) {
            Some((_, v)) => {
                used += 1;
                vals.push(value(p, v)?);
            }
            None => match &p.default {
                Some(d) => vals.push(Val::of_default(d)),
                None => return Err(Misfit::Type),
            },
        }
    }
    if used < call.kwargs.len() { Err(Misfit::Type) } else { Ok(()) }
}

/// The functions whose operands may all be numbers.
const NUMBERS_AS_TENSORS: [&str; 9] =
    ["add", "sub", "subtract", "mul", "multiply", "div", "divide", "true_divide", "floor_divide"];

/// Binds a call of theirs with numbers in the place of tensors; the first one becomes a tensor where there is none.
fn bind_numbers<'c>(sig: &Signature, call: &'c Call<'_, '_>, args: &mut Args<'c>) -> PyResult<bool> {
    let either = |p: &Param, obj: &'c Bound<'_, PyAny>| match value(p, obj) {
        Err(Misfit::Type) if p.kind == Kind::Tensor => Ok(Val::Scalar(need(convert::number(obj)?)?)),
        other => other,
    };
    match bind_one(sig, call, &mut args.vals, either) {
        Ok(()) => {}
        Err(Misfit::Raised(e)) => return Err(e),
        Err(Misfit::Type) => return Ok(false),
    }
    args.overload = 0;
    if args.tensors().is_empty()
        && let Some(Val::Scalar(s)) = args.vals.first()
    {
        let dtype = rtorch_core::ops::pointwise::scalar_dtype(*s);
        let made = rtorch_core::ops::factory::full(&[], *s, dtype, rtorch_core::Device::Cpu).or_raise()?;
        args.vals[0] = Val::Tensor(Cow::Owned(made));
    }
    Ok(true)
}

/// Binds a call to the first overload that fits.
pub fn bind<'c>(sigs: &[Signature], call: &'c Call<'_, '_>, args: &mut Args<'c>) -> PyResult<()> {
    for (i, sig) in sigs.iter().enumerate() {
        match bind_one(sig, call, &mut args.vals, value) {
            Ok(()) => {
                args.overload = i;
                return Ok(());
            }
            Err(Misfit::Raised(e)) => return Err(e),
            Err(Misfit::Type) => {}
        }
    }
    if let Some(sig) = sigs.first()
        && !call.method
        && NUMBERS_AS_TENSORS.contains(&sig.name)
        && bind_numbers(sig, call, args)?
    {
        return Ok(());
    }
    Err(PyTypeError::new_err(explain(sigs, call)))
}

fn type_name(obj: &Bound<'_, PyAny>) -> String {
    match obj.get_type().name() {
        Ok(n) => n.to_string(),
        Err(_) => "object".into(),
    }
}

/// Overloads that differ by a number in the place of a tensor are one to the user.
fn distinct<'s>(sigs: &'s [Signature]) -> SmallVec<[&'s Signature; 4]> {
    let alike = |a: &Signature, b: &Signature| {
        let same = |x: &Param, y: &Param| {
            x.name == y.name && (x.kind == y.kind || x.kind == Kind::Tensor && y.kind == Kind::Scalar)
        };
        a.params.len() == b.params.len() && a.params.iter().zip(&b.params).all(|(x, y)| same(x, y))
    };
    let mut out: SmallVec<[&'s Signature; 4]> = SmallVec::new();
    for s in sigs {
        if sigs.len() > 2 || !out.iter().any(|o| alike(o, s)) {
            out.push(s);
        }
    }
    out
}

/// The parameters as PyTorch's messages list them.
fn described(sig: &Signature, skip: usize) -> String {
    let inner = sig.text.split_once('(').map_or("", |p| p.1.trim_end_matches(')'));
    let mut params = sig.params.iter();
    let mut parts: Vec<String> = Vec::new();
    for piece in inner.split(", ").filter(|p| !p.is_empty()) {
        if piece == "*" {
            parts.push("*".into());
            continue;
        }
        let Some(p) = params.next() else { continue };
        let default = piece.split_once('=').map(|d| format!(" = {}", d.1)).unwrap_or_default();
        parts.push(format!("{} {}{default}", p.kind.name(), p.name));
    }
    format!("({})", parts[skip.min(parts.len())..].join(", "))
}

fn explain(sigs: &[Signature], call: &Call<'_, '_>) -> String {
    let skip = usize::from(call.method);
    let found = distinct(sigs);
    if let [sig] = found.as_slice() {
        return explain_one(sig, call);
    }
    let name = sigs.first().map_or("", |s| s.name);
    let mut got: Vec<String> = call.args.iter().skip(skip).map(|a| type_name(a)).collect();
    got.extend(call.kwargs.iter().map(|(k, v)| format!("{k}={}", type_name(v))));
    // PyTorch's own comma after keywords
    let tail = if call.kwargs.is_empty() { "" } else { ", " };
    let mut text = format!(
        "{name}() received an invalid combination of arguments - got ({}{tail}), but expected one of:",
        got.join(", ")
    );
    for s in found {
        text.push_str("\n * ");
        text.push_str(&described(s, skip));
    }
    text.push('\n');
    text
}

fn explain_one(sig: &Signature, call: &Call<'_, '_>) -> String {
    let name = sig.name;
    let given = call.args.len();
    let skip = usize::from(call.method);
    if given > sig.positional && sig.varargs.is_none() {
        let takes = sig.positional.saturating_sub(skip);
        let s = if takes == 1 { "" } else { "s" };
        return format!("{name}() takes {takes} positional argument{s} but {} were given", given - skip);
    }
    let mut missing: Vec<&str> = Vec::new();
    for (i, p) in sig.params.iter().enumerate() {
        let keyword = call.kwargs.iter().find(|k| p.is_called(k.0));
        let obj = if i < given && !p.keyword_only { Some(call.args[i]) } else { keyword.map(|k| k.1) };
        match obj {
            None if p.default.is_none() => missing.push(&p.name),
            None => {}
            Some(_) if i < given && !p.keyword_only && keyword.is_some() => {
                return format!("{name}() got multiple values for argument '{}'", p.name);
            }
            Some(obj) => {
                if let Err(Misfit::Type) = value(p, &obj) {
                    return misfit_text(name, p, i - skip.min(i), i < given && !p.keyword_only, &obj);
                }
            }
        }
    }
    if !missing.is_empty() {
        let list: Vec<String> = missing.iter().map(|m| format!("\"{m}\"")).collect();
        return format!("{name}() missing {} required positional arguments: {}", missing.len(), list.join(", "));
    }
    for (k, _) in &call.kwargs {
        if !sig.params.iter().any(|p| p.is_called(k)) {
            return format!("{name}() got an unexpected keyword argument '{k}'");
        }
    }
    format!("{name}(): invalid arguments")
}

fn misfit_text(name: &str, p: &Param, i: usize, by_position: bool, obj: &Bound<'_, PyAny>) -> String {
    let at = if by_position { format!(" (position {})", i + 1) } else { String::new() };
    if let Some(items) = sequence(obj) {
        let bad = |(k, x): (usize, &Bound<'_, PyAny>)| match p.kind {
            Kind::IntList(_) => int_item(k, x).is_err(),
            Kind::TensorList => tensor::get(x).is_none(),
            _ => false,
        };
        if let Some(k) = items.iter().enumerate().position(bad) {
            let kind = if p.kind == Kind::TensorList { "tuple of Tensors" } else { "tuple of ints" };
            return format!(
                "{name}(): argument '{}'{at} must be {kind}, but found element of type {} at pos {k}",
                p.name,
                type_name(&items[k])
            );
        }
    }
    format!("{name}(): argument '{}'{at} must be {}, not {}", p.name, p.kind.name(), type_name(obj))
}
