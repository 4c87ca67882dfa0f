"""`torch.xpu`: Intel's GPUs are `wgpu` in rtorch."""

from rtorch._absent_device import no, nothing, refusing, zero

is_available = is_initialized = is_bf16_supported = no
device_count = memory_allocated = max_memory_allocated = memory_reserved = zero
empty_cache = manual_seed = manual_seed_all = seed = seed_all = nothing
globals().update(
    refusing(
        "xpu",
        "current_device current_stream get_device_capability get_device_name get_device_properties get_rng_state init "
        "mem_get_info reset_peak_memory_stats set_device set_rng_state stream synchronize Stream Event",
    )
)
