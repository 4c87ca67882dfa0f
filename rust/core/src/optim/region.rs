//! Runs the prepared steps of a list of parameters: small ones together in one parallel region, whose threads take
//! whole parameters; large ones one by one, each split over all threads. What a step computes is in `../optim.rs`.

use parking_lot::Mutex;
use rtorch_cpu::threads::parallel_for;
use rtorch_ir::{Result, Scalar};
use smallvec::SmallVec;

use super::{Group, Key, with_program};
use crate::backend::{self, Window};
use crate::device::Device;

/// A rule and its numbers, for one parameter.
pub(super) type Plan = (Key, SmallVec<[f64; 8]>);

/// Elements from which a parameter has all threads to itself (development machine, 2 cores: the two ways cross between
/// 2^15 and 2^18).
const ALONE: usize = 1 << 17;
/// Elements of small parameters that are worth a thread.
const GRAIN: usize = 1 << 13;

/// One parameter's step, ready to run without asking tensors: leaves and outputs of its program.
pub(super) struct Job {
    pub device: Device,
    pub key: Key,
    pub numbers: SmallVec<[f64; 8]>,
    pub leaves: SmallVec<[Window; 6]>,
    pub outs: SmallVec<[Window; 5]>,
}

impl Job {
    fn len(&self) -> usize {
        self.outs[0].layout.numel()
    }
    fn run(&self) -> Result<()> {
        with_program(&self.key, self.numbers.len(), |program| {
            for (c, &v) in program.consts.iter_mut().zip(&self.numbers) {
                c.scalar = Scalar::Float(v);
            }
            backend::map(self.device, program, &self.outs[0].layout.shape, &self.leaves, &self.outs)
        })
    }
}

/// Runs every parameter's plan and bumps the versions of what was written.
pub(super) fn run(groups: &[Group], plans: &[Plan]) -> Result<()> {
    if groups.len() == 1 || entangled(groups) {
        for (group, plan) in groups.iter().zip(plans) {
            if let Some(job) = group.job(plan)? {
                job.run()?;
                group.written();
            }
        }
        return Ok(());
    }
    let mut jobs = Vec::with_capacity(groups.len());
    for (group, plan) in groups.iter().zip(plans) {
        jobs.extend(group.job(plan)?);
    }
    let (small, large): (Vec<&Job>, Vec<&Job>) = jobs.iter().partition(|j| j.device.is_cpu() && j.len() < ALONE);
    large.into_iter().try_for_each(Job::run)?;
    together(&small)?;
    groups.iter().for_each(Group::written);
    Ok(())
}

/// Do two parameters share memory, or does one's gradient lie in what another writes? Then their order matters.
fn entangled(groups: &[Group]) -> bool {
    let mut written: Vec<usize> = groups.iter().flat_map(|g| g.outputs()).map(|t| t.with(|p| p.storage.id())).collect();
    written.sort_unstable();
    written.windows(2).any(|w| w[0] == w[1])
        || groups.iter().any(|g| written.binary_search(&g.grad.with(|p| p.storage.id())).is_ok())
}

fn together(jobs: &[&Job]) -> Result<()> {
    let mut total = 0;
    let starts: Vec<usize> = jobs
        .iter()
        .map(|j| {
            total += j.len();
            total - j.len()
        })
        .collect();
    let failed = Mutex::new(None);
    parallel_for(total, GRAIN, &|range| {
        // a thread takes the parameters that begin in its range
        let first = starts.partition_point(|&s| s < range.start);
        let last = starts.partition_point(|&s| s < range.end);
        for job in &jobs[first..last] {
            if let Err(e) = job.run() {
                failed.lock().get_or_insert(e);
            }
        }
    });
    failed.into_inner().map_or(Ok(()), Err)
}
