//! `RTORCH_GUARD=1` catches what reads past a buffer: kernels given one element too many, each in a process of its own.
#![cfg(unix)]

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};

use rtorch_cpu::{Arg, Buffer, Source};
use rtorch_ir::prim::ReduceOp;
use rtorch_ir::{DType, Layout, Prim, Program};

/// Copies `n` floats of a buffer that holds `held`.
fn copy(held: usize, n: usize) {
    let (x, y) = (Buffer::zeroed(held * 4).unwrap(), Buffer::uninit(n * 4).unwrap());
    let layout = Layout::contiguous(&[n]);
    let arg = |b: &Buffer| Arg { ptr: b.as_ptr(), dtype: DType::F32, layout: &layout };
    rtorch_cpu::map(&Program::copy(DType::F32, DType::F32), &[n], &[arg(&x)], &[arg(&y)]).unwrap();
}

/// Sums `n` floats of a buffer that holds `held`.
fn sum(held: usize, n: usize) {
    let (x, y) = (Buffer::zeroed(held * 4).unwrap(), Buffer::uninit(4).unwrap());
    let (layout, one) = (Layout::contiguous(&[n]), Layout::contiguous(&[]));
    let leaf = [Arg { ptr: x.as_ptr(), dtype: DType::F32, layout: &layout }];
    let program = Program::copy(DType::F32, DType::F32);
    let source = Source { program: &program, leaves: &leaf, shape: &[n] };
    let prim = Prim::Reduce { op: ReduceOp::Sum, axes: [0].into_iter().collect(), keepdim: false, dtype: DType::F32 };
    let out = Arg { ptr: y.as_ptr(), dtype: DType::F32, layout: &one };
    rtorch_cpu::run(&prim, &[source], None, &[out]).unwrap();
}

/// Runs one of the ignored tests below in a process of its own.
fn child(test: &str, guard: &str) -> ExitStatus {
    let me = std::env::current_exe().unwrap();
    let mut command = Command::new(me);
    command.args(["--ignored", "--exact", test, "--test-threads=1"]).env("RTORCH_GUARD", guard);
    command.output().unwrap().status
}

#[test]
#[ignore = "run by the test below"]
fn exact() {
    for n in [1, 15, 16, 1000, 1024, 1025, 300_000] {
        copy(n, n);
        sum(n, n);
    }
}

#[test]
#[ignore = "ends its process"]
fn copies_one_too_many() {
    copy(1000, 1001);
}

#[test]
#[ignore = "ends its process"]
fn sums_one_too_many() {
    sum(1023, 1024);
}

#[test]
fn an_element_too_many_ends_the_process() {
    assert!(child("exact", "1").success());
    for test in ["copies_one_too_many", "sums_one_too_many"] {
        let status = child(test, "1");
        assert!(matches!(status.signal(), Some(libc::SIGSEGV | libc::SIGBUS)), "{test}: {status}");
        // it is the guard that sees it: the element lies within the block that is rounded up
        assert!(child(test, "0").success(), "{test}");
    }
}
