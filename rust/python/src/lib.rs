//! PyO3 bindings of rtorch.
