"""`torch.hub`: folders are answered, what is on the disk already is loaded, and whatever needs a network raises."""

import os
import sys
from urllib.parse import urlparse

import rtorch

__all__ = ["download_url_to_file", "get_dir", "help", "list", "load", "load_state_dict_from_url", "set_dir"]

_folder = None


def get_dir():
    """Where downloads would lie: `set_dir`, or `hub` in $TORCH_HOME, or in ~/.cache/torch."""
    cache = os.path.join(os.environ.get("XDG_CACHE_HOME", "~/.cache"), "torch")
    return _folder or os.path.join(os.path.expanduser(os.environ.get("TORCH_HOME", cache)), "hub")


def set_dir(d):
    """Sets where downloads would lie."""
    global _folder
    _folder = os.path.expanduser(d)


def _refuse(what, url, path=None):
    place = f", or put the file at {path}" if path else ""
    raise RuntimeError(f"{what}: rtorch downloads nothing. Fetch {url} yourself and load it from the disk{place}")


def download_url_to_file(url, dst, hash_prefix=None, progress=True):
    """Raises: rtorch downloads nothing."""
    _refuse("torch.hub.download_url_to_file()", url, dst)


def load_state_dict_from_url(
    url, model_dir=None, map_location=None, progress=True, check_hash=False, file_name=None, weights_only=True
):
    """Loads a checkpoint that lies where PyTorch's download of `url` would lie; raises if it is not there."""
    if check_hash:
        raise RuntimeError("torch.hub.load_state_dict_from_url(): check_hash is not supported")
    folder = model_dir or os.path.join(get_dir(), "checkpoints")
    path = os.path.join(folder, file_name or os.path.basename(urlparse(url).path))
    if not os.path.exists(path):
        _refuse("torch.hub.load_state_dict_from_url()", url, path)
    return rtorch.load(path, map_location=map_location, weights_only=weights_only)


load_url = load_state_dict_from_url


def _entries(repo_or_dir, source):
    """The module `hubconf.py` of a folder."""
    if source != "local":
        _refuse("torch.hub", f"github.com/{repo_or_dir}")
    import importlib.util

    spec = importlib.util.spec_from_file_location("hubconf", os.path.join(repo_or_dir, "hubconf.py"))
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, repo_or_dir)
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(repo_or_dir)
    return module


def list(github, force_reload=False, skip_validation=False, trust_repo=None, verbose=True):
    """Raises: the list of a repository needs a network."""
    _refuse("torch.hub.list()", github)


def help(github, model, force_reload=False, skip_validation=False, trust_repo=None):
    """Raises: the help of a repository needs a network."""
    _refuse("torch.hub.help()", github)


def load(repo_or_dir, model, *args, source="github", trust_repo=None, force_reload=False, verbose=True,
         skip_validation=False, **kwargs):  # fmt: skip
    """`model(*args, **kwargs)` of the `hubconf.py` in a folder, with `source="local"`; anything else raises."""
    entry = getattr(_entries(repo_or_dir, source), model, None)
    if not callable(entry):
        raise RuntimeError(f"Cannot find callable {model} in hubconf")
    return entry(*args, **kwargs)
