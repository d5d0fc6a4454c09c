//! What can end a verb early, and the exit code that says so.

use std::fmt::Display;
use std::io;
use std::process::ExitCode;

/// Why a verb did not come to its end.
#[derive(Debug)]
pub enum Failure {
    /// What was given cannot be used: what, where, what would work. Exit code 2.
    Input(String),
    /// It was good and still failed. Exit code 1.
    Failed(String),
    /// Said in full already; the exit code.
    Told(u8),
    /// Ctrl-C; what there was has been printed. Exit code 130.
    Interrupted,
    /// Nobody reads our output any more. Not a failure.
    PipeClosed,
}

impl Failure {
    /// Input that cannot be used.
    pub fn input(message: impl Display) -> Failure {
        Failure::Input(message.to_string())
    }

    /// Something that went wrong on the way.
    pub fn failed(message: impl Display) -> Failure {
        Failure::Failed(message.to_string())
    }

    /// A file that cannot be read: the user's to mend.
    pub fn reading(path: &str, error: &io::Error) -> Failure {
        Failure::Input(format!("{path}: cannot be read: {error}"))
    }

    /// Writing to stdout, or to a file named by the user.
    pub fn writing(what: &str, error: &io::Error) -> Failure {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Failure::PipeClosed;
        }
        Failure::Failed(format!("{what}: cannot be written: {error}"))
    }

    /// This and what else is wrong, where both are input.
    pub fn beside(self, other: Option<Failure>) -> Failure {
        match (self, other) {
            (Failure::Input(one), Some(Failure::Input(other))) => Failure::Input(format!("{one}\n{other}")),
            (Failure::Input(one), Some(Failure::Told(code))) => {
                crate::output::complain(&one);
                Failure::Told(code)
            }
            (failure, _) => failure,
        }
    }

    /// Says on stderr what happened; the exit code.
    pub fn report(self) -> ExitCode {
        let (code, message) = match self {
            Failure::Input(message) => (2, Some(message)),
            Failure::Failed(message) => (1, Some(message)),
            Failure::Told(code) => (code, None),
            Failure::Interrupted => (130, None),
            Failure::PipeClosed => (0, None),
        };
        if let Some(message) = message {
            crate::output::complain(&message);
        }
        ExitCode::from(code)
    }
}

/// Both, or all that is wrong with them.
pub fn both<A, B>(one: Result<A, Failure>, other: Result<B, Failure>) -> Result<(A, B), Failure> {
    match (one, other) {
        (Ok(one), Ok(other)) => Ok((one, other)),
        (Err(failure), other) => Err(failure.beside(other.err())),
        (_, Err(failure)) => Err(failure),
    }
}
