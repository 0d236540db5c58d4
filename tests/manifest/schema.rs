//! The schema of a type, read off its `Deserialize`: every struct reachable from it, with the name
//! and the shape of each field.
//!
//! A derived-style `Deserialize` tells its deserializer everything: a struct calls
//! `deserialize_struct` with its name and the names of its fields, and each field's value calls the
//! method of its own type. The [`Probe`] answers each call with the smallest value that fits and
//! writes down what was asked.

use std::cell::RefCell;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::value::{Error, StrDeserializer};
use serde::de::{self, Deserializer, IntoDeserializer as _, MapAccess, SeqAccess, Visitor};

/// Each struct's fields by name, with their shapes: `string`, `[Container]`, `{Quantity}`.
pub(crate) type Schema = BTreeMap<String, BTreeMap<String, String>>;

/// The schema of everything reachable from `T`.
pub(crate) fn of<'de, T: Deserialize<'de>>() -> Schema {
    let schema = RefCell::new(Schema::new());
    let shape = RefCell::new(String::new());
    T::deserialize(Probe { schema: &schema, shape: &shape, text: "" }).expect("the probe's values fit");
    schema.into_inner()
}

/// One value that is asked for.
#[derive(Clone, Copy)]
struct Probe<'a> {
    schema: &'a RefCell<Schema>,
    shape: &'a RefCell<String>,
    /// What a string is answered with.
    text: &'static str,
}

impl<'a> Probe<'a> {
    fn is(&self, shape: &str) {
        shape.clone_into(&mut self.shape.borrow_mut());
    }

    fn holding<'de, V: Visitor<'de>>(
        self,
        brackets: (char, char),
        visit: impl FnOnce(Probe<'_>) -> Result<V::Value, Error>,
    ) -> Result<V::Value, Error> {
        let inner = RefCell::new(String::new());
        let value = visit(Probe { schema: self.schema, shape: &inner, text: "" })?;
        self.is(&format!("{}{}{}", brackets.0, inner.borrow(), brackets.1));
        Ok(value)
    }
}

impl<'de> Deserializer<'de> for Probe<'_> {
    type Error = Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.is(name);
        self.schema.borrow_mut().entry(name.into()).or_default();
        visitor.visit_map(Fields { probe: self, owner: name, fields: fields.iter() })
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.holding::<V>(('[', ']'), |probe| visitor.visit_seq(Once(Some(probe))))
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.holding::<V>(('{', '}'), |probe| visitor.visit_map(Once(Some(probe))))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        let ignored = RefCell::new(String::new());
        let text = if name.ends_with("Time") { "2026-11-23T00:00:00Z" } else { "" };
        let value = visitor.visit_newtype_struct(Probe { schema: self.schema, shape: &ignored, text })?;
        self.is(name);
        Ok(value)
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.is("IntOrString");
        visitor.visit_str(self.text)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.is("string");
        visitor.visit_str(self.text)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.is("bool");
        visitor.visit_bool(false)
    }

    fn deserialize_i32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.is("i32");
        visitor.visit_i32(0)
    }

    fn deserialize_i64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.is("i64");
        visitor.visit_i64(0)
    }

    serde::forward_to_deserialize_any! {
        i8 i16 i128 u8 u16 u32 u64 u128 f32 f64 char bytes byte_buf unit unit_struct tuple tuple_struct
        enum identifier ignored_any
    }
}

/// Every field of a struct, one after the other.
struct Fields<'a> {
    probe: Probe<'a>,
    owner: &'static str,
    fields: std::slice::Iter<'static, &'static str>,
}

impl<'de> MapAccess<'de> for Fields<'_> {
    type Error = Error;

    fn next_key_seed<K: de::DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        let Some(field) = self.fields.as_slice().first() else { return Ok(None) };
        let key: StrDeserializer<'_, Error> = (*field).into_deserializer();
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<V: de::DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let field = *self.fields.next().expect("a key was read before its value");
        let text = match field {
            "apiVersion" => "v1",
            "kind" => self.owner,
            _ => "",
        };
        let shape = RefCell::new(String::new());
        let value = seed.deserialize(Probe { schema: self.probe.schema, shape: &shape, text })?;
        let mut schema = self.probe.schema.borrow_mut();
        schema.entry(self.owner.into()).or_default().insert(field.into(), shape.into_inner());
        Ok(value)
    }
}

/// A list of one value, or a map of one.
struct Once<'a>(Option<Probe<'a>>);

impl<'de> SeqAccess<'de> for Once<'_> {
    type Error = Error;

    fn next_element_seed<T: de::DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        self.0.take().map(|probe| seed.deserialize(probe)).transpose()
    }
}

impl<'de> MapAccess<'de> for Once<'_> {
    type Error = Error;

    fn next_key_seed<K: de::DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        if self.0.is_none() {
            return Ok(None);
        }
        let key: StrDeserializer<'_, Error> = "key".into_deserializer();
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<V: de::DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        seed.deserialize(self.0.take().expect("a key was read before its value"))
    }
}
