//! What a bar does, in words, letters and textures.

use crate::program::{Carries, Gathered, Op, Program, Step};

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident $name:literal $letter:literal $fill:literal),* $(,)?) => {
        /// What an action does, as far as a picture tells.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Kind {$($(#[$doc])* $kind,)*}

        impl Kind {
            /// All, in the order of a layer; exchanges last.
            pub const ALL: &'static [Kind] = &[$(Kind::$kind),*];

            /// `project`, `all-reduce`.
            pub fn name(self) -> &'static str {
                match self {$(Kind::$kind => $name,)*}
            }

            /// A letter of its own for steps; exchanges share two.
            pub fn letter(self) -> char {
                match self {$(Kind::$kind => $letter,)*}
            }

            /// What fills its bars in a terminal.
            pub fn fill(self) -> char {
                match self {$(Kind::$kind => $fill,)*}
            }
        }
    };
}
kinds! {
    /// Rows of the embedding.
    Embed "embed" 'E' 'e',
    /// Norm and quantisation.
    Norm "norm" 'N' 'n',
    /// Q, K, V.
    Project "project" 'P' '=',
    /// Scores, softmax and weighted sum.
    Attend "attend" 'A' '~',
    /// Scores.
    Score "score" 'S' '/',
    /// Softmax.
    Softmax "softmax" 'X' '^',
    /// Weighted sum.
    Context "context" 'C' '\\',
    /// Output projection.
    Merge "merge" 'M' '#',
    /// Gate, up and activation.
    GateUp "gate_up" 'G' '+',
    /// Down projection.
    Down "down" 'D' '-',
    /// Output rows.
    Logits "logits" 'L' 'l',
    /// Picks a token.
    Sample "sample" 'T' 't',
    /// Adds partial sums up.
    AllReduce "all-reduce" 'R' '%',
    /// Brings embedded tokens together.
    GatherEmbedded "gather embedded" 'R' '%',
    /// Brings normalised rows together.
    GatherNormed "gather normed" 'R' '%',
    /// Brings heads' outputs together.
    GatherAttended "gather attended" 'R' '%',
    /// Brings MLP columns together.
    GatherHidden "gather hidden" 'R' '%',
    /// Says which tokens come.
    SendHeader "send header" 'Z' '>',
    /// Hands the residual on.
    SendResidual "send residual" 'Z' '>',
    /// Hands logits on.
    SendLogits "send logits" 'Z' '>',
    /// Hears which tokens come.
    RecvHeader "receive header" 'Z' '<',
    /// Takes the residual.
    RecvResidual "receive residual" 'Z' '<',
    /// Takes logits.
    RecvLogits "receive logits" 'Z' '<',
}

impl Kind {
    /// That of an action.
    pub fn of(program: &Program, op: Op) -> Kind {
        match op {
            Op::Compute(step) => Kind::of_step(step),
            Op::AllReduce(..) => Kind::AllReduce,
            Op::AllGather(_, Gathered::Embedded) => Kind::GatherEmbedded,
            Op::AllGather(_, Gathered::Normed(_)) => Kind::GatherNormed,
            Op::AllGather(_, Gathered::Attended) => Kind::GatherAttended,
            Op::AllGather(_, Gathered::Hidden) => Kind::GatherHidden,
            Op::Send(chan) => match program.chans[chan.index()].carries {
                Carries::Header(_) => Kind::SendHeader,
                Carries::Residual { .. } => Kind::SendResidual,
                Carries::Logits { .. } => Kind::SendLogits,
            },
            Op::Recv(chan) => match program.chans[chan.index()].carries {
                Carries::Header(_) => Kind::RecvHeader,
                Carries::Residual { .. } => Kind::RecvResidual,
                Carries::Logits { .. } => Kind::RecvLogits,
            },
        }
    }

    fn of_step(step: Step) -> Kind {
        match step {
            Step::Embed => Kind::Embed,
            Step::Norm(_) => Kind::Norm,
            Step::Project => Kind::Project,
            Step::Attend => Kind::Attend,
            Step::Score => Kind::Score,
            Step::Softmax => Kind::Softmax,
            Step::Context => Kind::Context,
            Step::Merge => Kind::Merge,
            Step::GateUp => Kind::GateUp,
            Step::Down => Kind::Down,
            Step::Logits => Kind::Logits,
            Step::Sample => Kind::Sample,
        }
    }

    /// It brings parts together, sends or receives.
    pub fn exchanges(self) -> bool {
        self >= Kind::AllReduce
    }

    /// `compute`, `collective`, `send`, `receive`.
    pub fn category(self) -> &'static str {
        match self {
            Kind::SendHeader | Kind::SendResidual | Kind::SendLogits => "send",
            Kind::RecvHeader | Kind::RecvResidual | Kind::RecvLogits => "receive",
            kind if kind.exchanges() => "collective",
            _ => "compute",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_have_letters_and_textures_of_their_own() {
        let steps: Vec<Kind> = Kind::ALL.iter().copied().filter(|kind| !kind.exchanges()).collect();
        let apart = |sign: fn(Kind) -> char| {
            let mut signs: Vec<char> = steps.iter().copied().map(sign).chain(['R', 'Z', '%', '>', '<']).collect();
            let all = signs.len();
            signs.sort_unstable();
            signs.dedup();
            signs.len() == all
        };
        assert!(steps.len() == 12 && apart(Kind::letter) && apart(Kind::fill));
    }
}
