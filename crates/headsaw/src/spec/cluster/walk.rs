//! A deserializer that does not stop at the first problem: it notes what is wrong with its place, hands on a harmless
//! value instead, and goes on. Which fields there are it learns from the types that it fills, so there is one list of them;
//! what numbers may be it learns from `rules`. A field may be left out where its type is an `Option`.

use super::link;
use super::place::{Names, Node, Place, float, is_name, one_of, quoted, whole};
use super::rules::Rule;
use crate::spec::names;
use serde::de::value::{Error, StrDeserializer};
use serde::de::{DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, VariantAccess, Visitor};
use serde::de::{Error as _, MapAccess, SeqAccess};
use serde::forward_to_deserialize_any;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

impl<'a> Deserializer<'a> for Place<'a> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Error> {
        Err(Error::custom(format!("{}: cluster files hold no {}", self.path, Expecting(&visitor))))
    }

    fn deserialize_bool<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Error> {
        if !matches!(self.value, Some(DeValue::Boolean(_))) {
            self.wrong("true or false");
        }
        visitor.visit_bool(matches!(self.value, Some(DeValue::Boolean(true))))
    }

    fn deserialize_u32<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Error> {
        let fits = |rule: &Rule, number: u64| rule.allows(number as f64) && u32::try_from(number).is_ok();
        visitor.visit_u64(self.number(whole, fits).unwrap_or(1))
    }

    fn deserialize_u64<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_u64(self.number(whole, |rule, number| rule.allows(number as f64)).unwrap_or(1))
    }

    fn deserialize_f64<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_f64(self.number(float, Rule::allows).unwrap_or(1.0))
    }

    fn deserialize_str<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_borrowed_str(self.words())
    }

    fn deserialize_string<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.value.is_some() { visitor.visit_some(self) } else { visitor.visit_none() }
    }

    fn deserialize_newtype_struct<V: Visitor<'a>>(self, name: &'static str, visitor: V) -> Result<V::Value, Error> {
        let text = if let Some(DeValue::String(text)) = self.value { Some(text.as_ref()) } else { None };
        if let Some((expected, harmless)) = link::wrong(name, text) {
            self.wrong(expected);
            let harmless: StrDeserializer<Error> = harmless.into_deserializer();
            return visitor.visit_newtype_struct(harmless);
        }
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Error> {
        let item = |(i, node)| self.inside(format!("{}[{i}]", self.path), self.field, Some(node));
        visitor.visit_seq(Items(self.list().iter().enumerate().map(item).collect::<Vec<_>>().into_iter()))
    }

    fn deserialize_map<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Error> {
        let table = self.table("a table");
        if table.is_some_and(DeTable::is_empty) {
            self.wrong("a table of at least one");
        }
        let entry = |(key, node): (&'a Spanned<_>, &'a Node<'a>)| {
            let (name, at): (&'a str, usize) = (AsRef::<std::borrow::Cow<str>>::as_ref(key), key.span().start);
            (Key { place: &self, name, at }, self.inside(self.path_to(name), self.field, Some(node)))
        };
        visitor.visit_map(Entries::new(table.into_iter().flatten().map(entry)))
    }

    fn deserialize_struct<V: Visitor<'a>>(self, _: &'static str, names: Names, visitor: V) -> Result<V::Value, Error> {
        let members = self.members(names).into_iter();
        visitor.visit_map(Entries::new(members.map(|(name, place)| (IntoDeserializer::into_deserializer(name), place))))
    }

    fn deserialize_enum<V: Visitor<'a>>(self, _: &'static str, names: Names, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_enum(Variant::of(self, names))
    }

    forward_to_deserialize_any! {
        <V: Visitor<'a>>
        i8 i16 i32 i64 i128 u8 u16 u128 f32 char bytes byte_buf unit unit_struct tuple tuple_struct identifier ignored_any
    }
}

struct Expecting<'v, V>(&'v V);

impl<'a, V: Visitor<'a>> std::fmt::Display for Expecting<'_, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.expecting(f)
    }
}

/// The key of a map: any name, or one of an enum's.
struct Key<'p, 'a> {
    place: &'p Place<'a>,
    name: &'a str,
    at: usize,
}

impl<'a> Deserializer<'a> for Key<'_, 'a> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Error> {
        if !is_name(self.name) {
            self.place.found.add(self.at, &self.place.path, "a name", quoted(self.name));
        }
        visitor.visit_borrowed_str(self.name)
    }

    fn deserialize_enum<V: Visitor<'a>>(self, _: &'static str, names: Names, visitor: V) -> Result<V::Value, Error> {
        let known = names.iter().copied().find(|name| *name == self.name);
        if known.is_none() {
            self.place.unknown(self.at, self.name, names, names::nearest(self.name, names.iter().copied()));
        }
        let variant: StrDeserializer<Error> = known.unwrap_or(names[0]).into_deserializer();
        visitor.visit_enum(variant)
    }

    forward_to_deserialize_any! {
        <V: Visitor<'a>>
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

struct Items<I>(I);

impl<'a, I: Iterator<Item = Place<'a>>> SeqAccess<'a> for Items<I> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'a>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        self.0.next().map(|place| seed.deserialize(place)).transpose()
    }
}

struct Entries<'a, I> {
    rest: I,
    next: Option<Place<'a>>,
}

impl<I> Entries<'_, I> {
    fn new(rest: I) -> Self {
        Entries { rest, next: None }
    }
}

impl<'a, K: Deserializer<'a, Error = Error>, I: Iterator<Item = (K, Place<'a>)>> MapAccess<'a> for Entries<'a, I> {
    type Error = Error;

    fn next_key_seed<T: DeserializeSeed<'a>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        let Some((key, place)) = self.rest.next() else { return Ok(None) };
        self.next = Some(place);
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<T: DeserializeSeed<'a>>(&mut self, seed: T) -> Result<T::Value, Error> {
        seed.deserialize(self.next.take().expect("a key comes before its value"))
    }
}

/// A variant of an enum, and what stands in it.
struct Variant<'a> {
    name: &'static str,
    place: Place<'a>,
}

impl<'a> Variant<'a> {
    /// The variant that is written here, `name` or `[name]`, and what stands in it; the first one where none is.
    fn of(place: Place<'a>, variants: Names) -> Variant<'a> {
        match place.value {
            Some(DeValue::String(text)) => {
                if let Some(name) = variants.iter().find(|name| *name == text) {
                    return Variant { name, place: place.inside(place.path_to(name), name, None) };
                }
                place.wrong(&one_of(variants, names::nearest(text, variants.iter().copied())));
            }
            Some(DeValue::Table(table)) if !table.is_empty() => {
                place.strangers(table, variants);
                let mut present = variants.iter().filter_map(|name| Some((*name, table.get(*name)?)));
                if let Some((name, node)) = present.next() {
                    if present.next().is_some() {
                        place.wrong(&format!("only one of {}", variants.join(", ")));
                    }
                    return Variant { name, place: place.inside(place.path_to(name), name, Some(node)) };
                }
            }
            _ => place.wrong(&one_of(variants, None)),
        }
        Variant { name: variants[0], place: place.void() }
    }
}

impl<'a> EnumAccess<'a> for Variant<'a> {
    type Error = Error;
    type Variant = Variant<'a>;

    fn variant_seed<T: DeserializeSeed<'a>>(self, seed: T) -> Result<(T::Value, Variant<'a>), Error> {
        let name: StrDeserializer<Error> = self.name.into_deserializer();
        Ok((seed.deserialize(name)?, self))
    }
}

impl<'a> VariantAccess<'a> for Variant<'a> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        if self.place.value.is_some() {
            self.place.wrong("the name alone, in quotes");
        }
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'a>>(self, seed: T) -> Result<T::Value, Error> {
        seed.deserialize(self.place)
    }

    fn tuple_variant<V: Visitor<'a>>(self, _: usize, visitor: V) -> Result<V::Value, Error> {
        self.place.deserialize_any(visitor)
    }

    fn struct_variant<V: Visitor<'a>>(self, names: Names, visitor: V) -> Result<V::Value, Error> {
        self.place.deserialize_struct("", names, visitor)
    }
}
