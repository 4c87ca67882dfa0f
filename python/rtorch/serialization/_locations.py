"""Where loaded storages go: the location tags of a checkpoint, `map_location` in all its forms, `register_package`."""

import bisect

import rtorch

_packages = []


def register_package(priority, tagger, deserializer):
    """Adds a kind of location: `tagger(storage)` names it or gives None, `deserializer(storage, location)` moves a
    storage there or gives None. Smaller `priority` is asked first; 0 is the CPU."""
    bisect.insort(_packages, (priority, tagger, deserializer), key=lambda entry: entry[0])


def _cpu_tag(storage):
    return "cpu" if storage.device.type == "cpu" else None


def _cpu(storage, location):
    return storage if location == "cpu" else None


def _device_tag(storage):
    return str(storage.device)


def _wgpu(storage, location):
    return storage.to(location) if location.startswith("wgpu") else None


def _meta(storage, location):
    if location == "meta":
        return rtorch.empty(storage.nbytes(), dtype=rtorch.uint8, device="meta").untyped_storage()
    return None


def _cuda(storage, location):
    if location.startswith("cuda"):
        raise RuntimeError(
            "Attempting to deserialize object on a CUDA device but torch.cuda.is_available() is False. If you are "
            "running on a CPU-only machine, please use torch.load with map_location=torch.device('cpu') to map your "
            "storages to the CPU, or with map_location='wgpu' to map them to a GPU."
        )
    if location == "mps":
        raise RuntimeError(
            "don't know how to restore data location of torch.storage.UntypedStorage (tagged with mps): use torch.load "
            "with map_location='cpu', or with map_location='wgpu' to map your storages to a GPU."
        )


register_package(0, _cpu_tag, _cpu)
register_package(10, lambda storage: None, _wgpu)
register_package(20, lambda storage: None, _cuda)
register_package(22, lambda storage: None, _meta)
register_package(99, _device_tag, lambda storage, location: None)


def location_tag(storage):
    """The name of the place of a storage."""
    for _, tagger, _ in _packages:
        location = tagger(storage)
        if location:
            return location
    raise RuntimeError(f"don't know how to determine data location of {rtorch.typename(storage)}")


def default_restore_location(storage, location):
    """The storage where `location` says."""
    for _, _, deserializer in _packages:
        found = deserializer(storage, location)
        if found is not None:
            return found
    raise RuntimeError(
        f"don't know how to restore data location of torch.storage.UntypedStorage (tagged with {location})"
    )


def restorer(map_location):
    """The function (storage, location) -> storage that `map_location` means."""
    if map_location is None:
        return default_restore_location
    if isinstance(map_location, dict):
        return lambda storage, location: default_restore_location(storage, map_location.get(location, location))
    if isinstance(map_location, (str, bytes)):
        name = map_location.decode("ascii") if isinstance(map_location, bytes) else map_location
        return lambda storage, location: default_restore_location(storage, name)
    if isinstance(map_location, rtorch.device):
        return lambda storage, location: default_restore_location(storage, str(map_location))

    def restore(storage, location):
        found = map_location(storage, location)
        return default_restore_location(storage, location) if found is None else found

    return restore
