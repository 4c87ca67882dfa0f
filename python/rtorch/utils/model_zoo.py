"""`torch.utils.model_zoo`: the old name of a function of `rtorch.hub`."""

from rtorch.hub import load_state_dict_from_url

load_url = load_state_dict_from_url
__all__ = ["load_url"]
