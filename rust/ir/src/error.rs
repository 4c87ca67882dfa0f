//! The one error type. Each kind is one Python exception class (`rtorch-python/src/error.rs` maps them).

/// Which exception PyTorch raises for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ErrorKind {
    /// `RuntimeError`: shapes that do not fit, wrong devices, failures in kernels.
    Runtime,
    /// `TypeError`: an argument of the wrong Python type.
    Type,
    /// `ValueError`
    Value,
    /// `IndexError`: a dimension or an index out of range.
    Index,
    /// `NotImplementedError`: a dtype that the operator does not support, as PyTorch says it.
    NotImplemented,
    /// `linalg.LinAlgError`
    Linalg,
    /// `OutOfMemoryError` (a RuntimeError)
    OutOfMemory,
    /// `KeyboardInterrupt`, noticed inside a kernel.
    Interrupted,
    /// `AssertionError`
    Assertion,
}

#[derive(Clone, Debug)]
pub struct Error {
    pub kind: ErrorKind,
    pub message: String,
}

pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Error {
        Error { kind, message: message.into() }
    }
    pub fn runtime(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Runtime, message)
    }
    pub fn type_(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Type, message)
    }
    pub fn value(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Value, message)
    }
    pub fn index(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Index, message)
    }
    pub fn not_implemented(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::NotImplemented, message)
    }
    pub fn linalg(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Linalg, message)
    }
    pub fn memory(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::OutOfMemory, message)
    }
    pub fn interrupted() -> Error {
        Error::new(ErrorKind::Interrupted, "interrupted")
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

/// `return Err(Error::runtime(format!(...)))` unless the condition holds.
#[macro_export]
macro_rules! ensure {
    ($cond:expr, $kind:ident, $($arg:tt)*) => {
        if !($cond) {
            return Err($crate::Error::$kind(format!($($arg)*)));
        }
    };
}
