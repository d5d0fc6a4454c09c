//! MODEL on the command line: a GGUF file, a Hugging Face folder or its config.json, a preset's name.

use crate::error::Failure;
use headsaw::spec::model::ModelSpec;
use headsaw::spec::presets;
use headsaw_run::weights::ModelFile;
use std::io::Read;
use std::path::Path;

/// A model: its shape, and its weights where there are any.
#[derive(Debug)]
pub struct Model {
    /// Its shape.
    pub spec: ModelSpec,
    /// The file with its weights; none for presets and a config.json alone.
    pub file: Option<ModelFile>,
    /// As the user named it.
    pub given: String,
}

/// Largest JSON file (a plan, a config) that is read; the largest real ones have some hundred kilobytes.
const JSON_BYTES_MAX: u64 = 64 << 20;

impl Model {
    /// Finds the model.
    pub fn find(given: &str) -> Result<Model, Failure> {
        let path = Path::new(given);
        if path.is_dir() {
            return Model::folder(given, path);
        }
        if path.exists() {
            return if is_json(path) { Model::config(given, path) } else { Model::weights(given, path) };
        }
        match presets::find(given) {
            Some(spec) => Ok(Model { spec, file: None, given: given.into() }),
            None => Err(Failure::Input(unknown(given))),
        }
    }

    fn folder(given: &str, path: &Path) -> Result<Model, Failure> {
        let config = path.join("config.json");
        if !config.exists() {
            return Err(Failure::Input(format!(
                "{given}: a folder without config.json; give a Hugging Face folder, or the GGUF file itself"
            )));
        }
        Model::config(given, &config)
    }

    fn config(given: &str, path: &Path) -> Result<Model, Failure> {
        let text = read_text(path)?;
        let folder =
            path.canonicalize().ok().and_then(|full| Some(full.parent()?.file_name()?.to_string_lossy().into_owned()));
        let spec = ModelSpec::from_hf_config(folder.as_deref().unwrap_or("model"), &text)
            .map_err(|e| Failure::Input(format!("{}: {e}", path.display())))?;
        Ok(Model { spec, file: None, given: given.into() })
    }

    fn weights(given: &str, path: &Path) -> Result<Model, Failure> {
        let file = ModelFile::open(path).map_err(Failure::input)?;
        Ok(Model { spec: file.spec().clone(), file: Some(file), given: given.into() })
    }

    /// The BLAKE3 that plans keep of a model, where there is a file.
    pub fn hash(&self) -> Option<String> {
        self.file.as_ref().map(|file| crate::output::hex(&file.hash()))
    }
}

fn is_json(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"))
}

/// The text of a JSON file, `-` for standard input, refused where it is absurdly large.
pub fn read_text(path: &Path) -> Result<String, Failure> {
    let name = path.display().to_string();
    let failed = |e| Failure::reading(&name, &e);
    let mut bytes = Vec::new();
    if name == "-" {
        std::io::stdin().lock().take(JSON_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    } else {
        let file = std::fs::File::open(path).map_err(failed)?;
        file.take(JSON_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    }
    if bytes.len() as u64 > JSON_BYTES_MAX {
        return Err(Failure::Input(format!("{name}: larger than {} MiB: no JSON file of ours", JSON_BYTES_MAX >> 20)));
    }
    String::from_utf8(bytes)
        .map_err(|e| Failure::Input(format!("{name}: byte {}: not UTF-8 text", e.utf8_error().valid_up_to())))
}

/// What to say of a name that is neither file nor preset.
fn unknown(given: &str) -> String {
    let path = Path::new(given);
    if given.contains(['/', '\\']) || is_json(path) || path.extension().is_some_and(|e| e.eq_ignore_ascii_case("gguf"))
    {
        return format!("{given}: no such file");
    }
    let hint = match presets::nearest(given) {
        Some(name) => format!("did you mean {name}?"),
        None => format!("the presets are {}", presets::names().collect::<Vec<_>>().join(", ")),
    };
    format!("{given}: no such file, and no preset of that name; {hint}")
}

/// What to call a model's layers.
pub fn family(spec: &ModelSpec) -> &'static str {
    use headsaw::spec::model::Family;
    match spec.family {
        Family::Llama => "llama: RMS norm, rotary positions, gated SiLU MLP",
        Family::Qwen2 => "qwen2: as llama, with biases on Q, K and V",
        Family::Qwen3 => "qwen3: as llama, with norms on each head's Q and K (to plan with; it does not run yet)",
        Family::Gpt => "gpt: layer norm, learned positions, GELU MLP, biases (to plan with; it does not run yet)",
    }
}
