//! Memory that several processes map: a file without a name (`memfd`), handed on by its descriptor. The system frees it
//! when the last process has dropped it, however that process ended; no name is ever left behind.
//! Not here: which storages lie in such memory (`rtorch-core`), how descriptors travel (`rtorch.multiprocessing`).

use std::ptr::NonNull;
use std::sync::Arc;

use rtorch_ir::{Error, Result};

use crate::alloc::{Buffer, check_available};

/// A mapped file.
pub struct Mapping {
    ptr: NonNull<u8>,
    len: usize,
    /// Closed early where only the memory is wanted: descriptors are few, mappings are many.
    #[cfg(unix)]
    fd: Option<std::os::fd::OwnedFd>,
}

// SAFETY: the mapping belongs to the process; who may write it when is its holders' affair, as with all memory.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

/// The mapping behind a buffer, if it is shared memory.
pub fn mapping_of(buffer: &Buffer) -> Option<&Arc<Mapping>> {
    buffer.owner()?.downcast_ref::<Arc<Mapping>>()
}

/// A buffer over a mapping.
pub fn buffer(mapping: Arc<Mapping>) -> Buffer {
    let (ptr, len) = (mapping.ptr.as_ptr(), mapping.len);
    // SAFETY: the owner is the mapping itself.
    unsafe { Buffer::from_raw(ptr, len, Box::new(mapping)) }
}

#[cfg(unix)]
mod system {
    use super::*;
    use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

    fn failed(what: &str, bytes: usize) -> Error {
        let e = std::io::Error::last_os_error();
        Error::runtime(format!("unable to {what} shared memory of {bytes} bytes: {e}"))
    }

    impl Mapping {
        /// Fresh memory of zeros.
        pub fn create(len: usize) -> Result<Mapping> {
            // the system gives pages to a file until it has none left, and then ends processes
            check_available(len)?;
            if len > i64::MAX as usize {
                return Err(Error::memory(format!("unable to allocate shared memory of {len} bytes")));
            }
            let fd = anonymous(len)?;
            // SAFETY: a descriptor of our own; an empty file cannot be mapped, so there is always a byte.
            if unsafe { libc::ftruncate(fd.as_raw_fd(), len.max(1) as libc::off_t) } != 0 {
                return Err(failed("allocate", len));
            }
            // pages are claimed now: where there are none left, a later write would end the process (SIGBUS)
            #[cfg(target_os = "linux")]
            // SAFETY: as above.
            if unsafe { libc::fallocate(fd.as_raw_fd(), 0, 0, len.max(1) as libc::off_t) } != 0
                && std::io::Error::last_os_error().raw_os_error() != Some(libc::EOPNOTSUPP)
            {
                return Err(failed("allocate", len));
            }
            Mapping::map(fd, len)
        }
        /// Memory that another process made. Its size is checked: a mapping beyond the file's end would be deadly.
        pub fn open(fd: OwnedFd, len: usize) -> Result<Mapping> {
            // SAFETY: plain data that the call fills.
            let mut stat: libc::stat = unsafe { std::mem::zeroed() };
            // SAFETY: a descriptor of our own, and room for the answer.
            if unsafe { libc::fstat(fd.as_raw_fd(), &mut stat) } != 0 {
                return Err(failed("open", len));
            }
            if (stat.st_size as u64) < len as u64 {
                let have = stat.st_size;
                return Err(Error::runtime(format!("shared memory of {len} bytes expected, the file has {have}")));
            }
            Mapping::map(fd, len)
        }
        fn map(fd: OwnedFd, len: usize) -> Result<Mapping> {
            let (access, shared) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
            // SAFETY: a fresh mapping of our own file; the result is checked.
            let p = unsafe { libc::mmap(std::ptr::null_mut(), len.max(1), access, shared, fd.as_raw_fd(), 0) };
            match NonNull::new(p.cast::<u8>()) {
                Some(ptr) if p != libc::MAP_FAILED => Ok(Mapping { ptr, len, fd: Some(fd) }),
                Some(_) | None => Err(failed("map", len)),
            }
        }
        /// The file, as long as it is open here.
        pub fn fd(&self) -> Option<BorrowedFd<'_>> {
            self.fd.as_ref().map(|f| f.as_fd())
        }
        /// Gives the descriptor back; the memory stays.
        pub fn close(&mut self) {
            self.fd = None;
        }
    }

    impl Drop for Mapping {
        fn drop(&mut self) {
            // SAFETY: mapped by `map` with this length; the last holder is gone.
            unsafe {
                libc::munmap(self.ptr.as_ptr().cast(), self.len.max(1));
            }
        }
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn anonymous(len: usize) -> Result<OwnedFd> {
        // SAFETY: a constant name; the result is checked.
        let fd = unsafe { libc::memfd_create(c"rtorch".as_ptr(), libc::MFD_CLOEXEC) };
        if fd < 0 {
            return Err(failed("create", len));
        }
        // SAFETY: a fresh descriptor that nobody else has.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }

    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    fn anonymous(len: usize) -> Result<OwnedFd> {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let text = format!("/rtorch_{}_{}\0", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let name = text.as_ptr().cast::<libc::c_char>();
        // SAFETY: a terminated name of our own; it is gone again before anybody else could need it.
        let fd = unsafe { libc::shm_open(name, libc::O_RDWR | libc::O_CREAT | libc::O_EXCL, 0o600) };
        if fd < 0 {
            return Err(failed("create", len));
        }
        // SAFETY: as above.
        unsafe { libc::shm_unlink(name) };
        // SAFETY: a fresh descriptor that nobody else has.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }
}

#[cfg(not(unix))]
impl Mapping {
    pub fn create(_len: usize) -> Result<Mapping> {
        Err(Error::runtime("shared memory is supported on Unix systems only"))
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn two_mappings_of_one_file_are_one_memory() {
        let a = Mapping::create(100).unwrap();
        let fd = a.fd().unwrap().try_clone_to_owned().unwrap();
        let mut b = Mapping::open(fd, 100).unwrap();
        b.close();
        assert!(b.fd().is_none());
        let (a, b) = (buffer(Arc::new(a)), buffer(Arc::new(b)));
        // SAFETY: both buffers have 100 bytes.
        unsafe {
            *a.as_ptr().add(99) = 7;
            assert_eq!(*b.as_ptr().add(99), 7);
        }
        assert!(mapping_of(&a).is_some() && a.len() == 100);
        assert!(mapping_of(&Buffer::uninit(8).unwrap()).is_none());
    }

    #[test]
    fn sizes_are_checked() {
        let a = Mapping::create(8).unwrap();
        let fd = a.fd().unwrap().try_clone_to_owned().unwrap();
        assert!(Mapping::open(fd, 9).is_err());
        assert!(Mapping::create(usize::MAX).is_err());
        assert!(Mapping::create(0).is_ok());
    }
}
