//! `Memory`: a counted handle on bytes, as tensors share them. Small ones stand in one block with their count, so that
//! a small tensor's bytes cost one list operation. Not here: where blocks come from (`alloc`), who may write
//! (`rtorch-core`).

use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering, fence};

use rtorch_ir::Result;

use crate::alloc::{self, ALIGN, Buffer};
use crate::guard;

/// Up to this many bytes share a block with their head; beyond, 64 bytes more could mean a class more.
const INLINE_MAX: usize = 1 << 10;

#[repr(C, align(64))]
struct Head {
    count: AtomicUsize,
    ptr: *mut u8,
    len: usize,
    /// Size of the block that this head begins; 0 where the head is a box and the bytes are the buffer's.
    cap: usize,
    buffer: Option<Buffer>,
}

const _: () = assert!(std::mem::align_of::<Head>() == ALIGN);

/// Shared bytes.
pub struct Memory(NonNull<Head>);

// SAFETY: the head is only read but for its count, which is atomic; who may write the bytes is their holders' affair.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Memory {
    /// Memory with arbitrary contents.
    #[inline]
    pub fn uninit(bytes: usize) -> Result<Memory> {
        if bytes > INLINE_MAX || guard::on() {
            return Ok(Memory::from(Buffer::uninit(bytes)?));
        }
        let (block, cap) = alloc::take_small(size_of::<Head>() + bytes)?;
        let head = block.cast::<Head>();
        // SAFETY: the block is ours, aligned to ALIGN, and holds the head and `bytes` bytes.
        unsafe {
            let ptr = block.as_ptr().add(size_of::<Head>());
            head.write(Head { count: AtomicUsize::new(1), ptr, len: bytes, cap, buffer: None });
        }
        Ok(Memory(head))
    }
    #[inline]
    fn head(&self) -> &Head {
        // SAFETY: alive while a handle is.
        unsafe { self.0.as_ref() }
    }
    #[inline]
    pub fn as_ptr(&self) -> *mut u8 {
        self.head().ptr
    }
    #[inline]
    pub fn len(&self) -> usize {
        self.head().len
    }
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Is it memory of others (NumPy, a mapped file, shared memory)?
    pub fn is_foreign(&self) -> bool {
        self.head().buffer.as_ref().is_some_and(Buffer::is_foreign)
    }
    /// The buffer behind it, where it is not a block of its own: memory of others always has one.
    pub fn buffer(&self) -> Option<&Buffer> {
        self.head().buffer.as_ref()
    }
    /// Do two handles mean the same bytes?
    #[inline]
    pub fn same(&self, other: &Memory) -> bool {
        self.0 == other.0
    }
    /// How many handles there are.
    #[inline]
    pub fn handles(&self) -> usize {
        self.head().count.load(Ordering::Acquire)
    }
    /// The last handle is gone: the block goes back.
    #[cold]
    #[inline(never)]
    fn free_boxed(&mut self) {
        // SAFETY: made by `From<Buffer>` as a box, and nobody else holds it.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}

impl From<Buffer> for Memory {
    fn from(buffer: Buffer) -> Memory {
        let (ptr, len) = (buffer.as_ptr(), buffer.len());
        let head = Head { count: AtomicUsize::new(1), ptr, len, cap: 0, buffer: Some(buffer) };
        Memory(NonNull::from(Box::leak(Box::new(head))))
    }
}

impl Clone for Memory {
    #[inline]
    fn clone(&self) -> Memory {
        self.head().count.fetch_add(1, Ordering::Relaxed);
        Memory(self.0)
    }
}

impl Drop for Memory {
    #[inline]
    fn drop(&mut self) {
        // a sole handle needs no locked instruction: nobody else can make another
        if self.head().count.load(Ordering::Acquire) != 1 {
            if self.head().count.fetch_sub(1, Ordering::Release) != 1 {
                return;
            }
            fence(Ordering::Acquire);
        }
        match self.head().cap {
            0 => self.free_boxed(),
            // a head in its block owns nothing
            cap => alloc::give_small(self.0.cast(), cap),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_and_large_memory_is_counted_and_comes_back() {
        for bytes in [0, 1, 16, INLINE_MAX, INLINE_MAX + 1, 1 << 21] {
            let before = alloc::bytes_in_use();
            let a = Memory::uninit(bytes).unwrap();
            assert!(a.len() == bytes && (a.as_ptr() as usize).is_multiple_of(ALIGN) && !a.is_foreign());
            // SAFETY: the memory is that long, and ours.
            unsafe { a.as_ptr().write_bytes(7, bytes) };
            let b = a.clone();
            assert!(a.same(&b) && a.handles() == 2 && alloc::bytes_in_use() >= before + bytes);
            drop(a);
            assert_eq!(b.handles(), 1);
            std::thread::spawn(move || drop(b)).join().unwrap();
        }
    }

    #[test]
    fn memory_of_others_keeps_its_owner() {
        let owner: Box<Vec<u8>> = Box::new(vec![1, 2, 3]);
        let p = owner.as_ptr().cast_mut();
        // SAFETY: the vector is the owner.
        let m = Memory::from(unsafe { Buffer::from_raw(p, 3, owner) });
        assert!(m.is_foreign() && m.len() == 3 && m.as_ptr() == p);
    }
}
