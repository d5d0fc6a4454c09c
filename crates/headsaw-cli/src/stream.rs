//! Text as tokens come: half characters and what may become a stop text are held back.

use headsaw_run::tokenizer::{Decoder, Tokenizer};

/// The text of one prompt's tokens.
#[derive(Debug, Clone, Default)]
pub struct Text {
    decoder: Decoder,
    text: String,
    shown: usize,
    stopped: bool,
    finished: bool,
}

impl Text {
    /// Takes a token; true where a stop text has come.
    pub fn push(&mut self, tokenizer: &Tokenizer, token: u32, stops: &[String]) -> bool {
        let piece = self.decoder.push(tokenizer, token);
        self.add(&piece, stops)
    }

    fn add(&mut self, piece: &str, stops: &[String]) -> bool {
        if !self.stopped {
            self.text.push_str(piece);
            if let Some(at) = stops.iter().filter_map(|stop| self.text[self.shown..].find(stop.as_str())).min() {
                self.text.truncate(self.shown + at);
                self.stopped = true;
            }
        }
        self.stopped
    }

    /// What can be shown now and was not yet.
    pub fn fresh(&mut self, stops: &[String]) -> &str {
        let rest = &self.text[self.shown..];
        let held = if self.stopped { 0 } else { stops.iter().map(|stop| overlap(rest, stop)).max().unwrap_or(0) };
        let from = std::mem::replace(&mut self.shown, self.text.len() - held);
        &self.text[from..self.shown]
    }

    /// The end has come: all of it can be shown.
    pub fn finish(&mut self, stops: &[String]) -> &str {
        self.finished = true;
        let rest = std::mem::take(&mut self.decoder).finish();
        self.add(&rest, stops);
        let from = std::mem::replace(&mut self.shown, self.text.len());
        &self.text[from..]
    }

    /// No more tokens come.
    pub fn finished(&self) -> bool {
        self.finished
    }

    /// All of the text.
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// Bytes at the end of `text` that may be the beginning of `stop`.
fn overlap(text: &str, stop: &str) -> usize {
    let lengths = stop.char_indices().map(|(at, _)| at).skip(1).collect::<Vec<_>>();
    lengths.into_iter().rev().find(|length| text.ends_with(&stop[..*length])).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(pieces: &[&str], stops: &[&str]) -> (Vec<String>, bool) {
        let stops: Vec<String> = stops.iter().map(|stop| stop.to_string()).collect();
        let mut text = Text::default();
        let mut shown = Vec::new();
        let mut stopped = false;
        for piece in pieces {
            stopped |= text.add(piece, &stops);
            shown.push(text.fresh(&stops).to_string());
        }
        shown.push(text.finish(&stops).to_string());
        assert_eq!(shown.concat(), text.text());
        (shown, stopped)
    }

    #[test]
    fn what_may_become_a_stop_text_is_held_back() {
        let (shown, stopped) = stream(&["one st", "o", "ne"], &["stop"]);
        assert_eq!((shown, stopped), (["one ", "", "stone", ""].map(String::from).to_vec(), false));
        let (shown, stopped) = stream(&["one s", "top", " more"], &["stop", "top"]);
        assert_eq!((shown, stopped), (["one ", "", "", ""].map(String::from).to_vec(), true));
        let (shown, _) = stream(&["头1、", "头2"], &["头2"]);
        assert_eq!(shown.concat(), "头1、");
        assert_eq!(stream(&["a sto"], &["stop"]).0.concat(), "a sto");
    }
}
