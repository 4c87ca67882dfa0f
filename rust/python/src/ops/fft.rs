//! Fourier transforms as `_C._fft`; `rtorch.fft` is their Python front.

use rtorch_core::ops::fft;

use crate::registry::Registry;

const MODULE: &str = "_fft";

pub fn register(r: &mut Registry) {
    r.op("c2c", &["c2c(Tensor input, int[] dim, float scale, bool forward)"], |a| {
        Ok(fft::c2c(a.t(0), a.ints(1), a.f(2), a.b(3))?.into())
    })
    .within(MODULE);
    r.op("r2c", &["r2c(Tensor input, int[] dim, float scale)"], |a| Ok(fft::r2c(a.t(0), a.ints(1), a.f(2))?.into()))
        .within(MODULE);
    r.op("c2r", &["c2r(Tensor input, int[] dim, float scale, int n)"], |a| {
        rtorch_ir::ensure!(a.i(3) > 0, runtime, "Invalid number of data points ({}) specified", a.i(3));
        Ok(fft::c2r(a.t(0), a.ints(1), a.f(2), a.i(3) as usize)?.into())
    })
    .within(MODULE);
}
