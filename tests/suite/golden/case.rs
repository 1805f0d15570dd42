//! A stored case and the tables beside it.

use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// What a function made of a case: values in the shape of `expected`, and differences in its tables.
pub struct Checked {
    pub got: Value,
    pub failures: Vec<String>,
}

impl From<Value> for Checked {
    fn from(got: Value) -> Self {
        Self { got, failures: Vec::new() }
    }
}

pub struct Case {
    pub doc: Value,
    folder: PathBuf,
}

impl Case {
    pub fn read(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path).map_err(|e| e.to_string())?;
        let doc: Value = serde_json::from_str(&text).map_err(|e| format!("not JSON: {e}"))?;
        let absent: Vec<&str> = ["topic", "function", "inputs", "expected", "tolerance"].into_iter().filter(|k| doc.get(k).is_none()).collect();
        if !absent.is_empty() {
            return Err(format!("no case: it lacks {absent:?}"));
        }
        let folder = path.parent().unwrap_or(Path::new(".")).to_path_buf();
        Ok(Self { doc, folder })
    }
    pub fn topic(&self) -> &str {
        self.doc["topic"].as_str().unwrap_or_default()
    }
    pub fn function(&self) -> &str {
        self.doc["function"].as_str().unwrap_or_default()
    }
    pub fn inputs(&self) -> &Value {
        &self.doc["inputs"]
    }
    pub fn expected(&self) -> &Value {
        &self.doc["expected"]
    }
    /// An input by its key.
    pub fn input(&self, key: &str) -> &Value {
        let value = &self.doc["inputs"][key];
        assert!(!value.is_null(), "the case has no input '{key}'");
        value
    }
    pub fn number(&self, key: &str) -> f64 {
        self.input(key).as_f64().unwrap()
    }
    pub fn size(&self, key: &str) -> usize {
        size(self.input(key))
    }
    /// A file that stands in the case's own folder, or is named from it.
    pub fn file(&self, name: &Value) -> PathBuf {
        self.folder.join(name.as_str().unwrap())
    }
    pub fn text(&self, name: &Value) -> String {
        let path = self.file(name);
        std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    }
    pub fn table(&self, name: &Value) -> Table {
        Table::parse(&self.text(name))
    }
}

pub fn size(v: &Value) -> usize {
    usize::try_from(v.as_u64().unwrap()).unwrap()
}

pub fn list(v: &Value) -> &[Value] {
    v.as_array().unwrap()
}

pub fn object(v: &Value) -> &Map<String, Value> {
    v.as_object().unwrap()
}

pub fn text(v: &Value) -> &str {
    v.as_str().unwrap()
}

/// A number; null and the words for infinity included.
pub fn number(v: &Value) -> f64 {
    match v {
        Value::Null => f64::NAN,
        Value::String(s) if s == "inf" => f64::INFINITY,
        Value::String(s) if s == "-inf" => f64::NEG_INFINITY,
        other => other.as_f64().unwrap(),
    }
}

pub fn numbers(v: &Value) -> Vec<f64> {
    list(v).iter().map(number).collect()
}

/// A number as the vectors write it: missing is null, infinities are words.
pub fn shown(v: f64) -> Value {
    if v.is_nan() {
        Value::Null
    } else if v.is_infinite() {
        Value::from(if v > 0.0 { "inf" } else { "-inf" })
    } else {
        Value::from(v)
    }
}

/// A CSV without quotes.
pub struct Table {
    pub header: Vec<String>,
    pub rows: Vec<Vec<String>>,
}

impl Table {
    fn parse(text: &str) -> Self {
        let cells = |line: &str| line.split(',').map(|c| c.trim().to_string()).collect::<Vec<_>>();
        let mut lines = text.lines().filter(|l| !l.trim().is_empty());
        let header = cells(lines.next().unwrap_or_default());
        let rows: Vec<Vec<String>> = lines.map(cells).collect();
        assert!(rows.iter().all(|r| r.len() == header.len()), "a CSV's rows differ in length");
        Self { header, rows }
    }
    pub fn place(&self, name: &str) -> Option<usize> {
        self.header.iter().position(|h| h == name)
    }
    pub fn texts(&self, name: &str) -> Vec<&str> {
        let at = self.place(name).unwrap_or_else(|| panic!("no column '{name}'"));
        self.rows.iter().map(|r| r[at].as_str()).collect()
    }
    /// A column of numbers; an empty cell is missing.
    pub fn numbers(&self, name: &str) -> Vec<f64> {
        self.texts(name).into_iter().map(cell).collect()
    }
    /// All columns as numbers, each as one series.
    pub fn columns(&self) -> Vec<Vec<f64>> {
        self.header.iter().map(|h| self.numbers(h)).collect()
    }
}

pub fn cell(text: &str) -> f64 {
    if text.is_empty() { f64::NAN } else { text.parse().unwrap_or_else(|_| panic!("'{text}' is not a number")) }
}
