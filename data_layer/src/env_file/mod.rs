//! A lossless editor for `.env` files: what is not edited stays byte for byte.
//!
//! Comments, order, blank lines, `export `, quotes, CRLF, duplicates, commented-out keys and a missing final newline survive.
//! Where a key stands twice the last line counts, and it is the one that [`EnvFile::set`] changes. Parsing follows what
//! dotenvy and shells agree on: `'literal'`, `"with \n \" \\ \$ and $VAR"`, bare values up to ` #`.

mod disk;
mod value;

use std::collections::BTreeMap;
use std::fmt;

pub use disk::{SaveReport, load, path, read, save};

/// A parsed file. `to_string()` gives back the exact text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EnvFile {
    lines: Vec<Line>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Line {
    /// A comment, a blank line, or something that is not an assignment; kept as it is, line ending included.
    Other(String),
    Entry(Entry),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    /// Everything before the value: indentation, `export `, key, `=`, blanks.
    before: String,
    key: String,
    /// The value as written, quotes included.
    raw: String,
    /// Everything after the value: blanks, a comment, the line ending.
    after: String,
}

/// One difference between two files; values of secrets are masked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub key: String,
    /// `None` = unset.
    pub before: Option<String>,
    /// `None` = removed.
    pub after: Option<String>,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.before, &self.after) {
            (None, Some(new)) => write!(f, "+ {}={new}   (was unset)", self.key),
            (Some(old), Some(new)) => write!(f, "~ {}={new}   (was {old})", self.key),
            (Some(old), None) => write!(f, "- {}   (was {old})", self.key),
            (None, None) => write!(f, "  {}", self.key),
        }
    }
}

impl EnvFile {
    /// Parse any text; nothing is refused, because a line that is not understood is kept as it is.
    pub fn parse(text: &str) -> Self {
        let mut lines = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let (line, used) = match parse_entry(rest) {
                Some((entry, used)) => (Line::Entry(entry), used),
                None => {
                    let end = rest.find('\n').map_or(rest.len(), |i| i + 1);
                    (Line::Other(rest[..end].to_string()), end)
                }
            };
            lines.push(line);
            rest = &rest[used..];
        }
        Self { lines }
    }

    /// The value that holds for a key, with `$VAR` taken from the lines above it.
    pub fn get(&self, key: &str) -> Option<String> {
        self.values(&BTreeMap::new()).remove(key)
    }

    /// All keys with their values; `$VAR` is looked up in `env` first, then in the lines above.
    pub fn values(&self, env: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        let mut out: BTreeMap<String, String> = BTreeMap::new();
        for entry in self.entries() {
            let value = value::interpret(&entry.raw, &|name| env.get(name).or_else(|| out.get(name)).cloned().unwrap_or_default());
            out.insert(entry.key.clone(), value);
        }
        out
    }

    fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.lines.iter().filter_map(|l| match l {
            Line::Entry(entry) => Some(entry),
            Line::Other(_) => None,
        })
    }

    /// Set a key: the last line that holds it is changed in place, else a line is added at the end. Setting the value
    /// that already holds changes nothing, so that a second run leaves the file alone.
    pub fn set(&mut self, key: &str, new: &str) {
        if self.get(key).as_deref() == Some(new) {
            return;
        }
        let ending = self.ending();
        let quoted = value::quote(new);
        let found = self.lines.iter_mut().rev().find_map(|l| match l {
            Line::Entry(entry) if entry.key == key => Some(entry),
            _ => None,
        });
        match found {
            Some(entry) => entry.raw = quoted.clone(),
            None => {
                self.close_last_line(ending);
                self.lines.push(new_line(key, &quoted, ending));
            }
        }
        if Self::parse(&self.to_string()).get(key).as_deref() != Some(new) {
            // A quote that somebody left open above would swallow the line; before everything else nothing can.
            self.remove(key);
            self.lines.insert(0, new_line(key, &quoted, ending));
        }
    }

    /// Add a comment line at the end (without `#`).
    pub fn comment(&mut self, text: &str) {
        let ending = self.ending();
        self.close_last_line(ending);
        let text = text.replace(['\r', '\n'], " ");
        self.lines.push(Line::Other(format!("# {text}{ending}")));
    }

    /// Remove every line of a key; `true` if there was one.
    pub fn remove(&mut self, key: &str) -> bool {
        let before = self.lines.len();
        self.lines.retain(|l| !matches!(l, Line::Entry(e) if e.key == key));
        before != self.lines.len()
    }

    /// What changed between `self` and `newer`, by key; secrets show as `(set)`.
    pub fn changes(&self, newer: &Self) -> Vec<Change> {
        let (old, new) = (self.values(&BTreeMap::new()), newer.values(&BTreeMap::new()));
        let keys: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
        keys.into_iter()
            .filter(|key| old.get(*key) != new.get(*key))
            .map(|key| Change { key: key.clone(), before: old.get(key).map(|v| shown(key, v)), after: new.get(key).map(|v| shown(key, v)) })
            .collect()
    }

    fn ending(&self) -> &'static str {
        let crlf = self.lines.iter().any(|l| match l {
            Line::Other(text) => text.ends_with("\r\n"),
            Line::Entry(entry) => entry.after.ends_with("\r\n"),
        });
        if crlf { "\r\n" } else { "\n" }
    }

    fn close_last_line(&mut self, ending: &str) {
        let tail = match self.lines.last_mut() {
            Some(Line::Other(text)) => text,
            Some(Line::Entry(entry)) => &mut entry.after,
            None => return,
        };
        if !tail.ends_with('\n') {
            tail.push_str(ending);
        }
    }
}

impl fmt::Display for EnvFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.lines {
            match line {
                Line::Other(text) => f.write_str(text)?,
                Line::Entry(e) => write!(f, "{}{}{}", e.before, e.raw, e.after)?,
            }
        }
        Ok(())
    }
}

fn new_line(key: &str, quoted: &str, ending: &str) -> Line {
    Line::Entry(Entry { before: format!("{key}="), key: key.to_string(), raw: quoted.to_string(), after: ending.to_string() })
}

/// A value as it may be shown: secrets and unknown variables as `(set)`, long texts cut.
pub fn shown(key: &str, value: &str) -> String {
    match (crate::env_vars::is_secret(key), value.is_empty()) {
        (_, true) => "(empty)".into(),
        (true, false) => "(set)".into(),
        (false, false) => value.chars().take(120).collect(),
    }
}

/// Read one assignment at the start of `text`; the second part is how many bytes it spans.
fn parse_entry(text: &str) -> Option<(Entry, usize)> {
    let blank = |c: char| c == ' ' || c == '\t';
    let mut at = text.len() - text.trim_start_matches(blank).len();
    if let Some(after) = text[at..].strip_prefix("export").filter(|r| r.starts_with(blank)) {
        at = text.len() - after.trim_start_matches(blank).len();
    }
    let name = &text[at..];
    let length = name.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '.')).unwrap_or(name.len());
    let key = &name[..length];
    if key.is_empty() || key.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let rest = name[length..].trim_start_matches(blank).strip_prefix('=')?;
    let value_at = text.len() - rest.trim_start_matches(blank).len();
    let (raw, trailing) = value::split(&text[value_at..])?;
    let end = value_at + raw + trailing;
    let entry = Entry {
        before: text[..value_at].to_string(),
        key: key.to_string(),
        raw: text[value_at..value_at + raw].to_string(),
        after: text[value_at + raw..end].to_string(),
    };
    Some((entry, end))
}

#[cfg(test)]
mod tests;
