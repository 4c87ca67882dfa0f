"""Switches of gradient recording, each a context manager and a decorator (of functions, generators and classes)."""

import functools

from rtorch import _C

__all__ = [
    "enable_grad",
    "enforce_grad_layout_policy",
    "inference_mode",
    "no_grad",
    "set_grad_enabled",
    "set_multithreading_enabled",
]

_set, _enabled = _C._set_grad_enabled, _C.is_grad_enabled
_CO_GENERATOR = 0x20


def _wrap_generator(make_context, func):
    """Holds the mode while the generator runs, not while its consumer does."""

    @functools.wraps(func)
    def generator(*args, **kwargs):
        inner = func(*args, **kwargs)
        try:
            with make_context():
                answer = inner.send(None)
            while True:
                try:
                    sent = yield answer
                except GeneratorExit:
                    with make_context():
                        inner.close()
                    raise
                except BaseException as error:
                    with make_context():
                        answer = inner.throw(error)
                else:
                    with make_context():
                        answer = inner.send(sent)
        except StopIteration as end:
            return end.value

    return generator


def _decorate(make_context, func):
    code = getattr(func, "__code__", None)
    if code is not None and code.co_flags & _CO_GENERATOR:
        return _wrap_generator(make_context, func)

    @functools.wraps(func)
    def decorated(*args, **kwargs):
        with make_context():
            return func(*args, **kwargs)

    return decorated


class _Switch:
    """Sets grad mode to `_mode` inside; `@no_grad` and `@no_grad()` both decorate."""

    _mode: bool

    def __new__(cls, orig_func=None):
        self = super().__new__(cls)
        return self if orig_func is None else self(orig_func)

    def __enter__(self):
        self.prev = _enabled()
        _set(self._mode)

    def __exit__(self, exc_type, exc_value, traceback):
        _set(self.prev)

    def __call__(self, orig_func):
        return _decorate(type(self), orig_func)

    def clone(self):
        return type(self)()


class no_grad(_Switch):
    """No operation inside is recorded: results have requires_grad=False.

    >>> import rtorch
    >>> x = rtorch.ones(1, requires_grad=True)
    >>> with rtorch.no_grad():
    ...     (x * 2).requires_grad
    False
    """

    _mode = False


class enable_grad(_Switch):
    """Turns recording on again inside `no_grad`."""

    _mode = True


class set_grad_enabled:
    """Turns recording on or off, at once; as a context manager until the block ends."""

    def __init__(self, mode):
        self.prev = _enabled()
        self.mode = mode
        _set(mode)

    def __call__(self, orig_func):
        _set(self.prev)
        mode = self.mode
        return _decorate(lambda: set_grad_enabled(mode), orig_func)

    def __enter__(self):
        _set(self.mode)

    def __exit__(self, exc_type, exc_value, traceback):
        _set(self.prev)

    def __repr__(self):
        return f"{type(self).__name__}(mode={self.mode})"

    def clone(self):
        return type(self)(self.mode)


class inference_mode:
    """Like `no_grad`, and the tensors made inside can never take part in autograd.

    >>> import rtorch
    >>> with rtorch.inference_mode():
    ...     y = rtorch.ones(1)
    >>> y.is_inference()
    True
    """

    def __new__(cls, mode=True):
        self = super().__new__(cls)
        if isinstance(mode, bool):
            return self
        self.mode = True
        return self(mode)

    def __init__(self, mode=True):
        self.mode = mode

    def __enter__(self):
        self.prev = (_C.is_inference_mode_enabled(), _enabled())
        _C._set_inference_mode(self.mode)
        if self.mode:
            _set(False)

    def __exit__(self, exc_type, exc_value, traceback):
        inference, grad = self.prev
        _C._set_inference_mode(inference)
        _set(grad)

    def __call__(self, orig_func):
        mode = self.mode
        return _decorate(lambda: inference_mode(mode), orig_func)

    def clone(self):
        return type(self)(self.mode)


class enforce_grad_layout_policy:
    """Whether gradients that are added up for a leaf lie in memory as the leaf does (the default), or as they come,
    which may save a copy. Holds at once; as a context manager until the block ends. Of this thread.

    >>> import rtorch
    >>> p = rtorch.ones(2, 3).t().requires_grad_()
    >>> (p * 2).sum().backward()
    >>> p.grad.stride() == p.stride()
    True
    """

    def __init__(self, enable=True):
        self.previous = _C._set_grad_layout_policy(enable)

    def __enter__(self):
        pass

    def __exit__(self, exc_type, exc_value, traceback):
        _C._set_grad_layout_policy(self.previous)


class set_multithreading_enabled:
    """Accepted for PyTorch's sake: backward here runs on the calling thread."""

    def __init__(self, mode):
        self.mode = mode

    def __enter__(self):
        pass

    def __exit__(self, exc_type, exc_value, traceback):
        pass
