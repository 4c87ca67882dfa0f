"""ChannelShuffle (Zhang et al. 2017)."""

from rtorch.nn import functional as F

from .module import Module

__all__ = ["ChannelShuffle"]


class ChannelShuffle(Module):
    """Regroups the channels of (N, C, ...): (N, g, C / g, ...) -> (N, C / g, g, ...)."""

    __constants__ = ["groups"]

    def __init__(self, groups):
        super().__init__()
        self.groups = groups

    def forward(self, input):
        return F.channel_shuffle(input, self.groups)

    def extra_repr(self):
        return f"groups={self.groups}"
