//! The thread that hands work to the driver. Encoding is done and submitted there, in the order of the calls, so that a
//! program records ahead, and can be interrupted, even where a driver runs a submission inside the call (Mesa's
//! software driver does). Not here: what is recorded (`queue.rs`), waiting for results (`device.rs`).

use std::collections::VecDeque;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};

/// Numbers the jobs of one device.
pub(crate) type Ticket = u64;

pub(crate) enum Job {
    /// Commands, after the parameters that they read were written.
    Commands { encoder: wgpu::CommandEncoder, ring: Vec<u8>, ring_buffer: wgpu::Buffer },
    /// Bytes for a buffer, which take effect before the commands that come next.
    Write { buffer: wgpu::Buffer, offset: u64, data: Vec<u8> },
    /// Nothing: makes what was written before take effect.
    Flush,
}

/// How far the thread has come.
#[derive(Default)]
struct Progress {
    handed: Ticket,
    /// The submissions of the newest jobs.
    indices: VecDeque<(Ticket, wgpu::SubmissionIndex)>,
    /// The thread ended before its time.
    dead: bool,
    /// The process ends: what is queued is not handed over any more.
    closing: bool,
}

#[derive(Default)]
struct Shared {
    progress: Mutex<Progress>,
    changed: Condvar,
    /// Held while submitting, and while waiting with a time limit: wgpu allows one of them at a time.
    gate: Mutex<()>,
}

pub(crate) struct Submitter {
    jobs: mpsc::Sender<(Ticket, Job)>,
    shared: Arc<Shared>,
    last: Ticket,
}

/// What a waiting thread shares with the submitting one.
#[derive(Clone)]
pub(crate) struct Handle(Arc<Shared>);

/// Tells the waiting that the thread is gone, should a driver's panic end it.
struct Ended(Arc<Shared>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.progress.lock().dead = true;
        self.0.changed.notify_all();
    }
}

/// Submissions that are remembered by their tickets; a wait for an older one waits for the oldest of them.
const REMEMBERED: usize = 32;

fn serve(queue: &wgpu::Queue, shared: &Arc<Shared>, jobs: &mpsc::Receiver<(Ticket, Job)>) {
    let _ended = Ended(shared.clone());
    for (ticket, job) in jobs {
        if shared.progress.lock().closing {
            return;
        }
        let gate = shared.gate.lock();
        let index = match job {
            Job::Write { buffer, offset, data } => {
                queue.write_buffer(&buffer, offset, &data);
                None
            }
            Job::Flush => Some(queue.submit([])),
            Job::Commands { encoder, ring, ring_buffer } => {
                if !ring.is_empty() {
                    queue.write_buffer(&ring_buffer, 0, &ring);
                }
                Some(queue.submit([encoder.finish()]))
            }
        };
        drop(gate);
        let mut progress = shared.progress.lock();
        progress.handed = ticket;
        if let Some(index) = index {
            progress.indices.push_back((ticket, index));
            if progress.indices.len() > REMEMBERED {
                progress.indices.pop_front();
            }
        }
        drop(progress);
        shared.changed.notify_all();
    }
}

impl Submitter {
    pub fn new(queue: wgpu::Queue) -> std::io::Result<Submitter> {
        let (jobs, received) = mpsc::channel();
        let shared = Arc::new(Shared::default());
        let theirs = shared.clone();
        std::thread::Builder::new()
            .name("rtorch-gpu-submit".to_string())
            .spawn(move || serve(&queue, &theirs, &received))?;
        Ok(Submitter { jobs, shared, last: 0 })
    }
    /// Queues a job.
    pub fn hand(&mut self, job: Job) -> Ticket {
        self.last += 1;
        // a thread that ended is found by whoever waits
        let _ = self.jobs.send((self.last, job));
        self.last
    }
    pub fn handle(&self) -> Handle {
        Handle(self.shared.clone())
    }
}

impl Handle {
    /// The submission of a job (or a later one), once it was made; None after the time is up. Err: the thread is gone.
    pub fn submission(&self, ticket: Ticket, time: Duration) -> Result<Option<wgpu::SubmissionIndex>, ()> {
        let mut progress = self.0.progress.lock();
        if progress.handed < ticket && !progress.dead {
            self.0.changed.wait_for(&mut progress, time);
        }
        if progress.handed >= ticket {
            return Ok(progress.indices.iter().find(|i| i.0 >= ticket).map(|i| i.1.clone()));
        }
        if progress.dead { Err(()) } else { Ok(None) }
    }
    /// The right to poll, unless a submission takes longer than the time.
    pub fn gate(&self, time: Duration) -> Option<MutexGuard<'_, ()>> {
        self.0.gate.try_lock_for(time)
    }
    /// Hands nothing over any more; waits until the driver has returned. At the end of the process.
    pub fn close(&self) {
        self.0.progress.lock().closing = true;
        drop(self.0.gate.lock());
    }
}
