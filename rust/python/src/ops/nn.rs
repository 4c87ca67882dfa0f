//! Operators of neural networks: `rtorch._C._nn`, under the names and keywords of `torch.nn.functional`, and those that
//! are functions of `rtorch` as well. Recurrent layers and attention stand in `nn_layers.rs`.

use rtorch_core::ops::linalg;
use rtorch_core::ops::nn::{activation, conv, distance, dropout, embedding, loss, norm, pad, pool, sample};
use rtorch_core::{Result, Tensor};
use rtorch_ir::prim::CtcParams;

use crate::output::Out;
use crate::parse::Args;
use crate::registry::Registry;

pub fn register(r: &mut Registry) {
    softmaxes(r);
    activations(r);
    parametric(r);
    convolutions(r);
    transposed(r);
    pools(r);
    adaptive_pools(r);
    norms(r);
    native_norms(r);
    losses(r);
    others(r);
}

/// An entry of `_nn` and, with `public`, a function of `rtorch` too.
fn entry<F>(r: &mut Registry, name: &str, sigs: &[String], public: bool, f: F)
where
    F: Fn(&Args) -> Result<Out> + Send + Sync + Clone + 'static,
{
    r.op_named(name.into(), sigs.to_vec(), f.clone()).within("_nn");
    if public {
        r.op_named(name.into(), sigs.to_vec(), f).function_only();
    }
}

fn softmaxes(r: &mut Registry) {
    for (name, log) in [("softmax", false), ("log_softmax", true)] {
        let sig = format!("{name}(Tensor input, int dim, dtype? dtype=None)");
        r.op_named(
            name.into(),
            vec![sig],
            move |a| Ok(activation::softmax_in(a.t(0), a.i(1), log, a.dtype(2))?.into()),
        )
        .out();
    }
}

type Plain = fn(&Tensor, Option<&Tensor>) -> Result<Tensor>;

/// Activations without numbers, and their in-place forms.
fn activations(r: &mut Registry) {
    let all: [(&str, Plain); 6] = [
        ("relu", activation::relu),
        ("selu", activation::selu),
        ("silu", activation::silu),
        ("mish", activation::mish),
        ("hardswish", activation::hardswish),
        ("hardsigmoid", activation::hardsigmoid),
    ];
    for (name, f) in all {
        let public = matches!(name, "relu" | "selu");
        entry(r, name, &[format!("{name}(Tensor input)")], public, move |a| Ok(f(a.t(0), None)?.into()));
        let name = format!("{name}_");
        entry(r, &name, &[format!("{name}(Tensor input)")], public, move |a| Ok(f(a.t(0), Some(a.t(0)))?.into()));
    }
    r.op("relu", &["relu(Tensor input)"], |a| Ok(activation::relu(a.t(0), None)?.into())).method_only();
    r.op("relu_", &["relu_(Tensor input)"], |a| Ok(activation::relu(a.t(0), Some(a.t(0)))?.into())).method_only();
    for (name, sig) in [("log_sigmoid", "log_sigmoid(Tensor input)"), ("logsigmoid", "logsigmoid(Tensor input)")] {
        entry(r, name, &[sig.into()], false, |a| Ok(activation::log_sigmoid(a.t(0))?.into()));
    }
    entry(r, "gelu", &["gelu(Tensor input, *, str approximate='none')".into()], false, |a| {
        Ok(activation::gelu(a.t(0), a.str(1))?.into())
    });
}

/// A function of a tensor and numbers, written to the destination if there is one.
type Numbered = fn(&Args, Option<&Tensor>) -> Result<Tensor>;

fn parametric(r: &mut Registry) {
    let all: [(&str, &str, bool, Numbered); 5] = [
        ("leaky_relu", "float negative_slope=0.01", false, |a, d| activation::leaky_relu(a.t(0), a.f(1), d)),
        ("elu", "float alpha=1.0, float scale=1.0, float input_scale=1.0", false, |a, d| {
            activation::elu(a.t(0), a.f(1), a.f(2), a.f(3), d)
        }),
        ("celu", "float alpha=1.0", true, |a, d| activation::celu(a.t(0), a.f(1), d)),
        ("hardtanh", "Scalar min_val=-1.0, Scalar max_val=1.0", false, |a, d| {
            activation::hardtanh(a.t(0), a.s(1), a.s(2), d)
        }),
        ("threshold", "Scalar threshold, Scalar value", true, |a, d| activation::threshold(a.t(0), a.s(1), a.s(2), d)),
    ];
    for (name, params, public, f) in all {
        entry(r, name, &[format!("{name}(Tensor input, {params})")], public, move |a| Ok(f(a, None)?.into()));
        let name = format!("{name}_");
        entry(r, &name, &[format!("{name}(Tensor input, {params})")], public, move |a| Ok(f(a, Some(a.t(0)))?.into()));
    }
    entry(r, "softplus", &["softplus(Tensor input, float beta=1.0, float threshold=20.0)".into()], false, |a| {
        Ok(activation::softplus(a.t(0), a.f(1), a.f(2))?.into())
    });
    entry(r, "hardshrink", &["hardshrink(Tensor input, float lambd=0.5)".into()], true, |a| {
        Ok(activation::hardshrink(a.t(0), a.f(1))?.into())
    });
    r.op("hardshrink", &["hardshrink(Tensor input, float lambd=0.5)"], |a| {
        Ok(activation::hardshrink(a.t(0), a.f(1))?.into())
    })
    .method_only();
    entry(r, "softshrink", &["softshrink(Tensor input, float lambd=0.5)".into()], false, |a| {
        Ok(activation::softshrink(a.t(0), a.f(1))?.into())
    });
    entry(r, "prelu", &["prelu(Tensor input, Tensor weight)".into()], true, |a| {
        Ok(activation::prelu(a.t(0), a.t(1))?.into())
    });
    r.op("prelu", &["prelu(Tensor input, Tensor weight)"], |a| Ok(activation::prelu(a.t(0), a.t(1))?.into()))
        .method_only();
    entry(r, "glu", &["glu(Tensor input, int dim=-1)".into()], false, |a| Ok(activation::glu(a.t(0), a.i(1))?.into()));
}

fn convolutions(r: &mut Registry) {
    for dims in 1..=3usize {
        let name = format!("conv{dims}d");
        let head = format!("{name}(Tensor input, Tensor weight, Tensor? bias=None, int[1] stride=1, ");
        let sigs = [
            format!("{head}int[1] padding=0, int[1] dilation=1, int groups=1)"),
            format!("{head}str padding='valid', int[1] dilation=1, int groups=1)"),
        ];
        entry(r, &name, &sigs, true, move |a| {
            let padding = match (a.overload, a.opt_str(4)) {
                (0, _) => conv::Padding::Sizes(a.ints(4).to_vec()),
                (_, Some("same")) => conv::Padding::Same,
                (_, Some("valid")) => conv::Padding::Valid,
                (_, other) => {
                    return Err(rtorch_core::Error::runtime(format!(
                        "Invalid padding string: '{}'",
                        other.unwrap_or("")
                    )));
                }
            };
            let c =
                conv::Conv { dims, stride: a.ints(3).to_vec(), padding, dilation: a.ints(5).to_vec(), groups: a.i(6) };
            Ok(conv::conv(a.t(0), a.t(1), a.opt_t(2), &c)?.into())
        });
    }
}

fn transposed(r: &mut Registry) {
    for dims in 1..=3usize {
        let name = format!("conv_transpose{dims}d");
        let sig = format!(
            "{name}(Tensor input, Tensor weight, Tensor? bias=None, int[1] stride=1, int[1] padding=0, int[1] \
             output_padding=0, int groups=1, int[1] dilation=1)"
        );
        entry(r, &name, &[sig], true, move |a| {
            let c = conv::Conv {
                dims,
                stride: a.ints(3).to_vec(),
                padding: conv::Padding::Sizes(a.ints(4).to_vec()),
                dilation: a.ints(7).to_vec(),
                groups: a.i(6),
            };
            Ok(conv::conv_transpose(a.t(0), a.t(1), a.opt_t(2), &c, a.ints(5))?.into())
        });
    }
}

fn pools(r: &mut Registry) {
    for dims in 1..=3usize {
        let max = move |a: &Args| {
            let p = pool::Pool {
                dims,
                kernel: a.ints(1).to_vec(),
                stride: a.dims(2).to_vec(),
                padding: a.ints(3).to_vec(),
                dilation: a.ints(4).to_vec(),
                ceil_mode: a.b(5),
            };
            pool::max_pool(a.t(0), &p)
        };
        let params = "Tensor input, int[1] kernel_size, int[1]? stride=None, int[1] padding=0, int[1] dilation=1, \
                      bool ceil_mode=False";
        let name = format!("max_pool{dims}d");
        entry(r, &name, &[format!("{name}({params})")], true, move |a| Ok(max(a)?.0.into()));
        let name = format!("max_pool{dims}d_with_indices");
        entry(r, &name, &[format!("{name}({params})")], false, move |a| Ok(max(a)?.into()));
        let name = format!("avg_pool{dims}d");
        let sig = format!(
            "{name}(Tensor input, int[1] kernel_size, int[1]? stride=None, int[1] padding=0, bool ceil_mode=False, \
             bool count_include_pad=True, int? divisor_override=None)"
        );
        entry(r, &name, &[sig], dims == 1, move |a| {
            let p = pool::Pool {
                dims,
                kernel: a.ints(1).to_vec(),
                stride: a.dims(2).to_vec(),
                padding: a.ints(3).to_vec(),
                dilation: vec![1],
                ceil_mode: a.b(4),
            };
            Ok(pool::avg_pool(a.t(0), &p, a.b(5), a.opt_i(6))?.into())
        });
    }
}

fn adaptive_pools(r: &mut Registry) {
    for dims in 1..=3usize {
        let name = format!("adaptive_avg_pool{dims}d");
        entry(r, &name, &[format!("{name}(Tensor input, int[1] output_size)")], dims == 1, move |a| {
            Ok(pool::adaptive_avg_pool(a.t(0), a.ints(1), dims)?.into())
        });
        let name = format!("adaptive_max_pool{dims}d");
        entry(r, &name, &[format!("{name}(Tensor input, int[1] output_size)")], dims == 1, move |a| {
            Ok(pool::adaptive_max_pool(a.t(0), a.ints(1), dims)?.into())
        });
    }
    entry(r, "pixel_shuffle", &["pixel_shuffle(Tensor input, int upscale_factor)".into()], true, |a| {
        Ok(pool::pixel_shuffle(a.t(0), a.i(1))?.into())
    });
    entry(r, "pixel_unshuffle", &["pixel_unshuffle(Tensor input, int downscale_factor)".into()], true, |a| {
        Ok(pool::pixel_unshuffle(a.t(0), a.i(1))?.into())
    });
}

fn batch_norm(a: &Args, stats: [usize; 4]) -> Result<Out> {
    Ok(norm::batch_norm(a.t(0), &norm_args(a, stats))?.into())
}

/// Where running mean and variance, weight and bias stand.
fn norm_args<'a>(a: &'a Args, stats: [usize; 4]) -> norm::BatchNorm<'a> {
    norm::BatchNorm {
        mean: a.opt_t(stats[0]),
        var: a.opt_t(stats[1]),
        weight: a.opt_t(stats[2]),
        bias: a.opt_t(stats[3]),
        training: a.b(5),
        momentum: a.f(6),
        eps: a.f(7),
    }
}

fn norms(r: &mut Registry) {
    let sig = "layer_norm(Tensor input, int[] normalized_shape, Tensor? weight=None, Tensor? bias=None, float \
    eps=1e-05, bool cudnn_enable=True)";
    entry(r, "layer_norm", &[sig.into()], true, |a| {
        Ok(norm::layer_norm(a.t(0), a.ints(1), a.opt_t(2), a.opt_t(3), a.f(4))?.into())
    });
    let sig = "group_norm(Tensor input, int num_groups, Tensor? weight=None, Tensor? bias=None, float eps=1e-05, bool \
               cudnn_enabled=True)";
    entry(r, "group_norm", &[sig.into()], true, |a| {
        Ok(norm::group_norm(a.t(0), a.i(1), a.opt_t(2), a.opt_t(3), a.f(4))?.into())
    });
    let sig = "rms_norm(Tensor input, int[] normalized_shape, Tensor? weight=None, float? eps=None)";
    entry(
        r,
        "rms_norm",
        &[sig.into()],
        true,
        |a| Ok(norm::rms_norm(a.t(0), a.ints(1), a.opt_t(2), a.opt_f(3))?.into()),
    );
    // the functional form and torch's own put the arguments in different orders
    let sig = "batch_norm(Tensor input, Tensor? running_mean, Tensor? running_var, Tensor? weight=None, Tensor? \
    bias=None, bool training=False, float momentum=0.1, float eps=1e-05)";
    r.op("batch_norm", &[sig], |a| batch_norm(a, [1, 2, 3, 4])).within("_nn");
    let sig = "batch_norm(Tensor input, Tensor? weight, Tensor? bias, Tensor? running_mean, Tensor? running_var, bool \
               training, float momentum, float eps, bool cudnn_enabled)";
    r.op("batch_norm", &[sig], |a| batch_norm(a, [3, 4, 1, 2])).function_only();
}

/// The forms that answer the statistics too.
fn native_norms(r: &mut Registry) {
    let sig = "native_layer_norm(Tensor input, int[] normalized_shape, Tensor? weight, Tensor? bias, float eps)";
    r.op("native_layer_norm", &[sig], |a| {
        Ok(norm::native_layer_norm(a.t(0), a.ints(1), a.opt_t(2), a.opt_t(3), a.f(4))?.to_vec().into())
    })
    .function_only();
    let sig =
        "native_group_norm(Tensor input, Tensor? weight, Tensor? bias, int N, int C, int HxW, int group, float eps)";
    r.op("native_group_norm", &[sig], |a| {
        Ok(norm::native_group_norm(a.t(0), a.i(6), a.opt_t(1), a.opt_t(2), a.f(7))?.to_vec().into())
    })
    .function_only();
    let sig = "native_batch_norm(Tensor input, Tensor? weight, Tensor? bias, Tensor? running_mean, Tensor? \
    running_var, bool training, float momentum, float eps)";
    r.op("native_batch_norm", &[sig], |a| {
        let p = norm_args(a, [3, 4, 1, 2]);
        Ok(norm::native_batch_norm(a.t(0), &p)?.to_vec().into())
    })
    .function_only();
}

fn losses(r: &mut Registry) {
    let sig = "cross_entropy_loss(Tensor input, Tensor target, Tensor? weight=None, str reduction='mean', int \
               ignore_index=-100, float label_smoothing=0.0)";
    r.op("cross_entropy_loss", &[sig], |a| {
        let reduction = loss::Reduction::from_name(a.str(3))?;
        Ok(loss::cross_entropy(a.t(0), a.t(1), a.opt_t(2), reduction, a.i(4), a.f(5))?.into())
    })
    .within("_nn");
    let sig = "nll_loss(Tensor input, Tensor target, Tensor? weight=None, str reduction='mean', int ignore_index=-100)";
    r.op("nll_loss", &[sig], |a| {
        let reduction = loss::Reduction::from_name(a.str(3))?;
        Ok(loss::nll_loss(a.t(0), a.t(1), a.opt_t(2), reduction, a.i(4))?.into())
    })
    .within("_nn");
}

fn others(r: &mut Registry) {
    r.op("linear", &["linear(Tensor input, Tensor weight, Tensor? bias=None)"], |a| {
        Ok(linalg::linear(a.t(0), a.t(1), a.opt_t(2))?.into())
    })
    .within("_nn");
    let sig = "bilinear(Tensor input1, Tensor input2, Tensor weight, Tensor? bias=None)";
    entry(r, "bilinear", &[sig.into()], true, |a| Ok(conv::bilinear(a.t(0), a.t(1), a.t(2), a.opt_t(3))?.into()));
    let sig = "embedding(Tensor weight, Tensor indices, int padding_idx=-1, bool scale_grad_by_freq=False, bool \
    sparse=False)";
    entry(r, "embedding", &[sig.into()], true, |a| Ok(embedding::embedding(a.t(0), a.t(1), a.i(2), a.b(3))?.into()));
    let sig = "embedding_renorm_(Tensor weight, Tensor indices, float max_norm, float norm_type=2.0)";
    entry(r, "embedding_renorm_", &[sig.into()], true, |a| {
        embedding::embedding_renorm_(a.t(0), a.t(1), a.f(2), a.f(3))?;
        Ok(a.t(0).clone().into())
    });
    r.op("dropout", &["dropout(Tensor input, float p=0.5, bool training=True)"], |a| {
        Ok(dropout::dropout(a.t(0), a.f(1), a.b(2))?.into())
    })
    .within("_nn");
    r.op("dropout", &["dropout(Tensor input, float p, bool train)"], |a| {
        Ok(dropout::dropout(a.t(0), a.f(1), a.b(2))?.into())
    })
    .function_only();
    let sig = "pad(Tensor input, int[] pad, str mode='constant', float? value=None)";
    r.op("pad", &[sig], |a| Ok(pad::pad(a.t(0), a.ints(1), a.str(2), a.opt_f(3))?.into())).within("_nn");
    r.op("constant_pad_nd", &["constant_pad_nd(Tensor input, int[] pad, Scalar value=0)"], |a| {
        Ok(pad::constant(a.t(0), a.ints(1), a.s(2))?.into())
    })
    .function_only();
    samplers(r);
    r.op("one_hot", &["one_hot(Tensor tensor, int num_classes=-1)"], |a| Ok(conv::one_hot(a.t(0), a.i(1))?.into()))
        .within("_nn");
    let sig = "unfold(Tensor input, int[1] kernel_size, int[1] dilation=1, int[1] padding=0, int[1] stride=1)";
    r.op("unfold", &[sig], |a| Ok(conv::unfold(a.t(0), a.ints(1), a.ints(2), a.ints(3), a.ints(4))?.into()))
        .within("_nn");
    let sig = "fold(Tensor input, int[1] output_size, int[1] kernel_size, int[1] dilation=1, int[1] padding=0, int[1] \
    stride=1)";
    r.op("fold", &[sig], |a| Ok(conv::fold(a.t(0), a.ints(1), a.ints(2), a.ints(3), a.ints(4), a.ints(5))?.into()))
        .within("_nn");
}

/// What `cdist`, `pdist`, `embedding_bag`, `grid_sample`, `interpolate` and `ctc_loss` do once their arguments are
/// checked.
fn samplers(r: &mut Registry) {
    let sig = "_embedding_bag(Tensor weight, Tensor index, Tensor offsets, Tensor? per_sample_weights, bool mean, int \
    padding_idx)";
    r.op("_embedding_bag", &[sig], |a| {
        Ok(embedding::embedding_bag(a.t(0), a.t(1), a.t(2), a.opt_t(3), a.b(4), a.i(5))?.into())
    })
    .within("_nn");
    let sig = "_ctc_loss(Tensor log_probs, Tensor labels, Tensor table, int blank, int steps, int width, bool \
    zero_infinity)";
    r.op("_ctc_loss", &[sig], |a| {
        let size = |i: usize| usize::try_from(a.i(i)).unwrap_or(0);
        let p = CtcParams { blank: size(3), steps: size(4), width: size(5), zero_infinity: a.b(6) };
        Ok(loss::ctc_loss(a.t(0), a.t(1), a.t(2), p)?.into())
    })
    .within("_nn");
    let sig = "_grid_sample(Tensor input, Tensor grid, int mode, int padding_mode, bool align_corners)";
    r.op("_grid_sample", &[sig], |a| Ok(sample::grid_sample(a.t(0), a.t(1), [a.i(2), a.i(3)], a.b(4))?.into()))
        .within("_nn");
    r.op("_distance", &["_distance(Tensor x1, Tensor x2, float p, bool upper)"], |a| {
        let name = if a.b(3) { "PdistBackward0" } else { "CdistBackward0" };
        Ok(distance::distance(name, a.t(0), a.t(1), a.f(2), a.b(3))?.into())
    })
    .within("_nn");
    let sig = "_resize(Tensor input, int[] size, bool align_corners, bool cubic, float? step1=None, float? step2=None, \
    float? step3=None)";
    r.op("_resize", &[sig], |a| {
        let steps = [a.opt_f(4), a.opt_f(5), a.opt_f(6)];
        Ok(sample::resize(a.t(0), a.ints(1), &steps, a.b(2), a.b(3))?.into())
    })
    .within("_nn");
}
