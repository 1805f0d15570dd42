//! YAML text to a tree of plain values, with limits that a hostile or broken file cannot exceed.
//!
//! Aliases are expanded while reading, so a "billion laughs" document is stopped by the node budget; duplicate keys are
//! refused because the second would win silently; keys that YAML reads as numbers or booleans are kept as their text.

use crate::error::{Error, Result, code};
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use std::cell::Cell;
use std::fmt;

/// Largest accepted document, in bytes.
pub const MAX_BYTES: usize = 1 << 20;
/// Deepest accepted nesting.
pub const MAX_DEPTH: usize = 32;
/// Most values (after aliases are expanded).
pub const MAX_NODES: usize = 200_000;

/// Bytes of a YAML file to a tree; an empty document is `Null`.
pub fn parse_bytes(bytes: &[u8], what: &str) -> Result<Value> {
    let text = std::str::from_utf8(bytes).map_err(|e| Error::new(code::CFG_PARSE, text!("{what} is not UTF-8 text")).cause(e.to_string()))?;
    parse(text, what)
}

/// YAML text to a tree; an empty document is `Null`.
pub fn parse(text: &str, what: &str) -> Result<Value> {
    if text.len() > MAX_BYTES {
        return Err(Error::new(code::CFG_PARSE, text!("{what} is larger than a configuration may be"))
            .found(text!("{} bytes, at most {MAX_BYTES} are read", text.len())));
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
        return Ok(Value::Null);
    }
    let nodes = Cell::new(0);
    let seed = Seed { depth: 0, nodes: &nodes };
    seed.deserialize(serde_yaml::Deserializer::from_str(text))
        .map_err(|e| Error::new(code::CFG_PARSE, text!("{what} is not acceptable YAML")).cause(e.to_string()))
}

#[derive(Clone, Copy)]
struct Seed<'a> {
    depth: usize,
    nodes: &'a Cell<usize>,
}

impl Seed<'_> {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        if self.depth + 1 > MAX_DEPTH {
            return Err(E::custom(text!("nested more than {MAX_DEPTH} levels deep")));
        }
        Ok(Self { depth: self.depth + 1, ..self })
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.nodes.set(self.nodes.get() + 1);
        if self.nodes.get() > MAX_NODES {
            return Err(D::Error::custom(text!("more than {MAX_NODES} values (aliases count as often as they are used)")));
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("plain YAML without custom tags")
    }
    fn visit_bool<E>(self, v: bool) -> Result<Value, E> {
        Ok(Value::Bool(v))
    }
    fn visit_i64<E>(self, v: i64) -> Result<Value, E> {
        Ok(v.into())
    }
    fn visit_u64<E>(self, v: u64) -> Result<Value, E> {
        Ok(v.into())
    }
    fn visit_f64<E: serde::de::Error>(self, v: f64) -> Result<Value, E> {
        Number::from_f64(v).map(Value::Number).ok_or_else(|| E::custom("a number must be finite"))
    }
    fn visit_str<E>(self, v: &str) -> Result<Value, E> {
        Ok(Value::String(v.to_string()))
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.deserialize(deserializer)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut out = Vec::new();
        while let Some(value) = seq.next_element_seed(inner)? {
            out.push(value);
        }
        Ok(Value::Array(out))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut out = Map::new();
        while let Some(key) = map.next_key_seed(inner)? {
            let key = match key {
                Value::String(text) => text,
                Value::Number(n) => n.to_string(),
                Value::Bool(b) => b.to_string(),
                _ => return Err(A::Error::custom("a key must be a text or a number")),
            };
            let value = map.next_value_seed(inner)?;
            if out.contains_key(&key) {
                return Err(A::Error::custom(text!("the key '{key}' stands twice in the same map")));
            }
            out.insert(key, value);
        }
        Ok(Value::Object(out))
    }
}
