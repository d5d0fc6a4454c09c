//! `hf:org/name[@revision][:file]`: names that can be no way out of the cache.

use crate::error::Failure;

/// What names of models on the hub begin with.
pub const PREFIX: &str = "hf:";

/// A model on the Hugging Face hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// `org/name`.
    pub repo: String,
    /// A branch, tag or commit; none: `main`.
    pub revision: Option<String>,
    /// A file of the model, or a quantisation (`Q4_K_M`) that is in a file's name.
    pub file: Option<String>,
}

impl Name {
    /// Reads `hf:org/name[@revision][:file]`.
    pub fn parse(given: &str) -> Result<Name, Failure> {
        let wrong = |what: String| {
            let form = "expected hf:ORG/NAME, then if wanted @REVISION, then if wanted :FILE or :QUANTISATION";
            Failure::Input(format!("{}: {what}; {form}", given.escape_debug()))
        };
        let rest = given.strip_prefix(PREFIX).unwrap_or(given);
        let (rest, file) = rest.split_once(':').map_or((rest, None), |(rest, file)| (rest, Some(file)));
        let (repo, revision) = rest.split_once('@').map_or((rest, None), |(repo, at)| (repo, Some(at)));
        let Some((org, name)) = repo.split_once('/') else {
            return Err(wrong(format!("`{}` is no ORG/NAME", repo.escape_debug())));
        };
        if let Some(bad) = [org, name].into_iter().find(|part| !is_repo_part(part)) {
            return Err(wrong(format!("`{}` is no name on the hub", bad.escape_debug())));
        }
        if let Some(bad) = revision.filter(|revision| !is_revision(revision)) {
            return Err(wrong(format!("`{}` is no revision", bad.escape_debug())));
        }
        if let Some(bad) = file.filter(|file| !is_inside(file)) {
            return Err(wrong(format!("`{}` is no file of a model", bad.escape_debug())));
        }
        Ok(Name { repo: repo.into(), revision: revision.map(Into::into), file: file.map(Into::into) })
    }

    /// The branch, tag or commit.
    pub fn revision(&self) -> &str {
        self.revision.as_deref().unwrap_or("main")
    }

    /// The same model, another file.
    pub fn with_file(&self, file: &str) -> String {
        let revision = self.revision.as_ref().map_or(String::new(), |revision| format!("@{revision}"));
        format!("{PREFIX}{}{revision}:{file}", self.repo)
    }

    /// The command that fetches it.
    pub fn fetch_command(&self) -> String {
        let file = match &self.file {
            None => String::new(),
            Some(file) if file.contains('.') => format!(" {file}"),
            Some(quantisation) => format!(" --include '*{quantisation}*'"),
        };
        let revision = self.revision.as_ref().map_or(String::new(), |revision| format!(" --revision {revision}"));
        format!("hf download {}{file}{revision}", self.repo)
    }
}

/// Letters that names and revisions are made of.
fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')
}

/// The hub's own rules for names.
fn is_repo_part(part: &str) -> bool {
    let edges = |c: char| matches!(c, '.' | '-');
    (1..=96).contains(&part.len())
        && part.chars().all(is_plain)
        && !part.starts_with(edges)
        && !part.ends_with(edges)
        && !part.contains("--")
        && !part.contains("..")
}

fn is_revision(revision: &str) -> bool {
    is_inside(revision) && revision.chars().all(|c| is_plain(c) || c == '/')
}

/// A path that stays below where it starts: no `..`, no hidden part, not absolute, one way of writing it.
pub fn is_inside(path: &str) -> bool {
    let strange = |c: char| matches!(c, '\\' | ':' | '*' | '?' | '\'' | '"') || c.is_control();
    path.len() <= 255
        && path.split('/').all(|part| !part.is_empty() && !part.starts_with(['.', '-']) && !part.contains(strange))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_apart() {
        let name = |repo: &str, revision: Option<&str>, file: Option<&str>| Name {
            repo: repo.into(),
            revision: revision.map(Into::into),
            file: file.map(Into::into),
        };
        for (given, expected) in [
            ("hf:Qwen/Qwen3-0.6B", name("Qwen/Qwen3-0.6B", None, None)),
            ("hf:a/b@main", name("a/b", Some("main"), None)),
            ("hf:a/b@refs/pr/1:Q4_K_M", name("a/b", Some("refs/pr/1"), Some("Q4_K_M"))),
            ("hf:a/b_c:UD/m-00001-of-00002.gguf", name("a/b_c", None, Some("UD/m-00001-of-00002.gguf"))),
        ] {
            assert_eq!(Name::parse(given).unwrap_or_else(|e| panic!("{given}: {e:?}")), expected);
        }
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        for given in [
            "hf:",
            "hf:/",
            "hf:a",
            "hf:a/",
            "hf:/b",
            "hf:../..",
            "hf:a/..",
            "hf:a/.b",
            "hf:a/b/c",
            "hf:/etc/passwd",
            "hf:a--b/c",
            "hf:a/b@",
            "hf:a/b@..",
            "hf:a/b@../../x",
            "hf:a/b@/etc",
            "hf:a/b@x//y",
            "hf:a/b@x\u{1b}[2J",
            "hf:a/b:",
            "hf:a/b:..",
            "hf:a/b:../x.gguf",
            "hf:a/b:/x.gguf",
            "hf:a/b:x/../y.gguf",
            "hf:a/b:x\\y.gguf",
            "hf:a/b:c:d",
            "hf:a/b:.gguf",
            "hf:a b/c",
            "hf:a/b:-x",
            "hf:ä/b",
            "hf:a/b:x\0.gguf",
        ] {
            assert!(matches!(Name::parse(given), Err(Failure::Input(_))), "{given:?}");
        }
        assert!(Name::parse(&format!("hf:a/{}", "b".repeat(97))).is_err());
        assert!(Name::parse(&format!("hf:a/b:{}", "c".repeat(256))).is_err());
    }

    #[test]
    fn commands_fetch_what_was_named() {
        for (given, command) in [
            ("hf:a/b", "hf download a/b"),
            ("hf:a/b@v1:x/y.gguf", "hf download a/b x/y.gguf --revision v1"),
            ("hf:a/b:Q8_0", "hf download a/b --include '*Q8_0*'"),
        ] {
            assert_eq!(Name::parse(given).unwrap_or_else(|e| panic!("{e:?}")).fetch_command(), command);
        }
    }
}
