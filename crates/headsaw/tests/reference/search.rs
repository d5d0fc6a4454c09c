//! A minimiser for fits of few constants.

/// The constants that make `loss` small: each in turn is multiplied and divided by a step that shrinks when no constant
/// gains, until it is below a thousandth. All stay positive.
pub fn minimise(start: &[f64], loss: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    let mut best = start.to_vec();
    let mut least = loss(&best);
    let mut step = 0.2;
    while step > 1e-3 {
        let mut gained = false;
        for place in 0..best.len() {
            for factor in [1.0 + step, 1.0 / (1.0 + step)] {
                let mut next = best.clone();
                next[place] *= factor;
                let found = loss(&next);
                if found < least {
                    (best, least, gained) = (next, found, true);
                }
            }
        }
        if !gained {
            step /= 2.0;
        }
    }
    best
}

#[test]
fn finds_the_bottom_of_a_bowl() {
    let found = minimise(&[1.0, 1.0], |at| (at[0].ln() - 2.0).powi(2) + (at[1] / at[0] - 3.0).powi(2));
    assert!((found[0] - 2f64.exp()).abs() < 0.05 && (found[1] / found[0] - 3.0).abs() < 0.05, "{found:?}");
}
