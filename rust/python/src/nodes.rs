//! What operators are called in the graph (`grad_fn.name()`) where the operators they are composed of, or the core,
//! say otherwise: one node with PyTorch's name stands before them (`rtorch_core::autograd::composite`). A name per
//! overload, the last one for all that follow; "" leaves an overload as it is. Python's own compositions ask here
//! too.

use pyo3::prelude::*;
use rtorch_core::Tensor;

use crate::tensor;

const NODES: &[(&str, &[&str])] = &[
    ("addbmm", &["AddbmmBackward0"]),
    ("addmv", &["AddmvBackward0"]),
    ("addr", &["AddrBackward0"]),
    ("alias_copy", &["AliasBackward0_copy"]),
    ("aminmax", &["AminmaxBackward0"]),
    ("as_strided_copy", &["AsStridedBackward0_copy"]),
    ("as_strided_scatter", &["AsStridedScatterBackward0"]),
    ("block_diag", &["BlockDiagBackward0"]),
    ("cdist", &["CdistBackward0"]),
    ("celu", &["CeluBackward0"]),
    ("cholesky", &["CholeskyBackward0"]),
    ("cholesky_inverse", &["CholeskyInverseBackward0"]),
    ("cholesky_solve", &["CholeskySolveBackward0"]),
    ("combinations", &["StackBackward0"]),
    ("cross", &["LinalgCrossBackward0"]),
    ("cummax", &["CummaxBackward0"]),
    ("cummin", &["CumminBackward0"]),
    ("cumprod", &["CumprodBackward0"]),
    ("cumsum", &["CumsumBackward0"]),
    ("diag_embed", &["DiagEmbedBackward0"]),
    ("diagflat", &["DiagEmbedBackward0"]),
    ("diagonal_copy", &["DiagonalBackward0_copy"]),
    ("diagonal_scatter", &["DiagonalScatterBackward0"]),
    ("dist", &["DistBackward0"]),
    ("expand_copy", &["ExpandBackward0_copy"]),
    ("fill", &["FillBackward0", "FillBackward1"]),
    ("flip", &["FlipBackward0"]),
    ("frexp", &["FrexpBackward0"]),
    ("gather", &["GatherBackward0"]),
    ("index_add", &["IndexAddBackward0"]),
    ("index_copy", &["IndexCopyBackward0"]),
    ("index_reduce", &["IndexReduceBackward0"]),
    ("index_select", &["IndexSelectBackward0"]),
    ("kron", &["UnsafeViewBackward0"]),
    ("kthvalue", &["KthvalueBackward0"]),
    ("linalg.cross", &["LinalgCrossBackward0"]),
    ("linalg.det", &["LinalgDetBackward0"]),
    ("linalg.householder_product", &["LinalgHouseholderProductBackward0"]),
    ("linalg.lstsq", &["LinalgLstsqBackward0"]),
    ("linalg.lu", &["LinalgLuBackward0"]),
    ("linalg.lu_solve", &["LinalgLuSolveBackward0"]),
    ("linalg.matrix_exp", &["LinalgMatrixExpBackward0"]),
    ("linalg.multi_dot", &["ViewBackward0"]),
    ("linalg.pinv", &["LinalgPinvBackward0"]),
    ("linalg.solve", &["LinalgSolveExBackward0"]),
    ("linalg.solve_ex", &["LinalgSolveExBackward0"]),
    ("linalg.tensorinv", &["ReshapeAliasBackward0"]),
    ("linalg.vecdot", &["VdotBackward0"]),
    ("linalg.vector_norm", &["LinalgVectorNormBackward0"]),
    ("logcumsumexp", &["LogcumsumexpBackward0"]),
    ("logsumexp", &["LogsumexpBackward0"]),
    ("lu_solve", &["LinalgLuSolveBackward0"]),
    ("lu_unpack", &["LuUnpackBackward0"]),
    ("masked_fill", &["MaskedFillBackward0", "MaskedFillBackward1"]),
    ("masked_scatter", &["MaskedScatterBackward0"]),
    ("masked_select", &["MaskedSelectBackward0"]),
    ("matrix_exp", &["LinalgMatrixExpBackward0"]),
    ("max", &["", "", "MaxBackward0"]),
    ("median", &["MedianBackward0", "MedianBackward1"]),
    ("min", &["", "", "MinBackward0"]),
    ("mode", &["ModeBackward0"]),
    ("msort", &["SortBackward0"]),
    ("mvlgamma", &["MvlgammaBackward0"]),
    ("nanmedian", &["NanmedianBackward0", "NanmedianBackward1"]),
    ("nansum", &["NansumBackward0"]),
    ("nanquantile", &["SqueezeBackward4"]),
    ("narrow_copy", &["NarrowCopyBackward0"]),
    ("native_group_norm", &["NativeGroupNormBackward0"]),
    ("nn.functional.adaptive_avg_pool1d", &["SqueezeBackward1"]),
    ("nn.functional.adaptive_max_pool1d", &["SqueezeBackward1"]),
    ("nn.functional.adaptive_max_pool2d", &["AdaptiveMaxPool2DBackward0"]),
    ("nn.functional.adaptive_max_pool3d", &["AdaptiveMaxPool3DBackward0"]),
    ("nn.functional.avg_pool1d", &["SqueezeBackward1"]),
    ("nn.functional.binary_cross_entropy", &["BinaryCrossEntropyBackward0"]),
    ("nn.functional.binary_cross_entropy_with_logits", &["BinaryCrossEntropyWithLogitsBackward0"]),
    ("nn.functional.celu", &["CeluBackward0"]),
    ("nn.functional.channel_shuffle", &["ChannelShuffleBackward0"]),
    ("nn.functional.embedding_bag", &["EmbeddingBagBackward0"]),
    ("nn.functional.fold", &["Col2ImBackward0"]),
    ("nn.functional.huber_loss", &["HuberLossBackward0"]),
    ("nn.functional.max_pool1d", &["SqueezeBackward1"]),
    ("nn.functional.max_unpool1d", &["SqueezeBackward1"]),
    ("nn.functional.max_unpool2d", &["MaxUnpool2DBackward0"]),
    ("nn.functional.max_unpool3d", &["MaxUnpool3DBackward0"]),
    ("nn.functional.mse_loss", &["MseLossBackward0"]),
    ("nn.functional.multi_margin_loss", &["MultiMarginLossBackward0"]),
    ("nn.functional.multilabel_margin_loss", &["MultilabelMarginLossBackward0"]),
    ("nn.functional.pairwise_distance", &["NormBackward1"]),
    ("nn.functional.pdist", &["PdistBackward0"]),
    ("nn.functional.pixel_shuffle", &["PixelShuffleBackward0"]),
    ("nn.functional.pixel_unshuffle", &["PixelUnshuffleBackward0"]),
    ("nn.functional.smooth_l1_loss", &["SmoothL1LossBackward0"]),
    ("nn.functional.soft_margin_loss", &["SoftMarginLossBackward0"]),
    ("nn.functional.unfold", &["Im2ColBackward0"]),
    ("orgqr", &["LinalgHouseholderProductBackward0"]),
    ("ormqr", &["OrmqrBackward0"]),
    ("permute_copy", &["PermuteBackward0_copy"]),
    ("pinverse", &["LinalgPinvBackward0"]),
    ("pixel_shuffle", &["PixelShuffleBackward0"]),
    ("pixel_unshuffle", &["PixelUnshuffleBackward0"]),
    ("polar", &["PolarBackward0"]),
    ("quantile", &["SqueezeBackward4"]),
    ("put", &["PutBackward0"]),
    ("renorm", &["RenormBackward0"]),
    ("repeat", &["RepeatBackward0"]),
    ("roll", &["RollBackward0"]),
    ("rot90", &["Rot90Backward0"]),
    ("round", &["", "RoundBackward1"]),
    ("rsub", &["RsubBackward0", "RsubBackward1"]),
    ("scatter", &["ScatterBackward0"]),
    ("scatter_add", &["ScatterAddBackward0"]),
    ("scatter_reduce", &["ScatterReduceBackward0"]),
    ("select_scatter", &["SelectScatterBackward0"]),
    ("sgn", &["SgnBackward0"]),
    ("slice_scatter", &["SliceScatterBackward0"]),
    ("sort", &["SortBackward0", "SortBackward1"]),
    ("squeeze", &["", "", "SqueezeBackward2"]),
    ("split_with_sizes_copy", &["SplitWithSizesBackward0_copy"]),
    ("stack", &["StackBackward0"]),
    ("std", &["StdBackward0"]),
    ("std_mean", &["StdMeanBackward0"]),
    ("t_copy", &["TBackward0_copy"]),
    ("take", &["TakeBackward0"]),
    ("topk", &["TopkBackward0"]),
    ("trace", &["TraceBackward0"]),
    ("transpose_copy", &["TransposeBackward0_copy"]),
    ("triangular_solve", &["TriangularSolveBackward0"]),
    ("tril", &["TrilBackward0"]),
    ("triu", &["TriuBackward0"]),
    ("unbind_copy", &["UnbindBackward0_copy"]),
    ("unfold_copy", &["UnfoldBackward0_copy"]),
    ("unsafe_chunk", &["UnsafeSplitBackward0"]),
    ("unsafe_split", &["UnsafeSplitBackward0"]),
    ("unsafe_split_with_sizes", &["UnsafeSplitWithSizesBackward0"]),
    ("unsqueeze_copy", &["UnsqueezeBackward0_copy"]),
    ("var", &["VarBackward0"]),
    ("vdot", &["VdotBackward0"]),
    ("view_copy", &["ViewBackward0_copy"]),
];

/// The names of an operator's node, none where it is what it is made of.
pub fn of(op: &str) -> &'static [&'static str] {
    NODES.iter().find(|n| n.0 == op).map_or(&[], |n| n.1)
}

/// The names of the node of a composition written in Python: of one tensor, of several; None where it has none.
#[pyfunction]
fn _node_name(op: &str) -> Option<(&'static str, &'static str)> {
    let names = of(op);
    Some((names.first()?, names.last()?))
}

/// Makes results, just computed from these tensors, the outputs of one node.
#[pyfunction]
fn _one_node(name: &str, inputs: &Bound<'_, PyAny>, outputs: &Bound<'_, PyAny>) -> PyResult<()> {
    let (mut ins, mut outs) = (Vec::new(), Vec::new());
    tensors_in(inputs, &mut ins)?;
    tensors_in(outputs, &mut outs)?;
    let (ins, outs): (Vec<&Tensor>, Vec<&Tensor>) = (ins.iter().collect(), outs.iter().collect());
    rtorch_core::autograd::composite::collapse(name, &ins, &outs);
    Ok(())
}

/// Tensors in tuples, lists and dictionaries, in order.
fn tensors_in(obj: &Bound<'_, PyAny>, found: &mut Vec<Tensor>) -> PyResult<()> {
    if let Some(t) = tensor::get(obj) {
        found.push(t.clone());
    } else if let Ok(d) = obj.cast::<pyo3::types::PyDict>() {
        for v in d.values() {
            tensors_in(&v, found)?;
        }
    } else if obj.is_instance_of::<pyo3::types::PyTuple>() || obj.is_instance_of::<pyo3::types::PyList>() {
        for v in obj.try_iter()? {
            tensors_in(&v?, found)?;
        }
    }
    Ok(())
}

pub fn install(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_function(wrap_pyfunction!(_node_name, m)?)?;
    m.add_function(wrap_pyfunction!(_one_node, m)?)
}
