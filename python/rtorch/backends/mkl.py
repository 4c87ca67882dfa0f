"""`torch.backends.mkl`: not part of rtorch; the kernels and the thread pool are its own."""

from rtorch.backends._switch import absent

is_available = absent

VERBOSE_OFF, VERBOSE_ON = 0, 1
