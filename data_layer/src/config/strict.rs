//! From a tree of plain values to a typed configuration, remembering where in the tree it is.
//!
//! Every key that the target type does not know is an error, whether or not the type says `deny_unknown_fields`.

use serde::de::value::{BorrowedStrDeserializer, StrDeserializer};
use serde::de::{self, DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess, SeqAccess, VariantAccess, Visitor};
use serde_json::Value;
use std::cell::RefCell;
use std::fmt;

/// Why a tree does not fit its type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Dotted path of the offending key or value; empty for the top level.
    pub path: String,
    pub message: String,
    /// The key, or a word from a closed list, is not known.
    pub unknown: bool,
}

/// Read a tree into `T`.
pub fn read<T: DeserializeOwned>(value: &Value) -> Result<T, Problem> {
    let ignored = RefCell::new(Vec::new());
    let node = Node { value, path: String::new(), ignored: &ignored };
    let out = T::deserialize(node).map_err(|e| Problem { path: e.path.unwrap_or_default(), unknown: e.message.starts_with("unknown "), message: e.message })?;
    match ignored.into_inner().into_iter().next() {
        Some(path) => Err(Problem { path, message: "no setting has this name".into(), unknown: true }),
        None => Ok(out),
    }
}

#[derive(Debug)]
struct Failure {
    path: Option<String>,
    message: String,
}

impl Failure {
    fn at(mut self, path: &str) -> Self {
        self.path.get_or_insert_with(|| path.to_string());
        self
    }
}
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
impl std::error::Error for Failure {}
impl de::Error for Failure {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self { path: None, message: message.to_string() }
    }
}

struct Node<'a> {
    value: &'a Value,
    path: String,
    ignored: &'a RefCell<Vec<String>>,
}

impl<'a> Node<'a> {
    fn child(&self, key: &str, value: &'a Value) -> Self {
        let path = if self.path.is_empty() { key.to_string() } else { format!("{}.{key}", self.path) };
        Self { value, path, ignored: self.ignored }
    }
}

impl<'de> Deserializer<'de> for Node<'de> {
    type Error = Failure;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        let path = self.path.clone();
        let out = match self.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(b) => visitor.visit_bool(*b),
            Value::Number(n) => match (n.as_u64(), n.as_i64(), n.as_f64()) {
                (Some(v), ..) => visitor.visit_u64(v),
                (_, Some(v), _) => visitor.visit_i64(v),
                (.., Some(v)) => visitor.visit_f64(v),
                _ => Err(de::Error::custom("a number out of range")),
            },
            Value::String(s) => visitor.visit_borrowed_str(s),
            Value::Array(items) => visitor.visit_seq(Items { node: &self, next: 0, items }),
            Value::Object(map) => visitor.visit_map(Keys { node: &self, entries: map.iter(), current: None }),
        };
        out.map_err(|e| e.at(&path))
    }
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        if self.value.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }
    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _name: &'static str, visitor: V) -> Result<V::Value, Failure> {
        visitor.visit_newtype_struct(self)
    }
    fn deserialize_enum<V: Visitor<'de>>(self, _name: &'static str, _variants: &'static [&'static str], visitor: V) -> Result<V::Value, Failure> {
        let path = self.path.clone();
        visitor.visit_enum(self).map_err(|e| e.at(&path))
    }
    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        self.ignored.borrow_mut().push(self.path);
        visitor.visit_unit()
    }
    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map struct identifier
    }
}

struct Items<'n, 'de> {
    node: &'n Node<'de>,
    next: usize,
    items: &'de [Value],
}

impl<'de> SeqAccess<'de> for Items<'_, 'de> {
    type Error = Failure;
    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Failure> {
        let Some(value) = self.items.get(self.next) else { return Ok(None) };
        let child = self.node.child(&self.next.to_string(), value);
        self.next += 1;
        let path = child.path.clone();
        seed.deserialize(child).map(Some).map_err(|e| e.at(&path))
    }
}

struct Keys<'n, 'de> {
    node: &'n Node<'de>,
    entries: serde_json::map::Iter<'de>,
    current: Option<(&'de String, &'de Value)>,
}

impl<'de> MapAccess<'de> for Keys<'_, 'de> {
    type Error = Failure;
    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Failure> {
        self.current = self.entries.next();
        let Some((key, value)) = self.current else { return Ok(None) };
        let path = self.node.child(key, value).path;
        seed.deserialize(Key(key)).map(Some).map_err(|e| e.at(&path))
    }
    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Failure> {
        let (key, value) = self.current.take().ok_or_else(|| de::Error::custom("a value without a key"))?;
        let child = self.node.child(key, value);
        let path = child.path.clone();
        seed.deserialize(child).map_err(|e| e.at(&path))
    }
}

/// A map's key: a text, read as a number where the target's key type is one.
struct Key<'de>(&'de str);

macro_rules! numeric_keys {
    ($($method:ident => $visit:ident),*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
            match self.0.parse() {
                Ok(number) => visitor.$visit(number),
                Err(_) => visitor.visit_borrowed_str(self.0),
            }
        })*
    };
}

impl<'de> Deserializer<'de> for Key<'de> {
    type Error = Failure;
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        visitor.visit_borrowed_str(self.0)
    }
    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _name: &'static str, visitor: V) -> Result<V::Value, Failure> {
        visitor.visit_newtype_struct(self)
    }
    fn deserialize_enum<V: Visitor<'de>>(self, name: &'static str, variants: &'static [&'static str], visitor: V) -> Result<V::Value, Failure> {
        BorrowedStrDeserializer::<Failure>::new(self.0).deserialize_enum(name, variants, visitor)
    }
    numeric_keys!(deserialize_u8 => visit_u8, deserialize_u16 => visit_u16, deserialize_u32 => visit_u32, deserialize_u64 => visit_u64,
        deserialize_i8 => visit_i8, deserialize_i16 => visit_i16, deserialize_i32 => visit_i32, deserialize_i64 => visit_i64, deserialize_bool => visit_bool);
    serde::forward_to_deserialize_any! {
        i128 u128 f32 f64 char str string bytes byte_buf option unit unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

impl<'de> EnumAccess<'de> for Node<'de> {
    type Error = Failure;
    type Variant = Settings<'de>;
    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Settings<'de>), Failure> {
        let (name, content) = match self.value {
            Value::String(name) => (name, None),
            Value::Object(map) if map.len() == 1 => {
                let (name, inner) = map.iter().next().ok_or_else(|| <Failure as de::Error>::custom("an empty map"))?;
                (name, Some(self.child(name, inner)))
            }
            _ => return Err(de::Error::custom("expected a word from the list, or one key with its settings")),
        };
        let word: StrDeserializer<'_, Failure> = name.as_str().into_deserializer();
        Ok((seed.deserialize(word)?, Settings(content)))
    }
}

/// What stands behind a word from a closed list.
struct Settings<'de>(Option<Node<'de>>);

impl<'de> VariantAccess<'de> for Settings<'de> {
    type Error = Failure;
    fn unit_variant(self) -> Result<(), Failure> {
        match self.0 {
            Some(node) if !node.value.is_null() => Err(de::Error::custom("this word takes no settings")),
            _ => Ok(()),
        }
    }
    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Failure> {
        seed.deserialize(self.0.ok_or_else(missing)?)
    }
    fn tuple_variant<V: Visitor<'de>>(self, _len: usize, visitor: V) -> Result<V::Value, Failure> {
        self.0.ok_or_else(missing)?.deserialize_any(visitor)
    }
    fn struct_variant<V: Visitor<'de>>(self, _fields: &'static [&'static str], visitor: V) -> Result<V::Value, Failure> {
        self.0.ok_or_else(missing)?.deserialize_any(visitor)
    }
}

fn missing() -> Failure {
    de::Error::custom("this word needs settings")
}
