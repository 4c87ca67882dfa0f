//! Pointwise kernels in all layouts and storage types, constants, several outputs, windows, transfers.

mod common;

use common::{T, gpu, indices};
use rtorch_gpu::GpuArg;
use rtorch_ir::oracle::Val;
use rtorch_ir::program::{Ex, build, ex};
use rtorch_ir::{DType, ErrorKind, Layout, Program, Scalar};

#[test]
fn bytes_go_there_and_back() {
    let Some(dev) = gpu() else { return };
    let data: Vec<u8> = (0..100_003u32).map(|i| (i * 7 % 251) as u8).collect();
    let b = dev.alloc(data.len()).unwrap();
    dev.upload(&b, 0, &data).unwrap();
    let mut back = vec![0; data.len()];
    dev.download(&b, 0, &mut back).unwrap();
    assert!(back == data);
    // unaligned pieces keep their neighbours
    dev.upload(&b, 5, &[1, 2, 3]).unwrap();
    let mut part = [0; 5];
    dev.download(&b, 4, &mut part).unwrap();
    assert_eq!(part, [data[4], 1, 2, 3, data[8]]);
    assert!(dev.upload(&b, 100_000, &[0; 4]).is_err());
    let c = dev.alloc(64).unwrap();
    dev.copy(&b, 8, &c, 0, 16).unwrap();
    let mut part = [0; 16];
    dev.download(&c, 0, &mut part).unwrap();
    assert_eq!(part, data[8..24]);
}

#[test]
fn memory_is_pooled_and_refused_with_a_reason() {
    let Some(dev) = gpu() else { return };
    let before = dev.bytes_in_use();
    let b = dev.alloc(1000).unwrap();
    assert!(dev.bytes_in_use() >= before + 1000);
    drop(b);
    assert!(dev.peak_bytes() >= before + 1000);
    let e = dev.alloc(1 << 50).err().unwrap();
    assert_eq!(e.kind, ErrorKind::OutOfMemory);
    assert!(e.message.contains("largest buffer"), "{e}");
    dev.empty_cache();
    dev.alloc(10).unwrap();
}

#[test]
fn packed_types_through_any_view() {
    let Some(dev) = gpu() else { return };
    for d in [DType::U8, DType::Bool, DType::I8, DType::I16, DType::F16, DType::BF16, DType::I32, DType::I64] {
        let n = 60;
        let vals: Vec<Val> = (0..n).map(|i| Val::Int(if d == DType::Bool { i % 2 } else { i })).collect();
        let x = T::new(&dev, &vals, d, &[6, 10]);
        let ones: Vec<Val> = (0..n).map(|_| Val::Int(1)).collect();
        let views = [
            Layout::contiguous(&[6, 10]),
            Layout::contiguous(&[6, 10]).transpose(0, 1),
            Layout::contiguous(&[6, 10]).slice(1, 1, 8, 2),
            Layout::contiguous(&[6, 10]).slice(0, 1, 5, 1),
            Layout::contiguous(&[60]).slice(0, 3, 14, 1),
        ];
        for v in &views {
            // into fresh memory
            let y = T::empty(&dev, d, &v.shape);
            let src = x.view(v.clone());
            dev.copy_elements(&src.arg(), &y.arg()).unwrap();
            assert_eq!(y.values(), src.values(), "{d} {v:?}");
            // into a view, whose neighbours stay
            let z = T::new(&dev, &ones, d, &[6, 10]);
            let dst = z.view(v.clone());
            dev.copy_elements(&y.arg(), &dst.arg()).unwrap();
            assert_eq!(dst.values(), src.values(), "{d} into {v:?}");
            let inside: Vec<usize> = indices(&v.shape).iter().map(|i| v.at(i)).collect();
            let memory = z.memory();
            for (i, m) in memory.iter().enumerate() {
                assert!(inside.contains(&i) || m.float() == 1.0, "{d} {v:?} neighbour {i}");
            }
        }
    }
}

#[test]
fn programs_with_constants_index_and_two_outputs() {
    let Some(dev) = gpu() else { return };
    let x = T::floats(&dev, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &[2, 3]);
    let row = T::floats(&dev, &[10.0, 20.0, 30.0], &[3]);
    let compiled = |c: f64| {
        let (mut p, outs) = build(Program::new(), || {
            let a = Ex::leaf(DType::F32);
            let b = Ex::leaf(DType::F32);
            let i = Ex::index().cast(DType::F32);
            (a * b + c, ex::lt(a + i, a.lit(5.0)))
        });
        p.outputs.extend([outs.0.0, outs.1.0]);
        let y = T::empty(&dev, DType::F32, &[2, 3]);
        let z = T::empty(&dev, DType::Bool, &[2, 3]);
        dev.map(&p, &[2, 3], &[x.arg(), row.arg()], &[y.arg(), z.arg()]).unwrap();
        (y.f32s(), z.i64s())
    };
    let (y, z) = compiled(0.5);
    assert_eq!(y, [10.5, 40.5, 90.5, 40.5, 100.5, 180.5]);
    assert_eq!(z, [1, 1, 0, 0, 0, 0]);
    let (y, _) = compiled(1.5);
    assert_eq!(y[0], 11.5);
}

#[test]
fn transposed_results_and_fills() {
    let Some(dev) = gpu() else { return };
    let x = T::floats(&dev, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &[2, 3]);
    let y = T::empty(&dev, DType::F32, &[6]).view(Layout::contiguous(&[3, 2]).transpose(0, 1));
    dev.copy_elements(&x.arg(), &y.arg()).unwrap();
    assert_eq!(y.f32s(), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    for d in [DType::F32, DType::I64, DType::U8, DType::F16] {
        let z = T::empty(&dev, d, &[13]);
        dev.fill(&z.arg(), Scalar::Int(7)).unwrap();
        assert!(z.i64s().iter().all(|&v| v == 7));
    }
    let e = dev.fill(&GpuArg { dtype: DType::F64, ..x.arg() }, Scalar::Int(1)).err().unwrap();
    assert!(e.message.contains(".float()"));
}

#[test]
fn many_buffers_and_windows() {
    let Some(dev) = gpu() else { return };
    let n = 20;
    let xs: Vec<T> = (0..n).map(|i| T::floats(&dev, &[i as f32, 1.0], &[2])).collect();
    let (mut p, out) = build(Program::new(), || {
        let leaves: Vec<Ex> = (0..n).map(|_| Ex::leaf(DType::F32)).collect();
        leaves.into_iter().reduce(|a, b| a + b).unwrap()
    });
    p.outputs.push(out.0);
    let y = T::empty(&dev, DType::F32, &[2]);
    let leaves: Vec<GpuArg> = xs.iter().map(T::arg).collect();
    dev.map(&p, &[2], &leaves, &[y.arg()]).unwrap();
    assert_eq!(y.f32s(), [190.0, 20.0]);
    if dev.profile.binding <= 128 << 20 {
        // 160 MiB: more than one binding
        let n = 40 << 20;
        let big = T::empty(&dev, DType::F32, &[n]);
        let (mut p, out) = build(Program::new(), || (Ex::index().cast(DType::I32)).cast(DType::F32));
        p.outputs.push(out.0);
        dev.map(&p, &[n], &[], &[big.arg()]).unwrap();
        let mut bytes = [0; 8];
        dev.download(&big.buffer, 4 * (n - 1000), &mut bytes).unwrap();
        assert_eq!(f32::from_le_bytes(bytes[..4].try_into().unwrap()), (n - 1000) as f32);
    }
}
