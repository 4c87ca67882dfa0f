//! Autograd as Python sees it: modes, backward, hooks, graph nodes and custom functions. The engine is the core's; it
//! runs without the GIL, and what is written here takes it back for the time of a call only.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple, PyType};
use rtorch_core::autograd::backward::{self, Options};
use rtorch_core::autograd::graph::{CustomNode, GradNode, GradOp, TRACE_HOOK, TensorMeta};
use rtorch_core::autograd::hook::Hook;
use rtorch_core::autograd::meta::Edge;
use rtorch_core::autograd::saved::{self, Packed, SavedHooks, SavedTensor};
use rtorch_core::autograd::{mode, record};
use rtorch_core::{Result, Tensor};
use smallvec::SmallVec;

use crate::error::{OrRaise, carry, guarded};
use crate::tensor::{self, wrap, wrap_opt};

// ---- hooks

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum HookKind {
    /// f(grad)
    Tensor,
    /// f(grad_outputs)
    Pre,
    /// f(grad_inputs, grad_outputs)
    Post,
    /// f(leaf)
    Accumulated,
}

pub struct PyHook {
    pub f: Py<PyAny>,
    kind: HookKind,
    /// Operands that were numbers: None in the tuple of gradients.
    numbers: usize,
}

impl PyHook {
    pub fn new(f: Py<PyAny>, kind: HookKind) -> Arc<PyHook> {
        Arc::new(PyHook { f, kind, numbers: 0 })
    }
    fn run(&self, py: Python<'_>, a: &[Option<Tensor>], b: &[Option<Tensor>]) -> PyResult<Option<Vec<Option<Tensor>>>> {
        let f = self.f.bind(py);
        let r = match self.kind {
            HookKind::Tensor | HookKind::Accumulated => f.call1((wrap_opt(py, a.first().cloned().flatten())?,))?,
            HookKind::Pre => f.call1((tuple(py, a)?,))?,
            HookKind::Post => {
                let mut all = a.to_vec();
                all.resize(a.len() + self.numbers, None);
                f.call1((tuple(py, &all)?, tuple(py, b)?))?
            }
        };
        if r.is_none() || self.kind == HookKind::Accumulated {
            return Ok(None);
        }
        if let Some(t) = tensor::get(&r) {
            if self.kind == HookKind::Tensor {
                check_replacement(a.first(), t)?;
            }
            return Ok(Some(vec![Some(t.clone())]));
        }
        match r.cast::<PyTuple>() {
            Ok(t) if self.kind != HookKind::Tensor => t.iter().map(|x| optional(&x)).collect::<PyResult<_>>().map(Some),
            _ => Err(PyTypeError::new_err(format!("expected Tensor, but hook returned '{}'", r.get_type().name()?))),
        }
    }
}

fn check_replacement(old: Option<&Option<Tensor>>, new: &Tensor) -> PyResult<()> {
    let Some(Some(old)) = old else { return Ok(()) };
    if old.shape() != new.shape() {
        return Err(PyRuntimeError::new_err(format!(
            "hook '<hook>' has changed the size of value, from {} to {}",
            old.shape_text(),
            new.shape_text()
        )));
    }
    if old.dtype() != new.dtype() {
        return Err(PyRuntimeError::new_err("hook '<hook>' has changed the type of value"));
    }
    Ok(())
}

impl Hook for PyHook {
    fn call(&self, first: &[Option<Tensor>], second: &[Option<Tensor>]) -> Result<Option<Vec<Option<Tensor>>>> {
        crate::runtime::attach(|py| self.run(py, first, second).map_err(carry))
    }
    fn object(&self) -> *mut () {
        self.f.as_ptr().cast()
    }
    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

fn tuple<'py>(py: Python<'py>, ts: &[Option<Tensor>]) -> PyResult<Bound<'py, PyTuple>> {
    let items: Vec<Py<PyAny>> = ts.iter().map(|t| wrap_opt(py, t.clone())).collect::<PyResult<_>>()?;
    PyTuple::new(py, items)
}

fn optional(obj: &Bound<'_, PyAny>) -> PyResult<Option<Tensor>> {
    if obj.is_none() {
        return Ok(None);
    }
    match tensor::get(obj) {
        Some(t) => Ok(Some(t.clone())),
        None => Err(PyTypeError::new_err(format!("expected Tensor or None, got {}", obj.get_type().name()?))),
    }
}

/// Where a hook hangs.
enum Place {
    Leaf(Tensor),
    Accumulated(Tensor),
    Output(Arc<GradNode>, usize),
    Pre(Arc<GradNode>),
    Post(Arc<GradNode>),
}

/// What `register_hook` answers: `remove()` takes the hook off again.
#[pyclass(frozen, name = "RemovableHandle", module = "rtorch.utils.hooks")]
pub struct Handle {
    place: Place,
    id: u64,
}

#[pymethods]
impl Handle {
    fn remove(&self) {
        let id = self.id;
        // dropped after the locks are released
        let old = match &self.place {
            Place::Leaf(t) => t.with_meta(|m| m.hooks.remove(id)),
            Place::Accumulated(t) => t.with_meta(|m| m.post_accumulate.remove(id)),
            Place::Output(n, output) => {
                let mut x = n.extra();
                x.tensor_hooks.iter_mut().filter(|h| h.0 == *output).find_map(|h| h.1.remove(id))
            }
            Place::Pre(n) => n.extra().pre_hooks.remove(id),
            Place::Post(n) => n.extra().post_hooks.remove(id),
        };
        drop(old);
    }
    #[getter]
    fn id(&self) -> u64 {
        self.id
    }
    fn __enter__(slf: Py<Self>) -> Py<Self> {
        slf
    }
    #[pyo3(signature = (*_exc))]
    fn __exit__(&self, _exc: &Bound<'_, PyTuple>) {
        self.remove();
    }
}

pub fn register_hook(t: &Tensor, f: Py<PyAny>) -> PyResult<Handle> {
    if !t.requires_grad() {
        return Err(PyRuntimeError::new_err("cannot register a hook on a tensor that doesn't require gradient"));
    }
    let hook = PyHook::new(f, HookKind::Tensor);
    Ok(match t.grad_fn() {
        None => Handle { id: t.with_meta(|m| m.hooks.add(hook)), place: Place::Leaf(t.clone()) },
        Some(e) => {
            let mut x = e.node.extra();
            let at = match x.tensor_hooks.iter().position(|h| h.0 == e.output) {
                Some(i) => i,
                None => {
                    x.tensor_hooks.push((e.output, Default::default()));
                    x.tensor_hooks.len() - 1
                }
            };
            let id = x.tensor_hooks[at].1.add(hook);
            drop(x);
            Handle { place: Place::Output(e.node, e.output), id }
        }
    })
}

pub fn register_post_accumulate(t: &Tensor, f: Py<PyAny>) -> PyResult<Handle> {
    if !t.requires_grad() {
        return Err(PyRuntimeError::new_err("cannot register a hook on a tensor that doesn't require gradient"));
    }
    if t.grad_fn().is_some() {
        return Err(PyRuntimeError::new_err("post accumulate grad hooks cannot be registered on non-leaf tensors"));
    }
    let id = t.with_meta(|m| m.post_accumulate.add(PyHook::new(f, HookKind::Accumulated)));
    Ok(Handle { place: Place::Accumulated(t.clone()), id })
}

// ---- graph nodes

/// A node of the graph: `tensor.grad_fn`. Its class is named after the operator.
#[pyclass(frozen, name = "Node", module = "rtorch.autograd.graph", subclass, weakref, dict)]
pub struct PyNode(Arc<GradNode>);

thread_local! {
    static PENDING: std::cell::RefCell<Option<Arc<GradNode>>> = const { std::cell::RefCell::new(None) };
}

impl Drop for PyNode {
    fn drop(&mut self) {
        // every object of a node is dropped with the GIL; the slot is ours or a newer one's, which looks itself up anew
        self.0.py.store(std::ptr::null_mut(), Ordering::Relaxed);
    }
}

pub fn wrap_node(py: Python<'_>, node: &Arc<GradNode>) -> PyResult<Py<PyAny>> {
    let have = node.py.load(Ordering::Relaxed).cast::<ffi::PyObject>();
    if !have.is_null() {
        // SAFETY: the slot is cleared with the GIL held when the object dies; see tensor::wrap.
        unsafe {
            if ffi::Py_REFCNT(have) > 0 {
                return Ok(Bound::from_borrowed_ptr(py, have).unbind());
            }
        }
    }
    let class = node_class(py, &node.name)?;
    PENDING.with(|p| *p.borrow_mut() = Some(node.clone()));
    let made = class.call0();
    PENDING.with(|p| p.borrow_mut().take());
    let made = made?;
    node.py.store(made.as_ptr().cast(), Ordering::Relaxed);
    Ok(made.unbind())
}

fn node_class<'py>(py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
    static CLASSES: pyo3::sync::PyOnceLock<Py<PyDict>> = pyo3::sync::PyOnceLock::new();
    let classes = CLASSES.get_or_init(py, || PyDict::new(py).unbind()).bind(py);
    if let Some(c) = classes.get_item(name)? {
        return Ok(c);
    }
    let ns = PyDict::new(py);
    ns.set_item("__module__", "builtins")?;
    // "torch::autograd::CopyBackwards" is of the class `CopyBackwards`
    let class = name.rsplit("::").next().unwrap_or(name);
    let c = py.get_type::<PyType>().call1((class, (py.get_type::<PyNode>(),), ns))?;
    classes.set_item(name, &c)?;
    Ok(c)
}

/// How many operands were Python numbers where PyTorch makes tensors of them: they stand in `next_functions` and in the
/// hooks' tuples.
fn numbers(n: &GradNode) -> usize {
    let with_number = matches!(&*n.name, "AddBackward0" | "SubBackward0" | "MulBackward0" | "DivBackward0");
    usize::from(with_number && n.next.len() == 1)
}

/// PyTorch's names of a node's operands.
fn operand_names(node: &str) -> &'static [&'static str] {
    match node.split("Backward").next().unwrap_or(node) {
        "Pow" => &["self", "exponent"],
        "Mm" | "Bmm" => &["self", "mat2"],
        "Mv" => &["self", "vec"],
        "Dot" | "Vdot" => &["self", "tensor"],
        "Addmm" => &["mat1", "mat2", "self"],
        "Convolution" => &["input", "weight", "bias"],
        "Where" => &["condition", "self", "other"],
        "Gather" | "IndexSelect" => &["self", "index"],
        "NativeLayerNorm" | "NativeBatchNorm" => &["input", "weight", "bias"],
        _ => &["self", "other"],
    }
}

#[pymethods]
impl PyNode {
    #[new]
    fn new() -> PyResult<PyNode> {
        match PENDING.with(|p| p.borrow_mut().take()) {
            Some(n) => Ok(PyNode(n)),
            None => Err(PyTypeError::new_err("cannot create 'Node' instances")),
        }
    }
    fn name(&self) -> String {
        match &self.0.op {
            // a composition stands in where PyTorch writes slices
            _ if self.0.name == "CopySlices" => "torch::autograd::CopySlices".into(),
            GradOp::Accumulate(_) | GradOp::CopySlices { .. } => format!("torch::autograd::{}", self.0.name),
            GradOp::Map { .. }
            | GradOp::View { .. }
            | GradOp::Prim { .. }
            | GradOp::Composite { .. }
            | GradOp::Pass
            | GradOp::Custom(_) => self.0.name.to_string(),
        }
    }
    #[getter]
    fn next_functions<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let mut items: Vec<(Py<PyAny>, usize)> = self
            .0
            .next
            .iter()
            .map(|e| match e {
                None => Ok((py.None(), 0)),
                Some(e) => Ok((wrap_node(py, &e.node)?, e.output)),
            })
            .collect::<PyResult<_>>()?;
        if numbers(&self.0) > 0 {
            items.push((py.None(), 0));
        }
        PyTuple::new(py, items)
    }
    #[getter]
    fn metadata(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        let d = slf.getattr("__dict__")?.cast_into::<PyDict>()?;
        if d.get_item("_metadata")?.is_none() {
            d.set_item("_metadata", PyDict::new(slf.py()))?;
        }
        Ok(d.get_item("_metadata")?.map_or_else(|| slf.py().None(), Bound::unbind))
    }
    #[getter]
    fn variable(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        match &self.0.op {
            GradOp::Accumulate(t) => wrap(py, t.clone()),
            _ => Err(pyo3::exceptions::PyAttributeError::new_err(format!(
                "'{}' object has no attribute 'variable'",
                self.0.name
            ))),
        }
    }
    #[getter]
    fn saved_tensors<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        // a released node raises its error at the first
        let numbers = self.0.saved.lock().as_ref().map_or_else(|| vec![0], |s| s.numbers());
        let out: Vec<Option<Tensor>> =
            numbers.into_iter().map(|i| self.0.unpack(i).or_raise().map(Some)).collect::<PyResult<_>>()?;
        tuple(py, &out)
    }
    /// `_saved_self` and its like: operands, numbers and results that backward keeps.
    fn __getattr__(&self, py: Python<'_>, name: &str) -> PyResult<Py<PyAny>> {
        let absent = || {
            Err(pyo3::exceptions::PyAttributeError::new_err(format!(
                "'{}' object has no attribute '{name}'",
                self.0.name
            )))
        };
        let Some(field) = name.strip_prefix("_saved_") else { return absent() };
        let n = self.0.inputs.len();
        let operands = operand_names(&self.0.name);
        let at = match field {
            "result" | "values" | "grad" => n,
            "indices" => n + 1,
            _ => match operands.iter().position(|o| *o == field) {
                Some(i) => i,
                None => return absent(),
            },
        };
        if let GradOp::Map { kernel } = &self.0.op
            && at >= n
            && at < operands.len()
            && !matches!(field, "result" | "values")
        {
            // a number follows the tensors
            return match kernel.numbers().get(at - n) {
                Some(s) => crate::convert::scalar_to_py(py, *s),
                None => absent(),
            };
        }
        let kept = self.0.saved.lock().as_ref().is_none_or(|s| s.has(at));
        if kept { wrap(py, self.0.unpack(at).or_raise()?) } else { absent() }
    }
    fn _sequence_nr(&self) -> u64 {
        self.0.seq
    }
    fn register_hook(&self, f: Py<PyAny>) -> Handle {
        let hook = Arc::new(PyHook { f, kind: HookKind::Post, numbers: numbers(&self.0) });
        let id = self.0.extra().post_hooks.add(hook);
        Handle { place: Place::Post(self.0.clone()), id }
    }
    fn register_prehook(&self, f: Py<PyAny>) -> Handle {
        let id = self.0.extra().pre_hooks.add(PyHook::new(f, HookKind::Pre));
        Handle { place: Place::Pre(self.0.clone()), id }
    }
    fn __call__<'py>(&self, py: Python<'py>, grads: Bound<'py, PyTuple>) -> PyResult<Py<PyAny>> {
        let grads: Vec<Option<Tensor>> = grads.iter().map(|g| optional(&g)).collect::<PyResult<_>>()?;
        let node = self.0.clone();
        let opts = Options { keep_graph: true, create_graph: mode::is_enabled(), accumulate: true, boundary: false };
        let out = crate::runtime::release(py, || rtorch_core::vjp::apply(&node, &grads, &opts)).or_raise()?;
        match out.as_slice() {
            [one] => wrap_opt(py, one.clone()),
            all => Ok(tuple(py, all)?.into_any().unbind()),
        }
    }
}

// ---- hooks on what is saved

pub struct PySavedHooks {
    pub pack: Py<PyAny>,
    pub unpack: Py<PyAny>,
}

impl SavedHooks for PySavedHooks {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn pack(&self, t: &Tensor) -> Result<Packed> {
        crate::runtime::attach(|py| {
            let packed = self.pack.bind(py).call1((wrap(py, t.clone()).map_err(carry)?,)).map_err(carry)?;
            Ok(Arc::new(packed.unbind()) as Packed)
        })
    }
    fn unpack(&self, packed: &Packed) -> Result<Tensor> {
        crate::runtime::attach(|py| {
            let Some(kept) = packed.downcast_ref::<Py<PyAny>>() else {
                return Err(rtorch_core::Error::runtime("a saved tensor was packed by others"));
            };
            let t = self.unpack.bind(py).call1((kept.bind(py),)).map_err(carry)?;
            tensor::get(&t).cloned().ok_or_else(|| {
                carry(PyTypeError::new_err("Output of saved tensor unpack_hook expected to be a Tensor"))
            })
        })
    }
}

#[pyfunction]
fn _push_saved_tensors_hooks(pack: Py<PyAny>, unpack: Py<PyAny>) -> PyResult<()> {
    saved::push_hooks(Arc::new(PySavedHooks { pack, unpack })).or_raise()
}
#[pyfunction]
fn _pop_saved_tensors_hooks() {
    saved::pop_hooks();
}
/// Refuses hooks with this message (None allows them); answers the message before.
#[pyfunction]
fn _set_saved_tensors_hooks_error(message: Option<String>) -> PyResult<Option<String>> {
    saved::refuse_hooks(message).or_raise()
}

// ---- custom functions

pub struct FunctionNode {
    pub backward: Py<PyAny>,
    present: Vec<bool>,
    materialize: bool,
}

impl FunctionNode {
    fn run(
        &self,
        py: Python<'_>,
        node: &Arc<GradNode>,
        mut grads: Vec<Option<Tensor>>,
    ) -> PyResult<Vec<Option<Tensor>>> {
        let mut saved = Vec::new();
        for (i, &has) in self.present.iter().enumerate() {
            saved.push(if has { Some(node.unpack(i).or_raise()?) } else { None });
        }
        if self.materialize {
            for (g, m) in grads.iter_mut().zip(&node.outputs) {
                if g.is_none() {
                    *g = Some(rtorch_core::ops::factory::zeros(&m.shape, m.dtype, m.device).or_raise()?);
                }
            }
        }
        let r = self.backward.bind(py).call1((tuple(py, &saved)?, tuple(py, &grads)?))?;
        r.try_iter()?.map(|x| optional(&x?)).collect()
    }
}

impl CustomNode for FunctionNode {
    fn backward(&self, node: &Arc<GradNode>, grads: Vec<Option<Tensor>>) -> Result<Vec<Option<Tensor>>> {
        crate::runtime::attach(|py| self.run(py, node, grads).map_err(carry))
    }
    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

/// The node of a custom `autograd.Function`, connected to its inputs and outputs; answers the tensors to hand out.
#[pyfunction]
fn _record_function<'py>(
    py: Python<'py>,
    name: String,
    backward: Py<PyAny>,
    inputs: &Bound<'py, PyAny>,
    outputs: &Bound<'py, PyAny>,
    dirty: &Bound<'py, PyAny>,
    saved: &Bound<'py, PyAny>,
    materialize: bool,
) -> PyResult<Bound<'py, PyList>> {
    let inputs = optional_list(inputs)?;
    let outputs: Vec<Tensor> = optional_list(outputs)?.into_iter().flatten().collect();
    let dirty: Vec<Tensor> = optional_list(dirty)?.into_iter().flatten().collect();
    let is_dirty = |t: &Tensor| dirty.iter().any(|d| d.same(t));
    let mut histories = Vec::new();
    let present_inputs: Vec<&Tensor> = inputs.iter().flatten().collect();
    for t in &dirty {
        histories.push(rtorch_core::inplace::History::before(t, &present_inputs).or_raise()?);
    }
    let next = inputs.iter().map(|t| t.as_ref().and_then(record::edge)).collect();
    let empty = TensorMeta {
        shape: SmallVec::new(),
        dtype: rtorch_core::DType::F32,
        device: rtorch_core::Device::Cpu,
        levels: None,
    };
    let metas = inputs.iter().map(|t| t.as_ref().map_or_else(|| empty.clone(), TensorMeta::of)).collect();
    // an output that is an input as it was is handed out as a view of it
    let mut handed: Vec<Tensor> = Vec::new();
    for o in &outputs {
        let is_input = inputs.iter().flatten().any(|i| i.same(o));
        handed.push(if is_input && !is_dirty(o) { o.detach() } else { o.clone() });
    }
    let keep: SmallVec<[Option<SavedTensor>; 3]> = optional_list(saved)?
        .iter()
        .map(|s| {
            s.as_ref()
                .map(|t| match outputs.iter().position(|o| o.same(t)) {
                    Some(i) if !inputs.iter().flatten().any(|x| x.same(t)) || is_dirty(t) => SavedTensor::output(t, i),
                    Some(_) | None => SavedTensor::input(t),
                })
                .transpose()
        })
        .collect::<Result<_>>()
        .or_raise()?;
    let present = keep.iter().map(Option::is_some).collect();
    let node = GradNode::new(
        name,
        GradOp::Custom(Box::new(FunctionNode { backward, present, materialize })),
        next,
        metas,
        outputs.iter().map(TensorMeta::of).collect(),
        keep.into_iter().collect(),
    );
    for (i, t) in handed.iter().enumerate() {
        match dirty.iter().position(|d| d.same(t)).and_then(|k| histories[k].take()) {
            Some(h) => {
                t.bump_version();
                h.rebase(t, node.clone());
            }
            None => record::connect(t, &node, i),
        }
    }
    let out: Vec<Py<PyAny>> = handed.into_iter().map(|t| wrap(py, t)).collect::<PyResult<_>>()?;
    PyList::new(py, out)
}

fn optional_list(obj: &Bound<'_, PyAny>) -> PyResult<Vec<Option<Tensor>>> {
    if obj.is_none() {
        return Ok(Vec::new());
    }
    obj.try_iter()?.map(|x| optional(&x?)).collect()
}

// ---- backward

#[pyfunction]
fn _run_backward<'py>(
    py: Python<'py>,
    outputs: &Bound<'py, PyTuple>,
    grads: &Bound<'py, PyTuple>,
    keep_graph: bool,
    create_graph: bool,
    inputs: &Bound<'py, PyTuple>,
    allow_unreachable: bool,
    accumulate: bool,
) -> PyResult<Bound<'py, PyTuple>> {
    let mut roots = Vec::new();
    for (i, (o, g)) in outputs.iter().zip(grads.iter()).enumerate() {
        if let Some(edge) = gradient_edge(&o)? {
            let Some(g) = tensor::get(&g) else {
                return Err(PyRuntimeError::new_err("a gradient must be given for a GradientEdge"));
            };
            roots.push((edge, g.clone()));
            continue;
        }
        let Some(t) = tensor::get(&o) else {
            return Err(PyTypeError::new_err(format!("element {i} of tensors is not a Tensor")));
        };
        let Some(edge) = record::edge(t) else {
            return Err(PyRuntimeError::new_err(format!(
                "element {i} of tensors does not require grad and does not have a grad_fn"
            )));
        };
        roots.push((edge, cotangent(t, &g, i)?));
    }
    let mut targets: Vec<Edge> = Vec::new();
    for x in inputs.iter() {
        if let Some(edge) = gradient_edge(&x)? {
            targets.push(edge);
            continue;
        }
        let Some(t) = tensor::get(&x) else {
            return Err(PyTypeError::new_err("all inputs have to be Tensors or GradientEdges"));
        };
        let Some(e) = record::edge(t) else {
            return Err(PyRuntimeError::new_err("One of the differentiated Tensors does not require grad"));
        };
        targets.push(e);
    }
    let opts = Options { keep_graph, create_graph, accumulate, boundary: false };
    let wanted = (!targets.is_empty()).then_some(targets.as_slice());
    let mut found = guarded(|| crate::runtime::release(py, || backward::run(&roots, wanted, &opts)).or_raise())?;
    for (x, g) in inputs.iter().zip(&mut found).filter(|_| !accumulate) {
        if let (Some(t), Some(found)) = (tensor::get(&x), g) {
            *found = backward::in_grad_dtype(t, found.clone()).or_raise()?;
        }
    }
    if accumulate {
        // an input that is no leaf gets its gradient here: the engine adds to leaves only
        for ((x, e), g) in inputs.iter().zip(&targets).zip(found) {
            if let (Some(t), Some(g)) = (tensor::get(&x), g)
                && !matches!(e.node.op, GradOp::Accumulate(_))
            {
                crate::runtime::release(py, || backward::accumulate(t, g, create_graph)).or_raise()?;
            }
        }
        return Ok(PyTuple::empty(py));
    }
    if !allow_unreachable && found.iter().any(Option::is_none) {
        return Err(PyRuntimeError::new_err(
            "One of the differentiated Tensors appears to not have been used in the graph. Set allow_unused=True if \
             this is the desired behavior.",
        ));
    }
    tuple(py, &found)
}

/// `autograd.graph.GradientEdge`: a node and one of its outputs.
fn gradient_edge(obj: &Bound<'_, PyAny>) -> PyResult<Option<Edge>> {
    if !obj.is_instance_of::<PyTuple>() || obj.len()? < 2 {
        return Ok(None);
    }
    match obj.get_item(0)?.cast::<PyNode>() {
        Ok(n) => Ok(Some(Edge { node: n.get().0.clone(), output: obj.get_item(1)?.extract()? })),
        Err(_) => Ok(None),
    }
}

fn cotangent(t: &Tensor, g: &Bound<'_, PyAny>, i: usize) -> PyResult<Tensor> {
    if g.is_none() {
        if t.numel() != 1 {
            return Err(PyRuntimeError::new_err("grad can be implicitly created only for scalar outputs"));
        }
        if t.dtype().is_complex() {
            return Err(PyRuntimeError::new_err(format!(
                "grad can be implicitly created only for real scalar outputs but got {}",
                t.dtype().cpp_name()
            )));
        }
        return rtorch_core::ops::factory::full_like(&t.detach(), rtorch_core::Scalar::Int(1)).or_raise();
    }
    let Some(g) = tensor::get(g) else {
        return Err(PyTypeError::new_err(format!(
            "gradients can be either Tensors or None, but got {}",
            g.get_type().name()?
        )));
    };
    if g.shape() != t.shape() {
        return Err(PyRuntimeError::new_err(format!(
            "Mismatch in shape: grad_output[{i}] has a shape of torch.Size({}) and output[{i}] has a shape of \
             torch.Size({}).",
            g.shape_text(),
            t.shape_text()
        )));
    }
    rtorch_core::ops::convert::to_dtype(g, t.dtype()).or_raise()
}

/// Counts a write that was not seen.
#[pyfunction]
fn _increment_version(t: &Bound<'_, PyAny>) -> PyResult<()> {
    let Some(t) = tensor::get(t) else { return Err(PyTypeError::new_err("increment_version expects a Tensor")) };
    t.bump_version();
    Ok(())
}

// ---- modes

#[pyfunction]
fn _set_grad_enabled(on: bool) {
    mode::set_enabled(on);
}
#[pyfunction]
fn is_grad_enabled() -> bool {
    mode::is_enabled()
}
#[pyfunction]
fn _set_inference_mode(on: bool) {
    mode::set_inference(on);
}
#[pyfunction]
fn is_inference_mode_enabled() -> bool {
    mode::is_inference()
}
/// Whether gradients of leaves lie as the leaves do; answers the setting before.
#[pyfunction]
fn _set_grad_layout_policy(enforced: bool) -> bool {
    mode::set_keeps_grad_layout(enforced)
}
#[pyfunction]
#[pyo3(signature = (on, check_nan = true))]
fn _set_anomaly_enabled(on: bool, check_nan: bool) {
    mode::set_anomaly(on, check_nan);
}
#[pyfunction]
fn is_anomaly_enabled() -> bool {
    mode::anomaly().0
}
#[pyfunction]
fn is_anomaly_check_nan_enabled() -> bool {
    mode::anomaly().1
}

fn trace() -> Option<String> {
    crate::runtime::attach(|py| {
        let lines = py.import("traceback").ok()?.getattr("format_stack").ok()?.call0().ok()?;
        Some(lines.extract::<Vec<String>>().ok()?.concat())
    })
}

pub fn install(m: &Bound<'_, PyModule>) -> PyResult<()> {
    let _ = TRACE_HOOK.set(trace);
    m.add_class::<PyNode>()?;
    m.add_class::<Handle>()?;
    m.add_function(wrap_pyfunction!(_record_function, m)?)?;
    m.add_function(wrap_pyfunction!(_push_saved_tensors_hooks, m)?)?;
    m.add_function(wrap_pyfunction!(_pop_saved_tensors_hooks, m)?)?;
    m.add_function(wrap_pyfunction!(_set_saved_tensors_hooks_error, m)?)?;
    m.add_function(wrap_pyfunction!(_run_backward, m)?)?;
    m.add_function(wrap_pyfunction!(_increment_version, m)?)?;
    m.add_function(wrap_pyfunction!(_set_grad_enabled, m)?)?;
    m.add_function(wrap_pyfunction!(is_grad_enabled, m)?)?;
    m.add_function(wrap_pyfunction!(_set_inference_mode, m)?)?;
    m.add_function(wrap_pyfunction!(is_inference_mode_enabled, m)?)?;
    m.add_function(wrap_pyfunction!(_set_anomaly_enabled, m)?)?;
    m.add_function(wrap_pyfunction!(_set_grad_layout_policy, m)?)?;
    m.add_function(wrap_pyfunction!(is_anomaly_enabled, m)?)?;
    m.add_function(wrap_pyfunction!(is_anomaly_check_nan_enabled, m)?)
}
