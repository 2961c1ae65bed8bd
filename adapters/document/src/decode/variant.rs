//! Variants of an enum, written as a map with one entry.

use serde::de::{DeserializeSeed, Deserializer, EnumAccess, VariantAccess, Visitor};

use crate::{DecodeError, Key, Kind, Node};

use super::{Part, name::Name};

/// A variant with content: `{http: {path: /}}`.
pub(super) struct Variant<'de> {
    pub(super) key: &'de Key,
    pub(super) value: &'de Node,
    pub(super) part: Part<'de>,
}

impl<'de> Variant<'de> {
    fn content<T>(
        self,
        decode: impl FnOnce(Part<'de>) -> Result<T, DecodeError>,
    ) -> Result<T, DecodeError> {
        let step = self.key.as_str();
        self.part
            .inside(self.value, step, decode)
            .map_err(|error| error.within(step))
    }
}

impl<'de> EnumAccess<'de> for Variant<'de> {
    type Error = DecodeError;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(
        self,
        seed: V,
    ) -> Result<(V::Value, Self), DecodeError> {
        let key = self.key;
        let variant = seed
            .deserialize(Name { key })
            .map_err(|error| error.at(key.line, key.column).within(key.as_str()))?;
        Ok((variant, self))
    }
}

impl<'de> VariantAccess<'de> for Variant<'de> {
    type Error = DecodeError;

    fn unit_variant(self) -> Result<(), DecodeError> {
        match self.value.kind {
            Kind::Null => Ok(()),
            _ => Err(DecodeError::new(
                "it takes no value".to_owned(),
                format!("write `{}` alone", self.key.as_str()),
            )
            .at(self.value.line, self.value.column)
            .within(self.key.as_str())),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(
        self,
        seed: T,
    ) -> Result<T::Value, DecodeError> {
        self.content(|part| seed.deserialize(part))
    }

    fn tuple_variant<V: Visitor<'de>>(
        self,
        _length: usize,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.content(|part| part.deserialize_any(visitor))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.content(|part| part.deserialize_struct("", fields, visitor))
    }
}
