"""Settings for all pipes of a graph: shuffling on or off, seeds, the share of a worker."""

import rtorch

__all__ = [
    "apply_random_seed",
    "apply_sharding",
    "apply_shuffle_seed",
    "apply_shuffle_settings",
    "get_all_graph_pipes",
]


def get_all_graph_pipes(graph):
    """The pipes of a graph, each once."""
    found = {}
    for key, (pipe, inside) in graph.items():
        found[key] = pipe
        found.update((id(p), p) for p in get_all_graph_pipes(inside))
    return list(found.values())


def _pipes(datapipe):
    from .graph import traverse_dps

    return get_all_graph_pipes(traverse_dps(datapipe))


def apply_sharding(datapipe, num_of_instances, instance_id, sharding_group=None):
    """Gives every sharding step its share; RuntimeError where one lies behind another."""
    import inspect

    from .graph import traverse_dps

    def go(graph, above):
        for pipe, inside in graph.values():
            shards = callable(getattr(type(pipe), "apply_sharding", None))
            if shards and above is not None:
                raise RuntimeError(
                    "Sharding twice on a single pipeline is likely unintended and will cause data loss. "
                    f"Sharding already applied to {above} while trying to apply to {pipe}"
                )
            if shards:
                takes_group = len(inspect.signature(pipe.apply_sharding).parameters) >= 3
                group = {"sharding_group": sharding_group} if takes_group else {}
                pipe.apply_sharding(num_of_instances, instance_id, **group)
            go(inside, pipe if shards else above)

    go(traverse_dps(datapipe), None)
    return datapipe


def _shuffles(pipe):
    return callable(getattr(type(pipe), "set_shuffle", None)) and callable(getattr(type(pipe), "set_seed", None))


def apply_shuffle_settings(datapipe, shuffle=None):
    """Switches every shuffling step on or off; with `shuffle=True` and none there, one is added with a warning."""
    if shuffle is None:
        return datapipe
    shufflers = [pipe for pipe in _pipes(datapipe) if _shuffles(pipe)]
    if not shufflers and shuffle:
        import warnings

        warnings.warn(
            "`shuffle=True` was set, but the datapipe does not contain a `Shuffler`. Adding one at the end. Be aware "
            "that the default buffer size might not be sufficient for your task.",
            stacklevel=2,
        )
        datapipe = datapipe.shuffle()
        shufflers = [datapipe]
    for pipe in shufflers:
        pipe.set_shuffle(shuffle)
    return datapipe


def apply_shuffle_seed(datapipe, rng):
    """The old name of `apply_random_seed`."""
    return apply_random_seed(datapipe, rng)


def apply_random_seed(datapipe, rng):
    """Seeds every step that draws at random, from a generator."""
    for pipe in _pipes(datapipe):
        if callable(getattr(type(pipe), "set_seed", None)):
            pipe.set_seed(int(rtorch.empty((), dtype=rtorch.int64).random_(generator=rng).item()))
    return datapipe
