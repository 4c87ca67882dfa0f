"""`torch.mtia`: not a device of rtorch."""

from rtorch._absent_device import no, nothing, refusing, zero

is_available = is_initialized = no
device_count = zero
empty_cache = manual_seed = manual_seed_all = nothing
globals().update(refusing("mtia", "current_device current_stream set_device synchronize"))
