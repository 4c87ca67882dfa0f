//! What operators are made of: while a trace is on, the choke point (`dispatch.rs`) notes every program's rows, every
//! view and every primitive of its thread. The operator reference is written from this. How often things run is
//! `stats.rs`.

use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicBool, Ordering};

use rtorch_ir::program::Inst;
use rtorch_ir::{DType, Prim};

use crate::kernel::Kernel;
use crate::view::ViewOp;

thread_local! {
    static ON: Cell<bool> = const { Cell::new(false) };
    static FOUND: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Was there ever a trace? A thread's own variables are dearer to read.
static EVER: AtomicBool = AtomicBool::new(false);

pub fn begin() {
    EVER.store(true, Ordering::Relaxed);
    ON.set(true);
    FOUND.with(|f| f.borrow_mut().clear());
}

/// What ran since `begin`: `map rows`, `view Name`, `prim Name` and whether the GPU has a kernel for it.
pub fn end() -> Vec<String> {
    ON.set(false);
    FOUND.with(|f| std::mem::take(&mut *f.borrow_mut()))
}

#[inline]
fn note(text: impl FnOnce() -> String) {
    if EVER.load(Ordering::Relaxed) {
        note_now(text);
    }
}

#[cold]
fn note_now(text: impl FnOnce() -> String) {
    if ON.get() {
        let text = text();
        FOUND.with(|f| f.borrow_mut().push(text));
    }
}

/// The name of an enum's case, from its debugging text.
fn case(value: &impl std::fmt::Debug) -> String {
    let text = format!("{value:?}");
    text.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default().to_string()
}

#[inline]
pub fn map(kernel: &Kernel) {
    note(|| {
        let rows: Vec<&str> = kernel
            .program
            .values
            .iter()
            .filter_map(|(inst, _)| if let Inst::Op(op, _) = inst { Some(op.name()) } else { None })
            .collect();
        format!("map {}", rows.join("+"))
    });
}

#[inline]
pub fn view(op: &ViewOp) {
    note(|| format!("view {}", case(op)));
}

#[inline]
pub fn prim(prim: &Prim, dtypes: impl Iterator<Item = DType>) {
    note(|| {
        let dtypes: Vec<DType> = dtypes.collect();
        // what a composition stands for on the GPU never gets there
        let native = crate::backend::gpu::has(prim, &dtypes) || prim.is_composed_elsewhere();
        format!("prim {} {}", case(prim), if native { "native" } else { "host" })
    });
}
