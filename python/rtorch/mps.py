"""`torch.mps`: Apple's GPUs are `wgpu` in rtorch, over Metal."""

from rtorch._absent_device import nothing, refusing, zero

manual_seed = seed = nothing
device_count = zero
globals().update(
    refusing(
        "mps",
        "current_allocated_memory driver_allocated_memory empty_cache get_rng_state recommended_max_memory "
        "set_per_process_memory_fraction set_rng_state synchronize",
    )
)
