//! Which rounds of a trace a picture shows where nobody says: a picture that nobody can zoom into shows few.

use crate::form::Form;
use headsaw::draw::Words;
use headsaw::trace::Trace;
use headsaw::units::Seconds;
use std::collections::BTreeSet;

/// Rounds of which all are drawn.
const ALL_MOST: usize = 4;
/// Rounds that are drawn of more.
const SHOWN: usize = 2;

/// Keeps two rounds in the middle where there are more than four and the picture can not be zoomed into; then gives what
/// the headline says of it: `; rounds 15 and 16 of 32`.
pub fn keep_few(traces: &mut [&mut Trace], form: Option<Form>, words: &Words) -> Option<String> {
    if !form.is_none_or(|form| form == Form::Svg) {
        return None;
    }
    let of = |trace: &Trace| trace.spans.iter().map(|span| span.round).collect::<BTreeSet<u32>>();
    let rounds = traces.iter().map(|trace| of(trace)).max_by_key(BTreeSet::len)?;
    if rounds.len() <= ALL_MOST {
        return None;
    }
    let shown: Vec<u32> = rounds.iter().copied().skip((rounds.len() - SHOWN) / 2).take(SHOWN).collect();
    let (first, last) = (*shown.first()?, *shown.last()?);
    for trace in traces {
        trace.spans.retain(|span| (first..=last).contains(&span.round));
    }
    let [first, last, n] = [first, last, rounds.len() as u32].map(|number| number.to_string());
    Some(words.say("rounds", &[("first", &first), ("last", &last), ("n", &n)]))
}

/// Clocks begin anywhere, pictures at zero.
pub fn begin_at_zero(trace: &mut Trace) {
    let first = trace.ends().0.0;
    for span in &mut trace.spans {
        (span.start, span.end) = (Seconds(span.start.0 - first), Seconds(span.end.0 - first));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lang::Lang;
    use headsaw::trace::{Source, Span};

    fn of_rounds(rounds: u32) -> Trace {
        let at = |round: u32| Seconds(5.0 + f64::from(round));
        let span = |round| Span { lane: 0, action: 0, round, start: at(round), end: at(round + 1) };
        Trace { source: Source::Simulated, lanes: vec![], spans: (0..rounds).map(span).collect() }
    }

    #[test]
    fn of_many_rounds_two_in_the_middle_are_drawn() {
        let mut trace = of_rounds(9);
        let said = |lang: Lang| keep_few(&mut [&mut of_rounds(9)], None, &lang.words());
        assert_eq!(said(Lang::Zh).as_deref(), Some("；共 9 轮，画出第 3、4 轮"));
        let said = keep_few(&mut [&mut trace], None, &Lang::En.words());
        assert_eq!(said.as_deref(), Some("; rounds 3 and 4 of 9"));
        assert_eq!(trace.spans.iter().map(|span| span.round).collect::<Vec<_>>(), [3, 4]);
        begin_at_zero(&mut trace);
        assert_eq!(trace.ends(), (Seconds(0.0), Seconds(2.0)));
    }

    #[test]
    fn few_rounds_are_drawn_whole_and_so_is_what_can_be_zoomed_into() {
        for (rounds, form) in [(4, None), (4, Some(Form::Svg)), (9, Some(Form::Html)), (9, Some(Form::Perfetto))] {
            let mut trace = of_rounds(rounds);
            assert_eq!(keep_few(&mut [&mut trace], form, &Lang::En.words()), None);
            assert_eq!(trace, of_rounds(rounds));
        }
    }
}
