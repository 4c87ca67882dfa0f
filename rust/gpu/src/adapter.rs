//! Which GPUs there are and what is asked of one: adapters, the profile, features and limits.
//! Not here: the device that is made from an adapter (`device.rs`).

use std::sync::OnceLock;

use rtorch_ir::Error;

use crate::prelude::Types;

/// Immediates (push constants) are used up to this size where the adapter has them: Vulkan promises 128.
pub const IMMEDIATE_BYTES: u32 = 128;
/// More bindings than this make dispatches slower without fusing more.
const MAX_STORAGE_BUFFERS: u32 = 16;

/// What a user sees of an adapter.
#[derive(Clone, Debug)]
pub struct AdapterInfo {
    pub name: String,
    pub driver: String,
    pub backend: String,
    /// A CPU that plays GPU (lavapipe, WARP).
    pub software: bool,
    pub integrated: bool,
}

/// What kernels may count on.
#[derive(Clone, Debug)]
pub struct Profile {
    pub immediates: bool,
    pub storage_buffers: u32,
    /// Bytes that one binding may span.
    pub binding: u64,
    /// Bytes of the largest buffer.
    pub buffer: u64,
    /// 64-bit integers and float16 in shaders.
    pub types: Types,
    /// Subgroup operations: the last steps of a fold without workgroup memory.
    pub subgroups: bool,
    /// The least invocations of a subgroup.
    pub subgroup_least: u32,
    pub software: bool,
}

pub(crate) struct Found {
    pub adapter: wgpu::Adapter,
    pub info: AdapterInfo,
}

/// On native backends wgpu's futures are ready at the first poll.
pub(crate) fn ready<F: Future>(f: F) -> F::Output {
    let mut f = std::pin::pin!(f);
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    loop {
        if let std::task::Poll::Ready(v) = f.as_mut().poll(&mut cx) {
            return v;
        }
        std::thread::yield_now();
    }
}

fn flag(name: &str) -> bool {
    std::env::var(name).is_ok_and(|v| !v.is_empty() && v != "0")
}

/// Is only what every adapter has to be used? (`RTORCH_GPU_PROFILE=portable`)
pub fn portable() -> bool {
    std::env::var("RTORCH_GPU_PROFILE").is_ok_and(|v| v == "portable")
}

/// Bytes that a binding may span at most (`RTORCH_GPU_BINDING`), for tests of what is larger.
fn smaller_binding() -> u64 {
    let asked = std::env::var("RTORCH_GPU_BINDING").ok().and_then(|v| v.parse().ok());
    asked.map_or(u64::MAX, |v: u64| v.max(1 << 16))
}

/// wgpu's backend that does nothing, for tests: there only where wgpu was built with it.
pub(crate) fn noop() -> Option<Found> {
    let mut desc = wgpu::InstanceDescriptor::new_without_display_handle();
    desc.backends = wgpu::Backends::NOOP;
    desc.backend_options.noop = wgpu::NoopBackendOptions { enable: true, ..Default::default() };
    let instance = wgpu::Instance::new(desc);
    let adapter = ready(instance.enumerate_adapters(wgpu::Backends::NOOP)).into_iter().next()?;
    let info = AdapterInfo {
        name: "noop".to_string(),
        driver: String::new(),
        backend: "noop".to_string(),
        software: false,
        integrated: false,
    };
    Some(Found { adapter, info })
}

/// Mesa's layer that sorts devices asks the desktop session which it prefers, and complains on stderr where there is no
/// session. Without one it has nothing to say: it is left out while adapters are listed, once, and then as before.
fn without_session<T>(list: impl FnOnce() -> T) -> T {
    const LAYER: &str = "NODEVICE_SELECT";
    let quiet = std::env::var_os("XDG_RUNTIME_DIR").is_none() && std::env::var_os(LAYER).is_none();
    if !(quiet && cfg!(target_os = "linux")) {
        return list();
    }
    // SAFETY: Rust's own readers of the environment are locked out by the standard library; C code that reads it at
    // this very moment is as exposed as to any `os.environ[...] = ...` of the program.
    unsafe { std::env::set_var(LAYER, "1") };
    let out = list();
    // SAFETY: as above.
    unsafe { std::env::remove_var(LAYER) };
    out
}

fn enumerate() -> Vec<Found> {
    let mut desc = wgpu::InstanceDescriptor::new_without_display_handle();
    desc.backends = wgpu::Backends::VULKAN | wgpu::Backends::METAL | wgpu::Backends::DX12;
    // validation layers cost time and print to stderr; shaders are validated by naga in any case
    desc.flags = wgpu::InstanceFlags::empty();
    desc.memory_budget_thresholds.for_resource_creation = Some(95);
    let instance = wgpu::Instance::new(desc);
    let mut found: Vec<Found> = ready(instance.enumerate_adapters(wgpu::Backends::all()))
        .into_iter()
        .map(|adapter| {
            let i = adapter.get_info();
            let info = AdapterInfo {
                name: i.name,
                driver: format!("{} {}", i.driver, i.driver_info).trim().to_string(),
                backend: format!("{:?}", i.backend).to_lowercase(),
                software: i.device_type == wgpu::DeviceType::Cpu,
                integrated: i.device_type == wgpu::DeviceType::IntegratedGpu,
            };
            Found { adapter, info }
        })
        .filter(|f| !f.info.software || flag("RTORCH_ALLOW_SOFTWARE"))
        .collect();
    found.sort_by_key(|f| (f.info.software, f.info.integrated));
    choose(found)
}

/// `RTORCH_ADAPTER`: an index, or a part of the name; the chosen ones come first.
fn choose(mut found: Vec<Found>) -> Vec<Found> {
    let Ok(want) = std::env::var("RTORCH_ADAPTER") else { return found };
    if let Ok(i) = want.parse::<usize>() {
        if i < found.len() {
            let chosen = found.remove(i);
            found.insert(0, chosen);
        }
        return found;
    }
    let want = want.to_lowercase();
    found.retain(|f| f.info.name.to_lowercase().contains(&want));
    found
}

pub(crate) fn all() -> &'static [Found] {
    static ALL: OnceLock<Vec<Found>> = OnceLock::new();
    ALL.get_or_init(|| without_session(enumerate))
}

/// The adapters in the order of their device index: hardware first. Software adapters are listed only when
/// `RTORCH_ALLOW_SOFTWARE=1`; `RTORCH_ADAPTER` (an index or a part of a name) chooses.
pub fn adapters() -> Vec<AdapterInfo> {
    all().iter().map(|f| f.info.clone()).collect()
}

/// Why there is no device of this index, and what helps.
pub(crate) fn missing(index: usize) -> Error {
    let n = all().len();
    if n > 0 {
        return Error::runtime(format!("wgpu:{index}: there are only {n} GPU adapters (rtorch.wgpu.device_count())"));
    }
    Error::runtime(format!(
        "wgpu:{index}: no GPU adapter was found. Install a Vulkan driver for your GPU (Linux: the vendor's driver and \
         libvulkan1; macOS and Windows need nothing). For Mesa's software driver install mesa-vulkan-drivers and set \
         RTORCH_ALLOW_SOFTWARE=1. RTORCH_ADAPTER, where set, must name an adapter"
    ))
}

/// Features and limits to ask of an adapter, and what they mean for kernels.
pub(crate) fn request(
    adapter: &wgpu::Adapter,
    software: bool,
    portable: bool,
) -> (wgpu::Features, wgpu::Limits, Profile) {
    let have = adapter.features();
    let (features, limits) = if portable {
        (wgpu::Features::empty(), wgpu::Limits::default())
    } else {
        let wanted = wgpu::Features::IMMEDIATES
            | wgpu::Features::SHADER_INT64
            | wgpu::Features::SHADER_F16
            | wgpu::Features::SUBGROUP;
        (have & wanted, adapter.limits())
    };
    let limits = limits.or_worse_values_from(&adapter.limits());
    let profile = Profile {
        immediates: features.contains(wgpu::Features::IMMEDIATES) && limits.max_immediate_size >= IMMEDIATE_BYTES,
        storage_buffers: limits.max_storage_buffers_per_shader_stage.min(MAX_STORAGE_BUFFERS),
        // u32 counts bytes and elements in shaders
        binding: limits.max_storage_buffer_binding_size.min((1 << 31) - 256).min(smaller_binding()) & !255,
        buffer: limits.max_buffer_size & !255,
        types: Types {
            int64: features.contains(wgpu::Features::SHADER_INT64),
            half: features.contains(wgpu::Features::SHADER_F16),
        },
        subgroups: features.contains(wgpu::Features::SUBGROUP),
        subgroup_least: adapter.get_info().subgroup_min_size,
        software,
    };
    (features, limits, profile)
}
