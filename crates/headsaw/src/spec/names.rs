//! "Did you mean …?": the known name that is closest to a typed one.

/// Edits above which two names are not meant to be the same: more than a slip of the fingers or a missing suffix.
const EDITS_MAX: usize = 4;

/// The name closest to `typed`, whatever its case; none where nothing is close.
pub fn nearest<'a>(typed: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wanted = typed.to_ascii_lowercase();
    let close = |name: &'a str| Some((edits(&wanted, name)?, name));
    names.into_iter().filter_map(close).min_by_key(|(edits, _)| *edits).map(|(_, name)| name)
}

/// Characters of a name that are shown.
const SHOWN_MAX: usize = 80;

/// The name as it is shown in a message: of a very long one the beginning.
///
/// ```
/// # use headsaw::spec::short;
/// assert_eq!(short("h100x8"), "h100x8");
/// assert_eq!(short(&"x".repeat(1000)).chars().count(), 81);
/// ```
pub fn short(name: &str) -> String {
    let cut = name.char_indices().nth(SHOWN_MAX).map(|(at, _)| format!("{}…", &name[..at]));
    cut.unwrap_or_else(|| name.into())
}

/// Edits between a lower-case word and a name; none where they are too many for a slip.
pub fn edits(wanted: &str, name: &str) -> Option<usize> {
    let most = EDITS_MAX.min(name.len() / 2);
    if wanted.len().abs_diff(name.len()) > most {
        return None; // a megabyte of a "name" is not walked
    }
    Some(strsim::damerau_levenshtein(wanted, name)).filter(|edits| *edits <= most)
}
