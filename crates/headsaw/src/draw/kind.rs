//! What a bar does, in words, letters and textures.

use super::Lang;
use crate::program::{Carries, Gathered, Op, Program, Step};

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident $name:literal $chinese:literal $letter:literal $fill:literal),* $(,)?) => {
        /// What an action does, as far as a picture tells.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Kind {$($(#[$doc])* $kind,)*}

        impl Kind {
            /// All, in the order of a layer; exchanges last.
            pub const ALL: &'static [Kind] = &[$(Kind::$kind),*];

            /// `project`, `all-reduce`: as plans, programs and traces have it.
            pub fn name(self) -> &'static str {
                match self {$(Kind::$kind => $name,)*}
            }

            /// What people call it: `project`, `投影`.
            pub fn word(self, lang: Lang) -> &'static str {
                match lang {
                    Lang::En => self.name(),
                    Lang::Zh => match self {$(Kind::$kind => $chinese,)*},
                }
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
    Embed "embed" "嵌入" 'E' 'e',
    /// Norm and quantisation.
    Norm "norm" "归一化" 'N' 'n',
    /// Q, K, V.
    Project "project" "投影" 'P' '=',
    /// Scores, softmax and weighted sum.
    Attend "attend" "注意力" 'A' '~',
    /// Scores.
    Score "score" "打分" 'S' '/',
    /// Softmax.
    Softmax "softmax" "softmax" 'X' '^',
    /// Weighted sum.
    Context "context" "加权和" 'C' '\\',
    /// Output projection.
    Merge "merge" "合并" 'M' '#',
    /// Gate, up and activation.
    GateUp "gate_up" "门控" 'G' '+',
    /// Down projection.
    Down "down" "降维" 'D' '-',
    /// Output rows.
    Logits "logits" "logits" 'L' 'l',
    /// Picks a token.
    Sample "sample" "采样" 'T' 't',
    /// Adds partial sums up.
    AllReduce "all-reduce" "全归约" 'R' '%',
    /// Brings embedded tokens together.
    GatherEmbedded "gather embedded" "收集嵌入" 'R' '%',
    /// Brings normalised rows together.
    GatherNormed "gather normed" "收集归一化" 'R' '%',
    /// Brings heads' outputs together.
    GatherAttended "gather attended" "收集头输出" 'R' '%',
    /// Brings MLP columns together.
    GatherHidden "gather hidden" "收集 MLP 列" 'R' '%',
    /// Says which tokens come.
    SendHeader "send header" "发送报头" 'Z' '>',
    /// Hands the residual on.
    SendResidual "send residual" "发送残差" 'Z' '>',
    /// Hands logits on.
    SendLogits "send logits" "发送 logits" 'Z' '>',
    /// Hears which tokens come.
    RecvHeader "receive header" "接收报头" 'Z' '<',
    /// Takes the residual.
    RecvResidual "receive residual" "接收残差" 'Z' '<',
    /// Takes logits.
    RecvLogits "receive logits" "接收 logits" 'Z' '<',
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

    /// The one of that name; all exchanges together are `exchange`, which is none.
    pub fn named(name: &str) -> Option<Kind> {
        Kind::ALL.iter().copied().find(|kind| kind.name() == name)
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
