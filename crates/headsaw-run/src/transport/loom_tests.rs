//! All orders in which threads can see each other's writes, for the ring and the bell.

use super::ring::Ring;
use super::sync::{AtomicU64, Ordering};
use super::{Bell, Patience, Stopped};
use loom::sync::Arc;
use loom::thread;

/// Three messages through a ring of two: none lost, none torn, nobody sleeps for ever. With at most two preemptions in an
/// execution, which finds most errors (Musuvathi and Qadeer 2007); without a bound it does not end in minutes.
#[test]
fn messages_arrive_whole_and_in_order() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(2);
    model.check(|| {
        let shared = Arc::new((Ring::new(1), Bell::default()));
        let sender = {
            let shared = shared.clone();
            thread::spawn(move || {
                for i in 1..=3 {
                    let mut fill = |slot: &mut [u8]| {
                        slot[0] = i;
                        1
                    };
                    shared.0.send(&shared.1, Patience::NONE, &mut fill).unwrap();
                }
            })
        };
        for i in 1..=3 {
            shared.0.recv(&shared.1, Patience::NONE, &mut |slot| assert_eq!(slot, [i])).unwrap();
        }
        sender.join().unwrap();
    });
}

/// A meeting of two, as groups do it: whoever comes last wakes the other.
#[test]
fn whoever_comes_last_wakes_the_other() {
    loom::model(|| {
        let shared = Arc::new(([AtomicU64::new(0), AtomicU64::new(0)], Bell::default()));
        let meet = |shared: &([AtomicU64; 2], Bell), me: usize| {
            shared.0[me].store(1, Ordering::Release);
            shared.1.ring();
            shared.1.wait(Patience::NONE, || shared.0[1 - me].load(Ordering::Acquire) >= 1)
        };
        let other = {
            let shared = shared.clone();
            thread::spawn(move || meet(&shared, 1).unwrap())
        };
        meet(&shared, 0).unwrap();
        other.join().unwrap();
    });
}

/// A stop reaches a sleeper however the two race.
#[test]
fn a_stop_wakes_whoever_sleeps() {
    loom::model(|| {
        let bell = Arc::new(Bell::default());
        let waiter = {
            let bell = bell.clone();
            thread::spawn(move || bell.wait(Patience::NONE, || false))
        };
        bell.stop();
        assert_eq!(waiter.join().unwrap(), Err(Stopped));
    });
}
