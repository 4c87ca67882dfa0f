//! The safetensors format over its own crate: headers read and checked, files written. How tensors are made of a file's
//! bytes, mapped or read, stands in `python/rtorch/utils/safetensors.py`.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;

use rtorch_ir::{DType, Error, Result};
use safetensors::tensor::{Metadata, View};
use safetensors::{Dtype, SafeTensorError};

use crate::Tensor;
use crate::tensor::HostBytes;

/// One tensor of a header: its bytes are `start..end` of what follows the header.
pub struct Entry {
    pub name: String,
    /// None for a type that no tensor here has; `type_name` says which.
    pub dtype: Option<DType>,
    pub type_name: String,
    pub shape: Vec<usize>,
    pub start: usize,
    pub end: usize,
}

/// Strings of the header beside its tensors.
pub type Info = Option<HashMap<String, String>>;

fn unreadable(e: impl std::fmt::Display) -> Error {
    Error::value(format!("Error while deserializing header: {e}"))
}

/// Reads a header (the JSON without its length). The crate checks that the tensors follow each other without gaps, in
/// sizes that fit their shapes; here, that they end where the file does.
pub fn header(json: &[u8], data_len: usize) -> Result<(Info, Vec<Entry>)> {
    let text = std::str::from_utf8(json).map_err(|e| unreadable(format!("invalid UTF-8 in header: {e}")))?;
    let found: Metadata = serde_json::from_str(text).map_err(|e| unreadable(format!("invalid JSON in header: {e}")))?;
    if found.data_len() != data_len {
        return Err(unreadable("incomplete metadata, file not fully covered"));
    }
    let entries = found.offset_keys().into_iter().filter_map(|name| {
        let info = found.info(&name)?;
        let (start, end) = info.data_offsets;
        let type_name = format!("{:?}", info.dtype);
        Some(Entry { dtype: from_safetensors(info.dtype), type_name, shape: info.shape.clone(), start, end, name })
    });
    Ok((found.metadata().clone(), entries.collect()))
}

fn from_safetensors(d: Dtype) -> Option<DType> {
    DType::ALL.into_iter().find(|&x| to_safetensors(x) == Some(d))
}

fn to_safetensors(d: DType) -> Option<Dtype> {
    Some(match d {
        DType::Bool => Dtype::BOOL,
        DType::U8 => Dtype::U8,
        DType::I8 => Dtype::I8,
        DType::I16 => Dtype::I16,
        DType::I32 => Dtype::I32,
        DType::I64 => Dtype::I64,
        DType::F16 => Dtype::F16,
        DType::BF16 => Dtype::BF16,
        DType::F32 => Dtype::F32,
        DType::F64 => Dtype::F64,
        DType::C64 => Dtype::C64,
        DType::U16 => Dtype::U16,
        DType::U32 => Dtype::U32,
        DType::U64 => Dtype::U64,
        DType::E4M3 => Dtype::F8_E4M3,
        DType::E5M2 => Dtype::F8_E5M2,
        DType::E4M3Z => Dtype::F8_E4M3FNUZ,
        DType::E5M2Z => Dtype::F8_E5M2FNUZ,
        DType::E8M0 => Dtype::F8_E8M0,
        DType::C128 => return None,
    })
}

/// A tensor on its way into a file: contiguous bytes on the host.
struct Written {
    dtype: Dtype,
    shape: Vec<usize>,
    host: HostBytes,
}

impl View for Written {
    fn dtype(&self) -> Dtype {
        self.dtype
    }
    fn shape(&self) -> &[usize] {
        &self.shape
    }
    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(self.host.bytes())
    }
    fn data_len(&self) -> usize {
        self.host.bytes().len()
    }
}

fn written(name: &str, t: &Tensor) -> Result<Written> {
    let d = t.dtype();
    let dtype = to_safetensors(d).ok_or_else(|| {
        Error::value(format!("safetensors: the tensor '{name}' is {d}, which the format does not have"))
    })?;
    Ok(Written { dtype, shape: t.shape().to_vec(), host: t.host_bytes()? })
}

/// Writes tensors to a file, or gives the file's bytes where there is no path.
pub fn save(tensors: &[(String, Tensor)], info: Info, path: Option<&Path>) -> Result<Vec<u8>> {
    let views = tensors.iter().map(|(n, t)| Ok((n.as_str(), written(n, t)?))).collect::<Result<Vec<_>>>()?;
    let failed = |e: SafeTensorError| Error::runtime(format!("safetensors: {e}"));
    match path {
        None => safetensors::serialize(views, info).map_err(failed),
        Some(path) => safetensors::serialize_to_file(views, info, path).map(|()| Vec::new()).map_err(failed),
    }
}
