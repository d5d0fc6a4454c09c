//! What the caller hears while tokens are made, and what it may answer.

/// What happens while tokens are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A chunk of a prompt goes into the model.
    Prefilling {
        /// Which prompt.
        prompt: usize,
        /// Its tokens up to the end of the chunk.
        tokens: usize,
    },
    /// All of a prompt has gone through the model.
    Prefilled {
        /// Which.
        prompt: usize,
        /// Its tokens.
        tokens: usize,
    },
    /// A token was made.
    Token {
        /// For which prompt.
        prompt: usize,
        /// Which.
        token: u32,
    },
    /// A prompt has all its tokens.
    Finished {
        /// Which.
        prompt: usize,
        /// Why.
        finish: Finish,
    },
}

/// Why a sequence ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// It has as many tokens as were asked for.
    Length,
    /// It came to an end of its own.
    Stop,
    /// The caller said so.
    Cancelled,
}

/// What the listener to events wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// Go on.
    Continue,
    /// This prompt has enough (a stop text was seen).
    Stop,
    /// End the run with what is there.
    Cancel,
}
