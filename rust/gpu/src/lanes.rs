//! How the lanes of a row join their states where the adapter has subgroups: the same tree as in workgroup memory
//! (`reduce.wgsl`, `rows.wgsl`), whose last steps stay within a subgroup and need neither memory nor barriers. The
//! order of merging, and with it every bit of the result, is that of the portable text.

use rtorch_ir::CType;

use crate::device::Device;

/// A field of a state.
pub(crate) enum Field {
    Words(&'static str),
    Of(&'static str, CType),
}

/// The text of `fold_lanes` and the opening of `main` over subgroups, given a state's value from a lane further on;
/// None where the template's own is to stay.
pub(crate) fn text(dev: &Device, moved: &str) -> Option<String> {
    if !dev.profile.subgroups {
        return None;
    }
    Some(format!("fn moved(s: State, by: u32) -> State {{ return {moved}; }}\n{OVER_SUBGROUPS}"))
}

/// A state's value from the lane `by` further on, as an expression: one value, or the fields of a struct.
pub(crate) fn moved(fields: &[Field]) -> String {
    let one = |f: &Field| match f {
        Field::Words(path) => format!("subgroupShuffleDown({path}, by)"),
        Field::Of(path, CType::Bool) => format!("(subgroupShuffleDown(select(0u, 1u, {path}), by) != 0u)"),
        Field::Of(path, CType::I64) => {
            format!(
                "rt_i64_make(subgroupShuffleDown(rt_words({path}).x, by), subgroupShuffleDown(rt_words({path}).y, by))"
            )
        }
        Field::Of(path, CType::I32 | CType::F32 | CType::F64 | CType::C64 | CType::C128) => {
            format!("subgroupShuffleDown({path}, by)")
        }
    };
    match fields {
        [f] => one(f),
        _ => format!("State({})", fields.iter().map(one).collect::<Vec<_>>().join(", ")),
    }
}

/// Lanes are counted along subgroups, so that neighbours can shuffle; where a subgroup is not full (no adapter is known
/// to do that with 256 invocations) the whole tree goes through memory. The width is 1 then.
const OVER_SUBGROUPS: &str = "var<private> width: u32;
fn fold_lanes(lid: u32, lane: u32, mine: State) -> State {
var s = mine;
var half = LANES / 2u;
if (half >= width) {
tree[lid] = s;
for (; half >= width; half = half / 2u) {
workgroupBarrier();
if (lane < half) { tree[lid] = merge(tree[lid], tree[lid + half]); }
}
s = tree[lid];
}
for (; half > 0u; half = half / 2u) {
let other = moved(s, half);
if (lane < half) { s = merge(s, other); }
}
return s;
}
@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) place: u32, @builtin(num_subgroups) \
    subgroups: u32, @builtin(subgroup_id) subgroup: u32, @builtin(subgroup_size) size: u32, \
    @builtin(subgroup_invocation_id) within: u32) {
let full = subgroups * size == 256u;
width = select(1u, size, full);
let lid = select(place, subgroup * size + within, full);
";
