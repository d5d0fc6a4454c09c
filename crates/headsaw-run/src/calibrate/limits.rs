//! What the machine could do at most, to measure beside a run: memory read plainly, products of integers alone.

use super::kernels::prompt_products;
use super::rounds::Rounds;
use super::threads::{read, together};
use crate::compute::{Compute, Shared};
use headsaw::spec::model::Dtype;
use headsaw::units::{Bytes, BytesPerSecond, FlopsPerSecond};
use std::time::{Duration, Instant};

/// What threads reach together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Threads at work.
    pub threads: u32,
    /// Of a loop that adds up what it reads.
    pub bytes_per_second: BytesPerSecond,
    /// Of products of a prompt's 8-bit activations.
    pub flops_per_second: FlopsPerSecond,
}

/// Measures both for so long each: `bytes` that the threads share are read again and again; products have weights of this
/// type.
pub fn limits(compute: &dyn Compute, threads: u32, bytes: Bytes, weights: Dtype, budget: Duration) -> Limits {
    let mut tick = || ();
    let mut rounds = Rounds::new(budget, &mut tick);
    let floats = (bytes.0 / 4 / u64::from(threads)).max(1) as usize;
    let mut shares: Vec<Vec<f32>> = (0..threads).map(|_| vec![1.0; floats]).collect();
    let shares: Vec<Shared<f32>> = shares.iter_mut().map(|share| Shared::from_mut(share)).collect();
    let seconds = together(threads, &mut rounds, |lane| {
        lane.meet()?;
        let begun = Instant::now();
        // SAFETY: nobody writes.
        read(unsafe { shares[lane.number as usize].slice(0..floats) });
        lane.meet()?;
        Ok(begun.elapsed().as_secs_f64())
    });
    let read = Bytes(4 * floats as u64 * u64::from(threads));
    Limits {
        threads,
        bytes_per_second: BytesPerSecond(read.0 as f64 / seconds),
        flops_per_second: FlopsPerSecond(f64::from(threads) * prompt_products(compute, weights, threads, &mut rounds)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_what_threads_reach_together() {
        let kernels = crate::compute::cpu(None).unwrap();
        let found = limits(&*kernels, 2, Bytes(4 << 20), Dtype::Q4_1, Duration::from_millis(10));
        assert_eq!(found.threads, 2);
        assert!(found.bytes_per_second.0 > 1e7 && found.bytes_per_second.0 < 1e14, "{found:?}");
        assert!(found.flops_per_second.0 > 1e7 && found.flops_per_second.0 < 1e14, "{found:?}");
    }
}
