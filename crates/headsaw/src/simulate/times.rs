//! When each lane is done next: a tournament over lanes, the earliest on top; of equal times the first lane.

/// A time for each lane; infinite where it does nothing.
pub struct Times {
    /// Leaves are lanes, a power of two; node `i` has the children `2i` and `2i + 1`; holds the winner's time and lane.
    nodes: Vec<(f64, u32)>,
    leaves: usize,
}

impl Times {
    /// No lane does anything.
    pub fn new(lanes: usize) -> Times {
        let leaves = lanes.max(1).next_power_of_two();
        let mut nodes = vec![(f64::INFINITY, 0); 2 * leaves];
        for (lane, node) in nodes[leaves..].iter_mut().enumerate() {
            node.1 = lane as u32;
        }
        for i in (1..leaves).rev() {
            nodes[i] = nodes[2 * i];
        }
        Times { nodes, leaves }
    }

    /// Sets a lane's time.
    pub fn set(&mut self, lane: u32, time: f64) {
        let mut i = self.leaves + lane as usize;
        self.nodes[i].0 = time;
        while i > 1 {
            let (left, right) = (self.nodes[i & !1], self.nodes[i | 1]);
            i /= 2;
            let winner = if right.0 < left.0 { right } else { left };
            if self.nodes[i] == winner {
                return; // and so nothing changes further up
            }
            self.nodes[i] = winner;
        }
    }

    /// The earliest time, and its lane; none where no lane does anything.
    pub fn first(&self) -> Option<(f64, u32)> {
        let first = self.nodes[1];
        (first.0 < f64::INFINITY).then_some(first)
    }
}
