//! Opens a model in GGUF files; what opening has in common for all formats.

use super::error::Error;
use super::gguf::Gguf;
use super::names::Naming;
use super::place::{ROPE_DIVISORS, note_types, place};
use super::read::Source;
use super::stored::{self, Part, Stored};
use super::{ModelFile, Origin, gguf_spec};
use headsaw::spec::model::{Dtype, Family, ModelSpec, Rope, RopeScaling};

/// The files of one model; the first has the keys, and the tensors of all.
pub(super) fn gguf(files: Vec<(Source, Gguf)>) -> Result<ModelFile, Error> {
    let mut hasher = blake3::Hasher::new();
    for (source, header) in &files {
        hash(&mut hasher, source, header.data_start)?;
    }
    let (sources, headers): (Vec<_>, Vec<_>) = files.into_iter().unzip();
    let mut header = headers.into_iter().next().expect("at least one file");
    let name = sources[0].name.clone();
    let mut spec = gguf_spec::read(&name, &header)?;
    let tensors = std::mem::take(&mut header.tensors);
    let places = place(&name, &spec, &tensors, Naming::Gguf)?;
    note_types(&mut spec, &tensors, &places);
    let rope_divisors = divisors(&sources, &tensors, &mut spec)?;
    Ok(ModelFile {
        name,
        halves: spec.family != Family::Llama,
        spec,
        sources,
        tensors,
        places,
        rope_divisors,
        hash: *hasher.finalize().as_bytes(),
        origin: Origin::Gguf(header),
    })
}

/// From the tensor `rope_freqs.weight` if there is one, and from the shape.
fn divisors(sources: &[Source], tensors: &[Stored], spec: &mut ModelSpec) -> Result<Vec<f32>, Error> {
    let Some(mut rope) = spec.rope else { return Ok(vec![]) };
    let mut divisors = rope.divisors(spec.head_width);
    let Some(tensor) = tensors.iter().find(|t| t.name == ROPE_DIVISORS) else { return Ok(divisors) };
    let source = &sources[tensor.place.file];
    let pairs = spec.head_width / 2;
    let wrong = |found: String, expected: String| Err(Error::tensor(&source.name, ROPE_DIVISORS, found, expected));
    if tensor.dtype != Dtype::F32 || tensor.shape != [u64::from(pairs)] {
        return wrong(format!("{} {:?}", tensor.dtype.name(), tensor.shape), format!("F32 [{pairs}]"));
    }
    let part = Part { rows: 0..1, cols: 0..pairs, interleave: None };
    let stored = stored::read_rows(source, tensor, &part)?.to_f32();
    if let Some(bad) = stored.iter().find(|x| !(x.is_finite() && **x > 0.0)) {
        return wrong(format!("{bad} among its numbers"), "positive numbers".into());
    }
    if rope.scaling.is_none() {
        rope.scaling = llama3(&stored, rope, spec.head_width);
        spec.rope = Some(rope);
    }
    divisors.iter_mut().zip(stored).for_each(|(divisor, s)| *divisor *= s);
    Ok(divisors)
}

/// Llama 3's scaling with its usual constants, if that is what gives these divisors.
fn llama3(divisors: &[f32], rope: Rope, head_width: u32) -> Option<RopeScaling> {
    let factor = divisors.iter().copied().fold(1.0, f32::max);
    let scaling = RopeScaling::Llama3 { factor, low_freq_factor: 1.0, high_freq_factor: 4.0, original_context: 8192 };
    let guess = Rope { scaling: Some(scaling), ..rope }.divisors(head_width);
    let same = guess.iter().zip(divisors).all(|(a, b)| (a - b).abs() <= 1e-3 * b);
    same.then_some(scaling)
}

/// Adds the first `header` bytes of a file, and its size.
pub(super) fn hash(hasher: &mut blake3::Hasher, source: &Source, header: u64) -> Result<(), Error> {
    let end = header.min(source.size());
    let mut chunk = vec![0; 64 << 10];
    let mut at = 0;
    while at < end {
        let len = (end - at).min(chunk.len() as u64);
        source.read(&mut chunk[..len as usize], at, "the header")?;
        hasher.update(&chunk[..len as usize]);
        at += len;
    }
    hasher.update(&source.size().to_le_bytes());
    Ok(())
}
