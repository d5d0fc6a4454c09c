//! Pictures below each other: one scale of time, one legend.

use super::{Colour, Kind, Picture, Words};
use crate::trace::Source;
use std::borrow::Cow;

/// Pictures that are drawn below each other.
pub(super) struct Together<'a> {
    /// In their order.
    pub pictures: Vec<Cow<'a, Picture>>,
    /// Seconds that the width stands for, the same for all: lengths can be compared.
    pub seconds: f64,
}

impl<'a> Together<'a> {
    /// All of them with at most `most` bars; where one has to be cut all end as early.
    pub fn new(pictures: &'a [Picture], most: usize) -> Together<'a> {
        let each = most / pictures.len().max(1);
        let mut shown: Vec<Cow<Picture>> = pictures.iter().map(|picture| picture.limited(each)).collect();
        if shown.iter().any(|picture| matches!(picture, Cow::Owned(_))) {
            let least = shown.iter().map(|picture| picture.seconds()).fold(f64::INFINITY, f64::min);
            for picture in shown.iter_mut().filter(|picture| picture.seconds() > least) {
                let end = picture.window.0 + least;
                *picture = Cow::Owned(picture.until(end));
            }
        }
        let seconds = shown.iter().map(|picture| picture.seconds()).fold(0.0, f64::max);
        Together { pictures: shown, seconds }
    }

    /// The headline.
    pub fn title(&self) -> &str {
        self.pictures.first().map_or("", |picture| &picture.title)
    }

    /// What stands above a picture: its title, where it is another than the headline; and its summary.
    pub fn above<'b>(&self, picture: &'b Picture, words: &Words) -> (Option<&'b str>, String) {
        let other = !picture.title.is_empty() && picture.title != self.title();
        (other.then_some(&*picture.title), picture.summary(words))
    }

    /// Kinds of actions that take time, in the order of a layer.
    pub fn kinds(&self) -> Vec<Kind> {
        union(self.pictures.iter().flat_map(|picture| picture.kinds()))
    }

    /// Colours of heads or micro-batches, in words; and a remark where they begin again.
    pub fn legend(&self, words: &Words) -> (Vec<(Colour, String)>, Option<String>) {
        let (mut entries, mut again) = (Vec::new(), None);
        for (colours, remark) in self.pictures.iter().map(|picture| picture.legend(words)) {
            entries.extend(colours);
            again = again.or(remark);
        }
        (union(entries.into_iter()), again)
    }
}

/// What stands before the names of each picture's devices, where there are several.
pub(super) fn prefixes(pictures: &[Picture]) -> Vec<String> {
    let measured = |picture: &Picture| matches!(picture.source, Source::Measured { .. });
    let apart = pictures.len() == 2 && measured(&pictures[0]) != measured(&pictures[1]);
    let prefix = |(number, picture): (usize, &Picture)| match pictures.len() {
        0 | 1 => String::new(),
        _ if apart && measured(picture) => "measured: ".into(),
        _ if apart => "predicted: ".into(),
        _ => format!("{}: ", number + 1),
    };
    pictures.iter().enumerate().map(prefix).collect()
}

fn union<T: Ord>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut items: Vec<T> = items.collect();
    items.sort_unstable();
    items.dedup();
    items
}
