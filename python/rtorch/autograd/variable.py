"""`torch.autograd.variable`: the old home of `Variable`, which is `Tensor`."""

from rtorch.autograd import Variable

__all__ = ["Variable"]
