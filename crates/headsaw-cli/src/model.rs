//! MODEL on the command line: a GGUF file, a Hugging Face folder or its config.json, `hf:org/name`, a preset's name, or
//! `demo`.

use crate::error::Failure;
use crate::hub;
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

/// The name of the model inside headsaw.
const EMBEDDED: &str = "demo";

/// Largest JSON file (a plan, a config) that is read; the largest real ones have some hundred kilobytes.
const JSON_BYTES_MAX: u64 = 64 << 20;

impl Model {
    /// Finds the model.
    pub fn find(given: &str) -> Result<Model, Failure> {
        let open = |path: &Path| ModelFile::open(path).map(|file| Model::of(given, file)).map_err(Failure::input);
        if hub::is_name(given) {
            return open(&hub::find(given)?);
        }
        if Path::new(given).exists() {
            return open(Path::new(given));
        }
        if given.eq_ignore_ascii_case(EMBEDDED) {
            return Model::embedded();
        }
        match presets::find(given) {
            Some(spec) => Ok(Model { spec, file: None, given: given.into() }),
            None => Err(Failure::Input(unknown(given))),
        }
    }

    /// The model inside headsaw.
    pub fn embedded() -> Result<Model, Failure> {
        let file = headsaw_run::demo::model().map_err(Failure::failed)?;
        Ok(Model::of(EMBEDDED, file))
    }

    fn of(given: &str, file: ModelFile) -> Model {
        let spec = file.spec().clone();
        let weighs = file.tensors().next().is_some(); // a config.json alone has none
        Model { spec, file: weighs.then_some(file), given: given.into() }
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
    read_text_of(path, JSON_BYTES_MAX)
}

/// The same with at most so many bytes.
pub fn read_text_of(path: &Path, most: u64) -> Result<String, Failure> {
    let name = path.display().to_string();
    let failed = |e| Failure::reading(&name, &e);
    let mut bytes = Vec::new();
    if name == "-" {
        std::io::stdin().lock().take(most + 1).read_to_end(&mut bytes).map_err(failed)?;
    } else {
        let file = std::fs::File::open(path).map_err(failed)?;
        file.take(most + 1).read_to_end(&mut bytes).map_err(failed)?;
    }
    if bytes.len() as u64 > most {
        return Err(Failure::Input(format!(
            "{name}: larger than {} MiB: none of the files that are read here is",
            most >> 20
        )));
    }
    String::from_utf8(bytes)
        .map_err(|e| Failure::Input(format!("{name}: byte {}: not UTF-8 text", e.utf8_error().valid_up_to())))
}

/// Is it meant as a file, there or not?
pub fn is_path(given: &str) -> bool {
    let path = Path::new(given);
    let gguf = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gguf"));
    gguf || is_json(path) || given.contains(['/', '\\']) || hub::is_name(given)
}

/// What to say of a name that is neither file nor preset.
fn unknown(given: &str) -> String {
    if is_path(given) {
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
        Family::Qwen3 => "qwen3: as llama, with norms on each head's Q and K",
        Family::Gpt => "gpt: layer norm, learned positions, GELU MLP, biases (to plan with; it does not run yet)",
    }
}
