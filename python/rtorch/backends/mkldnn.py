"""`torch.backends.mkldnn`: not part of rtorch. The switches are kept and change nothing."""

from rtorch.backends._switch import absent, flags_of

is_available = absent
enabled = True
deterministic = False
allow_tf32 = True
fp32_precision = "none"
VERBOSE_OFF, VERBOSE_ON, VERBOSE_ON_CREATION = 0, 1, 2
flags = flags_of(__name__, ("enabled", "deterministic", "allow_tf32", "fp32_precision"))
