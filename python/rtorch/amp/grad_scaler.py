"""`GradScaler`: losses multiplied so that float16 gradients do not vanish, steps skipped where they overflow."""

import warnings
from collections import abc, defaultdict
from enum import Enum

import rtorch

__all__ = ["GradScaler", "OptState"]


class OptState(Enum):
    """Where an optimizer stands between two updates of the scale."""

    READY = 0
    UNSCALED = 1
    STEPPED = 2


def _fresh():
    return {"stage": OptState.READY, "found_inf_per_device": {}}


class GradScaler:
    """Scales losses by a factor that grows while gradients are finite and falls where they are not.

    After `growth_interval` steps without an overflow the factor is multiplied with `growth_factor`, at an overflow with
    `backoff_factor` (and that step is skipped). device: "cpu" or "wgpu"; "cuda" disables it with a warning.

    >>> import rtorch
    >>> model = rtorch.nn.Linear(2, 1)
    >>> optimizer = rtorch.optim.SGD(model.parameters(), lr=0.1)
    >>> scaler = rtorch.amp.GradScaler("cpu", init_scale=8.0)
    >>> loss = model(rtorch.ones(1, 2)).sum()
    >>> scaler.scale(loss).backward()
    >>> scaler.step(optimizer)
    >>> scaler.update()
    >>> scaler.get_scale()
    8.0
    """

    def __init__(
        self,
        device="cuda",
        init_scale=2.0**16,
        growth_factor=2.0,
        backoff_factor=0.5,
        growth_interval=2000,
        enabled=True,
    ):
        self._device = device
        if enabled and device == "cuda":
            warnings.warn(
                "torch.cuda.amp.GradScaler is enabled, but CUDA is not available.  Disabling.", stacklevel=2
            )
            enabled = False
        self._enabled = enabled
        self._per_optimizer_states = defaultdict(_fresh)
        if not enabled:
            return
        if growth_factor <= 1.0:
            raise AssertionError("The growth factor must be > 1.0.")
        if backoff_factor >= 1.0:
            raise AssertionError("The backoff factor must be < 1.0.")
        self._init_scale = init_scale
        self._scale = None  # a tensor on the device of the first loss
        self._growth_factor = growth_factor
        self._backoff_factor = backoff_factor
        self._growth_interval = growth_interval
        self._init_growth_tracker = 0
        self._growth_tracker = None

    def _lazy_init_scale_growth_tracker(self, device):
        if self._growth_tracker is not None:
            raise AssertionError("_growth_tracker initialized before _scale")
        self._scale = rtorch.full((), self._init_scale, dtype=rtorch.float32, device=device)
        self._growth_tracker = rtorch.full((), self._init_growth_tracker, dtype=rtorch.int32, device=device)

    def _check_scale_growth_tracker(self, name):
        fix = "This may indicate your script did not use scaler.scale(loss or outputs) earlier in the iteration."
        for attribute in ("_scale", "_growth_tracker"):
            if getattr(self, attribute) is None:
                raise AssertionError(f"Attempted {name} but {attribute} is None.  {fix}")
        return self._scale, self._growth_tracker

    def scale(self, outputs):
        """Multiplies a tensor, or the tensors of an iterable, with the factor."""
        if not self._enabled:
            return outputs
        if isinstance(outputs, rtorch.Tensor):
            if self._scale is None:
                self._lazy_init_scale_growth_tracker(outputs.device)
            return outputs * self._scale.to(device=outputs.device)
        if isinstance(outputs, abc.Iterable):
            scaled = map(self.scale, outputs)
            return type(outputs)(scaled) if isinstance(outputs, (list, tuple)) else scaled
        raise ValueError("outputs must be a Tensor or an iterable of Tensors")

    def _unscale_grads_(self, optimizer, inv_scale, allow_fp16):
        """Divides the gradients in place; for each device whether any is not finite."""
        by_device = defaultdict(list)
        for group in optimizer.param_groups:
            for param in group["params"]:
                if param.grad is None:
                    continue
                if not allow_fp16 and param.grad.dtype == rtorch.float16:
                    raise ValueError("Attempting to unscale FP16 gradients.")
                by_device[param.grad.device].append(param.grad)
        found = {}
        with rtorch.no_grad():
            for device, grads in by_device.items():
                bad = rtorch.stack([g.isfinite().all().logical_not().reshape(()) for g in grads]).any()
                found[device] = bad.to(rtorch.float32)
                rtorch._foreach_mul_(grads, inv_scale.to(device))
        return found

    def unscale_(self, optimizer):
        """Divides the optimizer's gradients by the factor, before they are clipped, say; `step` does it otherwise."""
        if not self._enabled:
            return
        self._check_scale_growth_tracker("unscale_")
        state = self._per_optimizer_states[id(optimizer)]
        if state["stage"] is OptState.UNSCALED:
            raise RuntimeError("unscale_() has already been called on this optimizer since the last update().")
        if state["stage"] is OptState.STEPPED:
            raise RuntimeError("unscale_() is being called after step().")
        # the reciprocal in float64: 1 / scale in float32 may not be the exact inverse
        inverse = self._scale.double().reciprocal().float()
        state["found_inf_per_device"] = self._unscale_grads_(optimizer, inverse, False)
        state["stage"] = OptState.UNSCALED

    def step(self, optimizer, *args, **kwargs):
        """`optimizer.step(*args, **kwargs)` with unscaled gradients, skipped if one of them is not finite."""
        if not self._enabled:
            return optimizer.step(*args, **kwargs)
        if "closure" in kwargs:
            raise RuntimeError("Closure use is not currently supported if GradScaler is enabled.")
        self._check_scale_growth_tracker("step")
        state = self._per_optimizer_states[id(optimizer)]
        if state["stage"] is OptState.STEPPED:
            raise RuntimeError("step() has already been called since the last update().")
        if state["stage"] is OptState.READY:
            self.unscale_(optimizer)
        if not state["found_inf_per_device"]:
            raise AssertionError("No inf checks were recorded for this optimizer.")
        result = None
        if not any(v.item() for v in state["found_inf_per_device"].values()):
            result = optimizer.step(*args, **kwargs)
        state["stage"] = OptState.STEPPED
        return result

    def update(self, new_scale=None):
        """The factor for the next step: grown, backed off or as it was; or `new_scale`."""
        if not self._enabled:
            return
        scale, tracker = self._check_scale_growth_tracker("update")
        if new_scale is not None:
            if not isinstance(new_scale, float):
                new_scale.device  # noqa: B018  what is no number is to be a tensor
                if new_scale.numel() != 1 or new_scale.requires_grad or new_scale.dtype != rtorch.float32:
                    raise AssertionError(
                        "new_scale should be a float or a 1-element torch.cuda.FloatTensor or "
                        "torch.FloatTensor with requires_grad=False."
                    )
                scale.copy_(new_scale.reshape(()))
            else:
                scale.fill_(new_scale)
        else:
            found = [v for s in self._per_optimizer_states.values() for v in s["found_inf_per_device"].values()]
            if not found:
                raise AssertionError("No inf checks were recorded prior to update.")
            self._grow(scale, tracker, any(v.item() for v in found))
        self._per_optimizer_states = defaultdict(_fresh)

    def _grow(self, scale, tracker, overflow):
        if overflow:
            scale.mul_(self._backoff_factor)
            tracker.fill_(0)
            return
        tracker.add_(1)
        if tracker.item() == self._growth_interval:
            if (grown := scale * self._growth_factor).isfinite():
                scale.copy_(grown)
            tracker.fill_(0)

    def _get_scale_async(self):
        return self._scale

    def get_scale(self):
        """The factor; 1.0 if disabled."""
        if not self._enabled:
            return 1.0
        return self._init_scale if self._scale is None else self._scale.item()

    def get_growth_factor(self):
        """What the factor grows by."""
        return self._growth_factor

    def set_growth_factor(self, new_factor):
        """Sets what the factor grows by."""
        self._growth_factor = new_factor

    def get_backoff_factor(self):
        """What the factor falls by."""
        return self._backoff_factor

    def set_backoff_factor(self, new_factor):
        """Sets what the factor falls by."""
        self._backoff_factor = new_factor

    def get_growth_interval(self):
        """Steps without an overflow before the factor grows."""
        return self._growth_interval

    def set_growth_interval(self, new_interval):
        """Sets the steps without an overflow before the factor grows."""
        self._growth_interval = new_interval

    def _get_growth_tracker(self):
        if not self._enabled:
            return 0
        return self._init_growth_tracker if self._growth_tracker is None else self._growth_tracker.item()

    def is_enabled(self):
        """Does it do anything?"""
        return self._enabled

    def state_dict(self):
        """The factor, its rules and its progress; empty if disabled."""
        if not self._enabled:
            return {}
        return {
            "scale": self.get_scale(),
            "growth_factor": self._growth_factor,
            "backoff_factor": self._backoff_factor,
            "growth_interval": self._growth_interval,
            "_growth_tracker": self._get_growth_tracker(),
        }

    def load_state_dict(self, state_dict):
        """Takes over what `state_dict` gave."""
        if not self._enabled:
            return
        if len(state_dict) == 0:
            raise RuntimeError(
                "The source state dict is empty, possibly because it was saved from a disabled instance of GradScaler."
            )
        self._init_scale = state_dict["scale"]
        if self._scale is not None:
            self._scale.fill_(state_dict["scale"])
        self._growth_factor = state_dict["growth_factor"]
        self._backoff_factor = state_dict["backoff_factor"]
        self._growth_interval = state_dict["growth_interval"]
        self._init_growth_tracker = state_dict["_growth_tracker"]
        if self._growth_tracker is not None:
            self._growth_tracker.fill_(state_dict["_growth_tracker"])

    def __getstate__(self):
        state = self.__dict__.copy()
        if self._enabled:
            if self._per_optimizer_states:
                raise AssertionError(
                    "A GradScaler instance may only be pickled at the beginning of an iteration, or at the end after "
                    "scaler.update()."
                )
            state["_init_scale"] = self.get_scale()
            state["_init_growth_tracker"] = self._get_growth_tracker()
            state["_scale"] = state["_growth_tracker"] = None
        return state
