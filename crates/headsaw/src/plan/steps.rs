//! The second cut: each head's work into steps, and how they share the lanes of a device.

use crate::spec::cluster::StepLanes;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A step of a head's work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HeadStep {
    /// Q, K, V, rotary, cache.
    Project,
    /// Q · Kᵀ.
    Score,
    /// Softmax of the scores.
    Softmax,
    /// Weighted sum of V.
    Context,
    /// The head's part of the output projection.
    Merge,
}

impl HeadStep {
    /// All steps, in order.
    pub const ALL: [HeadStep; 5] =
        [HeadStep::Project, HeadStep::Score, HeadStep::Softmax, HeadStep::Context, HeadStep::Merge];

    /// Its name in flags and files.
    pub fn name(self) -> &'static str {
        match self {
            HeadStep::Project => "project",
            HeadStep::Score => "score",
            HeadStep::Softmax => "softmax",
            HeadStep::Context => "context",
            HeadStep::Merge => "merge",
        }
    }
}

/// Where a head's work is cut into parts: `project|score+softmax+context|merge`. `attend` stands for the three in the
/// middle; `1`, `2`, `3` and `5` are short for the usual cuts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepCut(Vec<Vec<HeadStep>>);

impl StepCut {
    /// The parts: each a run of steps, all five in order.
    pub fn parts(&self) -> &[Vec<HeadStep>] {
        &self.0
    }

    /// The same with score, softmax and context in one part, as kernels that do all three take them.
    ///
    /// ```
    /// # use headsaw::plan::StepCut;
    /// let five: StepCut = "5".parse().unwrap();
    /// assert_eq!(five.attend_whole().to_string(), "project|attend|merge");
    /// ```
    pub fn attend_whole(&self) -> StepCut {
        let mut parts: Vec<Vec<HeadStep>> = Vec::new();
        for part in &self.0 {
            let goes_on = matches!(part[0], HeadStep::Softmax | HeadStep::Context);
            match parts.last_mut().filter(|_| goes_on) {
                Some(last) => last.extend(part),
                None => parts.push(part.clone()),
            }
        }
        StepCut(parts)
    }
}

impl FromStr for StepCut {
    type Err = String;

    fn from_str(text: &str) -> Result<StepCut, String> {
        let written = match text.trim() {
            "1" => "project+attend+merge",
            "2" => "project|attend+merge",
            "3" => "project|attend|merge",
            "5" => "project|score|softmax|context|merge",
            other => other,
        };
        let parts: Vec<Vec<HeadStep>> = written.split('|').map(part).collect::<Result<_, _>>()?;
        if parts.concat() != HeadStep::ALL {
            return Err(format!(
                "{text:?} is no cut of the steps project, score, softmax, context, merge: write 1, 2, 3, 5 or all of \
                 them in order, as project|score+softmax+context|merge"
            ));
        }
        Ok(StepCut(parts))
    }
}

fn part(text: &str) -> Result<Vec<HeadStep>, String> {
    let mut steps = Vec::new();
    for word in text.split('+').map(str::trim) {
        match HeadStep::ALL.iter().find(|step| step.name() == word) {
            Some(step) => steps.push(*step),
            None if word == "attend" => steps.extend([HeadStep::Score, HeadStep::Softmax, HeadStep::Context]),
            None => {
                return Err(format!(
                    "{word:?} is no step; write 1, 2, 3, 5, or a cut of project, score, softmax, context, merge (attend: the \
                     middle three), as project|attend|merge"
                ));
            }
        }
    }
    Ok(steps)
}

impl fmt::Display for StepCut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = |steps: &Vec<HeadStep>| steps.iter().map(|step| step.name()).collect::<Vec<_>>().join("+");
        let text = self.0.iter().map(part).collect::<Vec<_>>().join("|");
        f.write_str(&text.replace("score+softmax+context", "attend"))
    }
}

impl Serialize for StepCut {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for StepCut {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<StepCut, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The small pipeline inside a device: chunks of heads go through the parts of the step cut, each on its lane.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeadSteps {
    /// Which steps are done together.
    pub cut: StepCut,
    /// The lane of each part.
    pub lanes: Vec<u32>,
    /// The lane of all that is no head's: norms, MLP, embedding, logits; none: split over all lanes by output rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub others: Option<u32>,
    /// Heads that go through the steps together.
    pub chunk: u32,
    /// Micro-batches that take each layer together, one right after the other; 1: each leaves the stage before the next.
    #[serde(default = "one")]
    pub interleave: u32,
    /// What hides behind what.
    pub overlap: Overlap,
}

fn one() -> u32 {
    1
}

/// How a device's heads go through its steps, before it is said which lanes there are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flow {
    /// Which steps are done together.
    pub cut: StepCut,
    /// Heads that go through together.
    pub chunk: u32,
    /// Micro-batches that take each layer together.
    pub interleave: u32,
    /// What hides behind what.
    pub overlap: Overlap,
}

impl HeadSteps {
    /// The same for kernels that do score, softmax and context in one: on the lane of the first of them.
    pub fn attend_whole(&self) -> HeadSteps {
        let starts = self.cut.parts().iter().map(|part| !matches!(part[0], HeadStep::Softmax | HeadStep::Context));
        let lanes = self.lanes.iter().zip(starts).filter(|(_, starts)| *starts).map(|(lane, _)| *lane).collect();
        HeadSteps { cut: self.cut.attend_whole(), lanes, ..self.clone() }
    }

    /// Part `i` on lane `i mod lanes`; all that is no head's is split over the lanes.
    pub fn in_turn(flow: Flow, lanes: u32) -> HeadSteps {
        let Flow { cut, chunk, interleave, overlap } = flow;
        let lanes = (0..cut.parts().len() as u32).map(|part| part % lanes.max(1)).collect();
        HeadSteps { cut, lanes, others: None, chunk, interleave, overlap }
    }

    /// Each part on the lane that a kind of device has for it; and the names of these lanes, in the order of their
    /// numbers. A part with a product of weights goes where `project` goes.
    ///
    /// ```
    /// # use headsaw::plan::{Flow, HeadSteps, Overlap};
    /// # use headsaw::spec::cluster::presets;
    /// let h100 = &presets::find("h100").unwrap().groups[0].kind;
    /// let flow = Flow { cut: "3".parse().unwrap(), chunk: 1, interleave: 1, overlap: Overlap::Heads };
    /// let (steps, names) = HeadSteps::on(flow, &h100.lanes);
    /// assert_eq!(steps.lanes, [0, 1, 0]);
    /// assert_eq!(names, ["tensor", "vector"]);
    /// ```
    pub fn on(flow: Flow, kind: &StepLanes) -> (HeadSteps, Vec<String>) {
        let Flow { cut, chunk, interleave, overlap } = flow;
        let mut names = vec![kind.mlp.clone()];
        let mut number = |name: &String| match names.iter().position(|known| known == name) {
            Some(number) => number as u32,
            None => {
                names.push(name.clone());
                names.len() as u32 - 1
            }
        };
        let lanes = cut.parts().iter().map(|part| number(lane_of(part, kind))).collect();
        (HeadSteps { cut, lanes, others: Some(0), chunk, interleave, overlap }, names)
    }
}

/// The lane of a part.
fn lane_of<'a>(part: &[HeadStep], kind: &'a StepLanes) -> &'a String {
    let has = |step| part.contains(&step);
    match part {
        _ if has(HeadStep::Project) => &kind.project,
        _ if has(HeadStep::Merge) => &kind.merge,
        [HeadStep::Score, HeadStep::Softmax, HeadStep::Context] => &kind.attend,
        _ if has(HeadStep::Score) => &kind.score,
        _ if has(HeadStep::Context) => &kind.context,
        _ => &kind.softmax,
    }
}

/// What hides behind what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Overlap {
    /// Nothing: one lane does all, the exchanges too.
    None,
    /// A chunk's later steps and exchanges behind the next chunk's earlier ones; exchanges have a lane of their own.
    Heads,
    /// One micro-batch's exchanges (and steps) behind another's work in the same layer.
    Tokens,
}

impl Overlap {
    /// Its name in flags and files.
    pub fn name(self) -> &'static str {
        match self {
            Overlap::None => "none",
            Overlap::Heads => "heads",
            Overlap::Tokens => "tokens",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_are_read_and_written() {
        let read = |text: &str| text.parse::<StepCut>().map(|cut| cut.to_string());
        assert_eq!(read("3").unwrap(), "project|attend|merge");
        assert_eq!(read("project | score+softmax+context | merge").unwrap(), "project|attend|merge");
        assert_eq!(read("project+score|softmax|context+merge").unwrap(), "project+score|softmax|context+merge");
        assert_eq!(read("5").unwrap().split('|').count(), 5);
        for wrong in ["4", "", "project|merge", "merge|attend|project", "project||merge", "project|attend|attend|merge"]
        {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
