"""The graph of a data pipe: which pipes it is made of."""

from .datapipes.datapipe import IterDataPipe, MapDataPipe

__all__ = ["traverse", "traverse_dps"]


def _inner(value, seen):
    """The pipes that an attribute holds, in containers too."""
    if isinstance(value, (IterDataPipe, MapDataPipe)):
        yield value
    elif isinstance(value, (list, tuple, set)) and id(value) not in seen:
        seen.add(id(value))
        for part in value:
            yield from _inner(part, seen)
    elif isinstance(value, dict) and id(value) not in seen:
        seen.add(id(value))
        for part in value.values():
            yield from _inner(part, seen)


def traverse_dps(datapipe):
    """{id: (pipe, graph of the pipes that it reads)}"""
    return _traverse(datapipe, set())


def _traverse(datapipe, above):
    if id(datapipe) in above:
        return {}
    inside = {}
    for value in vars(datapipe).values():
        for pipe in _inner(value, set()):
            inside.update(_traverse(pipe, above | {id(datapipe)}))
    return {id(datapipe): (datapipe, inside)}


def traverse(datapipe, only_datapipe=None):
    """The old name of `traverse_dps`."""
    return traverse_dps(datapipe)
