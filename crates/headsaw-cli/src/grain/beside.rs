//! What was measured, beside what was predicted: a table, and where the two say different things.

use super::told::{Teller, percent};
use crate::output::{BOLD, si, styled};
use crate::table::Table;
use headsaw::grain::{Beside, Claim, overlap_number};
use headsaw::plan::Overlap;

impl Teller<'_> {
    /// The section; empty where nothing was measured.
    pub fn beside(&self) -> String {
        let Some((table, note)) = self.beside_table() else { return String::new() };
        let claims: String = self.claims().iter().map(|claim| format!("  - {claim}\n")).collect();
        format!("\n{}\n{}  {note}\n{claims}", styled(BOLD, self.words.beside), table.show())
    }

    /// A row for each cut that was run, and how large the errors are.
    pub fn beside_table(&self) -> Option<(Table, String)> {
        let measured = self.grain.measured.as_ref()?;
        let mut table = Table::new(&self.words.beside_columns);
        for point in &measured.points {
            table.row(vec![
                self.curve(point.curve),
                self.size(point),
                si(point.predicted_seconds, "s"),
                si(point.measured_seconds, "s"),
                format!("{:+.1} %", 100.0 * point.error),
            ]);
        }
        let note =
            (self.words.errors)(measured.rounds, &percent(measured.median_error), &percent(measured.worst_error));
        Some((table, note))
    }

    /// What the prediction says, and whether it was measured so.
    pub fn claims(&self) -> Vec<String> {
        let claims = self.grain.measured.iter().flat_map(|measured| &measured.claims);
        claims.map(|claim| self.claim(claim)).collect()
    }

    fn claim(&self, claim: &Claim) -> String {
        let (words, about) = (self.words, self.curve(claim.about));
        let (said, agrees) = (|number: f64| format!("{number:.2} ×"), claim.agrees);
        match claim.about {
            "shared" | "uncut" => {
                (words.ratio)(&about, [&said(claim.predicted), &said(claim.measured)], claim.measured, agrees)
            }
            _ => {
                let name = |number: f64| self.named(claim.about, number as u32);
                let behind = (!agrees).then(|| percent(claim.behind));
                (words.fastest)(&about, [&name(claim.predicted), &name(claim.measured)], behind.as_deref())
            }
        }
    }

    fn curve(&self, curve: &str) -> String {
        let known = self.words.beside_names.iter().find(|(name, _)| *name == curve);
        known.map_or(curve, |(_, word)| word).into()
    }

    fn size(&self, point: &Beside) -> String {
        point.size.map_or(String::new(), |size| self.named(point.curve, size))
    }

    fn named(&self, curve: &str, size: u32) -> String {
        let overlaps = [Overlap::None, Overlap::Heads, Overlap::Tokens];
        let overlap = overlaps.into_iter().find(|overlap| curve == "overlap" && overlap_number(*overlap) == size);
        overlap.map_or(size.to_string(), |overlap| (self.words.overlap)(overlap).into())
    }
}
