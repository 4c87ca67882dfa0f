//! Random numbers: tensors of draws, in-place draws, samples.

use rtorch_core::ops::pointwise::default_dtype;
use rtorch_core::ops::random::{self, Distribution, Draw, fill, fill_};
use rtorch_core::{DType, Result, Tensor};

use crate::device::default_device;
use crate::output::Out;
use crate::parse::Args;
use crate::registry::Registry;

/// Keyword arguments of all factories, after `generator`.
const OPTIONS: &str = "generator? generator=None, dtype? dtype=None, layout? layout=None, device? device=None, \
                       bool? pin_memory=False, bool? requires_grad=False";

/// The draw that the options from `at` on ask for; `like` gives what is not said.
fn draw<'a>(a: &'a Args, at: usize, fallback: DType, like: Option<&Tensor>) -> Draw<'a> {
    Draw {
        dtype: a.dtype(at + 1).unwrap_or(fallback),
        device: a.device(at + 3).unwrap_or_else(|| like.map_or_else(default_device, Tensor::device)),
        generator: a.generator(at),
    }
}

fn with_grad(t: Tensor, a: &Args, at: usize) -> Result<Out> {
    if a.opt_b(at + 5) == Some(true) {
        t.set_requires_grad(true)?;
    }
    Ok(t.into())
}

pub fn register(r: &mut Registry) {
    factories(r);
    likes(r);
    in_place(r);
    samples(r);
    variates(r);
}

fn factories(r: &mut Registry) {
    for (name, f) in [("rand", random::rand as fn(&[i64], &Draw) -> Result<Tensor>), ("randn", random::randn)] {
        r.op_named(name.into(), vec![format!("{name}(int[] size, *, {OPTIONS})")], move |a| {
            with_grad(f(a.ints(0), &draw(a, 1, default_dtype(), None))?, a, 1)
        })
        .function_only()
        .out();
    }
    let sigs = vec![
        format!("randint(int high, int[] size, *, {OPTIONS})"),
        format!("randint(int low, int high, int[] size, *, {OPTIONS})"),
    ];
    r.op_named("randint".into(), sigs, |a| {
        let (low, high, size, at) = match a.overload {
            0 => (0, a.i(0), a.ints(1), 2),
            _ => (a.i(0), a.i(1), a.ints(2), 3),
        };
        with_grad(random::randint(low, high, size, &draw(a, at, DType::I64, None))?, a, at)
    })
    .function_only()
    .out();
    r.op_named("randperm".into(), vec![format!("randperm(int n, *, {OPTIONS})")], |a| {
        let d = draw(a, 1, DType::I64, None);
        with_grad(random::randperm(a.i(0), d.dtype, d.device, d.generator)?, a, 1)
    })
    .function_only()
    .out();
}

fn likes(r: &mut Registry) {
    let tail = format!("*, {OPTIONS}, memory_format? memory_format=None)");
    let all =
        [("rand_like", random::rand_like as fn(&Tensor, &Draw) -> Result<Tensor>), ("randn_like", random::randn_like)];
    for (name, f) in all {
        r.op_named(name.into(), vec![format!("{name}(Tensor input, {tail}")], move |a| {
            with_grad(f(a.t(0), &draw(a, 1, a.t(0).dtype(), Some(a.t(0))))?, a, 1)
        })
        .function_only();
    }
    let sigs = vec![
        format!("randint_like(Tensor input, int high, {tail}"),
        format!("randint_like(Tensor input, int low, int high, {tail}"),
    ];
    r.op_named("randint_like".into(), sigs, |a| {
        let (low, high, at) = if a.overload == 0 { (0, a.i(1), 2) } else { (a.i(1), a.i(2), 3) };
        with_grad(random::randint_like(a.t(0), low, high, &draw(a, at, a.t(0).dtype(), Some(a.t(0))))?, a, at)
    })
    .function_only();
}

/// Draws into the first argument, and answers it.
fn filled(a: &Args, dist: &Distribution, generator: usize) -> Result<Out> {
    fill_(a.t(0), dist, a.generator(generator))?;
    Ok(a.t(0).clone().into())
}

fn in_place(r: &mut Registry) {
    let g = "*, generator? generator=None)";
    let mut two = |name: &str, p: &str, q: &str, f: fn(f64, f64) -> Distribution| {
        let sig = format!("{name}(Tensor input, float {p}, float {q}, {g}");
        r.op_named(name.into(), vec![sig], move |a| filled(a, &f(a.f(1), a.f(2)), 3)).method_only();
    };
    two("uniform_", "from=0", "to=1", |from, to| Distribution::Uniform { from, to });
    two("normal_", "mean=0", "std=1", |mean, std| Distribution::Normal { mean, std });
    two("log_normal_", "mean=1", "std=2", |mean, std| Distribution::LogNormal { mean, std });
    two("cauchy_", "median=0", "sigma=1", |median, sigma| Distribution::Cauchy { median, sigma });
    let mut one = |name: &str, p: &str, f: fn(f64) -> Distribution| {
        let sig = format!("{name}(Tensor input, float {p}, {g}");
        r.op_named(name.into(), vec![sig], move |a| filled(a, &f(a.f(1)), 2)).method_only();
    };
    one("exponential_", "lambd=1", |lambda| Distribution::Exponential { lambda });
    one("geometric_", "p", |p| Distribution::Geometric { p });
    let sigs =
        vec![format!("bernoulli_(Tensor input, Tensor p, {g}"), format!("bernoulli_(Tensor input, float p=0.5, {g}")];
    r.op_named("bernoulli_".into(), sigs, |a| {
        if a.overload == 0 {
            random::bernoulli_tensor_(a.t(0), a.t(1), a.generator(2))?;
            return Ok(a.t(0).clone().into());
        }
        filled(a, &Distribution::Bernoulli { p: a.f(1) }, 2)
    })
    .method_only();
    let sigs = vec![
        format!("random_(Tensor input, {g}"),
        format!("random_(Tensor input, int to, {g}"),
        format!("random_(Tensor input, int from, int? to, {g}"),
    ];
    r.op_named("random_".into(), sigs, |a| {
        let (from, to, generator) = match a.overload {
            0 => (None, None, 1),
            1 => (Some(0), Some(a.i(1)), 2),
            _ => (Some(a.i(1)), a.opt_i(2), 3),
        };
        filled(a, &fill::range(from, to, a.t(0).dtype())?, generator)
    })
    .method_only();
}

fn samples(r: &mut Registry) {
    use random::Moment::{Each, Number};
    let g = "*, generator? generator=None)";
    let sigs = vec![
        format!("normal(Tensor mean, Tensor std, {g}"),
        format!("normal(Tensor mean, float std=1, {g}"),
        format!("normal(float mean, Tensor std, {g}"),
        format!("normal(float mean, float std, int[] size, *, {OPTIONS})"),
    ];
    r.op_named("normal".into(), sigs, |a| {
        let (mean, std) = match a.overload {
            0 => (Each(a.t(0)), Each(a.t(1))),
            1 => (Each(a.t(0)), Number(a.f(1))),
            2 => (Number(a.f(0)), Each(a.t(1))),
            _ => {
                let d = draw(a, 3, default_dtype(), None);
                let shape = rtorch_core::ops::factory::checked_shape(a.ints(2))?;
                let t = Tensor::empty(&shape, d.dtype, d.device)?;
                fill_(&t, &Distribution::Normal { mean: a.f(0), std: a.f(1) }, d.generator)?;
                return with_grad(t, a, 3);
            }
        };
        Ok(random::normal(mean, std, a.generator(2))?.into())
    })
    .function_only()
    .out();
    let sigs = vec![format!("bernoulli(Tensor input, {g}"), format!("bernoulli(Tensor input, float p, {g}")];
    r.op_named("bernoulli".into(), sigs, |a| match a.overload {
        0 => Ok(random::bernoulli(a.t(0), None, a.generator(1))?.into()),
        _ => Ok(random::bernoulli(a.t(0), Some(a.f(1)), a.generator(2))?.into()),
    })
    .out();
    let sig = format!("multinomial(Tensor input, int num_samples, bool replacement=False, {g}");
    r.op_named("multinomial".into(), vec![sig], |a| {
        Ok(random::multinomial(a.t(0), a.i(1), a.b(2), a.generator(3))?.into())
    })
    .out();
}

/// Draws by rejection; `_standard_gamma` and `_sample_dirichlet` get their gradients in Python, and stand apart for it.
fn variates(r: &mut Registry) {
    use random::variate;
    r.op("poisson", &["poisson(Tensor input, generator? generator=None)"], |a| {
        Ok(variate::poisson(a.t(0), a.generator(1))?.into())
    })
    .function_only();
    r.op("binomial", &["binomial(Tensor count, Tensor prob, generator? generator=None)"], |a| {
        Ok(variate::binomial(a.t(0), a.t(1), a.generator(2))?.into())
    })
    .function_only();
    let sig = "standard_gamma(Tensor input, generator? generator=None)";
    r.op("standard_gamma", &[sig], |a| Ok(variate::standard_gamma(a.t(0), a.generator(1))?.into()))
        .function_only()
        .within("_random");
    let sig = "sample_dirichlet(Tensor input, generator? generator=None)";
    r.op("sample_dirichlet", &[sig], |a| Ok(variate::dirichlet(a.t(0), a.generator(1))?.into()))
        .function_only()
        .within("_random");
    r.op("_standard_gamma_grad", &["_standard_gamma_grad(Tensor input, Tensor output)"], |a| {
        Ok(variate::standard_gamma_grad(a.t(0), a.t(1))?.into())
    })
    .function_only();
    r.op("_dirichlet_grad", &["_dirichlet_grad(Tensor x, Tensor alpha, Tensor total)"], |a| {
        Ok(variate::dirichlet_grad(a.t(0), a.t(1), a.t(2))?.into())
    })
    .function_only();
}
