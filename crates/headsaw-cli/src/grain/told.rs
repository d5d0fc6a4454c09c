//! The answer for people: the first line in the article's words, tables, the verdict, charts.

use super::chart::{Bar, chart};
use super::words::{First, Price, Words};
use crate::forecast::Forecast;
use crate::output::{BOLD, si, styled};
use crate::scene::Phase;
use crate::table::Table;
use headsaw::cost::Load;
use headsaw::grain::{Advice, Curve, Grain, Level, Lost, Point, Reason, Word};
use headsaw::plan::Overlap;
use headsaw::spec::cluster::Prices;

/// Everything.
pub fn told(words: &Words, forecast: &Forecast, grain: &Grain, loss: f64) -> String {
    let teller = Teller::new(words, forecast, grain, loss);
    [
        teller.first(),
        teller.levels(),
        teller.losses(),
        teller.numbers(),
        teller.verdict(),
        teller.beside(),
        teller.charts(),
        teller.overlaps(),
    ]
    .concat()
}

/// Who tells: on the terminal here, on a web page in `page`.
pub struct Teller<'a> {
    pub words: &'a Words,
    pub forecast: &'a Forecast,
    pub grain: &'a Grain,
    /// The allowed loss.
    pub allowed: String,
}

impl<'a> Teller<'a> {
    pub fn new(words: &'a Words, forecast: &'a Forecast, grain: &'a Grain, loss: f64) -> Teller<'a> {
        Teller { words, forecast, grain, allowed: percent(loss) }
    }

    fn gpu(&self) -> bool {
        let first = self.forecast.cluster.groups.first();
        first.is_some_and(|group| matches!(group.kind.prices, Prices::Gpu(_)))
    }

    fn part(&self, title: &str, table: &Table) -> String {
        format!("\n{}\n{}", styled(BOLD, title), table.show())
    }

    fn first(&self) -> String {
        let [cut, load] = self.facts();
        format!("{}\n{cut}\n{load}\n", styled(BOLD, &self.headline()))
    }

    /// The answer in a sentence.
    pub fn headline(&self) -> String {
        let (grain, words) = (self.grain, self.words);
        let chunks = (grain.chunk > 1).then_some((grain.chunks, grain.chunk));
        let word = (words.word)(grain.verdict.word);
        let milliseconds = significant(1e3 * grain.seconds_per_unit);
        let Grain { heads, steps, units, .. } = *grain;
        let (gpu, why) = (self.gpu(), self.why());
        let first = First { gpu, heads, chunks, steps, units, milliseconds: &milliseconds, word, why: &why };
        (words.first)(first)
    }

    /// What it is the grain of: the cut, the load.
    pub fn facts(&self) -> [String; 2] {
        let Forecast { plan, cluster, replicas, .. } = self.forecast;
        let tp = plan.stages.first().map_or(0, |stage| stage.slices.len());
        [(self.words.cut)(&plan.model.name, &cluster.name, tp, plan.stages.len(), *replicas), self.load()]
    }

    /// The one reason that says most.
    fn why(&self) -> String {
        let first = self.grain.verdict.reasons.first().copied();
        match (self.grain.verdict.word, first) {
            (Word::Fits, _) | (_, None) => self.enough(),
            (_, Some(reason)) => self.reason(reason),
        }
    }

    fn enough(&self) -> String {
        (self.words.enough)(self.gpu(), self.grain.heads, self.grain.smallest_efficient.heads)
    }

    /// What a micro-batch carries.
    fn load(&self) -> String {
        let Load { sequences, tokens, past } = self.grain.load;
        match self.forecast.scene.phase {
            Phase::Prefill => (self.words.prompt)(sequences, tokens, past),
            Phase::Decode => (self.words.decode)(sequences, past),
        }
    }

    fn name(&self, level: &Level) -> String {
        match &level.step {
            Some(step) => format!("  {}", self.words.lang.step(&step.replace("score+softmax+context", "attend"))),
            None => (self.words.level)(level.level).into(),
        }
    }

    fn levels(&self) -> String {
        self.part(self.words.levels, &self.levels_table())
    }

    pub fn levels_table(&self) -> Table {
        let mut table = Table::new(&self.words.holds);
        for level in &self.grain.levels {
            table.row(vec![
                self.name(level),
                level.heads.to_string(),
                level.kv_heads.to_string(),
                level.layers.to_string(),
                level.columns.to_string(),
                level.units.to_string(),
                si(level.flops, "").trim_end().into(),
                si(level.bytes, "").trim_end().into(),
                significant(level.intensity),
                si(level.seconds, "s"),
            ]);
        }
        table
    }

    fn losses(&self) -> String {
        self.part(self.words.losses, &self.losses_table())
    }

    pub fn losses_table(&self) -> Table {
        let mut table = Table::new(&self.words.shares);
        for level in &self.grain.levels {
            let cells = shares(level).map(|share| if share < 5e-4 { "·".into() } else { percent(share) });
            table.row([vec![self.name(level), si(level.seconds_per_unit, "s")], cells.to_vec()].concat());
        }
        table
    }

    fn numbers(&self) -> String {
        let mut table = Table::new(&["<", "", "<"]);
        self.speedups().into_iter().for_each(|row| table.row(row.to_vec()));
        let shown = table.show();
        let rows = shown.split_once('\n').map_or("", |(_, rows)| rows); // the columns need no names
        format!("\n{}\n{rows}", styled(BOLD, self.words.numbers))
    }

    /// What overlapping gains: name, number, remark.
    pub fn speedups(&self) -> Vec<[String; 3]> {
        let (words, slots, speedups) = (self.words, &self.grain.slots, &self.grain.speedups);
        let [ideal, on_lanes, real, measured] = words.number_names;
        let mut rows = Vec::new();
        let mut row = |name: &str, speedup: String, what: String| rows.push([name.into(), speedup, what]);
        let times = |speedup: f64| format!("{speedup:.2} ×");
        let bubble = (words.bubble)(&percent(self.grain.bubble));
        let slots_of = |count: u32| (words.slots)(slots.serial, count);
        row(ideal, times(speedups.ideal), slots_of(slots.pipelined) + &bubble);
        row(on_lanes, times(speedups.on_lanes), slots_of(slots.on_lanes) + &(words.lanes)(slots.lanes));
        row(real, times(speedups.with_real_steps), words.real.into());
        row(words.uncut[0], times(speedups.against_uncut), words.uncut[1].into());
        if let Some(speedup) = speedups.against_shared {
            row(words.shared[0], times(speedup), words.shared[1].into());
        }
        let (speedup, what) =
            speedups.measured.map_or(("–".into(), words.not_measured), |speedup| (times(speedup), words.real));
        row(measured, speedup, what.into());
        rows
    }

    fn verdict(&self) -> String {
        let words = self.words;
        let mut lines = vec![styled(BOLD, words.verdict), format!("  {}", self.judged())];
        lines.extend(self.reasons().iter().map(|reason| format!("  - {reason}")));
        lines.push(format!("  {}", self.smallest()));
        let changes = self.changes();
        lines.push(styled(BOLD, words.change));
        lines.extend(changes.iter().map(|change| format!("  - {change}")));
        lines.extend(changes.is_empty().then(|| format!("  {}", words.no_change)));
        format!("\n{}\n", lines.join("\n"))
    }

    /// The verdict in a sentence.
    pub fn judged(&self) -> String {
        (self.words.judged)(self.gpu(), self.grain.heads, &self.load(), self.grain.verdict.word)
    }

    pub fn reasons(&self) -> Vec<String> {
        let verdict = &self.grain.verdict;
        let enough = (verdict.word != Word::TooFine).then(|| self.enough());
        let reasons = verdict.reasons.iter().map(|reason| self.reason(*reason));
        let pipeline =
            self.grain.speedups.against_shared.map(|times| (self.words.pipeline)(times, &format!("{times:.2}")));
        enough.into_iter().chain(reasons).chain(pipeline).collect()
    }

    /// The smallest grain that still is efficient.
    pub fn smallest(&self) -> String {
        let (all, smallest) = (self.forecast.plan.model.heads, self.grain.smallest_efficient);
        (self.words.smallest)(self.gpu(), &self.allowed, smallest.heads, all, smallest.chunk)
    }

    /// What would be better.
    pub fn changes(&self) -> Vec<String> {
        self.grain.verdict.change.iter().map(|advice| self.advice(advice)).collect()
    }

    fn reason(&self, reason: Reason) -> String {
        let (words, gpu) = (self.words, self.gpu());
        let times = |speedup: f64| format!("{speedup:.2}");
        match reason {
            Reason::OneAsLongAs { heads, all } => (words.one_as_long)(heads, all),
            Reason::BelowSmallest { heads, smallest, loss } => {
                (words.below)(gpu, heads, smallest, &percent(loss), &self.allowed)
            }
            Reason::Largest { what, share } => (words.largest)((words.loss)(what), &percent(share)),
            Reason::MemoryBound { intensity, balance } => {
                (words.memory)(&significant(intensity), &significant(balance))
            }
            Reason::FasterWith { tp, speedup } => (words.faster_with)(tp, &times(speedup)),
            Reason::FasterThan { tp, speedup } if speedup < 1.0 => (words.slower_than)(tp, &times(1.0 / speedup)),
            Reason::FasterThan { tp, speedup } => (words.faster_than)(tp, &times(speedup)),
            Reason::NeverEnough { rows } => (words.never)(rows),
            Reason::ChunkTooFine { chunk, smallest, loss } => (words.chunk_fine)(chunk, smallest, &percent(loss)),
        }
    }

    /// Flags, and their price.
    fn advice(&self, advice: &Advice) -> String {
        let flag = |name: &str, value: Option<u32>| value.map(|value| format!("--{name} {value}"));
        let overlap = advice.overlap.map(|overlap| {
            let name = if overlap == Overlap::Tokens { "tokens" } else { "heads" };
            format!("--overlap {name}")
        });
        let flags = [
            overlap,
            flag("tp", advice.tp),
            flag("batch", advice.sequences),
            flag("prompt", advice.tokens),
            flag("chunk", advice.chunk),
        ];
        let flags: Vec<String> = flags.into_iter().flatten().collect();
        flags.join(" ") + &(self.words.price)(self.price(advice))
    }

    fn price(&self, advice: &Advice) -> Price {
        let load = self.grain.load;
        let (sequences, tokens) = (advice.sequences.unwrap_or(load.sequences), advice.tokens.unwrap_or(load.tokens));
        let grows = advice.rows > 1.0 && self.forecast.scene.phase == Phase::Prefill;
        let now = self.forecast.plan.stages.first().map_or(0, |stage| stage.slices.len() as u32);
        let of_halves = advice.overlap == Some(Overlap::Tokens);
        let lost = (percent(advice.loss), percent(advice.loss_now));
        Price {
            prompts: grows.then_some((sequences, tokens)),
            longer: advice.longer,
            devices: advice.tp.map(|tp| (tp, now)),
            rows: advice.rows,
            lost: (lost.0 != lost.1).then_some(lost),
            of_halves,
        }
    }

    fn charts(&self) -> String {
        let (grain, words) = (self.grain, self.words);
        let [heads, chunk, steps, tp] = words.charts;
        let mut text = self.head_chart(heads);
        if grain.chunk_curve.points.len() > 1 {
            text += &self.curve_chart(chunk, words.columns[1], &grain.chunk_curve);
        }
        text += &self.curve_chart(steps, words.columns[2], &grain.steps_curve);
        text + &self.curve_chart(tp, words.columns[3], &grain.tp_curve)
    }

    fn head_chart(&self, title: &str) -> String {
        let bar = |point: &headsaw::grain::HeadPoint| Bar {
            label: point.heads.to_string(),
            seconds: point.seconds,
            notes: vec![
                si(point.half_seconds, "s"),
                if point.tp > 1 { si(point.exchange_seconds, "s") } else { "–".into() },
                percent(point.loss),
            ],
            marks: self.marks(point.knee, point.choice, self.words.marks[0]),
        };
        let bars: Vec<Bar> = self.grain.curve.points.iter().map(bar).collect();
        let [heads, _, _, _, time, half, exchange, lost] = self.words.columns;
        chart(title, &[heads, time, half, exchange, lost], &bars)
    }

    fn curve_chart(&self, title: &str, column: &str, curve: &Curve<Point>) -> String {
        let ran = curve.points.iter().any(|point| point.measured_seconds.is_some());
        let measured =
            |point: &Point| ran.then(|| point.measured_seconds.map_or("–".into(), |seconds| si(seconds, "s")));
        let bar = |point: &Point| Bar {
            label: point.size.to_string(),
            seconds: point.seconds,
            notes: measured(point).into_iter().chain([percent(point.loss)]).collect(),
            marks: self.marks(point.knee, point.choice, self.words.marks[2]),
        };
        let bars: Vec<Bar> = curve.points.iter().map(bar).collect();
        let [.., time, _, _, lost] = self.words.columns;
        let also = ran.then_some(self.words.measured);
        let columns: Vec<&str> = [column, time].into_iter().chain(also).chain([lost]).collect();
        chart(title, &columns, &bars)
    }

    fn marks(&self, knee: bool, choice: bool, knee_word: &'static str) -> Vec<&'static str> {
        [knee.then_some(knee_word), choice.then_some(self.words.marks[1])].into_iter().flatten().collect()
    }

    fn overlaps(&self) -> String {
        let (table, said) = self.overlaps_table();
        format!("{}  {said}\n", self.part(self.words.overlaps, &table))
    }

    /// The three overlaps over loads, and where the fastest changes.
    pub fn overlaps_table(&self) -> (Table, String) {
        let (words, overlaps) = (self.words, &self.grain.overlaps);
        let mut table = Table::new(&words.overlap_columns);
        for point in &overlaps.scan {
            let here = if point.rows == overlaps.here.rows { format!("◂ {}", words.marks[1]) } else { "".into() };
            table.row(vec![
                point.rows.to_string(),
                si(point.none, "s"),
                si(point.heads, "s"),
                point.tokens.map_or("–".into(), |tokens| si(tokens, "s")),
                (words.overlap)(point.fastest()).into(),
                here,
            ]);
        }
        (table, self.flips())
    }

    fn flips(&self) -> String {
        let (words, overlaps) = (self.words, &self.grain.overlaps);
        let name = |overlap| (words.overlap)(overlap);
        let flips: Vec<String> =
            overlaps.flips.iter().map(|flip| (words.flip)(flip.rows, name(flip.from), name(flip.to))).collect();
        match (overlaps.scan.first(), overlaps.scan.last()) {
            (Some(first), Some(last)) if flips.is_empty() => {
                (words.no_flip)(name(first.fastest()), first.rows, last.rows)
            }
            _ => flips.join(" "),
        }
    }
}

/// Shares of a level's time: each loss, in the order of the columns, then work.
pub fn shares(level: &Level) -> [f64; 8] {
    let lost = &level.lost;
    let work = (1.0 - lost.all()).max(0.0);
    let Lost { exchange, launch, bubble, imbalance, replicated_kv, alignment, sharing } = *lost;
    [exchange, launch, bubble, imbalance, replicated_kv, alignment, sharing, work]
}

/// `5 %`, `12 %`, `0.3 %`.
pub fn percent(share: f64) -> String {
    let percent = 100.0 * share;
    let digits = if percent.abs() < 9.95 && (percent - percent.round()).abs() > 0.05 { 1 } else { 0 };
    format!("{percent:.digits$} %")
}

/// Three significant digits.
fn significant(number: f64) -> String {
    if number == 0.0 {
        return "0".into();
    }
    let digits = (2 - number.abs().log10().floor() as i32).clamp(0, 9) as usize;
    format!("{number:.digits$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits() {
        assert_eq!([0.006747, 1.5, 295.3, 12345.0, 0.0].map(significant), ["0.00675", "1.50", "295", "12345", "0"]);
        assert_eq!([0.05, 0.123, 0.0034, 1.0].map(percent), ["5 %", "12 %", "0.3 %", "100 %"]);
    }
}
