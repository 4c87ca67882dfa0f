//! The stream of one device: one encoder and one compute pass per batch, cached bind groups, the parameter ring,
//! submission. Not here: what is dispatched (`kernel.rs`), pipelines (`pipeline.rs`), the thread that submits
//! (`submit.rs`).

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use smallvec::SmallVec;

use crate::memory::Page;
use crate::pipeline::{Layouts, Pipeline};
use crate::submit::{Job, Submitter, Ticket};

/// A batch is submitted at this many dispatches ...
const BATCH: u32 = 48;
/// ... or a quarter of it while the device has nothing to do.
const FIRST_BATCH: u32 = 8;
/// Submissions that may be under way: bounds what a program can run ahead.
pub(crate) const IN_FLIGHT: usize = 3;
/// Parameters of one dispatch in the uniform ring; the binding's size.
pub(crate) const SLOT_BYTES: u64 = 1024;
const RING_BYTES: u64 = 256 << 10;
const BIND_GROUPS: usize = 4096;

/// One storage binding: a window of a page.
#[derive(Clone)]
pub(crate) struct Window {
    pub page: Arc<Page>,
    pub start: u64,
    pub size: u64,
}

type BindKey = SmallVec<[(u64, u64, u64); 8]>;

pub(crate) struct Stream {
    encoder: Option<wgpu::CommandEncoder>,
    pass: Option<wgpu::ComputePass<'static>>,
    dispatches: u32,
    last_pipeline: usize,
    ring: Vec<u8>,
    ring_buffer: wgpu::Buffer,
    ring_group: wgpu::BindGroup,
    groups: HashMap<BindKey, wgpu::BindGroup>,
    pub in_flight: VecDeque<Ticket>,
    pub submitter: Submitter,
}

impl Stream {
    pub fn new(device: &wgpu::Device, layouts: &Layouts, submitter: Submitter) -> Stream {
        let ring_buffer = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("parameters"),
            size: RING_BYTES + SLOT_BYTES,
            usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        let ring_group = device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &layouts.uniform,
            entries: &[wgpu::BindGroupEntry {
                binding: 0,
                resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                    buffer: &ring_buffer,
                    offset: 0,
                    size: wgpu::BufferSize::new(SLOT_BYTES),
                }),
            }],
        });
        Stream {
            encoder: None,
            pass: None,
            dispatches: 0,
            last_pipeline: 0,
            ring: Vec::new(),
            ring_buffer,
            ring_group,
            groups: HashMap::new(),
            in_flight: VecDeque::new(),
            submitter,
        }
    }

    /// The encoder outside of a pass, for copies.
    pub fn encoder(&mut self, device: &wgpu::Device) -> &mut wgpu::CommandEncoder {
        self.pass = None;
        self.last_pipeline = 0;
        self.encoder.get_or_insert_with(|| device.create_command_encoder(&Default::default()))
    }

    /// Records one dispatch; `params` are the bytes of its parameter block. Answers whether the batch is full.
    pub fn dispatch(
        &mut self,
        device: &wgpu::Device,
        layouts: &Layouts,
        pipeline: &Pipeline,
        windows: &[Window],
        params: &[u8],
        groups: [u32; 3],
    ) -> bool {
        let key: BindKey = windows.iter().map(|w| (w.page.id, w.start, w.size)).collect();
        if self.groups.len() >= BIND_GROUPS {
            self.groups.clear();
        }
        let group = self
            .groups
            .entry(key)
            .or_insert_with(|| {
                let entries: SmallVec<[wgpu::BindGroupEntry; 8]> = windows
                    .iter()
                    .enumerate()
                    .map(|(i, w)| wgpu::BindGroupEntry {
                        binding: i as u32,
                        resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                            buffer: &w.page.buffer,
                            offset: w.start,
                            size: wgpu::BufferSize::new(w.size),
                        }),
                    })
                    .collect();
                device.create_bind_group(&wgpu::BindGroupDescriptor {
                    label: None,
                    layout: layouts.storage(windows.len()),
                    entries: &entries,
                })
            })
            .clone();
        if self.pass.is_none() {
            let encoder = self.encoder.get_or_insert_with(|| device.create_command_encoder(&Default::default()));
            self.pass = Some(encoder.begin_compute_pass(&Default::default()).forget_lifetime());
            self.last_pipeline = 0;
        }
        let at = self.ring.len() as u32;
        if let Some(pass) = &mut self.pass {
            if self.last_pipeline != pipeline.id {
                pass.set_pipeline(&pipeline.wgpu);
                self.last_pipeline = pipeline.id;
            }
            pass.set_bind_group(0, &group, &[]);
            if pipeline.immediates {
                // the whole block is written: unset slots are going to be an error
                let mut block = [0u8; crate::adapter::IMMEDIATE_BYTES as usize];
                block[..params.len()].copy_from_slice(params);
                pass.set_immediates(0, &block);
            } else {
                pass.set_bind_group(1, &self.ring_group, &[at]);
                self.ring.extend_from_slice(params);
                self.ring.resize(self.ring.len().next_multiple_of(256), 0);
            }
            pass.dispatch_workgroups(groups[0], groups[1], groups[2]);
        }
        self.dispatches += 1;
        let limit = if self.in_flight.is_empty() { FIRST_BATCH } else { BATCH };
        self.dispatches >= limit || self.ring.len() as u64 + SLOT_BYTES > RING_BYTES
    }

    /// Submits what is recorded; answers the newest submission.
    pub fn submit(&mut self) -> Option<Ticket> {
        self.pass = None;
        self.last_pipeline = 0;
        self.dispatches = 0;
        if let Some(encoder) = self.encoder.take() {
            let (ring, ring_buffer) = (std::mem::take(&mut self.ring), self.ring_buffer.clone());
            self.in_flight.push_back(self.submitter.hand(Job::Commands { encoder, ring, ring_buffer }));
        }
        self.in_flight.back().copied()
    }

    pub fn forget_pages(&mut self, ids: &[u64]) {
        if !ids.is_empty() {
            self.groups.retain(|k, _| !k.iter().any(|w| ids.contains(&w.0)));
        }
    }
}
