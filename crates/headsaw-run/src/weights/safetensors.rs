//! Reads the header of a safetensors file: a length, a JSON object, then the data.
//!
//! Our own reader, so that errors name the tensor and the header costs little memory; tests hold it against the
//! `safetensors` crate.

use super::error::{Error, show};
use super::gguf::{NAME_BYTES_MAX, TENSORS_MAX};
use super::read::{Cursor, Source};
use super::stored::{Place, Stored};
use headsaw::spec::model::Dtype;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// Largest header, as in the reference reader.
const HEADER_BYTES_MAX: u64 = 100_000_000;
/// Most dimensions of a tensor.
const DIMENSIONS_MAX: usize = 8;

/// The tensors of a file (`file`: its place among the model's files), and how long the header is.
pub(crate) fn parse(source: &Source, file: usize) -> Result<(Vec<Stored>, u64), Error> {
    let mut cursor = Cursor::new(source, 0);
    let len = cursor.u64("header length")?;
    cursor.at = 0;
    if len > HEADER_BYTES_MAX {
        return Err(cursor.wrong(format!("a header of {len} bytes"), format!("at most {HEADER_BYTES_MAX}")));
    }
    cursor.at = 8;
    cursor.need(len, "header")?;
    let start = 8 + len;
    let reader = std::io::BufReader::new(cursor.take(len));
    let Entries(entries) = serde_json::from_reader(reader).map_err(|e| {
        Error::format(&source.name, 8, format!("a header that is wrong: {e}"), "a JSON object of tensors")
    })?;
    let tensors = place(source, entries, start, file)?;
    Ok((tensors, start))
}

/// What the header says of one tensor.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    dtype: String,
    shape: Shape,
    data_offsets: [u64; 2],
}

/// Checks types and sizes, and that the data are tiled: no gap, no overlap, nothing beyond.
fn place(source: &Source, mut entries: Vec<(String, Entry)>, start: u64, file: usize) -> Result<Vec<Stored>, Error> {
    entries.sort_by_key(|(_, entry)| entry.data_offsets);
    let mut stored = Vec::with_capacity(entries.len());
    let mut end = 0;
    for (name, entry) in entries {
        let wrong = |found: String, expected: String| Error::tensor(&source.name, &name, found, expected);
        let [from, to] = entry.data_offsets;
        if from != end {
            return Err(wrong(
                format!("data from byte {from} on"),
                format!("byte {end}, where the tensor before it ends"),
            ));
        }
        let dtype = dtype(&entry.dtype).ok_or_else(|| {
            wrong(
                format!("type {}", show(&entry.dtype)),
                "F32, F16 or BF16 (others: convert to GGUF, Q4_0, Q4_K_M or Q8_0)".into(),
            )
        })?;
        let numbers = entry.shape.0.iter().try_fold(1u64, |product, &d| product.checked_mul(d));
        let bytes = numbers.and_then(|n| n.checked_mul(u64::from(dtype.block_bytes())));
        if bytes.is_none() || bytes != to.checked_sub(from) {
            let found = format!("data_offsets [{from}, {to}] for {} {:?}", dtype.name(), entry.shape.0);
            return Err(wrong(found, bytes.map_or("a shape that fits into memory".into(), |b| format!("{b} bytes"))));
        }
        let room = source.size() - start;
        if to > room {
            return Err(wrong(format!("data up to byte {to}"), format!("at most {room}, by the file's size")));
        }
        end = to;
        stored.push(Stored {
            name,
            dtype,
            shape: entry.shape.0,
            place: Place { file, offset: start + from, bytes: to - from },
        });
    }
    if start + end != source.size() {
        let extra = source.size() - start - end;
        return Err(Error::format(
            &source.name,
            start + end,
            format!("{extra} bytes after the last tensor"),
            "the file's end",
        ));
    }
    stored.sort_by(|a, b| a.name.cmp(&b.name));
    match stored.windows(2).find(|pair| pair[0].name == pair[1].name) {
        Some(pair) => Err(Error::tensor(&source.name, &pair[0].name, "described twice", "each tensor once")),
        None => Ok(stored),
    }
}

fn dtype(name: &str) -> Option<Dtype> {
    match name {
        "F32" => Some(Dtype::F32),
        "F16" => Some(Dtype::F16),
        "BF16" => Some(Dtype::Bf16),
        _ => None,
    }
}

/// The entries of the header, doubles included.
struct Entries(Vec<(String, Entry)>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EntriesVisitor)
    }
}

struct EntriesVisitor;

impl<'de> Visitor<'de> for EntriesVisitor {
    type Value = Entries;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
        let mut entries = vec![];
        while let Some(name) = map.next_key::<String>()? {
            if name == "__metadata__" {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            if name.len() as u64 > NAME_BYTES_MAX {
                return Err(A::Error::custom(format!("a name of {} bytes", name.len())));
            }
            if entries.len() as u64 == TENSORS_MAX {
                return Err(A::Error::custom(format!("more than {TENSORS_MAX} tensors")));
            }
            let entry = map.next_value().map_err(|e| A::Error::custom(format!("tensor `{}`: {e}", show(&name))))?;
            entries.push((name, entry));
        }
        Ok(Entries(entries))
    }
}

/// A shape of few dimensions.
struct Shape(Vec<u64>);

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(ShapeVisitor)
    }
}

struct ShapeVisitor;

impl<'de> Visitor<'de> for ShapeVisitor {
    type Value = Shape;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a list of sizes")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Shape, A::Error> {
        let mut shape = vec![];
        while let Some(size) = seq.next_element()? {
            if shape.len() == DIMENSIONS_MAX {
                return Err(A::Error::custom(format!("more than {DIMENSIONS_MAX} dimensions")));
            }
            shape.push(size);
        }
        Ok(Shape(shape))
    }
}
