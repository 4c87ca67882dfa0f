//! Launches as data: the text, parameters and bindings of every kernel that a device is asked to run while it records.
//! For tests: each text is validated and translated without a GPU, and run by another implementation of WebGPU.

use crate::device::Device;
use crate::prelude::Types;

/// One launch.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// The whole shader.
    pub text: String,
    /// The parameter block.
    pub params: Vec<u32>,
    /// Does the text declare its parameters as immediates (else as a uniform at group 1)?
    pub immediates: bool,
    pub groups: [u32; 3],
    /// Bytes of each storage binding.
    pub bindings: Vec<u64>,
}

impl Device {
    /// Keeps every launch from now on.
    pub fn start_recording(&self) {
        *self.recording.lock() = Some(Vec::new());
    }
    /// The launches since recording started, which ends.
    pub fn take_recording(&self) -> Vec<Recorded> {
        self.recording.lock().take().unwrap_or_default()
    }
}

/// The shaders of `shaders/` as they stand there, with the part of the prelude that each uses; the prelude itself
/// first, with an entry point that does nothing, without and with the types that adapters may have.
pub fn static_shaders() -> Vec<(&'static str, String)> {
    let empty = "@compute @workgroup_size(1)\nfn main() {}\n";
    let native = Types { int64: true, half: true };
    let mut all = vec![
        ("prelude", crate::prelude::whole(Types::default()) + empty),
        ("prelude, native types", crate::prelude::whole(native) + empty),
    ];
    for (name, text) in TEMPLATES {
        let body = crate::kernel::splice(text, &[]);
        all.push((name, crate::prelude::used_by(&body, Types::default()) + &body));
    }
    all
}

const TEMPLATES: [(&str, &str); 8] = [
    ("reduce", include_str!("../../../shaders/reduce.wgsl")),
    ("rows", include_str!("../../../shaders/rows.wgsl")),
    ("gemm", include_str!("../../../shaders/gemm.wgsl")),
    ("matmul_any", include_str!("../../../shaders/matmul_any.wgsl")),
    ("scan", include_str!("../../../shaders/scan.wgsl")),
    ("sort", include_str!("../../../shaders/sort.wgsl")),
    ("gemm_direct", include_str!("../../../shaders/gemm_direct.wgsl")),
    ("attention", include_str!("../../../shaders/attention.wgsl")),
];
