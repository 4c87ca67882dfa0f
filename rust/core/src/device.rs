//! `Device`: where a tensor's bytes live. The backends stand in `backend.rs`.

use rtorch_ir::{Error, Result};

/// `cpu`, `wgpu:index` (one per adapter), or `meta`: shapes and dtypes without bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Device {
    #[default]
    Cpu,
    Wgpu(u32),
    Meta,
}

impl Device {
    pub fn parse(text: &str) -> Result<Device> {
        let (kind, index) = match text.split_once(':') {
            Some((k, i)) => (k, Some(i)),
            None => (text, None),
        };
        let number = match index {
            None => None,
            Some(i) => Some(i.parse::<u32>().map_err(|_| Error::runtime(format!("Invalid device string: '{text}'")))?),
        };
        match (kind, number) {
            ("cpu", None | Some(0)) => Ok(Device::Cpu),
            ("meta", _) => Ok(Device::Meta),
            ("wgpu", n) => Ok(Device::Wgpu(n.unwrap_or(0))),
            _ => Err(Error::runtime(format!(
                "Expected one of cpu, wgpu, meta device type at start of device string: {text}"
            ))),
        }
    }
    pub fn type_name(self) -> &'static str {
        match self {
            Device::Cpu => "cpu",
            Device::Wgpu(_) => "wgpu",
            Device::Meta => "meta",
        }
    }
    pub fn index(self) -> Option<u32> {
        match self {
            Device::Cpu | Device::Meta => None,
            Device::Wgpu(i) => Some(i),
        }
    }
    pub fn is_meta(self) -> bool {
        self == Device::Meta
    }
    pub fn is_cpu(self) -> bool {
        self == Device::Cpu
    }
}

impl std::fmt::Display for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Device::Cpu | Device::Meta => f.write_str(self.type_name()),
            Device::Wgpu(i) => write!(f, "wgpu:{i}"),
        }
    }
}
