//! Tree to types: a serde deserializer that knows where it is.

use std::{cell::RefCell, fmt};

use serde::de::{
    self, Deserialize, DeserializeOwned, DeserializeSeed, Deserializer, IntoDeserializer,
    MapAccess, SeqAccess, Visitor,
};

use crate::{DecodeError, Entry, Key, Kind, Node, Number};

use self::{name::Name, variant::Variant};

mod name;
mod variant;

/// Decodes a node; of a map, all entries but those with the names in `except`.
pub(crate) fn decode<'de, T: Deserialize<'de>>(
    node: &'de Node,
    except: &'de [&'de str],
) -> Result<T, DecodeError> {
    T::deserialize(Part {
        node,
        except,
        fields: &[],
        unknown: None,
    })
}

/// Decodes a node and notes the fields that its types do not have.
pub(crate) fn decode_noting<T: DeserializeOwned>(
    node: &Node,
) -> Result<(T, Vec<DecodeError>), DecodeError> {
    let unknown = RefCell::new(Vec::new());
    let value = T::deserialize(Part {
        node,
        except: &[],
        fields: &[],
        unknown: Some(&unknown),
    })?;
    Ok((value, unknown.into_inner()))
}

#[derive(Clone, Copy)]
struct Part<'de> {
    node: &'de Node,
    /// Entries of a map to leave out.
    except: &'de [&'de str],
    /// What is expected of a map: fields of these names, of which an empty one counts as not given.
    fields: &'static [&'static str],
    /// Where fields that are not expected are noted, with their paths from here.
    unknown: Option<&'de RefCell<Vec<DecodeError>>>,
}

impl<'de> Part<'de> {
    /// A part of this one.
    fn inner(self, node: &'de Node) -> Self {
        Self {
            node,
            except: &[],
            fields: &[],
            unknown: self.unknown,
        }
    }

    /// Decodes a part of this one, and lets the paths of what is noted there begin here.
    fn inside<T>(
        self,
        node: &'de Node,
        step: impl fmt::Display,
        decode: impl FnOnce(Self) -> Result<T, DecodeError>,
    ) -> Result<T, DecodeError> {
        let before = self.unknown.map_or(0, |unknown| unknown.borrow().len());
        let result = decode(self.inner(node));
        if let Some(unknown) = self.unknown {
            let mut unknown = unknown.borrow_mut();
            for note in unknown.iter_mut().skip(before) {
                note.put_within(&step.to_string());
            }
        }
        result
    }

    fn note_unless_expected(self, key: &Key) {
        if let Some(unknown) = self.unknown
            && !self.fields.is_empty()
            && !self.fields.contains(&key.as_str())
        {
            let error: DecodeError = de::Error::unknown_field(key.as_str(), self.fields);
            let placed = error.at(key.line, key.column).within(key.as_str());
            unknown.borrow_mut().push(placed);
        }
    }

    fn entries(self, entries: &'de [Entry]) -> Entries<'de> {
        Entries {
            rest: entries.iter(),
            part: self,
            current: None,
        }
    }
}

impl<'de> Deserializer<'de> for Part<'de> {
    type Error = DecodeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        let node = self.node;
        match &node.kind {
            Kind::Null => visitor.visit_unit(),
            Kind::Bool(value) => visitor.visit_bool(*value),
            Kind::Number(Number::Unsigned(value)) => visitor.visit_u64(*value),
            Kind::Number(Number::Negative(value)) => visitor.visit_i64(*value),
            Kind::Number(Number::Float(value)) => visitor.visit_f64(*value),
            Kind::String(text) => visitor.visit_borrowed_str(text),
            Kind::List(items) => visitor.visit_seq(Items {
                rest: items.iter().enumerate(),
                part: self,
            }),
            Kind::Map(entries) => visitor.visit_map(self.entries(entries)),
        }
        .map_err(|error| error.at(node.line, node.column))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.node.kind {
            Kind::Null => visitor.visit_none(),
            Kind::Bool(_) | Kind::Number(_) | Kind::String(_) | Kind::List(_) | Kind::Map(_) => {
                visitor.visit_some(self)
            }
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        let node = self.node;
        visitor
            .visit_newtype_struct(self)
            .map_err(|error| error.at(node.line, node.column))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        match self.node.kind {
            // serde would take a list as the fields in order.
            Kind::List(_) => Err(de::Error::invalid_type(
                de::Unexpected::Seq,
                &"a map of fields",
            )),
            _ => Self { fields, ..self }.deserialize_any(visitor),
        }
        .map_err(|error: DecodeError| error.at(self.node.line, self.node.column))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        let node = self.node;
        match &node.kind {
            Kind::String(text) => visitor.visit_enum((&**text).into_deserializer()),
            Kind::Map(entries) => match &**entries {
                [(key, value)] => visitor.visit_enum(Variant {
                    key,
                    value,
                    part: self,
                }),
                _ => Err(DecodeError::new(
                    format!("expected exactly one of {}", variants.join(", ")),
                    String::new(),
                )),
            },
            Kind::Null | Kind::Bool(_) | Kind::Number(_) | Kind::List(_) => Err(DecodeError::new(
                format!(
                    "expected one of {}, found {}",
                    variants.join(", "),
                    node.described()
                ),
                String::new(),
            )),
        }
        .map_err(|error| error.at(node.line, node.column))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map identifier
    }
}

struct Items<'de> {
    rest: std::iter::Enumerate<std::slice::Iter<'de, Node>>,
    part: Part<'de>,
}

impl<'de> SeqAccess<'de> for Items<'de> {
    type Error = DecodeError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, DecodeError> {
        let Some((index, item)) = self.rest.next() else {
            return Ok(None);
        };
        self.part
            .inside(item, format_args!("[{index}]"), |part| {
                seed.deserialize(part)
            })
            .map(Some)
            .map_err(|error| error.within(&format!("[{index}]")))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.rest.len())
    }
}

struct Entries<'de> {
    rest: std::slice::Iter<'de, Entry>,
    part: Part<'de>,
    current: Option<&'de Entry>,
}

impl<'de> MapAccess<'de> for Entries<'de> {
    type Error = DecodeError;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, DecodeError> {
        let Part { except, fields, .. } = self.part;
        let skipped = |key: &Key, value: &Node| {
            except.contains(&key.as_str())
                || value.kind == Kind::Null && fields.contains(&key.as_str())
        };
        let Some(entry) = self.rest.find(|(key, value)| !skipped(key, value)) else {
            return Ok(None);
        };
        self.current = Some(entry);
        let (key, _) = entry;
        self.part.note_unless_expected(key);
        seed.deserialize(Name { key })
            .map(Some)
            .map_err(|error| error.at(key.line, key.column).within(key.as_str()))
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<T::Value, DecodeError> {
        let Some((key, value)) = self.current.take() else {
            return Err(de::Error::custom("a value was asked for before its name"));
        };
        self.part
            .inside(value, key.as_str(), |part| seed.deserialize(part))
            .map_err(|error| error.at(key.line, key.column).within(key.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, fmt::Debug, num::NonZeroU32, time::Duration};

    use crate::{Limits, parse};

    use super::*;

    #[derive(Debug, PartialEq, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Machine {
        name: String,
        #[serde(default)]
        ports: Vec<Port>,
        #[serde(default)]
        labels: BTreeMap<String, String>,
        weight: Option<NonZeroU32>,
        #[serde(default, with = "crate::duration::option")]
        timeout: Option<Duration>,
        probe: Option<Probe>,
        #[serde(default)]
        enabled: bool,
    }

    #[derive(Debug, PartialEq, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Port {
        number: u16,
    }

    #[derive(Debug, PartialEq, serde::Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Probe {
        Tcp,
        Http { path: String },
        Script(String),
    }

    fn decoded<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, DecodeError> {
        let documents = parse(text.as_bytes(), &Limits::default()).unwrap();
        documents[0].decode()
    }

    #[derive(Debug, serde::Deserialize)]
    struct Loose {
        #[serde(default)]
        items: Vec<LooseItem>,
        by_name: BTreeMap<String, LooseItem>,
    }

    #[derive(Debug, serde::Deserialize)]
    struct LooseItem {
        number: u16,
    }

    #[test]
    fn fields_that_a_type_does_not_have_are_noted_with_path_line_and_nearest_name() {
        let text = "itmes: []\nitems:\n  - number: 1\n  - number: 2\n    numbr: {deep: 3}\nby_name: {a: {number: 1, zzz: 2}}\n";
        let documents = parse(text.as_bytes(), &Limits::default()).unwrap();
        let (loose, unknown) = documents[0].decode_noting::<Loose>().unwrap();
        assert_eq!(loose.items[1].number + loose.by_name["a"].number, 3);
        let unknown: Vec<_> = unknown.iter().map(ToString::to_string).collect();
        assert_eq!(
            unknown,
            [
                "line 1: itmes: unknown field `itmes` (did you mean `items`?)",
                "line 5: items[1].numbr: unknown field `numbr` (did you mean `number`?)",
                "line 6: by_name.a.zzz: unknown field `zzz` (known fields: number)",
            ]
        );
    }

    #[test]
    fn a_value_that_fits_is_decoded() {
        let machine: Machine = decoded(
            "name: vm\nports: [{number: 80}]\nlabels: {a: b}\nweight: 3\ntimeout: 1m30s\nprobe: {http: {path: /}}\nenabled: true\n",
        )
        .unwrap();
        let expected = Machine {
            name: "vm".to_owned(),
            ports: vec![Port { number: 80 }],
            labels: BTreeMap::from([("a".to_owned(), "b".to_owned())]),
            weight: NonZeroU32::new(3),
            timeout: Some(Duration::from_secs(90)),
            probe: Some(Probe::Http {
                path: "/".to_owned(),
            }),
            enabled: true,
        };
        assert_eq!(machine, expected);
        assert_eq!(decoded::<Probe>("tcp"), Ok(Probe::Tcp));
        assert_eq!(decoded::<Probe>("tcp:"), Ok(Probe::Tcp));
        assert_eq!(
            decoded::<Probe>("script: x"),
            Ok(Probe::Script("x".to_owned()))
        );
        assert_eq!(
            decoded::<BTreeMap<u16, String>>("8080: web"),
            Ok(BTreeMap::from([(8080, "web".to_owned())]))
        );
    }

    #[test]
    fn an_empty_entry_counts_as_not_given() {
        let machine: Machine = decoded("name: vm\nports:\nlabels:\nweight:\ntimeout:\n").unwrap();
        assert_eq!(machine.ports, []);
        assert_eq!(machine.timeout, None);
        let error = decoded::<Machine>("name:\n").unwrap_err();
        assert_eq!(error.to_string(), "line 1: name: this field is required");
        let error = decoded::<Machine>("name: vm\nnmae:\n").unwrap_err();
        assert_eq!(error.hint, "did you mean `name`?");
    }

    #[test]
    fn errors_say_line_path_what_and_what_to_do() {
        let cases = [
            (
                "name: vm\nadress: x\n",
                "line 2: adress: unknown field `adress` (known fields: name, ports, labels, weight, timeout, probe, enabled)",
            ),
            (
                "name: vm\nwieght: 3\n",
                "line 2: wieght: unknown field `wieght` (did you mean `weight`?)",
            ),
            (
                "name: vm\nports:\n  - number: 80\n  - number: \"8080\"\n",
                "line 4: ports[1].number: expected a whole number from 0 to 65535, found the text \"8080\" (write it without quotes)",
            ),
            (
                "name: vm\nports: [{number: 70000}]\n",
                "line 2: ports[0].number: expected a whole number from 0 to 65535, found the number 70000",
            ),
            (
                "name: vm\nports: [{}]\n",
                "line 2: ports[0].number: this field is required",
            ),
            (
                "name: vm\nports: {number: 80}\n",
                "line 2: ports: expected a list, found a map (begin each item with `- `)",
            ),
            (
                "name: vm\nports: [80]\n",
                "line 2: ports[0]: expected a map of fields, found the number 80",
            ),
            (
                "name: vm\nports: [[80]]\n",
                "line 2: ports[0]: expected a map of fields, found a list",
            ),
            (
                "name: vm\nlabels: {version: 2}\n",
                "line 2: labels.version: expected text, found the number 2 (put it in quotes)",
            ),
            (
                "name: vm\nweight: 0\n",
                "line 2: weight: expected a whole number of 1 or more, found the number 0",
            ),
            (
                "name: vm\nenabled: yes\n",
                "line 2: enabled: expected true or false, found the text \"yes\" (write true)",
            ),
            (
                "name: vm\ntimeout: 30\n",
                "line 2: timeout: a duration needs a unit: write `30s` or `30ms`",
            ),
            (
                "name: vm\ntimeout: soon\n",
                "line 2: timeout: 'soon' is not a duration: write it as `30s`, `500ms`, `1m30s` or `1h`",
            ),
            (
                "name: vm\nprobe: htpp\n",
                "line 2: probe: unknown value `htpp` (did you mean `http`?)",
            ),
            (
                "name: vm\nprobe: {http: {}}\n",
                "line 2: probe.http.path: this field is required",
            ),
            (
                "name: vm\nprobe: {tcp: , http: }\n",
                "line 2: probe: expected exactly one of tcp, http, script",
            ),
            ("[]", "line 1: expected a map of fields, found a list"),
            (
                "just a text",
                "line 1: expected a map of fields, found the text \"just a text\"",
            ),
        ];
        for (text, expected) in cases {
            let error = decoded::<Machine>(text).unwrap_err();
            assert_eq!(error.to_string(), expected, "{text:?}");
        }
    }

    #[test]
    fn entries_that_the_caller_has_read_can_be_left_out() {
        let documents = parse(b"kind: Machine\nname: vm\n", &Limits::default()).unwrap();
        assert!(documents[0].decode::<Machine>().is_err());
        let machine: Machine = documents[0].decode_except(&["kind"]).unwrap();
        assert_eq!(machine.name, "vm");
    }
}
