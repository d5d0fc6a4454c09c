//! All orders in which threads can see each other's writes, for the ring, the bell, meetings and ports.

use super::meeting::Meeting;
use super::ring::Ring;
use super::sync::{AtomicU64, Ordering, Padded};
use super::wire::book;
use super::{Bells, Patience, Stopped};
use loom::sync::Arc;
use loom::thread;

/// Three messages through a ring of two: none lost, none torn, nobody sleeps for ever. With at most two preemptions in an
/// execution, which finds most errors (Musuvathi and Qadeer 2007); without a bound it does not end in minutes.
#[test]
fn messages_arrive_whole_and_in_order() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(2);
    model.check(|| {
        let shared = Arc::new((Ring::new(0, 1, 1), Bells::new([Patience::NONE; 2])));
        let sender = {
            let shared = shared.clone();
            thread::spawn(move || {
                for i in 1..=3 {
                    let mut fill = |slot: &mut [u8]| {
                        slot[0] = i;
                        1
                    };
                    shared.0.send(&shared.1.waiter(0), &mut fill, |_| 0).unwrap();
                }
            })
        };
        let receiver = shared.1.waiter(1);
        for i in 1..=3 {
            shared.0.recv(&receiver, &mut |slot| assert_eq!(slot, [i]), |_| Ok(())).unwrap();
        }
        sender.join().unwrap();
    });
}

/// A meeting of two, as groups do it: whoever comes last wakes the other.
#[test]
fn whoever_comes_last_wakes_the_other() {
    loom::model(|| {
        let shared = Arc::new(([AtomicU64::new(0), AtomicU64::new(0)], Bells::new([Patience::NONE; 2])));
        let meet = |shared: &([AtomicU64; 2], Bells), me: usize| {
            let waiter = shared.1.waiter(me);
            shared.0[me].store(1, Ordering::Release);
            waiter.wake([1 - me]);
            waiter.wait(|| shared.0[1 - me].load(Ordering::Acquire) >= 1)
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
        let bells = Arc::new(Bells::new([Patience::NONE]));
        let waiter = {
            let bells = bells.clone();
            thread::spawn(move || bells.waiter(0).wait(|| false))
        };
        bells.stop();
        assert_eq!(waiter.join().unwrap(), Err(Stopped));
    });
}

/// Three turns of a meeting of two: in each, both read what the other brought to this very turn.
#[test]
fn a_turn_shows_what_was_brought_to_it() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(2);
    model.check(|| {
        let shared = Arc::new((Meeting::new(0..2), Bells::new([Patience::NONE; 2])));
        let meet = |shared: &(Meeting, Bells), me: usize| {
            for turn in 1..=3 {
                let brings = [10 * turn, 10 * turn + 1][me];
                let met = shared.0.meet(&shared.1.waiter(me), me, Some((brings, brings))).unwrap();
                assert_eq!(met.bytes().collect::<Vec<_>>(), [10 * turn, 10 * turn + 1]);
                assert_eq!(met.last_came(), 10 * turn + 1);
            }
        };
        let other = {
            let shared = shared.clone();
            thread::spawn(move || meet(&shared, 1))
        };
        meet(&shared, 0);
        other.join().unwrap();
    });
}

/// Two book a port at once: both times are taken, one after the other.
#[test]
fn no_booking_of_a_port_is_lost() {
    loom::model(|| {
        let port = Arc::new(Padded::default());
        let other = {
            let port = port.clone();
            thread::spawn(move || book(&port, 10, 5))
        };
        let ends = [book(&port, 12, 3), other.join().unwrap()];
        assert!(ends == [15, 20] || ends == [18, 15], "{ends:?}");
        assert_eq!(port.0.load(Ordering::Relaxed), *ends.iter().max().unwrap());
    });
}

/// A stop reaches whoever waits for a moment that never comes.
#[test]
fn a_stop_wakes_whoever_waits_for_a_moment() {
    loom::model(|| {
        let bells = Arc::new(Bells::new([Patience::NONE]));
        let waiter = {
            let bells = bells.clone();
            thread::spawn(move || bells.waiter(0).wait_until(|| 0, u64::MAX))
        };
        bells.stop();
        assert_eq!(waiter.join().unwrap(), Err(Stopped));
    });
}
