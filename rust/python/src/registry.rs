//! The registry of operators and how each becomes a Python function `rtorch._C.NAME` and a method of Tensor.
//! Entries stand in `ops/`; arguments are bound by `parse/`; `__torch_function__` is asked in `overrides.rs`.

use std::collections::HashMap;
use std::ffi::CString;
use std::sync::OnceLock;

use parking_lot::Mutex;
use pyo3::exceptions::{PyAttributeError, PyRuntimeError};
use pyo3::ffi;
use pyo3::impl_::trampoline::{
    MethodDef, fastcall_cfunction_with_keywords, fastcall_cfunction_with_keywords as trampoline,
};
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use rtorch_core::{Result, Tensor};

use crate::autocast;
use crate::error::{OrRaise, guarded};
use crate::nodes;
use crate::output::{Out, OutRule, finish, write_out};
use crate::overrides;
use crate::parse::{Args, Call, Signature, bind};
use crate::tensor::{DETACH_NUMEL, PyTensor};

type CoreFn = Box<dyn Fn(&Args) -> Result<Out> + Send + Sync>;
type PyFn = fn(Python<'_>, &Args) -> PyResult<Py<PyAny>>;

/// What an operator runs: the core alone (without the GIL on large tensors), or something that needs Python.
enum Run {
    Core(CoreFn),
    Python(PyFn),
    /// The functional form of another entry, written into its first argument.
    InPlace(usize),
}

/// One operator: overloads tried in order.
pub struct Op {
    pub name: &'static str,
    pub sigs: Vec<Signature>,
    run: Run,
    /// Takes `out=`.
    out: bool,
    out_rule: OutRule,
    function: bool,
    method: bool,
    /// The submodule of `_C` its function stands in ("" for `_C` itself).
    module: &'static str,
    /// The name of its node in the graph, by overload, where the operators it is made of would name it otherwise.
    nodes: &'static [&'static str],
    /// What mixed precision makes of its tensors.
    autocast: [autocast::Policy; 2],
    /// The Python function and method, for `__torch_function__`.
    objects: Mutex<(Option<Py<PyAny>>, Option<Py<PyAny>>)>,
}

#[derive(Default)]
pub struct Registry {
    ops: Vec<Op>,
}

/// Trampolines exist for this many operators.
const CAPACITY: usize = 1024;

static OPS: OnceLock<Vec<Op>> = OnceLock::new();
/// By name, of the operators of `_C` itself.
static BY_NAME: OnceLock<HashMap<&'static str, usize>> = OnceLock::new();

impl Registry {
    fn push(&mut self, name: &'static str, sigs: &[&'static str], run: Run) -> &mut Op {
        let sigs = sigs.iter().map(|s| Signature::parse(s)).collect();
        let op = Op {
            name,
            sigs,
            run,
            out: false,
            out_rule: OutRule::Casts,
            function: true,
            method: true,
            module: "",
            nodes: nodes::of(name),
            autocast: autocast::policies(name),
            objects: Mutex::default(),
        };
        self.ops.push(op);
        let last = self.ops.len() - 1;
        &mut self.ops[last]
    }
    /// An operator of the core: function and method unless it says otherwise.
    pub fn op(
        &mut self,
        name: &'static str,
        sigs: &[&'static str],
        f: impl Fn(&Args) -> Result<Out> + Send + Sync + 'static,
    ) -> &mut Op {
        self.push(name, sigs, Run::Core(Box::new(f)))
    }
    /// The same for a name that was made at start-up (rows of the table, aliases).
    pub fn op_named(
        &mut self,
        name: String,
        sigs: Vec<String>,
        f: impl Fn(&Args) -> Result<Out> + Send + Sync + 'static,
    ) -> &mut Op {
        let name: &'static str = Box::leak(name.into_boxed_str());
        let sigs: Vec<&'static str> = sigs.into_iter().map(|s| &*Box::leak(s.into_boxed_str())).collect();
        self.op(name, &sigs, f)
    }
    /// An operator that needs Python objects.
    pub fn py(&mut self, name: &'static str, sigs: &[&'static str], f: PyFn) -> &mut Op {
        self.push(name, sigs, Run::Python(f))
    }
    /// `NAME_`: the last entry's result written into its first argument.
    pub fn inplace(&mut self) -> &mut Registry {
        let target = self.ops.len() - 1;
        let (name, module) = (format!("{}_", self.ops[target].name), self.ops[target].module);
        let name: &'static str = Box::leak(name.into_boxed_str());
        let sigs: Vec<&'static str> = self.ops[target]
            .sigs
            .iter()
            .filter(|s| s.params.first().is_some_and(|p| p.name == "input" && p.kind == crate::parse::Kind::Tensor))
            .map(|s| {
                let rest = s.text.split_once('(').map_or("", |p| p.1);
                &*Box::leak(format!("{name}({rest}").into_boxed_str())
            })
            .collect();
        let op = self.push(name, &sigs, Run::InPlace(target));
        op.module = module;
        op.function = !module.is_empty();
        op.method = module.is_empty();
        self
    }
}

impl Op {
    pub fn out(&mut self) -> &mut Op {
        self.out = true;
        self
    }
    /// `out=` that must have the result's dtype.
    pub fn out_exact(&mut self) -> &mut Op {
        self.out_rule = OutRule::Exact;
        self.out()
    }
    /// `out=` whose refused dtype is a TypeError.
    pub fn out_typed(&mut self) -> &mut Op {
        self.out_rule = OutRule::Typed;
        self.out()
    }
    /// `out=` that decides the dtype (factories).
    pub fn out_fills(&mut self) -> &mut Op {
        self.out_rule = OutRule::Fills;
        self.out()
    }
    pub fn function_only(&mut self) -> &mut Op {
        self.method = false;
        self
    }
    pub fn method_only(&mut self) -> &mut Op {
        self.function = false;
        self
    }
    /// A function of `rtorch._C.MODULE` only.
    pub fn within(&mut self, module: &'static str) -> &mut Op {
        self.module = module;
        self.method = false;
        // names without a module are those of `_C` itself
        self.nodes = &[];
        self
    }
    fn object(&self, py: Python<'_>, method: bool) -> Option<Py<PyAny>> {
        let o = self.objects.lock();
        let (f, m) = (&o.0, &o.1);
        let pick = if method { m.as_ref().or(f.as_ref()) } else { f.as_ref().or(m.as_ref()) };
        pick.map(|p| p.clone_ref(py))
    }
}

fn ops() -> &'static [Op] {
    OPS.get().map_or(&[], |v| v.as_slice())
}

/// Makes the results of an operator one node of the graph where it has a name of its own.
fn one_node(op: &Op, args: &Args, out: &Out) {
    let Some(name) = op.nodes.get(args.overload).or(op.nodes.last()) else { return };
    if !name.is_empty() && rtorch_core::autograd::mode::is_enabled() {
        let (inputs, outputs) = (args.tensors(), out.tensors());
        rtorch_core::autograd::composite::collapse(name, &inputs, &outputs);
    }
}

/// Runs a bound call.
fn run(py: Python<'_>, op: &Op, args: &Args) -> PyResult<Out> {
    if op.nodes.is_empty() {
        return run_plain(py, op, args);
    }
    let out = run_plain(py, op, args)?;
    one_node(op, args, &out);
    Ok(out)
}

fn run_plain(py: Python<'_>, op: &Op, args: &Args) -> PyResult<Out> {
    match &op.run {
        Run::Core(f) => {
            if args.numel() < DETACH_NUMEL {
                f(args).or_raise()
            } else {
                crate::runtime::release(py, || f(args)).or_raise()
            }
        }
        Run::Python(f) => f(py, args).map(Out::Object),
        Run::InPlace(target) => {
            let functional = &ops()[*target];
            let Run::Core(f) = &functional.run else {
                return Err(PyRuntimeError::new_err(format!("{} has no in-place form", op.name)));
            };
            let me = args.t(0);
            crate::runtime::release(py, || -> Result<()> {
                rtorch_core::inplace::check_grad(me)?;
                let made = f(args)?;
                one_node(functional, args, &made);
                let Out::Tensor(r) = made else { return Ok(()) };
                rtorch_core::ops::pointwise::cast_target(r.dtype(), me.dtype())?;
                write_back(me, &r)
            })
            .or_raise()?;
            Ok(Out::Tensor(me.clone()))
        }
    }
}

/// Writes a result of the same shape into a tensor, as part of its history.
pub fn write_back(target: &Tensor, result: &Tensor) -> Result<()> {
    rtorch_core::inplace::adopt(target, result)
}

/// One call of an operator from Python.
fn invoke(py: Python<'_>, op: &'static Op, mut call: Call<'_, '_>, method: bool) -> PyResult<Py<PyAny>> {
    if overrides::possible(&call) {
        let func = op.object(py, method).unwrap_or_else(|| py.None());
        if let Some(r) = overrides::dispatch(&func, &call)? {
            return Ok(r);
        }
    }
    let out = if op.out { call.take_keyword("out").filter(|o| !o.is_none()) } else { None };
    let mut args = Args::default();
    bind(&op.sigs, &call, &mut args)?;
    if autocast::active() && out.is_none() {
        autocast::apply(op.autocast, &mut args).or_raise()?;
    }
    if op.out_rule == OutRule::Fills {
        args.fill = out.as_ref().and_then(|o| crate::tensor::get(o)).map(|t| (t.dtype(), t.device()));
    }
    match out {
        None => finish(py, run(py, op, &args)?),
        Some(out) => write_out(py, op.name, &out, &args, op.out_rule, || {
            let _off = rtorch_core::autograd::mode::Guard::new(false);
            run(py, op, &args)
        }),
    }
}

/// Calls an operator of `_C` by name with positional arguments (the number protocol's way in).
pub fn call(py: Python<'_>, name: &str, args: &[*mut ffi::PyObject]) -> PyResult<Py<PyAny>> {
    let Some(op) = find(name) else {
        return Err(PyAttributeError::new_err(format!("rtorch has no operator '{name}'")));
    };
    // SAFETY: borrowed objects of the caller, none by name.
    let call = unsafe { Call::from_vector(py, std::ptr::null_mut(), args.as_ptr(), args.len(), std::ptr::null_mut()) }?;
    invoke(py, op, call, true)
}

fn find(name: &str) -> Option<&'static Op> {
    BY_NAME.get()?.get(name).map(|&i| &ops()[i])
}

type Vector = fastcall_cfunction_with_keywords::Func;

/// An operator number as the constant that PyO3's trampolines want: they hold the GIL's bookkeeping and stop panics.
struct Function<const N: usize>;
struct Method<const N: usize>;

impl<const N: usize> MethodDef<Vector> for Function<N> {
    const METH: Vector = function_body::<N>;
}
impl<const N: usize> MethodDef<Vector> for Method<N> {
    const METH: Vector = method_body::<N>;
}

unsafe fn function_body<const N: usize>(
    py: Python<'_>,
    _module: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    nargs: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
) -> PyResult<*mut ffi::PyObject> {
    guarded(|| {
        // SAFETY: Python's vectorcall protocol is `from_vector`'s.
        let call = unsafe { Call::from_vector(py, std::ptr::null_mut(), args, nargs as usize, names) }?;
        invoke(py, &ops()[N], call, false).map(Py::into_ptr)
    })
}

unsafe fn method_body<const N: usize>(
    py: Python<'_>,
    slf: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    nargs: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
) -> PyResult<*mut ffi::PyObject> {
    guarded(|| {
        // SAFETY: as above; the method descriptor checked that `slf` is a Tensor and holds it during the call.
        let call = unsafe { Call::from_vector(py, slf, args, nargs as usize, names) }?;
        invoke(py, &ops()[N], call, true).map(Py::into_ptr)
    })
}

/// Tables of trampolines, one per operator number.
macro_rules! sixteen {
    ($f:ident, $base:expr) => {
        [
            trampoline::<$f<{ $base }>>,
            trampoline::<$f<{ $base + 1 }>>,
            trampoline::<$f<{ $base + 2 }>>,
            trampoline::<$f<{ $base + 3 }>>,
            trampoline::<$f<{ $base + 4 }>>,
            trampoline::<$f<{ $base + 5 }>>,
            trampoline::<$f<{ $base + 6 }>>,
            trampoline::<$f<{ $base + 7 }>>,
            trampoline::<$f<{ $base + 8 }>>,
            trampoline::<$f<{ $base + 9 }>>,
            trampoline::<$f<{ $base + 10 }>>,
            trampoline::<$f<{ $base + 11 }>>,
            trampoline::<$f<{ $base + 12 }>>,
            trampoline::<$f<{ $base + 13 }>>,
            trampoline::<$f<{ $base + 14 }>>,
            trampoline::<$f<{ $base + 15 }>>,
        ]
    };
}
macro_rules! table {
    ($f:ident) => {
        [
            sixteen!($f, 0),
            sixteen!($f, 16),
            sixteen!($f, 32),
            sixteen!($f, 48),
            sixteen!($f, 64),
            sixteen!($f, 80),
            sixteen!($f, 96),
            sixteen!($f, 112),
            sixteen!($f, 128),
            sixteen!($f, 144),
            sixteen!($f, 160),
            sixteen!($f, 176),
            sixteen!($f, 192),
            sixteen!($f, 208),
            sixteen!($f, 224),
            sixteen!($f, 240),
            sixteen!($f, 256),
            sixteen!($f, 272),
            sixteen!($f, 288),
            sixteen!($f, 304),
            sixteen!($f, 320),
            sixteen!($f, 336),
            sixteen!($f, 352),
            sixteen!($f, 368),
            sixteen!($f, 384),
            sixteen!($f, 400),
            sixteen!($f, 416),
            sixteen!($f, 432),
            sixteen!($f, 448),
            sixteen!($f, 464),
            sixteen!($f, 480),
            sixteen!($f, 496),
            sixteen!($f, 512),
            sixteen!($f, 528),
            sixteen!($f, 544),
            sixteen!($f, 560),
            sixteen!($f, 576),
            sixteen!($f, 592),
            sixteen!($f, 608),
            sixteen!($f, 624),
            sixteen!($f, 640),
            sixteen!($f, 656),
            sixteen!($f, 672),
            sixteen!($f, 688),
            sixteen!($f, 704),
            sixteen!($f, 720),
            sixteen!($f, 736),
            sixteen!($f, 752),
            sixteen!($f, 768),
            sixteen!($f, 784),
            sixteen!($f, 800),
            sixteen!($f, 816),
            sixteen!($f, 832),
            sixteen!($f, 848),
            sixteen!($f, 864),
            sixteen!($f, 880),
            sixteen!($f, 896),
            sixteen!($f, 912),
            sixteen!($f, 928),
            sixteen!($f, 944),
            sixteen!($f, 960),
            sixteen!($f, 976),
            sixteen!($f, 992),
            sixteen!($f, 1008),
        ]
    };
}
static FUNCTIONS: [[ffi::PyCFunctionFastWithKeywords; 16]; CAPACITY / 16] = table!(Function);
static METHODS: [[ffi::PyCFunctionFastWithKeywords; 16]; CAPACITY / 16] = table!(Method);

fn definition(op: &Op, f: ffi::PyCFunctionFastWithKeywords) -> PyResult<*mut ffi::PyMethodDef> {
    let doc: Vec<&str> = op.sigs.iter().map(|s| s.text).collect();
    let def = ffi::PyMethodDef {
        ml_name: CString::new(op.name)?.into_raw(),
        ml_meth: ffi::PyMethodDefPointer { PyCFunctionFastWithKeywords: f },
        ml_flags: ffi::METH_FASTCALL | ffi::METH_KEYWORDS,
        ml_doc: CString::new(doc.join("\n"))?.into_raw(),
    };
    // lives as long as the process, as Python asks of it
    Ok(Box::into_raw(Box::new(def)))
}

/// Adds every operator to the module and to Tensor.
pub fn install(m: &Bound<'_, PyModule>, registry: Registry) -> PyResult<()> {
    let py = m.py();
    if OPS.set(registry.ops).is_err() {
        return Err(PyRuntimeError::new_err("rtorch._C was imported twice"));
    }
    let class = py.get_type::<PyTensor>();
    let mut names = HashMap::new();
    let mut modules: HashMap<&'static str, Bound<'_, PyModule>> = HashMap::new();
    if ops().len() > CAPACITY {
        return Err(PyRuntimeError::new_err("more operators than trampolines"));
    }
    for (i, op) in ops().iter().enumerate() {
        if op.module.is_empty() {
            names.insert(op.name, i);
        }
        if op.function {
            let home = match op.module {
                "" => m.clone(),
                name => match modules.get(name) {
                    Some(s) => s.clone(),
                    None => {
                        let s = submodule(m, name)?;
                        modules.insert(name, s.clone());
                        s
                    }
                },
            };
            let def = definition(op, FUNCTIONS[i / 16][i % 16])?;
            // SAFETY: `def` lives for good; the result is a new reference or null with an exception set.
            let f = unsafe {
                let f = ffi::PyCFunction_NewEx(def, std::ptr::null_mut(), std::ptr::null_mut());
                Bound::from_owned_ptr_or_err(py, f)?
            };
            home.add(op.name, &f)?;
            op.objects.lock().0 = Some(f.unbind());
        }
        if op.method {
            let def = definition(op, METHODS[i / 16][i % 16])?;
            // SAFETY: as above; the descriptor checks that `self` is an instance of the class.
            let d = unsafe {
                let d = ffi::PyDescr_NewMethod(class.as_type_ptr(), def);
                Bound::from_owned_ptr_or_err(py, d)?
            };
            class.setattr(op.name, &d)?;
            op.objects.lock().1 = Some(d.unbind());
        }
    }
    let _ = BY_NAME.set(names);
    let all: Vec<&str> = ops().iter().filter(|o| o.function && o.module.is_empty()).map(|o| o.name).collect();
    m.add("_operators", PyTuple::new(py, all)?)
}

fn submodule<'py>(m: &Bound<'py, PyModule>, name: &str) -> PyResult<Bound<'py, PyModule>> {
    let s = PyModule::new(m.py(), &format!("rtorch._C.{name}"))?;
    m.add(name, &s)?;
    m.py().import("sys")?.getattr("modules")?.set_item(format!("rtorch._C.{name}"), &s)?;
    Ok(s)
}
