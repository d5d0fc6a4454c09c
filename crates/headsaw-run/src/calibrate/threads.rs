//! What it takes to hand over: from lane to lane of a device, and between devices that are groups of threads.

use super::rounds::Rounds;
use crate::compute::Shared;
use crate::transport::sync::{Ordering, Padded};
use crate::transport::{Bells, Patience, Stopped, Threads, Transport, Waiter, Wants};
use headsaw::program::{Group, GroupId, LaneId, Program};
use headsaw::spec::cluster::{Level, Wiring};
use headsaw::units::{BytesPerSecond, Seconds};
use std::hint::black_box;
use std::time::{Duration, Instant};

pub(super) const MEASUREMENTS: u64 = 6;

/// How often something short is done between two looks at the clock.
const TIMES: u32 = 20;

/// Whoever waits for so long sleeps by then.
const ASLEEP: Duration = Duration::from_micros(300);

/// Floats that a lane offers to another: the partial sums of some hundred tokens.
const OFFERED: usize = 1 << 16;

/// What it takes to hand over.
pub(super) struct Between {
    pub action: Seconds,
    pub hand_over: Seconds,
    pub crowded: Seconds,
    pub wake: Seconds,
    pub level: Level,
}

pub(super) fn measure(cores: u32, rounds: &mut Rounds) -> Between {
    let latency = together(2, rounds, |lane| {
        let begun = Instant::now();
        (0..TIMES).try_for_each(|_| lane.meet())?;
        Ok(begun.elapsed().as_secs_f64() / f64::from(TIMES))
    });
    let level = Level {
        name: "threads".into(),
        devices: None,
        latency_seconds: Seconds(latency),
        bytes_per_second: BytesPerSecond((4 * OFFERED) as f64 / exchange(rounds)),
        efficiency: 1.0, // it was measured, not promised
        wiring: Wiring::Switch,
        link: None,
    };
    let hand_over = pass_round(2, rounds);
    let crowded = pass_round(2 * cores, rounds).0.max(hand_over.0);
    let wake = wake(rounds).0.max(hand_over.0);
    Between { action: action(rounds), hand_over, crowded: Seconds(crowded), wake: Seconds(wake), level }
}

/// What a lane does around each action: look whether another has come as far, say that it has.
fn action(rounds: &mut Rounds) -> Seconds {
    let (bells, progress) = (Bells::new([Patience::new(1, 1); 2]), [Padded::default(), Padded::default()]);
    let waiter = bells.waiter(0);
    let seconds = rounds.each(TIMES as usize, || {
        let theirs = black_box(&progress[1]);
        waiter.wait(|| theirs.0.load(Ordering::Acquire) == 0).expect("nobody stops");
        progress[0].0.fetch_add(1, Ordering::Release);
        waiter.wake([1]);
    });
    Seconds(seconds)
}

/// From lane to lane and round again: seconds a hand-over.
fn pass_round(lanes: u32, rounds: &mut Rounds) -> Seconds {
    passed(lanes, Duration::ZERO, rounds)
}

/// The same between two lanes of which each keeps the other waiting until it sleeps.
fn wake(rounds: &mut Rounds) -> Seconds {
    passed(2, ASLEEP, rounds)
}

/// Seconds a hand-over of lanes that each work for a while first.
fn passed(lanes: u32, work: Duration, rounds: &mut Rounds) -> Seconds {
    let seconds = together(lanes, rounds, |lane| {
        let begun = Instant::now();
        (0..TIMES).try_for_each(|_| lane.pass_on(work))?;
        Ok(begun.elapsed().as_secs_f64() / f64::from(TIMES * lanes) - work.as_secs_f64())
    });
    Seconds(seconds.max(0.0))
}

/// Each of two lanes writes, then reads what the other has written: seconds of the reading.
fn exchange(rounds: &mut Rounds) -> f64 {
    let mut offered = [vec![0.0f32; OFFERED], vec![0.0; OFFERED]];
    let offered = offered.each_mut().map(|floats| Shared::from_mut(floats));
    together(2, rounds, |lane| {
        let own = lane.number as usize;
        // SAFETY: this lane's own; the other one reads it between the two meetings below only.
        unsafe { offered[own].slice_mut(0..OFFERED) }.fill(own as f32);
        lane.meet()?;
        // SAFETY: the other lane has written it and does not again before the next meeting.
        let seconds = read(unsafe { offered[1 - own].slice(0..OFFERED) });
        lane.meet()?;
        Ok(seconds)
    })
}

/// Seconds of adding floats up, as partial sums are.
pub(super) fn read(floats: &[f32]) -> f64 {
    let begun = Instant::now();
    let mut sums = [0.0; 64];
    for chunk in floats.chunks_exact(64) {
        sums.iter_mut().zip(chunk).for_each(|(sum, x)| *sum += x);
    }
    black_box(sums);
    begun.elapsed().as_secs_f64()
}

/// One of several lanes that measure something together.
pub(super) struct Lane<'a> {
    pub number: u32,
    transport: &'a Threads<'a>,
    progress: &'a [Padded],
    waiter: Waiter<'a>,
}

impl Lane<'_> {
    /// Waits for the others.
    pub fn meet(&self) -> Result<(), Stopped> {
        self.transport.meet(GroupId(0), LaneId(self.number), 0).map(|_| ())
    }

    /// Waits for the lane before, then lets the next one go on; the first one lets go before it waits.
    fn pass_on(&self, work: Duration) -> Result<(), Stopped> {
        let number = self.number as usize;
        let before = &self.progress[(number + self.progress.len() - 1) % self.progress.len()].0;
        let lap = self.progress[number].0.load(Ordering::Relaxed) + 1;
        let wait = || self.waiter.wait(|| before.load(Ordering::Acquire) >= lap);
        if number > 0 {
            wait()?;
        }
        let begun = Instant::now();
        while begun.elapsed() < work {
            std::hint::spin_loop();
        }
        self.progress[number].0.store(lap, Ordering::Release);
        self.waiter.wake([(number + 1) % self.progress.len()]);
        if number == 0 { wait() } else { Ok(()) }
    }
}

/// Lanes do the same again and again, in step; the seconds that the first one tells. They must meet, or wait for
/// each other, each time.
pub(super) fn together(lanes: u32, rounds: &mut Rounds, round: impl Fn(&Lane) -> Result<f64, Stopped> + Sync) -> f64 {
    let patience = Patience::new(lanes as usize, super::cores() as usize);
    let bells = Bells::new((0..lanes).map(|_| patience));
    let program = meeting(lanes);
    let transport = Threads::new(&program, 1, 1, &bells, &Wants::default());
    let progress: Vec<Padded> = (0..lanes).map(|_| Padded::default()).collect();
    let waiter = |number: u32| bells.waiter(number as usize);
    let lane = |number| Lane { number, transport: &transport, progress: &progress, waiter: waiter(number) };
    std::thread::scope(|scope| {
        for number in 1..lanes {
            let (lane, round) = (lane(number), &round);
            scope.spawn(move || while round(&lane).is_ok() {});
        }
        let first = lane(0);
        let seconds = rounds.timed(|| round(&first).expect("only this lane stops the others"));
        bells.stop();
        seconds
    })
}

/// A program of which only the group of all lanes is used.
fn meeting(lanes: u32) -> Program {
    let all = Group { lanes: (0..lanes).map(LaneId).collect() };
    Program { lanes: vec![], bufs: vec![], places: vec![], chans: vec![], groups: vec![all], micros: 1 }
}
