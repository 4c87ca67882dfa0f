"""The handle that every `register_*_hook` of the Python side returns.

What runs the hooks is elsewhere: `nn/modules/_hooks.py` for modules, the Rust core for tensors and graph nodes.
"""

import weakref
from collections import OrderedDict

from rtorch import _C

__all__ = ["RemovableHandle"]


class _Handles(type):
    """Handles of a tensor's hooks are the extension's; to programs they are of one class."""

    def __instancecheck__(cls, obj):
        return type.__instancecheck__(cls, obj) or (cls is RemovableHandle and isinstance(obj, _C.RemovableHandle))


class RemovableHandle(metaclass=_Handles):
    """Removes one hook from the dictionary it was put in; usable as a context manager.

    `extra_dict` holds dictionaries keyed by the same id (flags that belong to the hook).
    """

    next_id = 0

    def __init__(self, hooks_dict, *, extra_dict=None):
        self.hooks_dict_ref = weakref.ref(hooks_dict)
        self.id = RemovableHandle.next_id
        RemovableHandle.next_id += 1
        if extra_dict is None:
            extra_dict = ()
        elif not isinstance(extra_dict, (list, tuple)):
            extra_dict = (extra_dict,)
        self.extra_dict_ref = tuple(weakref.ref(d) for d in extra_dict)

    def remove(self):
        for ref in (self.hooks_dict_ref, *self.extra_dict_ref):
            hooks = ref()
            if hooks is not None:
                hooks.pop(self.id, None)

    # A handle that travels through pickle keeps its dictionaries, which a weak reference cannot.
    def __getstate__(self):
        extra = tuple(ref() for ref in self.extra_dict_ref)
        return (self.hooks_dict_ref(), self.id) if not extra else (self.hooks_dict_ref(), self.id, extra)

    def __setstate__(self, state):
        hooks = OrderedDict() if state[0] is None else state[0]
        self.hooks_dict_ref = weakref.ref(hooks)
        self.id = state[1]
        RemovableHandle.next_id = max(RemovableHandle.next_id, self.id + 1)
        extra = state[2] if len(state) > 2 else ()
        self.extra_dict_ref = tuple(weakref.ref(OrderedDict() if d is None else d) for d in extra)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.remove()
