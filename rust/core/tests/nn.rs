//! Operators of neural networks: values by hand, gradients against central differences in float64.

mod common;

use common::*;
use rtorch_core::ops::nn::{activation, attention, conv, embedding, loss, norm, pad, pool, sample};
use rtorch_core::ops::{self, random, shape};
use rtorch_core::stats::Mode;
use rtorch_core::{DType, Device, Result, Tensor};

fn f64s(v: &[f64], shape: &[usize]) -> Tensor {
    let bytes: Vec<u8> = v.iter().flat_map(|x| x.to_ne_bytes()).collect();
    Tensor::from_bytes(&bytes, shape, DType::F64, Device::Cpu).unwrap()
}

/// Numbers without order in [-1, 1], no two alike.
fn wild(shape: &[usize], seed: usize) -> Tensor {
    let n: usize = shape.iter().product();
    let v: Vec<f64> = (0..n).map(|i| ((i + 7 * seed + 1) as f64 * 0.618033988749).fract() * 2.0 - 1.0).collect();
    f64s(&v, shape)
}

fn ints(v: &[i64], shape: &[usize]) -> Tensor {
    let bytes: Vec<u8> = v.iter().flat_map(|x| x.to_ne_bytes()).collect();
    Tensor::from_bytes(&bytes, shape, DType::I64, Device::Cpu).unwrap()
}

fn doubles(t: &Tensor) -> Vec<f64> {
    let t = ops::convert::to_dtype(&t.detach(), DType::F64).unwrap();
    t.to_bytes().unwrap().chunks(8).map(|c| f64::from_ne_bytes(c.try_into().unwrap())).collect()
}

/// Sum of the elements, each times a number of its own.
fn probe(y: &Tensor) -> Tensor {
    let flat = shape::reshape(y, &[-1]).unwrap();
    ops::linalg::dot(&flat, &wild(&flat.shape(), 3)).unwrap()
}

fn total(y: &Tensor) -> Tensor {
    let flat = shape::reshape(y, &[-1]).unwrap();
    ops::linalg::dot(&flat, &ops::factory::full_like(&flat.detach(), 1.into()).unwrap()).unwrap()
}

/// Compares the gradient of every input with central differences.
fn check(name: &str, inputs: &[Tensor], f: impl Fn(&[Tensor]) -> Result<Tensor>) {
    let leaves: Vec<Tensor> = inputs.iter().map(|t| leaf(shape::clone(t).unwrap())).collect();
    backward(&probe(&f(&leaves).unwrap()));
    for (k, l) in leaves.iter().enumerate() {
        let got = doubles(&l.grad().unwrap_or_else(|| panic!("{name}: input {k} got no gradient")));
        let at = doubles(&inputs[k]);
        let h = 1e-6;
        for i in 0..at.len() {
            let value = |d: f64| {
                let mut v = at.clone();
                v[i] += d;
                let mut all: Vec<Tensor> = inputs.to_vec();
                all[k] = f64s(&v, &inputs[k].shape());
                doubles(&probe(&f(&all).unwrap()))[0]
            };
            let want = (value(h) - value(-h)) / (2.0 * h);
            assert!((want - got[i]).abs() < 1e-5 * (1.0 + want.abs()), "{name}: input {k}[{i}]: {} for {want}", got[i]);
        }
    }
}

#[test]
fn activations_have_their_derivatives() {
    let _g = alone(Mode::Default);
    let x = f64s(&[-7.0, -3.5, -2.0, -0.6, -0.2, 0.3, 0.7, 1.5, 3.4, 6.5, 30.0], &[11]);
    let all: Vec<(&str, fn(&Tensor) -> Result<Tensor>)> = vec![
        ("relu", |x| activation::relu(x, None)),
        ("leaky_relu", |x| activation::leaky_relu(x, 0.1, None)),
        ("elu", |x| activation::elu(x, 1.3, 1.0, 1.0, None)),
        ("selu", |x| activation::selu(x, None)),
        ("celu", |x| activation::celu(x, 0.7, None)),
        ("silu", |x| activation::silu(x, None)),
        ("gelu", |x| activation::gelu(x, "none")),
        ("gelu tanh", |x| activation::gelu(x, "tanh")),
        ("mish", |x| activation::mish(x, None)),
        ("softplus", |x| activation::softplus(x, 1.5, 20.0)),
        ("log_sigmoid", activation::log_sigmoid),
        ("hardtanh", |x| activation::hardtanh(x, (-1.0).into(), 1.0.into(), None)),
        ("hardswish", |x| activation::hardswish(x, None)),
        ("hardsigmoid", |x| activation::hardsigmoid(x, None)),
        ("hardshrink", |x| activation::hardshrink(x, 0.5)),
        ("softshrink", |x| activation::softshrink(x, 0.5)),
        ("threshold", |x| activation::threshold(x, 0.5.into(), 9.0.into(), None)),
    ];
    for (name, f) in all {
        check(name, std::slice::from_ref(&x), |t| f(&t[0]));
    }
    check("prelu", &[wild(&[2, 3, 2], 0), wild(&[3], 1)], |t| activation::prelu(&t[0], &t[1]));
    check("glu", &[wild(&[2, 6], 0)], |t| activation::glu(&t[0], -1));
}

#[test]
fn kinks_have_pytorchs_subgradient() {
    let _g = alone(Mode::Default);
    let at = |v: f64, f: &dyn Fn(&Tensor) -> Result<Tensor>| {
        let x = leaf(f64s(&[v], &[1]));
        backward(&total(&f(&x).unwrap()));
        doubles(&x.grad().unwrap())[0]
    };
    assert_eq!(at(0.0, &|x| activation::relu(x, None)), 0.0);
    assert_eq!(at(0.0, &|x| activation::leaky_relu(x, 0.25, None)), 0.25);
    assert_eq!(at(1.0, &|x| activation::hardtanh(x, (-1.0).into(), 1.0.into(), None)), 0.0);
    assert_eq!(at(0.0, &|x| activation::log_sigmoid(x)), 0.5);
    // exp of a large positive number is not computed
    assert_eq!(at(1000.0, &|x| activation::elu(x, 1.0, 1.0, 1.0, None)), 1.0);
    assert_eq!(at(1000.0, &|x| activation::mish(x, None)), 1.0);
}

#[test]
fn relu_in_place_needs_no_copy_for_backward() {
    let _g = alone(Mode::Default);
    let x = leaf(iota(&[8]));
    let y = mul(&x, 1.0);
    let y = ops::add(&y, &y).unwrap();
    activation::relu(&y, Some(&y)).unwrap();
    assert_eq!(cow(), 0);
    backward(&total(&y));
    assert_eq!(values(&x.grad().unwrap()), [0.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0]);
}

#[test]
fn padding_and_its_gradient() {
    let _g = alone(Mode::Default);
    let x = iota(&[1, 2, 3]);
    let y = pad::pad(&x, &[1, -1], "constant", Some(9.0)).unwrap();
    assert_eq!(values(&y), [9.0, 0.0, 1.0, 9.0, 3.0, 4.0]);
    let y = pad::pad(&x, &[2, 1], "reflect", None).unwrap();
    assert_eq!(values(&y)[..6], [2.0, 1.0, 0.0, 1.0, 2.0, 1.0]);
    let y = pad::pad(&x, &[1, 1], "circular", None).unwrap();
    assert_eq!(values(&y)[..5], [2.0, 0.0, 1.0, 2.0, 0.0]);
    let x = wild(&[1, 2, 3, 3], 1);
    for mode in ["reflect", "replicate", "circular"] {
        check(mode, std::slice::from_ref(&x), |t| pad::pad(&t[0], &[1, 2, 2, 1], mode, None));
    }
    check("constant", &[x], |t| pad::pad(&t[0], &[1, -1, 2, 0], "constant", Some(3.0)));
}

fn plain_conv(dims: usize) -> conv::Conv {
    conv::Conv { dims, stride: vec![1], padding: conv::Padding::Sizes(vec![0]), dilation: vec![1], groups: 1 }
}

#[test]
fn folds_are_each_others_gradient() {
    let _g = alone(Mode::Default);
    let x = wild(&[2, 3, 4, 5], 2);
    check("unfold", &[x], |t| conv::unfold(&t[0], &[2, 3], &[1], &[1, 0], &[2, 1]));
    let cols = wild(&[1, 12, 4], 1);
    check("fold", &[cols], |t| conv::fold(&t[0], &[3, 3], &[2, 2], &[1], &[0], &[1]));
    let one = ops::factory::ones(&[1, 4, 4], DType::F32, Device::Cpu).unwrap();
    let y = conv::fold(&one, &[3, 3], &[2, 2], &[1], &[0], &[1]).unwrap();
    assert_eq!(values(&y), [1.0, 2.0, 1.0, 2.0, 4.0, 2.0, 1.0, 2.0, 1.0]);
}

/// Every mode of sampling: the kernel's values are those of the composition, its gradients central differences.
#[test]
fn samples_and_their_gradients() {
    use rtorch_ir::prim::{SampleMode as M, SamplePadding as P, SampleParams};
    let modes = [M::Bilinear, M::Nearest, M::Bicubic];
    let paddings = [P::Zeros, P::Border, P::Reflection];
    for kind in 0..18 {
        let (m, p, align_corners) = (kind % 3, kind / 3 % 3, kind / 9 == 1);
        let params = SampleParams { mode: modes[m], padding: paddings[p], align_corners };
        for (image, places) in [(&[2, 3, 4, 5][..], &[2, 3, 7, 2][..]), (&[2, 2, 3, 4, 2], &[2, 1, 3, 4, 3])] {
            if m == 2 && image.len() == 5 {
                continue;
            }
            let x = wild(image, 1);
            // a third of the places lies outside
            let grid = ops::mul_scalar(&wild(places, 5), 1.5).unwrap();
            let run = |t: &[Tensor]| sample::grid_sample(&t[0], &t[1], [m as i64, p as i64], align_corners);
            let (have, want) = (run(&[x.clone(), grid.clone()]).unwrap(), sample::sampled(&x, &grid, params).unwrap());
            for (a, b) in doubles(&have).iter().zip(doubles(&want)) {
                assert!((a - b).abs() < 1e-12, "{params:?}: {a} instead of {b}");
            }
            check(&format!("{params:?}"), &[x, grid], run);
        }
    }
}

#[test]
fn one_hot_and_shuffles() {
    let _g = alone(Mode::Default);
    let y = conv::one_hot(&ints(&[2, 0], &[2]), -1).unwrap();
    assert_eq!(doubles(&y), [0.0, 0.0, 1.0, 1.0, 0.0, 0.0]);
    assert!(conv::one_hot(&ints(&[3], &[1]), 2).is_err());
    let x = iota(&[1, 4, 1, 2]);
    let y = pool::pixel_shuffle(&x, 2).unwrap();
    assert_eq!(values(&y), [0.0, 2.0, 1.0, 3.0, 4.0, 6.0, 5.0, 7.0]);
    assert_eq!(values(&pool::pixel_unshuffle(&y, 2).unwrap()), values(&x));
}

#[test]
fn embedding_gradients_skip_the_padding_and_divide_by_frequency() {
    let _g = alone(Mode::Default);
    let w = leaf(iota(&[4, 2]));
    let i = ints(&[1, 1, 2, 3], &[4]);
    let y = embedding::embedding(&w, &i, 2, true).unwrap();
    assert_eq!(values(&y), [2.0, 3.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]);
    backward(&total(&y));
    assert_eq!(values(&w.grad().unwrap()), [0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0, 1.0]);
}

#[test]
fn the_cpus_draws_are_pytorchs() {
    let _g = alone(Mode::Default);
    random::manual_seed(0);
    let draw = random::Draw { dtype: DType::F32, device: Device::Cpu, generator: None };
    let got = values(&random::rand(&[3], &draw).unwrap());
    for (a, b) in got.iter().zip([0.4963, 0.7682, 0.0885]) {
        assert!((a - b).abs() < 1e-4, "{got:?}");
    }
    random::manual_seed(0);
    let got = doubles(&random::randperm(5, DType::I64, Device::Cpu, None).unwrap());
    assert_eq!(got, [4.0, 0.0, 1.0, 3.0, 2.0]);
    let state = random::default_generator(Device::Cpu).get_state();
    let a = values(&random::randn(&[4], &draw).unwrap());
    random::default_generator(Device::Cpu).set_state(&state).unwrap();
    assert_eq!(values(&random::randn(&[4], &draw).unwrap()), a);
}

#[test]
fn classes_out_of_range_are_refused_at_once() {
    let _g = alone(Mode::Default);
    let x = wild(&[2, 3], 1);
    let e = loss::nll_loss(&x, &ints(&[0, 3], &[2]), None, loss::Reduction::Mean, -100).err().unwrap();
    assert_eq!(e.message, "Target 3 is out of bounds.");
    let c = plain_conv(2);
    let e = conv::conv(&wild(&[1, 2, 4, 4], 0), &wild(&[1, 3, 2, 2], 0), None, &c).err().unwrap();
    assert!(e.message.contains("to have 3 channels, but got 2 channels instead"), "{}", e.message);
}

/// What the kernels of other files must be there for.
mod fused {
    use super::*;

    #[test]
    fn losses() {
        let _g = alone(Mode::Default);
        let t = ints(&[2, 0, -100, 1], &[4]);
        for reduction in [loss::Reduction::None, loss::Reduction::Mean, loss::Reduction::Sum] {
            for smoothing in [0.0, 0.2] {
                check("cross_entropy", &[wild(&[4, 3], 1)], |x| {
                    loss::cross_entropy(&x[0], &t, None, reduction, -100, smoothing)
                });
                let w = f64s(&[0.5, 1.0, 2.0], &[3]);
                check("weighted", &[wild(&[4, 3], 1)], |x| {
                    loss::cross_entropy(&x[0], &t, Some(&w), reduction, -100, smoothing)
                });
            }
        }
        let p = f64s(&[0.2, 0.3, 0.5, 0.1, 0.1, 0.8], &[2, 3]);
        check("probabilities", &[wild(&[2, 3], 1), p], |x| {
            loss::cross_entropy(&x[0], &x[1], None, loss::Reduction::Mean, -100, 0.1)
        });
    }

    #[test]
    fn norms() {
        let _g = alone(Mode::Default);
        let (w, b) = (wild(&[4], 5), wild(&[4], 6));
        let x = wild(&[3, 4], 1);
        check("layer_norm", &[x.clone(), w.clone(), b.clone()], |t| {
            norm::layer_norm(&t[0], &[4], Some(&t[1]), Some(&t[2]), 1e-5)
        });
        check("rms_norm", &[x, w.clone()], |t| norm::rms_norm(&t[0], &[4], Some(&t[1]), Some(1e-5)));
        let x = wild(&[2, 4, 3], 1);
        check("group_norm", &[x.clone(), w.clone(), b.clone()], |t| {
            norm::group_norm(&t[0], 2, Some(&t[1]), Some(&t[2]), 1e-5)
        });
        let (mean, var) = (wild(&[4], 8), ops::unary(rtorch_core::ScalarOp::Abs, &wild(&[4], 9)).unwrap());
        for training in [true, false] {
            check("batch_norm", &[x.clone(), w.clone(), b.clone()], |t| {
                let (m, v) = (shape::clone(&mean).unwrap(), shape::clone(&var).unwrap());
                norm::batch_norm(
                    &t[0],
                    &norm::BatchNorm {
                        mean: Some(&m),
                        var: Some(&v),
                        weight: Some(&t[1]),
                        bias: Some(&t[2]),
                        training,
                        momentum: 0.1,
                        eps: 1e-5,
                    },
                )
            });
        }
    }

    #[test]
    fn convolutions() {
        let _g = alone(Mode::Default);
        let c = conv::Conv {
            stride: vec![2, 1],
            padding: conv::Padding::Sizes(vec![1, 0]),
            dilation: vec![1, 2],
            groups: 2,
            ..plain_conv(2)
        };
        check("conv2d", &[wild(&[2, 4, 5, 5], 1), wild(&[6, 2, 3, 2], 2), wild(&[6], 3)], |t| {
            conv::conv(&t[0], &t[1], Some(&t[2]), &c)
        });
        check("conv_transpose2d", &[wild(&[1, 4, 3, 3], 1), wild(&[4, 1, 3, 2], 2), wild(&[2], 3)], |t| {
            conv::conv_transpose(&t[0], &t[1], Some(&t[2]), &c, &[1, 0])
        });
        let same = conv::Conv { padding: conv::Padding::Same, ..plain_conv(1) };
        check("conv1d same", &[wild(&[2, 5], 1), wild(&[3, 2, 4], 2)], |t| conv::conv(&t[0], &t[1], None, &same));
    }

    #[test]
    fn pools() {
        let _g = alone(Mode::Default);
        let p = pool::Pool {
            dims: 2,
            kernel: vec![3, 2],
            stride: vec![2],
            padding: vec![1, 0],
            dilation: vec![1],
            ceil_mode: true,
        };
        let x = wild(&[1, 2, 5, 5], 1);
        check("max_pool2d", std::slice::from_ref(&x), |t| Ok(pool::max_pool(&t[0], &p)?.0));
        check("avg_pool2d", std::slice::from_ref(&x), |t| pool::avg_pool(&t[0], &p, false, None));
        check("adaptive_avg", std::slice::from_ref(&x), |t| pool::adaptive_avg_pool(&t[0], &[3, 2], 2));
        check("adaptive_max", std::slice::from_ref(&x), |t| Ok(pool::adaptive_max_pool(&t[0], &[3, 2], 2)?.0));
    }

    #[test]
    fn recurrent_layers() {
        use rtorch_core::ops::nn::rnn::{Mode as Cell, Weights, layer};
        let _g = alone(Mode::Default);
        for (mode, gates) in [(Cell::Tanh, 1), (Cell::Gru, 3), (Cell::Lstm, 4)] {
            for reverse in [false, true] {
                let n = gates * 2;
                let inputs = [
                    wild(&[3, 2, 3], 1),
                    wild(&[2, 2], 2),
                    wild(&[2, 2], 3),
                    wild(&[n, 3], 4),
                    wild(&[n, 2], 5),
                    wild(&[n], 6),
                    wild(&[n], 7),
                ];
                // c is an LSTM's only: the others see it in the sum
                check("rnn", &inputs, |t| {
                    let (bias_ih, bias_hh) = (Some(t[5].clone()), Some(t[6].clone()));
                    let w = Weights { ih: t[3].clone(), hh: t[4].clone(), bias_ih, bias_hh, hr: None };
                    let (y, h, c) = layer(mode, &t[0], &t[1], Some(&t[2]), &w, reverse)?;
                    let c = c.unwrap_or(t[2].clone());
                    shape::cat(&[shape::reshape(&y, &[-1])?, shape::reshape(&h, &[-1])?, shape::reshape(&c, &[-1])?], 0)
                });
            }
        }
    }

    #[test]
    fn attentions() {
        let _g = alone(Mode::Default);
        let plain = attention::Options { mask: None, dropout: 0.0, causal: false, scale: None, grouped: false };
        let (q, k, v) = (wild(&[1, 4, 3, 2], 1), wild(&[1, 2, 5, 2], 2), wild(&[1, 2, 5, 3], 4));
        let grouped = attention::Options { grouped: true, ..plain };
        check("grouped", &[q, k, v], |t| attention::attention(&t[0], &t[1], &t[2], &grouped));
        let (q, k, v) = (wild(&[2, 3, 2], 1), wild(&[2, 3, 2], 2), wild(&[2, 3, 2], 4));
        let causal = attention::Options { causal: true, scale: Some(0.7), ..plain };
        check("causal", &[q.clone(), k.clone(), v.clone()], |t| attention::attention(&t[0], &t[1], &t[2], &causal));
        check("masked", &[q, k, v, wild(&[3, 3], 5)], |t| {
            let o = attention::Options { mask: Some(&t[3]), ..plain };
            attention::attention(&t[0], &t[1], &t[2], &o)
        });
    }
}
