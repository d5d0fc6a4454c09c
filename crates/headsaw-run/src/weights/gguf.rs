//! Reads the header of a GGUF file, version 2 or 3, little endian.
//!
//! Every count, length and product is checked against the bytes that the file really has before memory is asked for.
//! Arrays are checked but stay in the file; whoever needs one reads it there.

use super::error::{Error, show};
use super::read::{Cursor, Source};
use super::stored::{Place, Stored};
use headsaw::spec::model::Dtype;
use std::collections::BTreeMap;

/// Most keys a header may have; real files have less than a hundred.
const KEYS_MAX: u64 = 1 << 16;
/// Most tensors a header may have: 10,000 layers of 13.
pub(crate) const TENSORS_MAX: u64 = 1 << 17;
/// Longest key, by GGUF's specification.
const KEY_BYTES_MAX: u64 = 65_535;
/// Longest name of a tensor; GGUF's specification says 64.
pub(crate) const NAME_BYTES_MAX: u64 = 256;
/// Arrays may hold arrays so many times.
const NESTING_MAX: u32 = 4;

/// The types of values, by their numbers in the file.
pub(crate) mod kind {
    pub(crate) const I32: u32 = 5;
    pub(crate) const F32: u32 = 6;
    pub(crate) const STRING: u32 = 8;
    pub(crate) const ARRAY: u32 = 9;
}

/// The value of a key.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Bool(bool),
    Text(String),
    Array(Array),
}

/// An array that was checked and left in the file.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Array {
    pub(crate) kind: u32,
    pub(crate) len: u64,
    /// Place of the first element.
    pub(crate) at: u64,
}

/// A header: the keys, the tensors, and where the data starts.
#[derive(Debug)]
pub(crate) struct Gguf {
    pub(crate) keys: BTreeMap<String, Value>,
    pub(crate) tensors: Vec<Stored>,
    pub(crate) data_start: u64,
}

impl Gguf {
    /// Reads and checks the header of `source`.
    pub(crate) fn parse(source: &Source) -> Result<Gguf, Error> {
        let cursor = &mut Cursor::new(source, 0);
        check_magic(cursor)?;
        let tensor_count = count(cursor, "tensor count", TENSORS_MAX, 24)?;
        let key_count = count(cursor, "key count", KEYS_MAX, 13)?;
        let keys = read_keys(cursor, key_count)?;
        let alignment = alignment(source, &keys)?;
        let infos = (0..tensor_count).map(|_| info(cursor)).collect::<Result<Vec<Info>, Error>>()?;
        let data_start = cursor.at.next_multiple_of(alignment);
        Ok(Gguf { tensors: place(source, infos, data_start, alignment)?, keys, data_start })
    }
}

fn check_magic(cursor: &mut Cursor) -> Result<(), Error> {
    if &cursor.bytes::<4>("magic")? != b"GGUF" {
        cursor.at = 0;
        return Err(cursor.wrong("no GGUF magic", "a GGUF file, which starts with `GGUF`"));
    }
    let version = cursor.u32("version")?;
    cursor.at -= 4;
    match version {
        2 | 3 => {}
        _ if matches!(version.swap_bytes(), 1..=3) => {
            return Err(cursor.wrong("a big-endian GGUF file", "little endian"));
        }
        _ => return Err(cursor.wrong(format!("GGUF version {version}"), "version 2 or 3")),
    }
    cursor.at += 4;
    Ok(())
}

/// A count of things that take at least `least` bytes each.
fn count(cursor: &mut Cursor, what: &str, max: u64, least: u64) -> Result<u64, Error> {
    let start = cursor.at;
    let count = cursor.u64(what)?;
    let max = max.min(cursor.left() / least);
    if count <= max {
        return Ok(count);
    }
    cursor.at = start;
    Err(cursor.wrong(format!("{what} {count}"), format!("at most {max}")))
}

fn read_keys(cursor: &mut Cursor, count: u64) -> Result<BTreeMap<String, Value>, Error> {
    let mut keys = BTreeMap::new();
    for _ in 0..count {
        let start = cursor.at;
        let key = cursor.string(KEY_BYTES_MAX, "key")?;
        let kind = cursor.u32("type of a value")?;
        let value = value(cursor, kind, &key)?;
        let name = show(&key);
        if keys.insert(key, value).is_some() {
            cursor.at = start;
            return Err(cursor.wrong(format!("key `{name}` a second time"), "each key once"));
        }
    }
    Ok(keys)
}

/// Longest text that a key may have; chat templates, the longest there are, have some kilobytes.
const TEXT_MOST: u64 = 16 << 20;

fn value(cursor: &mut Cursor, kind: u32, key: &str) -> Result<Value, Error> {
    let what = "value";
    Ok(match kind {
        0 => Value::Unsigned(u64::from(u8::from_le_bytes(cursor.bytes(what)?))),
        1 => Value::Signed(i64::from(i8::from_le_bytes(cursor.bytes(what)?))),
        2 => Value::Unsigned(u64::from(u16::from_le_bytes(cursor.bytes(what)?))),
        3 => Value::Signed(i64::from(i16::from_le_bytes(cursor.bytes(what)?))),
        4 => Value::Unsigned(u64::from(cursor.u32(what)?)),
        kind::I32 => Value::Signed(i64::from(i32::from_le_bytes(cursor.bytes(what)?))),
        kind::F32 => Value::Float(f64::from(f32::from_le_bytes(cursor.bytes(what)?))),
        7 => bool_value(cursor, key)?,
        kind::STRING => Value::Text(cursor.string(TEXT_MOST, &format!("string of key `{}`", show(key)))?),
        kind::ARRAY => Value::Array(array(cursor, key)?),
        10 => Value::Unsigned(cursor.u64(what)?),
        11 => Value::Signed(i64::from_le_bytes(cursor.bytes(what)?)),
        12 => Value::Float(f64::from_le_bytes(cursor.bytes(what)?)),
        _ => {
            cursor.at -= 4;
            return Err(cursor.wrong(format!("value type {kind} of key `{}`", show(key)), "a type of 0 to 12"));
        }
    })
}

fn bool_value(cursor: &mut Cursor, key: &str) -> Result<Value, Error> {
    match cursor.bytes::<1>("value")? {
        [0] => Ok(Value::Bool(false)),
        [1] => Ok(Value::Bool(true)),
        [other] => {
            cursor.at -= 1;
            Err(cursor.wrong(format!("{other} as the truth value of key `{}`", show(key)), "0 or 1"))
        }
    }
}

/// Bytes of one value, for the types whose size is fixed.
fn fixed_bytes(kind: u32) -> Option<u64> {
    match kind {
        0 | 1 | 7 => Some(1),
        2 | 3 => Some(2),
        4..=6 => Some(4),
        10..=12 => Some(8),
        _ => None,
    }
}

fn array(cursor: &mut Cursor, key: &str) -> Result<Array, Error> {
    let what = format!("array of key `{}`", show(key));
    let kind = cursor.u32(&what)?;
    let len = cursor.u64(&what)?;
    let array = Array { kind, len, at: cursor.at };
    cursor.at -= 8; // errors about the length name its place
    check_array(cursor, kind, len, &what, 1)?;
    Ok(array)
}

/// Skips the elements of an array whose length the cursor stands at.
fn check_array(cursor: &mut Cursor, kind: u32, len: u64, what: &str, depth: u32) -> Result<(), Error> {
    if depth > NESTING_MAX {
        return Err(cursor.wrong(format!("{what} nested {depth} deep"), format!("at most {NESTING_MAX} levels")));
    }
    let least = match kind {
        kind::STRING => 8,
        kind::ARRAY => 12,
        _ => fixed_bytes(kind)
            .ok_or_else(|| cursor.wrong(format!("element type {kind} in {what}"), "a type of 0 to 12"))?,
    };
    let bytes = len.checked_mul(least).filter(|bytes| bytes.saturating_add(8) <= cursor.left());
    let Some(bytes) = bytes else {
        let most = cursor.left().saturating_sub(8) / least;
        return Err(cursor.wrong(format!("{what} with {len} elements"), format!("at most {most}, by the file's size")));
    };
    cursor.skip(8, what)?;
    match kind {
        kind::STRING => (0..len).try_for_each(|_| {
            let start = cursor.at;
            let bytes = cursor.u64(what)?;
            cursor.skip(bytes, "string").map_err(|_| {
                Error::format(
                    cursor.name(),
                    start,
                    format!("string of {bytes} bytes in {what}"),
                    "no more than the file holds",
                )
            })
        }),
        kind::ARRAY => (0..len).try_for_each(|_| {
            let kind = cursor.u32(what)?;
            let len = cursor.u64(what)?;
            cursor.at -= 8;
            check_array(cursor, kind, len, what, depth + 1)
        }),
        _ => cursor.skip(bytes, what),
    }
}

fn alignment(source: &Source, keys: &BTreeMap<String, Value>) -> Result<u64, Error> {
    match keys.get("general.alignment") {
        None => Ok(32),
        Some(Value::Unsigned(n)) if n.is_power_of_two() && *n <= 1 << 31 => Ok(*n),
        Some(other) => {
            Err(Error::key(&source.name, "general.alignment", brief(other), "a power of two from 1 to 2^31"))
        }
    }
}

/// A value in a few words, for errors.
pub(crate) fn brief(value: &Value) -> String {
    match value {
        Value::Unsigned(n) => n.to_string(),
        Value::Signed(n) => n.to_string(),
        Value::Float(x) => x.to_string(),
        Value::Bool(b) => b.to_string(),
        Value::Text(s) => format!("\"{}\"", show(s)),
        Value::Array(a) => format!("an array of {} elements", a.len),
    }
}

/// What the header says of a tensor.
struct Info {
    /// Place of this description in the file.
    at: u64,
    name: String,
    shape: Vec<u64>,
    kind: u32,
    offset: u64,
}

fn info(cursor: &mut Cursor) -> Result<Info, Error> {
    let at = cursor.at;
    let name = cursor.string(NAME_BYTES_MAX, "name of a tensor")?;
    let dims = cursor.u32("dimensions of a tensor")?;
    if !(1..=4).contains(&dims) {
        cursor.at -= 4;
        return Err(cursor.wrong(format!("{dims} dimensions of tensor `{}`", show(&name)), "1 to 4"));
    }
    let shape = (0..dims).map(|_| cursor.u64("shape of a tensor")).collect::<Result<Vec<u64>, Error>>()?;
    Ok(Info { at, name, shape, kind: cursor.u32("type of a tensor")?, offset: cursor.u64("offset of a tensor")? })
}

/// Checks that the tensors lie in the data, apart from each other, under different names.
fn place(source: &Source, infos: Vec<Info>, data_start: u64, alignment: u64) -> Result<Vec<Stored>, Error> {
    refuse_types(source, &infos)?;
    let stored = infos.into_iter().map(|info| place_one(source, info, data_start, alignment));
    let stored = stored.collect::<Result<Vec<Stored>, Error>>()?;
    refuse_doubles(source, &stored)?;
    Ok(stored)
}

fn place_one(source: &Source, info: Info, data_start: u64, alignment: u64) -> Result<Stored, Error> {
    let wrong = |found: String, expected: String| {
        Error::tensor(&source.name, &info.name, format!("{found} (described at byte {})", info.at), expected)
    };
    let dtype = dtype(info.kind).ok_or_else(|| wrong(type_name(info.kind), supported()))?;
    let (block, block_bytes) = (u64::from(dtype.block()), u64::from(dtype.block_bytes()));
    let numbers = info.shape.iter().try_fold(1u64, |product, &d| product.checked_mul(d));
    let numbers = numbers.filter(|&n| n != 0 && n <= 1 << 60);
    let numbers = numbers.ok_or_else(|| wrong(format!("shape {:?}", info.shape), "1 to 2^60 numbers".into()))?;
    if !info.shape[0].is_multiple_of(block) {
        let found = format!("rows of {} numbers in {}", info.shape[0], dtype.name());
        let smaller = if block > 32 { " (blocks of Q4_0, Q5_0 and Q8_0 are 32)" } else { "" };
        return Err(wrong(found, format!("whole blocks of {block}{smaller}")));
    }
    if !info.offset.is_multiple_of(alignment) {
        return Err(wrong(format!("offset {}", info.offset), format!("a multiple of the alignment {alignment}")));
    }
    let bytes = numbers / block * block_bytes;
    let end = data_start.checked_add(info.offset).and_then(|from| from.checked_add(bytes));
    if end.is_none_or(|end| end > source.size()) {
        let room = source.size().saturating_sub(data_start);
        return Err(wrong(
            format!("{bytes} bytes from {} on", info.offset),
            format!("to end within the {room} bytes of data that the file has"),
        ));
    }
    let place = Place { file: 0, offset: data_start + info.offset, bytes };
    let shape = info.shape.into_iter().rev().collect();
    Ok(Stored { name: info.name, dtype, shape, place })
}

fn refuse_doubles(source: &Source, stored: &[Stored]) -> Result<(), Error> {
    let mut order: Vec<&Stored> = stored.iter().collect();
    order.sort_by(|a, b| a.name.cmp(&b.name));
    if let Some(pair) = order.windows(2).find(|p| p[0].name == p[1].name) {
        return Err(Error::tensor(&source.name, &pair[0].name, "described twice", "each tensor once"));
    }
    order.sort_by_key(|t| t.place.offset);
    if let Some(p) = order.windows(2).find(|p| p[0].place.offset + p[0].place.bytes > p[1].place.offset) {
        let found = format!("data that overlaps those of `{}`", show(&p[0].name));
        return Err(Error::tensor(&source.name, &p[1].name, found, "tensors apart from each other"));
    }
    Ok(())
}

/// All tensors of types that headsaw does not read, one line a type.
fn refuse_types(source: &Source, infos: &[Info]) -> Result<(), Error> {
    let mut kinds: BTreeMap<u32, (usize, &str)> = BTreeMap::new();
    for info in infos.iter().filter(|info| dtype(info.kind).is_none()) {
        kinds.entry(info.kind).or_insert((0, &info.name)).0 += 1;
    }
    let lines = kinds.iter().map(|(kind, (n, first))| {
        let others = if *n > 1 { format!(" and {} more", n - 1) } else { String::new() };
        let hint = "`llama-quantize` makes Q4_0, Q4_K_M or Q8_0 files";
        format!("tensor `{}`{others}: type {}; expected {} ({hint})", show(first), type_name(*kind), supported())
    });
    Error::problems(&source.name, lines.collect())
}

/// The types that are read, in words.
fn supported() -> String {
    let names = Dtype::ALL.map(Dtype::name);
    let [all @ .., last] = &names;
    format!("{} or {last}", all.join(", "))
}

fn dtype(kind: u32) -> Option<Dtype> {
    match kind {
        0 => Some(Dtype::F32),
        1 => Some(Dtype::F16),
        2 => Some(Dtype::Q4_0),
        3 => Some(Dtype::Q4_1),
        6 => Some(Dtype::Q5_0),
        7 => Some(Dtype::Q5_1),
        8 => Some(Dtype::Q8_0),
        12 => Some(Dtype::Q4K),
        13 => Some(Dtype::Q5K),
        14 => Some(Dtype::Q6K),
        30 => Some(Dtype::Bf16),
        _ => None,
    }
}

fn type_name(kind: u32) -> String {
    const NAMES: [(u32, &str); 21] = [
        (9, "Q8_1"),
        (10, "Q2_K"),
        (11, "Q3_K"),
        (15, "Q8_K"),
        (16, "IQ2_XXS"),
        (17, "IQ2_XS"),
        (18, "IQ3_XXS"),
        (19, "IQ1_S"),
        (20, "IQ4_NL"),
        (21, "IQ3_S"),
        (22, "IQ2_S"),
        (23, "IQ4_XS"),
        (24, "I8"),
        (25, "I16"),
        (26, "I32"),
        (27, "I64"),
        (28, "F64"),
        (29, "IQ1_M"),
        (34, "TQ1_0"),
        (35, "TQ2_0"),
        (39, "MXFP4"),
    ];
    let known = NAMES.iter().find(|(number, _)| *number == kind);
    known.map_or(format!("number {kind}, which is unknown"), |(_, name)| (*name).into())
}
