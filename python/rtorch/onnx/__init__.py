"""`torch.onnx` before there are graphs: `export` raises, nothing is ever being exported."""

from rtorch import _later


def is_in_onnx_export():
    """False: nothing is being exported."""
    return False


__getattr__ = _later.attribute_of("onnx")
