"""The named tuples that operators with several results answer, `rtorch.return_types.max` and so on."""

__all__ = []


class _Result(tuple):
    """A tuple whose items have names; printed as PyTorch prints its structseqs."""

    __slots__ = ()
    _fields: tuple = ()

    def __repr__(self):
        lines = ",\n".join(f"{name}={value!r}" for name, value in zip(self._fields, self))
        return f"torch.return_types.{type(self).__name__}(\n{lines})"

    def __reduce__(self):
        return (type(self), (tuple(self),))

    n_fields = n_sequence_fields = property(lambda self: len(self._fields))


def _define(name, *fields):
    body = {"__slots__": (), "_fields": fields, "__module__": __name__}
    for i, field in enumerate(fields):
        body[field] = property(lambda self, i=i: self[i])
    globals()[name] = type(name, (_Result,), body)
    __all__.append(name)


for _name in ("max", "min", "sort", "topk", "cummax", "cummin", "kthvalue", "median", "nanmedian", "mode"):
    _define(_name, "values", "indices")
_define("aminmax", "min", "max")
_define("frexp", "mantissa", "exponent")
_define("histogram", "hist", "bin_edges")
_define("slogdet", "sign", "logabsdet")
_define("linalg_slogdet", "sign", "logabsdet")
_define("qr", "Q", "R")
_define("linalg_qr", "Q", "R")
_define("svd", "U", "S", "V")
_define("linalg_svd", "U", "S", "Vh")
_define("linalg_eigh", "eigenvalues", "eigenvectors")
_define("linalg_eig", "eigenvalues", "eigenvectors")
_define("linalg_inv_ex", "inverse", "info")
_define("linalg_cholesky_ex", "L", "info")
_define("linalg_solve_ex", "result", "info")
_define("linalg_lu", "P", "L", "U")
_define("linalg_lu_factor", "LU", "pivots")
_define("linalg_lstsq", "solution", "residuals", "rank", "singular_values")
_define("triangular_solve", "solution", "cloned_coefficient")
_define("geqrf", "a", "tau")
_define("lu_unpack", "P", "L", "U")
del _name
