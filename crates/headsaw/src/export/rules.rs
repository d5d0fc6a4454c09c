//! Rules that engines have: those that their parsers know, and those that only their model files do.

use super::cut::{Cut, Share};
use crate::spec::workload::Activations;
use std::fmt;

/// A rule of an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// The plan is one.
    Plan,
    /// All stages have as many devices.
    OneTp,
    /// All devices of a stage have as many heads.
    Heads,
    /// KV heads divide over the devices, or the devices over the KV heads.
    KvHeads,
    /// MLP columns divide over the devices.
    Columns,
    /// Vocabulary rows do.
    Vocabulary,
    /// No block of quantised weights lies on two devices.
    Blocks,
    /// Tokens of a sequence divide over the devices.
    Tokens,
    /// The stages' layers can be said.
    Layers,
    /// Heads and layers can be cut at once.
    Both,
    /// Embedding and output, one matrix, lie in one stage.
    Tied,
    /// The engine has such a model.
    Model,
    /// The nodes have as many devices each.
    Nodes,
}

impl Rule {
    /// Its name in messages and in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Rule::Plan => "plan",
            Rule::OneTp => "one tp",
            Rule::Heads => "heads",
            Rule::KvHeads => "KV heads",
            Rule::Columns => "MLP columns",
            Rule::Vocabulary => "vocabulary",
            Rule::Blocks => "blocks",
            Rule::Tokens => "tokens",
            Rule::Layers => "layers",
            Rule::Both => "tp and pp",
            Rule::Tied => "tied embedding",
            Rule::Model => "model",
            Rule::Nodes => "nodes",
        }
    }
}

/// A rule that a plan breaks, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// The rule.
    pub rule: Rule,
    /// What is asked, and what the plan has.
    pub what: String,
}

impl Broken {
    pub(super) fn new(rule: Rule, what: impl fmt::Display) -> Broken {
        Broken { rule, what: what.to_string() }
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule.name(), self.what)
    }
}

/// `broken`, where it is; for lists of rules.
pub fn unless(kept: bool, rule: Rule, what: impl FnOnce() -> String) -> Option<Broken> {
    (!kept).then(|| Broken::new(rule, what()))
}

/// One tp for all stages.
pub fn stages(cut: &Cut) -> Vec<Broken> {
    let tps: Vec<usize> = cut.plan.stages.iter().map(|stage| stage.slices.len()).collect();
    let same = tps.iter().all(|tp| *tp == tps[0]);
    unless(same, Rule::OneTp, || format!("all stages have as many devices; the plan's have {}", joined(&tps)))
        .into_iter()
        .collect()
}

/// As many heads on each device.
pub fn heads(cut: &Cut) -> Option<Broken> {
    let heads = cut.plan.model.heads;
    let stage = cut
        .plan
        .stages
        .iter()
        .find(|stage| stage.slices.iter().any(|slice| slice.heads.len() as u32 * cut.tp != heads))?;
    let held: Vec<usize> = stage.slices.iter().map(|slice| slice.heads.len()).collect();
    let each = match heads % cut.tp {
        0 => format!("{} of {heads} heads on each of {} devices", heads / cut.tp, cut.tp),
        _ => format!("tp divides the {heads} heads"),
    };
    Some(Broken::new(Rule::Heads, format!("{each}; the plan's devices have {}", joined(&held))))
}

/// KV heads divide over the devices of a stage; where there are fewer than devices, each lies on as many.
pub fn kv_heads_or_copies(cut: &Cut) -> Option<Broken> {
    let (tp, kv) = (cut.tp, cut.plan.model.kv_heads);
    unless(tp.max(kv).is_multiple_of(tp.min(kv)), Rule::KvHeads, || {
        format!("of tp and the number of KV heads one divides the other; tp is {tp}, KV heads are {kv}")
    })
}

/// KV heads divide over the devices; the engine does not copy them.
pub fn kv_heads(cut: &Cut) -> Option<Broken> {
    let (tp, kv) = (cut.tp, cut.plan.model.kv_heads);
    unless(kv.is_multiple_of(tp), Rule::KvHeads, || {
        format!("tp divides the number of KV heads, which are not copied; tp is {tp}, KV heads are {kv}")
    })
}

/// As many MLP columns on each device, as far as headsaw's pieces allow.
pub fn columns(cut: &Cut) -> Option<Broken> {
    let share = cut.columns();
    let divides = unless(share.total.is_multiple_of(cut.tp), Rule::Columns, || {
        format!("tp divides the {} MLP columns; tp is {}", share.total, cut.tp)
    });
    divides.or_else(|| even(cut, &share, Rule::Columns))
}

/// As many vocabulary rows on each device, where the engine fills them up to a multiple of `padding` and then divides.
pub fn vocabulary(cut: &Cut, padding: u32) -> Option<Broken> {
    let share = cut.vocabulary();
    let padded = share.total.next_multiple_of(padding);
    let divides = unless(padded.is_multiple_of(cut.tp), Rule::Vocabulary, || {
        format!("tp divides the vocabulary, {padded} rows with padding; tp is {}", cut.tp)
    });
    divides.or_else(|| even(cut, &share, Rule::Vocabulary))
}

/// Does no device hold more than an equal share, rounded up to the piece in which headsaw cuts?
pub fn even(cut: &Cut, share: &Share, rule: Rule) -> Option<Broken> {
    let most = share.total.div_ceil(share.unit).div_ceil(cut.tp) * share.unit;
    let uneven = |stage: &&crate::plan::Stage| stage.slices.iter().any(|slice| (share.held)(slice) > most);
    let stage = cut.plan.stages.iter().find(uneven)?;
    let held: Vec<u32> = stage.slices.iter().map(share.held).collect();
    let what = format!("all devices of a stage have as many {}; the plan's have {}", share.what, joined(&held));
    Some(Broken::new(rule, what))
}

/// Blocks of quantised weights lie on one device: columns of the output and down projections are cut.
pub fn blocks(cut: &Cut) -> Option<Broken> {
    let model = &cut.plan.model;
    let (block, name) = match cut.plan.workload.numerics.activations {
        Activations::Mxfp8 => (32, "MXFP8"),
        Activations::Nvfp4 => (16, "NVFP4"),
        _ => (model.dtype.block(), model.dtype.name()),
    };
    let parts = [("MLP columns", model.ffn), ("columns of the output projection", model.heads * model.head_width)];
    let (what, each) = parts
        .into_iter()
        .filter(|(_, total)| total.is_multiple_of(cut.tp))
        .map(|(what, total)| (what, total / cut.tp))
        .find(|(_, each)| !each.is_multiple_of(block))?;
    Some(Broken::new(
        Rule::Blocks,
        format!("a device holds whole blocks of {block} {name} weights; with tp {} it has {each} {what}", cut.tp),
    ))
}

/// As many tokens of a sequence for each device, a multiple of `unit`: between exchanges the residual is cut by tokens.
pub fn tokens(cut: &Cut, unit: u32) -> Option<Broken> {
    let (context, piece) = (cut.plan.workload.context, cut.tp * unit);
    unless(context.is_multiple_of(piece), Rule::Tokens, || {
        format!("a sequence has a multiple of {piece} tokens (sequence parallel); it has {context}, tp is {}", cut.tp)
    })
}

/// As many devices in each node.
pub fn nodes(cut: &Cut, nodes: u32) -> Option<Broken> {
    let devices = cut.devices();
    unless(nodes > 0 && devices.is_multiple_of(nodes), Rule::Nodes, || {
        format!("the nodes have as many devices each; {devices} devices are in {nodes} nodes")
    })
}

/// `4, 4 and 2`.
pub fn joined<T: fmt::Display>(items: &[T]) -> String {
    let shown: Vec<String> = match items {
        [first @ .., _] if items.len() > 16 => {
            let mut shown: Vec<String> = first[..12].iter().map(T::to_string).collect();
            shown.push("…".into());
            shown
        }
        [first @ .., _] => first.iter().map(T::to_string).collect(),
        [] => vec![],
    };
    match (items.last(), shown.is_empty()) {
        (Some(last), false) => format!("{} and {last}", shown.join(", ")),
        (Some(last), true) => last.to_string(),
        (None, _) => String::new(),
    }
}
