"""`torch.backends.quantized`: quantized tensors are not part of rtorch; there is no engine."""

engine = "none"
supported_engines = ["none"]
