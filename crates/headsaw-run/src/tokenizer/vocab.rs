//! The pieces of a vocabulary, compactly: a blob, the ends of the pieces, and a table of hashes.

use std::hash::{BuildHasher, RandomState};

/// A free slot of the table.
const EMPTY: u32 = u32::MAX;

/// What a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A piece of text.
    Normal,
    /// Text that always is one token.
    UserDefined,
    /// A sign for the model, with no text.
    Control,
    /// A single byte, for what no piece expresses.
    Byte(u8),
    /// Never used.
    Unused,
}

impl Kind {
    fn byte(self) -> Option<u8> {
        if let Kind::Byte(byte) = self { Some(byte) } else { None }
    }
}

/// A stretch of a text: plain, or one special token.
#[derive(Debug, PartialEq)]
pub(crate) enum Section<'a> {
    Text(&'a str),
    Special(u32),
}

/// All pieces by id.
#[derive(Debug, Default)]
pub(crate) struct Vocab {
    blob: Vec<u8>,
    ends: Vec<u32>,
    kinds: Vec<Kind>,
    /// Normal and user-defined tokens, hashed by their bytes: open addressing, at most half full.
    table: Vec<u32>,
    /// Keyed, so that no vocabulary can be made to collide.
    hasher: RandomState,
    /// User-defined and control tokens, ordered by their bytes, then by id.
    specials: Vec<u32>,
    /// The byte tokens.
    bytes: Vec<(u8, u32)>,
}

impl Vocab {
    /// Adds the next token. The blob must stay below 4 GiB: callers cap the number and the length of pieces.
    pub(crate) fn push(&mut self, piece: &[u8], kind: Kind) {
        self.blob.extend(piece);
        self.ends.push(self.blob.len() as u32);
        self.kinds.push(kind);
    }

    /// To be called once, after the last `push`.
    pub(crate) fn index(&mut self) {
        let ids = 0..self.len();
        let kinds = &self.kinds;
        let is = |id: &u32, wanted: &[Kind]| wanted.contains(&kinds[*id as usize]);
        let mut specials: Vec<u32> = ids.clone().filter(|id| is(id, &[Kind::Control, Kind::UserDefined])).collect();
        specials.retain(|&id| !self.piece(id).is_empty());
        specials.sort_unstable_by(|&a, &b| self.piece(a).cmp(self.piece(b)).then(a.cmp(&b)));
        self.bytes = ids.clone().filter_map(|id| Some((kinds[id as usize].byte()?, id))).collect();
        self.bytes.sort_unstable();
        self.bytes.dedup_by_key(|(byte, _)| *byte);
        self.specials = specials;
        self.table = vec![EMPTY; (2 * self.kinds.len()).next_power_of_two()];
        for id in ids.filter(|&id| matches!(self.kinds[id as usize], Kind::Normal | Kind::UserDefined)) {
            let slot = self.slot(self.piece(id));
            if self.table[slot] == EMPTY {
                self.table[slot] = id;
            }
        }
    }

    /// Where `piece` is in the table, or would be.
    fn slot(&self, piece: &[u8]) -> usize {
        let mask = self.table.len() - 1;
        let mut slot = self.hasher.hash_one(piece) as usize & mask;
        while self.table[slot] != EMPTY && self.piece(self.table[slot]) != piece {
            slot = (slot + 1) & mask;
        }
        slot
    }

    pub(crate) fn len(&self) -> u32 {
        self.ends.len() as u32
    }

    pub(crate) fn kind(&self, id: u32) -> Option<Kind> {
        self.kinds.get(id as usize).copied()
    }

    /// Empty for an unknown id.
    pub(crate) fn piece(&self, id: u32) -> &[u8] {
        let Some(&end) = self.ends.get(id as usize) else { return &[] };
        let start = if id == 0 { 0 } else { self.ends[id as usize - 1] };
        &self.blob[start as usize..end as usize]
    }

    /// The normal or user-defined token of these bytes; the first if there are several.
    pub(crate) fn find(&self, piece: &[u8]) -> Option<u32> {
        if self.table.is_empty() {
            return None;
        }
        Some(self.table[self.slot(piece)]).filter(|&id| id != EMPTY)
    }

    /// The token that stands for a byte.
    pub(crate) fn byte(&self, byte: u8) -> Option<u32> {
        let at = self.bytes.binary_search_by_key(&byte, |(b, _)| *b).ok()?;
        Some(self.bytes[at].1)
    }

    /// The special token written `text`.
    pub(crate) fn find_special(&self, text: &str) -> Option<u32> {
        self.longest_special(text.as_bytes(), true).filter(|&id| self.piece(id) == text.as_bytes())
    }

    /// Cuts `text` at special tokens, at each place the longest; with `control` unset only at user-defined ones.
    pub(crate) fn sections<'a>(&self, text: &'a str, control: bool) -> Vec<Section<'a>> {
        let mut sections = vec![];
        let (mut start, mut at) = (0, 0);
        while at < text.len() {
            let special = self.longest_special(&text.as_bytes()[at..], control);
            let end = special.map_or(at, |id| at + self.piece(id).len());
            match special.filter(|_| text.is_char_boundary(at) && text.is_char_boundary(end)) {
                None => at += 1,
                Some(id) => {
                    if start < at {
                        sections.push(Section::Text(&text[start..at]));
                    }
                    sections.push(Section::Special(id));
                    (start, at) = (end, end);
                }
            }
        }
        if start < text.len() {
            sections.push(Section::Text(&text[start..]));
        }
        sections
    }

    /// The longest special token that `text` starts with.
    fn longest_special(&self, text: &[u8], control: bool) -> Option<u32> {
        let usable = |id| control || self.kind(id) == Some(Kind::UserDefined);
        let mut found = None;
        self.narrow(text, |range, len| {
            let mut exact = range.iter().copied().take_while(|&id| self.piece(id).len() == len);
            found = exact.find(|&id| usable(id)).or(found);
            true
        });
        found
    }

    /// `text` starts with a special token that `counts`, or is the beginning of one.
    pub(crate) fn begins_special(&self, text: &str, counts: impl Fn(u32) -> bool) -> bool {
        let whole = |range: &[u32], len| range.iter().any(|&id| self.piece(id).len() == len && counts(id));
        let mut found = false;
        let left = self.narrow(text.as_bytes(), |range, len| {
            found = whole(range, len);
            !found
        });
        found || left.iter().any(|&id| counts(id))
    }

    /// Narrows the ordered list byte by byte to the special tokens that start as `text` does. `each` sees those that start
    /// with its first `len` bytes, the token of just these bytes first, and says whether to go on. What is left at the end.
    fn narrow(&self, text: &[u8], mut each: impl FnMut(&[u32], usize) -> bool) -> &[u32] {
        let mut range = &self.specials[..];
        for len in 1..=text.len() {
            let prefix = &text[..len];
            let head = |&id: &u32| {
                let piece = self.piece(id);
                &piece[..piece.len().min(len)]
            };
            let from = range.partition_point(|id| head(id) < prefix);
            let to = from + range[from..].partition_point(|id| head(id) == prefix);
            range = &range[from..to];
            if range.is_empty() || !each(range, len) {
                break;
            }
        }
        range
    }
}
