//! What can be wrong with a model's files.

/// Why a model cannot be read: the file, the place in it, what stands there, and what would work.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused.
    #[error("{file}: {what}: {source}")]
    Io {
        /// The file.
        file: String,
        /// What was being done.
        what: String,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The bytes are not what the format says.
    #[error("{file}: byte {offset}: {found}; expected {expected}")]
    Format {
        /// The file.
        file: String,
        /// Where in the file.
        offset: u64,
        /// What stands there.
        found: String,
        /// What should.
        expected: String,
    },
    /// JSON that does not parse, or holds the wrong things.
    #[error("{file}: {reason}; expected {expected}")]
    Json {
        /// The file.
        file: String,
        /// The parser's reason, with line and column.
        reason: String,
        /// What should stand there.
        expected: String,
    },
    /// A metadata key, or a key of a JSON file, is missing or wrong.
    #[error("{file}: key `{key}`: {found}; expected {expected}")]
    Key {
        /// The file.
        file: String,
        /// The key.
        key: String,
        /// What it holds.
        found: String,
        /// What it should.
        expected: String,
    },
    /// A tensor is missing, misplaced or of an unusable type.
    #[error("{file}: tensor `{tensor}`: {found}; expected {expected}")]
    Tensor {
        /// The file.
        file: String,
        /// The tensor.
        tensor: String,
        /// What it is.
        found: String,
        /// What it should be.
        expected: String,
    },
    /// Several things at once, all of them listed.
    #[error("{file}: {} problem(s)\n  {}", problems.len(), problems.join("\n  "))]
    Problems {
        /// The file.
        file: String,
        /// One line each.
        problems: Vec<String>,
    },
    /// The caller asked for something that this model does not have.
    #[error("{file}: {what}")]
    Absent {
        /// The file.
        file: String,
        /// What is missing, and what would work.
        what: String,
    },
}

/// At most this many problems are listed.
const LISTED: usize = 20;

impl Error {
    pub(crate) fn io(file: &str, what: impl Into<String>, source: std::io::Error) -> Error {
        Error::Io { file: file.into(), what: what.into(), source }
    }

    pub(crate) fn format(file: &str, offset: u64, found: impl Into<String>, expected: impl Into<String>) -> Error {
        Error::Format { file: file.into(), offset, found: found.into(), expected: expected.into() }
    }

    pub(crate) fn json(file: &str, reason: &serde_json::Error, expected: impl Into<String>) -> Error {
        Error::Json { file: file.into(), reason: reason.to_string(), expected: expected.into() }
    }

    pub(crate) fn key(file: &str, key: &str, found: impl Into<String>, expected: impl Into<String>) -> Error {
        Error::Key { file: file.into(), key: show(key), found: found.into(), expected: expected.into() }
    }

    pub(crate) fn tensor(file: &str, tensor: &str, found: impl Into<String>, expected: impl Into<String>) -> Error {
        Error::Tensor { file: file.into(), tensor: show(tensor), found: found.into(), expected: expected.into() }
    }

    pub(crate) fn absent(file: &str, what: impl Into<String>) -> Error {
        Error::Absent { file: file.into(), what: what.into() }
    }

    /// `Ok` for an empty list.
    pub(crate) fn problems(file: &str, mut problems: Vec<String>) -> Result<(), Error> {
        if problems.len() > LISTED {
            let more = problems.len() - LISTED;
            problems.truncate(LISTED);
            problems.push(format!("and {more} more"));
        }
        if problems.is_empty() { Ok(()) } else { Err(Error::Problems { file: file.into(), problems }) }
    }
}

/// A name out of a file, fit for a terminal: short, with control characters escaped.
pub(crate) fn show(name: &str) -> String {
    let mut shown: String = name.chars().take(80).flat_map(char::escape_debug).collect();
    if name.chars().nth(80).is_some() {
        shown.push('…');
    }
    shown
}
