"""`python -m rtorch script.py [args]`: runs a PyTorch program with rtorch in PyTorch's place.

Also `-m module [args]` and `-c code [args]`, as for Python itself.
"""

import os
import runpy
import sys

USAGE = "usage: python -m rtorch [-c code | -m module | script.py] [args]"


def main(arguments):
    """Runs the program that the arguments name."""
    import rtorch

    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE)
        return 0 if arguments else 2
    if arguments[0] in ("-V", "--version"):
        print(f"rtorch {rtorch._C.__version__}, in the place of torch {rtorch.version.COMPATIBLE}")
        return 0
    kind = arguments.pop(0) if arguments[0] in ("-c", "-m") else None
    if not arguments:
        print(f"Argument expected for the {kind} option\n{USAGE}", file=sys.stderr)
        return 2
    target = arguments[0]
    if kind is None and not os.path.exists(target):
        print(f"python -m rtorch: can't open file {target!r}", file=sys.stderr)
        return 2
    rtorch.install_as_torch()
    if kind == "-c":
        sys.argv = ["-c", *arguments[1:]]
        sys.path.insert(0, "")
        exec(compile(target, "<string>", "exec"), {"__name__": "__main__", "__builtins__": __builtins__})
    elif kind == "-m":
        sys.argv = arguments
        sys.path.insert(0, os.getcwd())
        runpy.run_module(target, run_name="__main__", alter_sys=True)
    else:
        sys.argv = arguments
        sys.path.insert(0, os.path.dirname(os.path.abspath(target)))
        _run_file(target)
    return 0


def _run_file(path):
    """The script as the module `__main__`, which stays: what it pickles, and the processes that it spawns, find it."""
    import types

    module = types.ModuleType("__main__")
    module.__file__ = os.path.abspath(path)
    module.__builtins__ = __builtins__
    module.__spec__ = None
    sys.modules["__main__"] = module
    with open(path, "rb") as file:
        code = compile(file.read(), module.__file__, "exec")
    exec(code, module.__dict__)


if __name__ == "__main__":
    # `-m` has put the current folder in front; a script has its own folder there instead
    if sys.path and sys.path[0] in ("", os.getcwd()):
        sys.path.pop(0)
    sys.exit(main(sys.argv[1:]))
