//! The small pipeline inside a device, to the slot: simulation against the closed forms.

#[allow(dead_code)] // not all of what tests share
mod shared;

use headsaw::plan::{Exchange, Overlap};
use proptest::prelude::*;
use shared::eight::{Case, EQUAL, EXAMPLE, ONE, THREE, TWO};

#[test]
fn two_heads_take_four_slots_on_three_lanes_and_on_two_and_six_on_one() {
    let slots = |lanes, overlap| Case { lanes, overlap, ..EXAMPLE }.seconds(EQUAL);
    assert_eq!(slots(THREE, Overlap::Heads), 4.0);
    assert_eq!(slots(TWO, Overlap::Heads), 4.0);
    assert_eq!(slots(ONE, Overlap::Heads), 6.0);
    assert_eq!(slots(THREE, Overlap::None), 6.0);
}

#[test]
fn half_of_the_lane_slots_are_idle() {
    let occupancy = EXAMPLE.trace(EQUAL).occupancy();
    assert_eq!((occupancy.busy.0, occupancy.bubble), (24.0, 0.5)); // 4 devices × 6 of 12
}

#[test]
fn chunks_of_two_heads_take_three_slots_of_double_length() {
    assert_eq!(Case { chunk: 2, ..EXAMPLE }.seconds(EQUAL), 6.0);
}

#[test]
fn two_lanes_take_two_slots_a_unit() {
    for heads in 2..12 {
        assert_eq!(Case { heads, devices: 1, lanes: TWO, ..EXAMPLE }.seconds(EQUAL), 2.0 * f64::from(heads), "{heads}");
    }
}

#[test]
fn micro_batches_that_take_the_layer_together_fill_the_bubble() {
    for micros in 1..9 {
        let overlap = if micros == 1 { Overlap::Heads } else { Overlap::Tokens };
        let occupancy = Case { micros, overlap, ..EXAMPLE }.trace(EQUAL).occupancy();
        let units = 2.0 * f64::from(micros);
        assert_eq!(occupancy.span.0, units + 2.0);
        assert!((occupancy.bubble - 2.0 / (units + 2.0)).abs() < 1e-15, "{micros}: {}", occupancy.bubble);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// T = Σ t + (n − 1) · max t on lanes of their own, whichever step is longest.
    #[test]
    fn unequal_steps_take_their_sum_and_the_longest_again_for_each_further_unit(
        heads in 1u32..9, devices in 1u32..5, times in prop::array::uniform3(0.01f64..5.0), gather in any::<bool>(),
    ) {
        let exchange = if gather && devices == 1 { Exchange::Gather } else { Exchange::Reduce };
        let seconds = Case { heads, devices, exchange, ..EXAMPLE }.seconds(times);
        let longest = times.iter().fold(0.0f64, |a, b| a.max(*b));
        let expected = times.iter().sum::<f64>() + f64::from(heads - 1) * longest;
        prop_assert!((seconds / expected - 1.0).abs() < 1e-12, "{} for {}", seconds, expected);
    }

    /// Where nothing overlaps every step is waited for.
    #[test]
    fn without_overlap_it_is_the_sum_of_all(
        heads in 1u32..9, chunk in 1u32..4, times in prop::array::uniform3(0.01f64..5.0), micros in 1u32..4,
    ) {
        let seconds = Case { heads, chunk: chunk.min(heads), micros, overlap: Overlap::None, ..EXAMPLE }.seconds(times);
        let expected = f64::from(heads * micros) * times.iter().sum::<f64>();
        prop_assert!((seconds / expected - 1.0).abs() < 1e-12, "{} for {}", seconds, expected);
    }
}
