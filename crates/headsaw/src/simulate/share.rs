//! Lanes that share: how fast each goes while others are busy too.

use crate::cost::{Capacity, Domain};

/// A busy lane of a domain.
#[derive(Debug, Clone, Copy)]
pub struct Busy {
    /// The lane.
    pub lane: u32,
    /// Seconds that are left, were it alone.
    pub left: f64,
    /// Memory that it reads a second, were it alone.
    pub rate: f64,
    /// How fast it goes; 1 alone, 0 while it waits for its turn.
    pub speed: f64,
    /// It has had its turn, or part of it.
    pub begun: bool,
}

impl Busy {
    /// When it will be done as things are.
    pub fn done(&self, now: f64) -> f64 {
        if self.left > 0.0 { now + self.left / self.speed } else { now }
    }
}

/// A domain and its busy lanes.
pub struct Shared {
    domain: Domain,
    /// Who is busy.
    pub busy: Vec<Busy>,
    /// Lanes that exchange.
    exchanging: usize,
    since: f64,
}

impl Shared {
    /// Nobody is busy.
    pub fn new(domain: Domain) -> Shared {
        Shared { domain, busy: Vec::new(), exchanging: 0, since: 0.0 }
    }

    /// A lane begins, behind those that have begun before.
    pub fn begin(&mut self, now: f64, lane: u32, seconds: f64, streamed: f64) {
        self.advance(now);
        let rate = if seconds > 0.0 { streamed / seconds } else { 0.0 };
        self.busy.push(Busy { lane, left: seconds, rate, speed: 1.0, begun: false });
        self.settle();
    }

    /// A lane ends.
    pub fn end(&mut self, now: f64, lane: u32) {
        self.advance(now);
        self.busy.retain(|busy| busy.lane != lane);
        self.settle();
    }

    /// An exchange begins.
    pub fn begin_exchange(&mut self, now: f64) {
        self.advance(now);
        self.exchanging += 1;
        self.settle();
    }

    /// An exchange ends.
    pub fn end_exchange(&mut self, now: f64) {
        self.advance(now);
        self.exchanging -= 1;
        self.settle();
    }

    fn advance(&mut self, now: f64) {
        let passed = now - self.since;
        for busy in &mut self.busy {
            busy.left = (busy.left - busy.speed * passed).max(0.0);
        }
        self.since = now;
    }

    /// Do exchanges take the cores that compute?
    pub fn exchanges_compute(&self) -> bool {
        matches!(self.domain.capacity, Capacity::Cores { .. })
    }

    /// Speeds from here on: whose turn it is first, then memory by max-min fairness (who wants less than an equal share
    /// gets it, the others share what is left: Bertsekas & Gallager 1992, section 6.5.2).
    fn settle(&mut self) {
        let capacity = self.domain.capacity;
        let working = self.busy.len().min(capacity.at_once());
        let speed = capacity.speed(working, self.exchanging);
        let (now, later) = self.busy.split_at_mut(working);
        now.iter_mut().for_each(|busy| busy.speed = speed);
        later.iter_mut().for_each(|busy| busy.speed = 0.0);
        let mut left = self.domain.bytes_per_second.0;
        let wants: f64 = now.iter().map(|busy| speed * busy.rate).sum();
        if wants <= left {
            return;
        }
        let mut order: Vec<usize> = (0..working).collect();
        order.sort_by(|a, b| now[*a].rate.total_cmp(&now[*b].rate));
        for (served, i) in order.iter().enumerate() {
            let fair = left / (order.len() - served) as f64;
            let busy = &mut now[*i];
            if speed * busy.rate > fair {
                busy.speed = fair / busy.rate;
            }
            left -= busy.speed * busy.rate;
        }
    }
}
