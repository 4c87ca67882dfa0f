//! Compiled kernels: bind group layouts, the head of every shader, and the cache of pipelines by exact key.
//! Not here: the text of kernels (`emit.rs` and one file per kernel), the prelude's slices (`prelude.rs`).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rtorch_ir::{Error, Result};

use crate::adapter::{IMMEDIATE_BYTES, Profile};
use crate::device::Device;
use crate::prelude::{self, Types};
use crate::queue::SLOT_BYTES;

pub(crate) struct Pipeline {
    pub id: usize,
    pub wgpu: wgpu::ComputePipeline,
    /// Parameters come as immediates, else from the uniform ring.
    pub immediates: bool,
}

/// Bind group layouts are shared by the number of storage bindings.
pub(crate) struct Layouts {
    pub uniform: wgpu::BindGroupLayout,
    storage: Vec<wgpu::BindGroupLayout>,
    /// Per number of storage bindings: with the uniform ring, with immediates.
    pipeline: Vec<(wgpu::PipelineLayout, Option<wgpu::PipelineLayout>)>,
}

fn entry(binding: u32, ty: wgpu::BufferBindingType, dynamic: bool, size: u64) -> wgpu::BindGroupLayoutEntry {
    wgpu::BindGroupLayoutEntry {
        binding,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty: wgpu::BindingType::Buffer {
            ty,
            has_dynamic_offset: dynamic,
            min_binding_size: wgpu::BufferSize::new(size),
        },
        count: None,
    }
}

impl Layouts {
    pub fn new(device: &wgpu::Device, profile: &Profile) -> Layouts {
        let uniform = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
            label: None,
            entries: &[entry(0, wgpu::BufferBindingType::Uniform, true, SLOT_BYTES)],
        });
        // one buffer may be bound twice in a dispatch only if both bindings are read_write: so all are
        let ty = wgpu::BufferBindingType::Storage { read_only: false };
        let storage: Vec<_> = (0..=profile.storage_buffers)
            .map(|n| {
                let entries: Vec<_> = (0..n).map(|i| entry(i, ty, false, 0)).collect();
                device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: None, entries: &entries })
            })
            .collect();
        let pipeline = storage
            .iter()
            .map(|s| {
                let ring = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
                    label: None,
                    bind_group_layouts: &[Some(s), Some(&uniform)],
                    immediate_size: 0,
                });
                let immediate = profile.immediates.then(|| {
                    device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
                        label: None,
                        bind_group_layouts: &[Some(s)],
                        immediate_size: IMMEDIATE_BYTES,
                    })
                });
                (ring, immediate)
            })
            .collect();
        Layouts { uniform, storage, pipeline }
    }
    pub fn storage(&self, n: usize) -> &wgpu::BindGroupLayout {
        &self.storage[n]
    }
}

/// What a binding's array holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Element {
    Word,
    Atomic,
    /// float16 where the adapter has it: elements are loaded and stored one by one.
    Half,
}

impl Element {
    /// The letter before a binding's number: the name says how its elements are read (`emit.rs`).
    pub fn letter(self) -> &'static str {
        match self {
            Element::Word | Element::Atomic => "b",
            Element::Half => "h",
        }
    }
}

/// The declarations before a kernel's body: parameters (as `P.w`, vectors of four words) and bindings `b0`, `b1`, ...
pub(crate) fn head(elements: &[Element], param_words: usize, immediates: bool) -> String {
    let mut s = String::new();
    let bytes = if immediates { IMMEDIATE_BYTES as u64 } else { SLOT_BYTES };
    if param_words > 0 {
        s += &format!("struct Params {{ w: array<vec4<u32>, {}> }}\n", bytes / 16);
        s += if immediates { "var<immediate> P: Params;\n" } else { "@group(1) @binding(0) var<uniform> P: Params;\n" };
    }
    for (i, e) in elements.iter().enumerate() {
        let ty = match e {
            Element::Word => "u32",
            Element::Atomic => "atomic<u32>",
            Element::Half => "f16",
        };
        s += &format!("@group(0) @binding({i}) var<storage, read_write> {}{i}: array<{ty}>;\n", e.letter());
    }
    s
}

/// A whole shader: the used part of the prelude, the head, the body.
pub(crate) fn assemble(body: &str, elements: &[Element], param_words: usize, immediates: bool, types: Types) -> String {
    // float16 must be asked for; 64-bit integers and subgroups must not (naga)
    let mut s = if elements.contains(&Element::Half) { "enable f16;\n".to_string() } else { String::new() };
    s += &prelude::used_by(body, types);
    s += &head(elements, param_words, immediates);
    s += body;
    s
}

static NEXT: AtomicUsize = AtomicUsize::new(1);

impl Device {
    /// Do parameters of this size come as immediates?
    pub(crate) fn immediates(&self, words: usize) -> bool {
        self.profile.immediates && words * 4 <= IMMEDIATE_BYTES as usize
    }

    /// The pipeline of a key, compiled from `body` where it is new.
    pub(crate) fn pipeline(
        &self,
        key: &[u32],
        elements: &[Element],
        param_words: usize,
        body: impl FnOnce() -> String,
    ) -> Result<Arc<Pipeline>> {
        if let Some(p) = self.pipelines.lock().get(key) {
            return Ok(p.clone());
        }
        let immediates = self.immediates(param_words);
        let text = assemble(&body(), elements, param_words, immediates, self.profile.types);
        if std::env::var("RTORCH_GPU_PRINT").is_ok_and(|v| v == "1") {
            eprintln!("---- kernel {key:?}\n{text}");
        }
        let scope = self.wgpu.push_error_scope(wgpu::ErrorFilter::Validation);
        let desc = wgpu::ShaderModuleDescriptor { label: None, source: wgpu::ShaderSource::Wgsl(text.as_str().into()) };
        let checks = wgpu::ShaderRuntimeChecks { force_loop_bounding: false, ..wgpu::ShaderRuntimeChecks::checked() };
        // SAFETY: bounds checks stay on; every loop of our shaders counts to a limit given as data.
        let module = unsafe { self.wgpu.create_shader_module_trusted(desc, checks) };
        let layouts = &self.layouts.pipeline[elements.len()];
        let layout = match (&layouts.1, immediates) {
            (Some(l), true) => l,
            _ => &layouts.0,
        };
        let pipeline = self.wgpu.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: None,
            layout: Some(layout),
            module: &module,
            entry_point: Some("main"),
            compilation_options: wgpu::PipelineCompilationOptions {
                zero_initialize_workgroup_memory: false,
                ..Default::default()
            },
            cache: None,
        });
        if let Some(e) = crate::adapter::ready(scope.pop()) {
            return Err(Error::runtime(format!("wgpu: a kernel does not compile (this is a bug of rtorch): {e}")));
        }
        self.compiled.fetch_add(1, Ordering::Relaxed);
        let p = Arc::new(Pipeline { id: NEXT.fetch_add(1, Ordering::Relaxed), wgpu: pipeline, immediates });
        self.pipelines.lock().insert(key.into(), p.clone());
        Ok(p)
    }
}
