//! One GPU device: its creation, its errors, transfers and waiting. What goes wrong asynchronously is latched here and
//! raised by the next call. Not here: memory (`memory.rs`), recording (`queue.rs`), kernels (`kernel.rs`).

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use rtorch_ir::{Error, ErrorKind, Result};

use crate::adapter::{self, AdapterInfo, Profile};
use crate::memory::{ALIGN, Buffer, Page, Pool};
use crate::pipeline::{Layouts, Pipeline};
use crate::queue::{IN_FLIGHT, Stream};
use crate::record::Recorded;
use crate::submit::{Handle, Job, Submitter, Ticket};

/// A wait gives other threads a chance to record after this long ...
const SLICE: Duration = Duration::from_millis(2);
/// ... and looks for an interrupt after so many slices.
const SLICES_PER_CHECK: u32 = 10;
/// Transfers go through host-visible memory in pieces of this size.
const PIECE: usize = 32 << 20;
/// Uploaded bytes that may wait for a submission.
const UPLOADS: u64 = 64 << 20;
/// Words of the flag buffer: kind, index (low, high), size.
const FLAG_BYTES: u64 = 16;

/// Counters since the start of the process, or since `reset_counters`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counters {
    pub dispatches: u64,
    pub pipelines: u64,
    pub bytes_uploaded: u64,
    pub bytes_downloaded: u64,
}

#[derive(Default)]
struct Faults {
    /// The first error that no scope caught.
    first: Mutex<Option<Error>>,
    lost: Mutex<Option<String>>,
}

pub struct Device {
    pub index: usize,
    pub info: AdapterInfo,
    pub profile: Profile,
    pub(crate) wgpu: wgpu::Device,
    submitting: Handle,
    pub(crate) layouts: Layouts,
    pub(crate) pool: Mutex<Pool>,
    pub(crate) stream: Mutex<Stream>,
    pub(crate) pipelines: Mutex<HashMap<Box<[u32]>, Arc<Pipeline>>>,
    pub(crate) dispatches: AtomicU64,
    pub(crate) compiled: AtomicU64,
    uploaded: AtomicU64,
    downloaded: AtomicU64,
    waiting_uploads: AtomicU64,
    faults: Arc<Faults>,
    flag: Arc<Page>,
    flag_used: AtomicBool,
    staging: Mutex<Vec<wgpu::Buffer>>,
    pub(crate) recording: Mutex<Option<Vec<Recorded>>>,
    pid: u32,
}

static INTERRUPT: Mutex<Option<fn() -> bool>> = Mutex::new(None);

/// A function that waits ask now and then whether the user wants to stop (Ctrl-C).
pub fn set_interrupt_hook(hook: fn() -> bool) {
    *INTERRUPT.lock() = Some(hook);
}

/// The process that made the first device; a fork's child must not touch the driver's threads and locks.
static PID: AtomicU32 = AtomicU32::new(0);

fn forked() -> bool {
    let pid = std::process::id();
    let first = PID.compare_exchange(0, pid, Ordering::Relaxed, Ordering::Relaxed).unwrap_or_else(|p| p);
    first != 0 && first != pid
}

fn fork_error() -> Error {
    Error::runtime(
        "wgpu: the GPU cannot be used in a forked child process; start the process with the 'spawn' method \
         (multiprocessing.set_start_method('spawn')), or use the CPU there",
    )
}

static DEVICES: OnceLock<Vec<Mutex<Option<Arc<Device>>>>> = OnceLock::new();

/// The devices that were used so far (none is made by asking).
pub fn opened() -> Vec<Arc<Device>> {
    if forked() {
        return Vec::new();
    }
    DEVICES.get().map_or_else(Vec::new, |slots| slots.iter().filter_map(|s| s.lock().clone()).collect())
}

/// The device of an adapter index, made at the first call, and anew after it was lost.
pub fn device(index: usize) -> Result<Arc<Device>> {
    if forked() {
        return Err(fork_error());
    }
    let slots = DEVICES.get_or_init(|| adapter::all().iter().map(|_| Mutex::new(None)).collect());
    let Some(slot) = slots.get(index) else { return Err(adapter::missing(index)) };
    let mut slot = slot.lock();
    if let Some(d) = slot.as_ref().filter(|d| !d.is_lost()) {
        return Ok(d.clone());
    }
    let d = Arc::new(Device::open(index, &adapter::all()[index], adapter::portable())?);
    *slot = Some(d.clone());
    Ok(d)
}

/// A device that runs nothing, for tests of printed kernels (see `record.rs`); None where wgpu was built without it.
pub fn noop_device(portable: bool) -> Result<Option<Arc<Device>>> {
    adapter::noop().map(|f| Ok(Arc::new(Device::open(0, &f, portable)?))).transpose()
}

impl Device {
    fn open(index: usize, found: &adapter::Found, portable: bool) -> Result<Device> {
        let (features, limits, profile) = adapter::request(&found.adapter, found.info.software, portable);
        let (device, queue) = adapter::ready(found.adapter.request_device(&wgpu::DeviceDescriptor {
            label: Some("rtorch"),
            required_features: features,
            required_limits: limits,
            memory_hints: wgpu::MemoryHints::MemoryUsage,
            ..Default::default()
        }))
        .map_err(|e| Error::runtime(format!("wgpu:{index}: '{}' gives no device: {e}", found.info.name)))?;
        let faults = Arc::new(Faults::default());
        let f = faults.clone();
        device.on_uncaptured_error(Arc::new(move |e: wgpu::Error| {
            let error = match &e {
                wgpu::Error::OutOfMemory { .. } => Error::memory(format!("wgpu: out of memory: {e}")),
                wgpu::Error::Validation { .. } | wgpu::Error::Internal { .. } => Error::runtime(format!("wgpu: {e}")),
            };
            f.first.lock().get_or_insert(error);
        }));
        let f = faults.clone();
        device.set_device_lost_callback(move |reason, message| {
            f.lost.lock().get_or_insert(format!("{reason:?} {message}"));
        });
        let layouts = Layouts::new(&device, &profile);
        let submitter = Submitter::new(queue)
            .map_err(|e| Error::runtime(format!("wgpu:{index}: no thread to submit from could be made: {e}")))?;
        let submitting = submitter.handle();
        let stream = Stream::new(&device, &layouts, submitter);
        let flag = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("flag"),
            size: ALIGN,
            usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        Ok(Device {
            index,
            info: found.info.clone(),
            profile,
            layouts,
            pool: Mutex::default(),
            stream: Mutex::new(stream),
            pipelines: Mutex::default(),
            dispatches: AtomicU64::new(0),
            compiled: AtomicU64::new(0),
            uploaded: AtomicU64::new(0),
            downloaded: AtomicU64::new(0),
            waiting_uploads: AtomicU64::new(0),
            faults,
            flag: Arc::new(Page { id: 0, buffer: flag, size: ALIGN }),
            flag_used: AtomicBool::new(false),
            staging: Mutex::default(),
            recording: Mutex::default(),
            pid: std::process::id(),
            wgpu: device,
            submitting,
        })
    }

    /// Raises what was latched; every call starts with this.
    pub(crate) fn check(&self) -> Result<()> {
        if self.pid != std::process::id() {
            return Err(fork_error());
        }
        if let Some(why) = &*self.faults.lost.lock() {
            return Err(Error::runtime(format!(
                "wgpu:{}: the device was lost ({}). Tensors on it are gone: load or compute them again, which uses a \
                 new device",
                self.index,
                why.trim()
            )));
        }
        match self.faults.first.lock().take() {
            Some(e) => Err(e),
            None => Ok(()),
        }
    }

    /// Did the driver give up on the device? Nothing runs on it any more.
    pub fn is_lost(&self) -> bool {
        self.faults.lost.lock().is_some()
    }
    /// Ends the device as a driver's reset would: for tests of what follows.
    pub fn lose(&self) {
        self.wgpu.destroy();
        self.faults.lost.lock().get_or_insert("ended on request".to_string());
    }

    /// The buffer that index kernels report to; whoever binds it is checked at the next synchronisation.
    pub(crate) fn flag_page(&self) -> Arc<Page> {
        self.flag_used.store(true, Ordering::Relaxed);
        self.flag.clone()
    }

    pub fn counters(&self) -> Counters {
        Counters {
            dispatches: self.dispatches.load(Ordering::Relaxed),
            pipelines: self.compiled.load(Ordering::Relaxed),
            bytes_uploaded: self.uploaded.load(Ordering::Relaxed),
            bytes_downloaded: self.downloaded.load(Ordering::Relaxed),
        }
    }
    pub fn reset_counters(&self) {
        for c in [&self.dispatches, &self.compiled, &self.uploaded, &self.downloaded] {
            c.store(0, Ordering::Relaxed);
        }
    }

    /// Submits what is recorded.
    pub fn flush(&self) -> Result<()> {
        self.check()?;
        self.throttle()?;
        self.stream.lock().submit();
        Ok(())
    }

    /// Waits until fewer than the allowed number of submissions are under way.
    pub(crate) fn throttle(&self) -> Result<()> {
        loop {
            let oldest = {
                let mut s = self.stream.lock();
                if s.in_flight.len() < IN_FLIGHT {
                    return Ok(());
                }
                s.in_flight.pop_front()
            };
            let Some(oldest) = oldest else { return Ok(()) };
            if let Err(e) = self.wait(oldest) {
                self.stream.lock().in_flight.push_front(oldest);
                return Err(e);
            }
        }
    }

    /// Waits for a submission in slices, asking for interrupts in between.
    fn wait(&self, ticket: Ticket) -> Result<()> {
        let mut slices = 0;
        loop {
            if self.wait_slice(ticket)? {
                return self.check();
            }
            slices += 1;
            if slices % SLICES_PER_CHECK == 0 {
                self.check()?;
                let hook = *INTERRUPT.lock();
                if hook.is_some_and(|stop| stop()) {
                    return Err(Error::interrupted());
                }
            }
        }
    }

    /// Waits one slice; has the submission run?
    fn wait_slice(&self, ticket: Ticket) -> Result<bool> {
        let gone = |()| Error::runtime("wgpu: the driver failed while work was handed to it; restart the process");
        let Some(index) = self.submitting.submission(ticket, SLICE).map_err(gone)? else { return Ok(false) };
        let Some(gate) = self.submitting.gate(SLICE) else { return Ok(false) };
        let polled = self.wgpu.poll(wgpu::PollType::Wait { submission_index: Some(index), timeout: Some(SLICE) });
        drop(gate);
        match polled {
            Ok(_) => Ok(true),
            Err(wgpu::PollError::Timeout) => Ok(false),
            Err(e) => Err(Error::runtime(format!("wgpu: waiting for the device failed: {e}"))),
        }
    }

    /// Hands no more work to the driver, and waits until it has returned: at the end of the process.
    pub fn close(&self) {
        if self.pid == std::process::id() {
            self.submitting.close();
        }
    }

    /// Waits until everything recorded so far has run; raises what kernels found wrong.
    pub fn synchronize(&self) -> Result<()> {
        self.check()?;
        if self.flag_used.load(Ordering::Relaxed) {
            return self.read(None, 0, &mut []);
        }
        let ticket = self.stream.lock().submit();
        if let Some(ticket) = ticket {
            self.wait(ticket)?;
            self.stream.lock().in_flight.clear();
        }
        Ok(())
    }

    /// Waits without raising: before memory is given back.
    pub(crate) fn synchronize_quietly(&self) {
        let ticket = self.stream.lock().submit();
        if let Some(ticket) = ticket {
            while matches!(self.wait_slice(ticket), Ok(false)) {}
        }
    }

    /// Writes bytes to a buffer, in the order of the calls on this device.
    pub fn upload(&self, to: &Buffer, offset: usize, data: &[u8]) -> Result<()> {
        self.check()?;
        if data.is_empty() {
            return Ok(());
        }
        in_range(to.of(self)?, offset, data.len())?;
        self.uploaded.fetch_add(data.len() as u64, Ordering::Relaxed);
        let end = offset + data.len();
        // only whole words can be written: unaligned ends that have neighbours are merged with what is there
        let (lo, hi) = (offset & !3, (end + 3) & !3);
        if offset == lo && (end == hi || end == to.len()) {
            let body = data.len() & !3;
            for (i, piece) in data[..body].chunks(PIECE).enumerate() {
                self.write(to, offset + i * PIECE, piece)?;
            }
            if body < data.len() {
                let mut tail = [0u8; 4];
                tail[..data.len() - body].copy_from_slice(&data[body..]);
                self.write(to, offset + body, &tail)?;
            }
            return Ok(());
        }
        let mut whole = vec![0u8; hi - lo];
        self.read(Some(to), lo, &mut whole)?;
        whole[offset - lo..end - lo].copy_from_slice(data);
        self.write(to, lo, &whole)
    }

    /// One write of whole words. What is recorded goes first: a write takes effect before the next submission.
    fn write(&self, to: &Buffer, offset: usize, data: &[u8]) -> Result<()> {
        let mut stream = self.stream.lock();
        stream.submit();
        let waiting = self.waiting_uploads.fetch_add(data.len() as u64, Ordering::Relaxed);
        if waiting + data.len() as u64 > UPLOADS {
            self.waiting_uploads.store(data.len() as u64, Ordering::Relaxed);
            let ticket = stream.submitter.hand(Job::Flush);
            drop(stream);
            self.wait(ticket)?;
            stream = self.stream.lock();
            // another thread may have recorded meanwhile
            stream.submit();
        }
        let (buffer, offset) = (to.page().buffer.clone(), to.start() + offset as u64);
        stream.submitter.hand(Job::Write { buffer, offset, data: data.to_vec() });
        Ok(())
    }

    /// Reads bytes of a buffer after everything recorded before; raises what kernels found wrong.
    pub fn download(&self, from: &Buffer, offset: usize, out: &mut [u8]) -> Result<()> {
        self.check()?;
        in_range(from.of(self)?, offset, out.len())?;
        self.downloaded.fetch_add(out.len() as u64, Ordering::Relaxed);
        let mut at = 0;
        while at < out.len() {
            let n = (out.len() - at).min(PIECE);
            self.read(Some(from), offset + at, &mut out[at..at + n])?;
            at += n;
        }
        Ok(())
    }

    /// Reads at most `PIECE` bytes, and the flag where a kernel may have set it.
    fn read(&self, from: Option<&Buffer>, offset: usize, out: &mut [u8]) -> Result<()> {
        let skip = offset & 3;
        let len = (skip + out.len()).next_multiple_of(4) as u64;
        let flagged = self.flag_used.swap(false, Ordering::Relaxed);
        let staging = self.staging_buffer(len + FLAG_BYTES);
        let ticket = {
            let mut s = self.stream.lock();
            let encoder = s.encoder(&self.wgpu);
            if let Some(b) = from {
                let start = b.start() + (offset - skip) as u64;
                encoder.copy_buffer_to_buffer(&b.page().buffer, start, &staging, FLAG_BYTES, len);
            }
            if flagged {
                encoder.copy_buffer_to_buffer(&self.flag.buffer, 0, &staging, 0, FLAG_BYTES);
            }
            encoder.map_buffer_on_submit(&staging, wgpu::MapMode::Read, 0..len + FLAG_BYTES, |_| {});
            s.submit()
        };
        let Some(ticket) = ticket else { return Ok(()) };
        if let Err(e) = self.wait(ticket) {
            self.flag_used.fetch_or(flagged, Ordering::Relaxed);
            return Err(e);
        }
        self.waiting_uploads.store(0, Ordering::Relaxed);
        self.stream.lock().in_flight.clear();
        let words = {
            let view = staging
                .get_mapped_range(0..len + FLAG_BYTES)
                .map_err(|e| Error::runtime(format!("wgpu: reading back failed: {e}")))?;
            let body = FLAG_BYTES as usize + skip;
            out.copy_from_slice(&view[body..body + out.len()]);
            let word = |i: usize| u32::from_le_bytes([view[4 * i], view[4 * i + 1], view[4 * i + 2], view[4 * i + 3]]);
            [word(0), word(1), word(2), word(3)]
        };
        staging.unmap();
        self.staging.lock().push(staging);
        if flagged && words[0] != 0 {
            let (buffer, data) = (self.flag.buffer.clone(), vec![0; FLAG_BYTES as usize]);
            self.stream.lock().submitter.hand(Job::Write { buffer, offset: 0, data });
            let index = (words[1] as u64 | (words[2] as u64) << 32) as i64;
            return Err(Error::new(
                ErrorKind::Index,
                format!("index {index} is out of bounds for dimension with size {}", words[3]),
            ));
        }
        Ok(())
    }

    /// Host-visible memory to read back through; a few are kept.
    fn staging_buffer(&self, size: u64) -> wgpu::Buffer {
        let mut kept = self.staging.lock();
        if let Some(i) = (0..kept.len()).find(|&i| kept[i].size() >= size && kept[i].size() <= 4 * size + 65536) {
            return kept.swap_remove(i);
        }
        if kept.len() > 4 {
            kept.remove(0);
        }
        drop(kept);
        self.wgpu.create_buffer(&wgpu::BufferDescriptor {
            label: Some("staging"),
            size: size.next_power_of_two().max(4096),
            usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        })
    }

    /// Copies bytes between buffers (or within one, ranges apart); offsets and length are multiples of 4.
    pub fn copy(&self, from: &Buffer, from_offset: usize, to: &Buffer, to_offset: usize, len: usize) -> Result<()> {
        self.check()?;
        in_range(from.of(self)?, from_offset, len)?;
        in_range(to.of(self)?, to_offset, len)?;
        let len = len.next_multiple_of(4);
        if !from_offset.is_multiple_of(4) || !to_offset.is_multiple_of(4) || from.page().id == to.page().id {
            // the encoder refuses copies within one buffer that share a page's 4 bytes; go through a fresh piece
            let mut bytes = vec![0u8; len.min(from.len() - from_offset)];
            self.download(from, from_offset, &mut bytes)?;
            return self.upload(to, to_offset, &bytes);
        }
        let mut s = self.stream.lock();
        let (a, b) = (from.start() + from_offset as u64, to.start() + to_offset as u64);
        s.encoder(&self.wgpu).copy_buffer_to_buffer(&from.page().buffer, a, &to.page().buffer, b, len as u64);
        Ok(())
    }
}

fn in_range(b: &Buffer, offset: usize, len: usize) -> Result<()> {
    if offset.checked_add(len).is_none_or(|end| end > b.len()) {
        return Err(Error::runtime(format!("wgpu: bytes {offset}..+{len} lie outside a buffer of {} bytes", b.len())));
    }
    Ok(())
}
