"""Automatic mixed precision: `autocast` runs products in a 16-bit dtype and what needs range in float32, `GradScaler`
keeps float16 gradients from vanishing (Micikevicius et al. 2018, "Mixed precision training").

>>> import rtorch
>>> with rtorch.autocast("cpu"):
...     y = rtorch.ones(2, 3) @ rtorch.ones(3, 2)
>>> y.dtype
torch.bfloat16
"""

from .autocast_mode import autocast, custom_bwd, custom_fwd, is_autocast_available
from .grad_scaler import GradScaler

__all__ = ["GradScaler", "autocast", "custom_bwd", "custom_fwd", "is_autocast_available"]
