//! Attention and recurrent layers of `rtorch._C._nn`.

use rtorch_core::ops::nn::{attention, rnn};

use crate::output::Out;
use crate::registry::Registry;

pub fn register(r: &mut Registry) {
    let sig = "scaled_dot_product_attention(Tensor query, Tensor key, Tensor value, Tensor? attn_mask=None, \
               float dropout_p=0.0, bool is_causal=False, *, float? scale=None, bool enable_gqa=False)";
    r.op("scaled_dot_product_attention", &[sig], |a| {
        let o = attention::Options {
            mask: a.opt_t(3),
            dropout: a.f(4),
            causal: a.b(5),
            scale: a.opt_f(6),
            grouped: a.b(7),
        };
        Ok(attention::attention(a.t(0), a.t(1), a.t(2), &o)?.into())
    })
    .within("_nn");
    let sig = "rnn_layer(str mode, Tensor input, Tensor hx, Tensor? cx, Tensor w_ih, Tensor w_hh, Tensor? b_ih, \
               Tensor? b_hh, Tensor? w_hr, bool reverse)";
    r.op("rnn_layer", &[sig], |a| {
        let w = rnn::Weights {
            ih: a.t(4).clone(),
            hh: a.t(5).clone(),
            bias_ih: a.opt_t(6).cloned(),
            bias_hh: a.opt_t(7).cloned(),
            hr: a.opt_t(8).cloned(),
        };
        let mode = rnn::Mode::from_name(a.str(0))?;
        let (y, h, c) = rnn::layer(mode, a.t(1), a.t(2), a.opt_t(3), &w, a.b(9))?;
        Ok(Out::OptTensors(vec![Some(y), Some(h), c]))
    })
    .within("_nn");
}
