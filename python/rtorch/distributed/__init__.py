"""`torch.distributed` before there is any: what single-process programs ask is answered, the rest raises when called.

Like PyTorch without an initialised process group, `get_rank()` and collectives raise ValueError; programs ask
`is_available()` and `is_initialized()` first.
"""

from enum import Enum

from rtorch import _later


class ReduceOp(Enum):
    """How values of several processes are put together."""

    SUM = 0
    AVG = 1
    PRODUCT = 2
    MIN = 3
    MAX = 4
    BAND = 5
    BOR = 6
    BXOR = 7


class _Absent(type):
    WORLD = property(lambda cls: None)


class group(metaclass=_Absent):
    """`group.WORLD` is None: there is no process group."""


class GroupMember(metaclass=_Absent):
    """`GroupMember.WORLD` is None: there is no process group."""

    NON_GROUP_MEMBER = -100


def _no():
    return False


is_available = is_initialized = is_torchelastic_launched = _no
is_nccl_available = is_gloo_available = is_mpi_available = is_ucc_available = is_xccl_available = _no
is_backend_available = lambda backend: False


def init_process_group(*args, **kwargs):
    """Raises: there are no process groups yet."""
    raise RuntimeError(
        "torch.distributed.init_process_group(): training over several processes and machines is not part of rtorch "
        "yet; torch.distributed.is_available() is False"
    )


def _needs_group(name):
    def call(*args, **kwargs):
        raise ValueError(
            "Default process group has not been initialized, please make sure to call init_process_group. "
            f"(torch.distributed.{name}: process groups are not part of rtorch yet)"
        )

    call.__name__ = call.__qualname__ = name
    call.__doc__ = "Raises ValueError: there is no process group."
    return call


_COLLECTIVES = (
    "all_gather all_gather_into_tensor all_gather_object all_reduce all_to_all all_to_all_single barrier broadcast "
    "broadcast_object_list gather gather_object get_backend get_global_rank get_group_rank get_process_group_ranks "
    "get_rank get_world_size irecv isend monitored_barrier new_group recv reduce reduce_scatter reduce_scatter_tensor "
    "scatter scatter_object_list send destroy_process_group batch_isend_irecv _all_gather_base"
).split()
for _name in _COLLECTIVES:
    globals()[_name] = _needs_group(_name)
del _name

__getattr__ = _later.attribute_of("distributed")
