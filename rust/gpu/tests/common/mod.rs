//! What the GPU tests share: the device (or a clear reason why not), values to and from buffers.
#![allow(dead_code)]

use std::sync::Arc;

use rtorch_gpu::{Buffer, Device, GpuArg, GpuSource, adapters, device};
use rtorch_ir::oracle::{Val, cast};
use rtorch_ir::{DType, Layout, Program};

/// The first adapter, software included; None (with a message) where there is none, unless `RTORCH_REQUIRE_GPU=1`.
pub fn gpu() -> Option<Arc<Device>> {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        // SAFETY: from a Once, before the first adapter is asked for; nothing reads the environment meanwhile.
        unsafe { std::env::set_var("RTORCH_ALLOW_SOFTWARE", "1") };
    });
    if adapters().is_empty() {
        assert!(
            std::env::var("RTORCH_REQUIRE_GPU").as_deref() != Ok("1"),
            "RTORCH_REQUIRE_GPU=1, but no Vulkan adapter was found: install mesa-vulkan-drivers"
        );
        eprintln!("skipped: no Vulkan adapter (install mesa-vulkan-drivers)");
        return None;
    }
    Some(device(0).unwrap())
}

/// The bytes of values as a dtype stores them.
pub fn encode(vals: &[Val], d: DType) -> Vec<u8> {
    let mut out = Vec::new();
    for &v in vals {
        let v = cast(v, if matches!(v, Val::Int(_)) { DType::I64 } else { DType::F64 }, d);
        match d {
            DType::Bool | DType::U8 | DType::I8 => out.push(v.int() as u8),
            DType::I16 => out.extend((v.int() as i16).to_le_bytes()),
            DType::I32 => out.extend((v.int() as i32).to_le_bytes()),
            DType::I64 => out.extend(v.int().to_le_bytes()),
            DType::F16 => out.extend(half::f16::from_f64(v.float()).to_le_bytes()),
            DType::BF16 => out.extend(half::bf16::from_f32(v.float() as f32).to_le_bytes()),
            DType::F32 => out.extend((v.float() as f32).to_le_bytes()),
            DType::F64 => out.extend(v.float().to_le_bytes()),
            DType::C64 | DType::C128 | rtorch_ir::storage_dtypes!() => unreachable!(),
        }
    }
    out
}

pub fn decode(bytes: &[u8], d: DType) -> Vec<Val> {
    bytes
        .chunks_exact(d.size())
        .map(|c| match d {
            DType::Bool | DType::U8 => Val::Int(c[0] as i64),
            DType::I8 => Val::Int(c[0] as i8 as i64),
            DType::I16 => Val::Int(i16::from_le_bytes(c.try_into().unwrap()) as i64),
            DType::I32 => Val::Int(i32::from_le_bytes(c.try_into().unwrap()) as i64),
            DType::I64 => Val::Int(i64::from_le_bytes(c.try_into().unwrap())),
            DType::F16 => Val::Float(half::f16::from_le_bytes(c.try_into().unwrap()).to_f64()),
            DType::BF16 => Val::Float(half::bf16::from_le_bytes(c.try_into().unwrap()).to_f64()),
            DType::F32 => Val::Float(f32::from_le_bytes(c.try_into().unwrap()) as f64),
            DType::F64 => Val::Float(f64::from_le_bytes(c.try_into().unwrap())),
            DType::C64 | DType::C128 | rtorch_ir::storage_dtypes!() => unreachable!(),
        })
        .collect()
}

/// A tensor of the tests: memory and layout.
#[derive(Clone)]
pub struct T {
    pub buffer: Buffer,
    pub dtype: DType,
    pub layout: Layout,
}

impl T {
    pub fn new(dev: &Arc<Device>, vals: &[Val], dtype: DType, shape: &[usize]) -> T {
        let bytes = encode(vals, dtype);
        let buffer = dev.alloc(bytes.len()).unwrap();
        dev.upload(&buffer, 0, &bytes).unwrap();
        T { buffer, dtype, layout: Layout::contiguous(shape) }
    }
    pub fn floats(dev: &Arc<Device>, vals: &[f32], shape: &[usize]) -> T {
        T::new(dev, &vals.iter().map(|&v| Val::Float(v as f64)).collect::<Vec<_>>(), DType::F32, shape)
    }
    pub fn ints(dev: &Arc<Device>, vals: &[i64], shape: &[usize]) -> T {
        T::new(dev, &vals.iter().map(|&v| Val::Int(v)).collect::<Vec<_>>(), DType::I64, shape)
    }
    pub fn empty(dev: &Arc<Device>, dtype: DType, shape: &[usize]) -> T {
        let layout = Layout::contiguous(shape);
        T { buffer: dev.alloc(layout.numel() * dtype.size()).unwrap(), dtype, layout }
    }
    pub fn view(&self, layout: Layout) -> T {
        T { buffer: self.buffer.clone(), dtype: self.dtype, layout }
    }
    pub fn arg(&self) -> GpuArg<'_> {
        GpuArg { buffer: &self.buffer, dtype: self.dtype, layout: &self.layout }
    }
    /// All values of the memory.
    pub fn memory(&self) -> Vec<Val> {
        let mut bytes = vec![0u8; self.buffer.len()];
        self.buffer.device().download(&self.buffer, 0, &mut bytes).unwrap();
        decode(&bytes, self.dtype)
    }
    /// Values in logical order.
    pub fn values(&self) -> Vec<Val> {
        let memory = self.memory();
        indices(&self.layout.shape).iter().map(|i| memory[self.layout.at(i)]).collect()
    }
    pub fn f32s(&self) -> Vec<f32> {
        self.values().iter().map(|v| v.float() as f32).collect()
    }
    pub fn i64s(&self) -> Vec<i64> {
        self.values().iter().map(|v| v.int()).collect()
    }
}

/// All multi-indices of a shape, row-major.
pub fn indices(shape: &[usize]) -> Vec<Vec<usize>> {
    let n: usize = shape.iter().product();
    (0..n)
        .map(|mut i| {
            let mut at = vec![0; shape.len()];
            for d in (0..shape.len()).rev() {
                at[d] = i % shape[d];
                i /= shape[d];
            }
            at
        })
        .collect()
}

pub fn identity(d: DType) -> Program {
    Program::copy(d, d)
}

/// Runs a primitive on plain operands; answers its results, contiguous.
pub fn run(dev: &Arc<Device>, prim: &rtorch_ir::Prim, ins: &[&T]) -> Vec<T> {
    use rtorch_ir::prim::Meta;
    let metas: Vec<Meta> = ins.iter().map(|t| Meta::new(&t.layout.shape, t.dtype)).collect();
    let outs: Vec<T> = prim.infer(&metas).iter().map(|m| T::empty(dev, m.dtype, &m.shape)).collect();
    run_into(dev, prim, ins, &outs);
    outs
}

pub fn run_into(dev: &Arc<Device>, prim: &rtorch_ir::Prim, ins: &[&T], outs: &[T]) {
    let programs: Vec<Program> = ins.iter().map(|t| identity(t.dtype)).collect();
    let leaves: Vec<[GpuArg; 1]> = ins.iter().map(|t| [t.arg()]).collect();
    let sources: Vec<GpuSource> = ins
        .iter()
        .enumerate()
        .map(|(i, t)| GpuSource { program: &programs[i], leaves: &leaves[i], shape: &t.layout.shape })
        .collect();
    let args: Vec<GpuArg> = outs.iter().map(T::arg).collect();
    dev.run(prim, &sources, None, &args).unwrap();
}

/// Numbers in (-1, 1) that look random.
pub fn noise(n: usize, seed: u32) -> Vec<f32> {
    let mut s = seed.wrapping_mul(2654435761).wrapping_add(12345);
    (0..n)
        .map(|_| {
            s = s.wrapping_mul(1664525).wrapping_add(1013904223);
            (s >> 8) as f32 / 8388608.0 - 1.0
        })
        .collect()
}

pub fn close(got: &[f32], want: &[f32], tol: f32, what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        let same = g == w || (g.is_nan() && w.is_nan());
        assert!(same || (g - w).abs() <= tol * (1.0 + w.abs()), "{what} [{i}]: {g} instead of {w}");
    }
}
