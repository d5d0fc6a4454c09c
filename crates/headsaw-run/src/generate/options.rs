//! What the caller wants of a run.

use crate::lane::Fault;
use crate::sample::Sampling;
use headsaw::spec::cluster::Links;

/// How tokens are made.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Tokens for each prompt at most.
    pub max_tokens: usize,
    /// How a token is picked.
    pub sampling: Sampling,
    /// A token of these ends its sequence (and is not part of it).
    pub stop_ids: Vec<u32>,
    /// Keep every logit that was sampled from.
    pub keep_logits: bool,
    /// Hash every logit that was sampled from.
    pub digest: bool,
    /// For each prompt the tokens that follow, whatever the logits say (for comparisons); empty to sample.
    pub forced: Vec<Vec<u32>>,
    /// Take what the KV cache still holds of the run before: tokens that a prompt begins with and that lie in its place of
    /// the cache (the first prompt in the first, and so on) are not computed again. The bits are the same.
    pub reuse: bool,
    /// Tokens that are taken to lie before each prompt, with what the cache holds at their places: zeros, or what an
    /// earlier run left (to measure long contexts without reading them).
    pub past: usize,
    /// A device that is made to fail (for tests).
    pub fault: Option<Fault>,
    /// Write down when each action began and ended: so many actions of each lane, the newest ones.
    pub trace: Option<usize>,
    /// Links between the devices that the run feels.
    pub links: Links,
}

impl Options {
    /// The most likely token, `max_tokens` times.
    pub fn greedy(max_tokens: usize) -> Options {
        Options {
            max_tokens,
            sampling: Sampling::GREEDY,
            stop_ids: Vec::new(),
            keep_logits: false,
            digest: true,
            forced: Vec::new(),
            reuse: false,
            past: 0,
            fault: None,
            trace: None,
            links: Links::default(),
        }
    }
}
