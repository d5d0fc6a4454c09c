//! Runs a program: each lane is a thread that does its actions in order, over and over, until a header says stop.
//!
//! The twin of the core's simulator: it follows the program and infers nothing.

mod attention;
mod collect;
mod grow;
mod header;
mod mlp;
mod norm;
mod queries;
mod record;
mod steps;
mod tasks;
mod views;

pub use header::{Header, Row};
pub use record::Recorded;
pub(crate) use views::{DeviceMemory, Views};

use crate::compute::{Compute, QUERIES, Scratch};
use crate::device::DeviceWeights;
use crate::rope::Rotations;
use crate::transport::sync::{AtomicBool, Ordering, Padded, fence};
use crate::transport::{Bells, Moment, Patience, Stopped, Threads, Transport, Waiter, Wants};
use grow::Growth;
use headsaw::plan::{Plan, Slice};
use headsaw::program::{Action, Carries, Lane, LaneId, MicroId, Op, Program, Role};
use headsaw::spec::cluster::{DeviceId, Links};
use record::{Record, Records};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Instant;
use tasks::{Looks, Task};
use views::Values;

/// What the sampling lane asks: which tokens follow, and what a micro-batch slot carries next.
pub(crate) trait Control: Send {
    /// Looks at the logits `[sampled rows, V]` of a micro-batch.
    fn sample(&mut self, header: &Header, logits: &[f32]);
    /// Says what the slot carries next.
    fn next(&mut self, micro: MicroId, header: &mut Header);
}

/// Why a run ended before its time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// A number that is not finite.
    #[error(
        "{step} of layer {layer} gave a number that is not finite on {device}: are the weights damaged? (no two NaNs are compared: this is an error, not a result)"
    )]
    NotFinite {
        /// Where.
        device: DeviceId,
        /// In which layer; after the last one for the logits.
        layer: u32,
        /// In which step.
        step: &'static str,
    },
    /// A device is gone.
    #[error("{device} was lost: {why}")]
    DeviceLost {
        /// Which.
        device: DeviceId,
        /// What it said last.
        why: String,
    },
}

/// A device that is made to fail, for tests of what happens then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// Which.
    pub device: DeviceId,
    /// In which round of the program.
    pub round: u64,
}

/// What all lanes of a run share.
pub(crate) struct Run<'a> {
    pub program: &'a Program,
    pub plan: &'a Plan,
    pub compute: &'a dyn Compute,
    pub rotations: &'a Rotations,
    pub devices: &'a BTreeMap<DeviceId, DeviceWeights>,
    pub memory: &'a BTreeMap<DeviceId, DeviceMemory>,
    pub fault: Option<Fault>,
    /// Actions of each lane that are written down.
    pub trace: Option<usize>,
    pub links: &'a Links,
}

/// The program's lanes, started and brought to their end; and what they wrote down, where that is wanted.
pub(crate) fn run(run: &Run, control: &mut dyn Control) -> Result<Option<Recorded>, Failure> {
    let lanes = run.program.lanes.len();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let at_work = run.program.lanes.iter().filter(|lane| !lane.actions.is_empty()).count();
    let usual = Patience::new(at_work, cores);
    let crowded = at_work > cores;
    let patience = |lane: &Lane| if crowded && lane.role == Role::Exchange { Patience::NONE } else { usual };
    let bells = Bells::new(run.program.lanes.iter().map(patience));
    let (rows, batch) = (run.plan.workload.rows() as usize, run.plan.workload.batch as usize);
    let wants = Wants { links: run.links.clone(), timed: run.trace.is_some() };
    let shared = Shared {
        run,
        tasks: tasks::tasks(run.program),
        transport: Threads::new(run.program, rows, batch, &bells, &wants),
        views: run.memory.iter().map(|(device, memory)| (*device, memory.views())).collect(),
        progress: (0..lanes).map(|_| Padded::default()).collect(),
        ending: AtomicBool::new(false),
        bells: &bells,
        failure: Mutex::new(None),
        records: run.trace.map(Records::new),
    };
    let sampler = run.program.sampler();
    prime(&shared, control);
    let mut control = Some(control);
    std::thread::scope(|scope| {
        let works = |id: &LaneId| !run.program.lanes[id.index()].actions.is_empty();
        for id in (0..lanes as u32).map(LaneId).filter(works) {
            let control = if id == sampler { control.take() } else { None };
            let shared = &shared;
            let spawned =
                std::thread::Builder::new().name(format!("headsaw lane {}", id.0)).spawn_scoped(scope, move || {
                    guard(shared, id, || Worker::new(shared, id, control).run());
                });
            if let Err(error) = spawned {
                shared
                    .fail(Failure::DeviceLost { device: shared.device(id), why: format!("no thread for it: {error}") });
            }
        }
    });
    let Shared { failure, records, .. } = shared;
    match failure.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner()) {
        Some(failure) => Err(failure),
        None => Ok(records.map(|records| records.end(run.program, machine()))),
    }
}

/// This machine, as a trace names it.
fn machine() -> String {
    crate::machine::processor().unwrap_or_else(|| std::env::consts::ARCH.into())
}

/// A lane that panics takes its device with it; the others are told.
fn guard(shared: &Shared, id: LaneId, work: impl FnOnce() -> Result<(), Stopped>) {
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
    if let Err(panic) = result {
        let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        let why = format!("its lane panicked: {}", text.unwrap_or("no message"));
        shared.fail(Failure::DeviceLost { device: shared.device(id), why });
    }
}

/// Puts the first headers into the mailboxes that start full.
fn prime(shared: &Shared, control: &mut dyn Control) {
    let mut header = Header::with_room(shared.run.plan.workload.rows() as usize);
    for micro in (0..shared.run.program.micros).map(MicroId) {
        let full = |chan: &headsaw::program::Chan| chan.carries == Carries::Header(micro) && chan.initial > 0;
        let mut asked = false;
        for (i, chan) in shared.run.program.chans.iter().enumerate() {
            if !full(chan) {
                continue;
            }
            if !asked {
                control.next(micro, &mut header);
                asked = true;
            }
            let sent = shared.transport.put(headsaw::program::ChanId(i as u32), &mut |slot| header.write(slot));
            sent.expect("an empty mailbox takes a message at once");
        }
    }
}

/// What the threads of a run share.
struct Shared<'a> {
    run: &'a Run<'a>,
    /// What each lane does.
    tasks: Vec<Vec<Task<'a>>>,
    transport: Threads<'a>,
    views: BTreeMap<DeviceId, Views<'a>>,
    /// How many actions each lane has done.
    progress: Vec<Padded>,
    /// A lane was told to stop, and waits for the others' last round.
    ending: AtomicBool,
    bells: &'a Bells,
    failure: Mutex<Option<Failure>>,
    records: Option<Records>,
}

impl Shared<'_> {
    fn device(&self, lane: LaneId) -> DeviceId {
        self.run.program.lanes[lane.index()].device
    }

    /// Ends the run; the first reason counts.
    fn fail(&self, failure: Failure) {
        self.failure.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).get_or_insert(failure);
        self.bells.stop();
    }
}

/// A lane at work.
struct Worker<'a, 'c> {
    shared: &'a Shared<'a>,
    id: LaneId,
    number: u32,
    device: DeviceId,
    slice: &'a Slice,
    stage: usize,
    weights: &'a DeviceWeights,
    views: &'a Views<'a>,
    control: Option<&'c mut dyn Control>,
    scratch: Scratch,
    /// The two sums that cross the cut: attention's, the MLP's.
    growth: [Growth<'a>; 2],
    /// Sums of squares of one token's blocks.
    squares: Vec<f32>,
    /// Outputs of a tile of attention.
    tile: Vec<f32>,
    /// The next header of a slot, made once and sent to every device.
    next: Header,
    next_for: Option<(u64, MicroId)>,
    round: u64,
    /// When the work of the last exchange or message began, where anybody wants to know.
    began: Moment,
    /// The micro-batch in hand.
    micro: MicroId,
    record: Option<Record>,
}

impl<'a, 'c> Worker<'a, 'c> {
    fn new(shared: &'a Shared<'a>, id: LaneId, control: Option<&'c mut dyn Control>) -> Worker<'a, 'c> {
        let run = shared.run;
        let lane = &run.program.lanes[id.index()];
        let stage = lane.stage.index();
        let slice = run.plan.stages[stage].slices.iter().find(|slice| slice.device == lane.device);
        let model = &run.plan.model;
        let most = [model.width, model.ffn].map(|n| n.div_ceil(32)).into_iter().max().unwrap_or(0);
        let head_blocks = model.heads * model.head_width.div_ceil(32);
        // Blocks of a head and blocks of the file may straddle each other: twice as many pieces at most.
        let blocks = 2 * most.max(head_blocks) as usize + 2;
        let samples = control.is_some();
        Worker {
            shared,
            id,
            number: lane.number,
            device: lane.device,
            slice: slice.expect("a lane's device holds a slice"),
            stage,
            weights: &run.devices[&lane.device],
            views: &shared.views[&lane.device],
            control,
            scratch: Scratch::new(blocks, model.head_width as usize),
            growth: [false, true].map(|down| Growth::new(run.plan, stage, lane.device, down, &shared.views)),
            squares: vec![0.0; model.width.div_ceil(32) as usize],
            tile: vec![0.0; QUERIES * model.head_width as usize],
            next: Header::with_room(if samples { run.plan.workload.rows() as usize } else { 0 }),
            next_for: None,
            round: 0,
            began: None,
            micro: MicroId(0),
            record: shared.records.as_ref().map(|records| records.lane(id.index())),
        }
    }

    fn run(mut self) -> Result<(), Stopped> {
        let result = self.rounds();
        if let (Some(records), Some(record)) = (&self.shared.records, self.record.take()) {
            records.keep(record);
        }
        result
    }

    fn rounds(&mut self) -> Result<(), Stopped> {
        let tasks = &self.shared.tasks[self.id.index()];
        let length = tasks.len() as u64;
        let mine = &self.shared.progress[self.id.index()].0;
        let waiter: Waiter = self.shared.bells.waiter(self.id.index());
        loop {
            if self.shared.run.fault.is_some_and(|f| f.device == self.device && f.round == self.round) {
                panic!("fault injected");
            }
            for (i, task) in tasks.iter().enumerate() {
                for (lane, done) in &task.waits {
                    let theirs = &self.shared.progress[*lane].0;
                    let target = self.round * self.length_of(*lane) + done;
                    waiter.wait(|| theirs.load(Ordering::Acquire) >= target)?;
                }
                if task.looks == Some(Looks::Before) && self.copy_header(task.action.micro).stop {
                    return self.end(&waiter);
                }
                self.timed(i, task.action)?;
                mine.store(self.round * length + i as u64 + 1, Ordering::Release);
                waiter.wake(task.wakes.iter().copied());
                if task.looks == Some(Looks::After) && self.copy_header(task.action.micro).stop {
                    return self.end(&waiter);
                }
            }
            self.round += 1;
            self.tell(&waiter);
        }
    }

    /// The run is over. All lanes bring the round before this one to its end, for which they need nothing of this one; then
    /// whoever waits in this one is told, for this lane does not go on.
    fn end(&self, waiter: &Waiter) -> Result<(), Stopped> {
        self.shared.ending.store(true, Ordering::Relaxed);
        for (lane, progress) in self.shared.progress.iter().enumerate() {
            let target = self.round * self.length_of(lane);
            waiter.wait(|| progress.0.load(Ordering::Acquire) >= target)?;
        }
        self.shared.bells.stop();
        Ok(())
    }

    /// A round is done: whoever waits for the end is told.
    fn tell(&self, waiter: &Waiter) {
        // Pairs with the fence of whoever goes to sleep in `end`: it sees our progress, or we see that it waits.
        fence(Ordering::SeqCst);
        if self.shared.ending.load(Ordering::Relaxed) {
            waiter.wake(0..self.shared.progress.len());
        }
    }

    fn length_of(&self, lane: usize) -> u64 {
        self.shared.run.program.lanes[lane].actions.len() as u64
    }

    /// Does the action in place `i`, and writes down when.
    fn timed(&mut self, i: usize, action: &Action) -> Result<(), Stopped> {
        if self.record.is_none() {
            return self.act(action);
        }
        let start = Instant::now();
        self.began = None;
        self.act(action)?;
        let (round, began) = (self.round, self.began.map_or(start, |began| began.max(start)));
        if let Some(record) = &mut self.record {
            record.span(i, round, began, Instant::now());
        }
        Ok(())
    }

    fn act(&mut self, action: &Action) -> Result<(), Stopped> {
        self.micro = action.micro;
        match action.op {
            Op::Compute(step) => self.compute(step, action),
            Op::Send(chan) => self.send(chan, action),
            Op::Recv(chan) => self.receive(chan, action),
            Op::AllReduce(group, sum) => self.all_reduce(group, sum, action),
            Op::AllGather(group, what) => self.all_gather(group, what, action),
        }
    }

    /// The values of the micro-batch in hand.
    fn values(&self) -> &'a Values<'a> {
        self.views.values(self.micro)
    }

    /// What the micro-batch in hand carries.
    fn header(&self) -> &'a Header {
        // SAFETY: this lane's own; no reference outlives the action that took it.
        unsafe { self.views.lanes[self.number as usize].header(self.micro) }
    }

    /// Takes a copy of the micro-batch's header: lane 0 may receive the next one while this lane is still at work.
    fn copy_header(&mut self, micro: MicroId) -> &'a Header {
        // SAFETY: the action that comes needs the header, so lane 0 has received it; the copy is this lane's own.
        unsafe { self.views.lanes[self.number as usize].copy_header(micro, self.views.header(micro)) };
        self.micro = micro;
        let header = self.header();
        if let Some(record) = &mut self.record {
            record.load(self.round, micro, header);
        }
        header
    }

    fn fail(&self, failure: Failure) -> Stopped {
        self.shared.fail(failure);
        Stopped
    }

    fn not_finite(&self, action: &Action, step: &'static str) -> Stopped {
        let layer = action.layer.unwrap_or(self.shared.run.plan.model.layers);
        self.fail(Failure::NotFinite { device: self.device, layer, step })
    }
}
