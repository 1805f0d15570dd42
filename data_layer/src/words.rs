//! What people read, in their language.
//!
//! The program thinks, stores and reports to other programs in English, so a drive and its journal are the same whoever reads
//! them. A sentence is translated where it meets a person's eyes, by [`tell`]. For that, `text!` remembers how a sentence was
//! made (template and parts) while another language is spoken; the parts are told the same way. What nobody made by `text!`
//! and no catalogue knows is data, or recorded by an earlier process: it is shown as it is.

use crate::error::{Error, Result, code};
use serde::Deserialize;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, OnceLock};

/// `1,234,567`
pub fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let comma = |i: usize| if i > 0 && (digits.len() - i).is_multiple_of(3) { "," } else { "" };
    digits.chars().enumerate().flat_map(|(i, c)| comma(i).chars().chain([c])).collect()
}

/// A catalogue as it is written: `<language>.yml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u32,
    language: String,
    texts: BTreeMap<String, String>,
}

/// The texts of one language, by their English templates.
pub struct Language {
    pub name: String,
    texts: HashMap<String, String>,
    /// Templates whose translation has other places than they have, and is not used.
    pub unusable: Vec<String>,
}

impl Language {
    /// Read a catalogue. A translation whose places differ from its template's is left out: the English is shown.
    pub fn parse(yaml: &str) -> Result<Self> {
        let wrong = |why: String| Error::new(code::CFG_PARSE, "the catalogue of texts cannot be read").cause(why).fix("compare it with: trademl text");
        let file: File = serde_yaml::from_str(yaml).map_err(|e| wrong(e.to_string()))?;
        if file.version != 1 {
            return Err(wrong(format!("it has version {}, this program knows version 1", file.version)));
        }
        let (good, bad): (Vec<_>, Vec<_>) = file.texts.into_iter().partition(|(english, other)| places(english) == places(other));
        Ok(Self { name: file.language, texts: good.into_iter().collect(), unusable: bad.into_iter().map(|(english, _)| english).collect() })
    }

    /// Lines of the longest sentence that is looked for inside a longer text.
    const LINES: usize = 3;

    pub fn knows(&self, template: &str) -> bool {
        self.texts.contains_key(template)
    }

    /// The text in this language: as a whole, or line by line.
    fn tell(&self, english: &str, memory: &Memory) -> Option<String> {
        if let Some(whole) = self.tell_whole(english, memory) {
            return Some(whole);
        }
        if !english.contains('\n') {
            return None;
        }
        let lines: Vec<&str> = english.split('\n').collect();
        let (mut told, mut at) = (Vec::new(), 0);
        while at < lines.len() {
            // A sentence may be several lines long: the longest that is known.
            let longest = (at + Self::LINES).min(lines.len());
            let known = (at + 1..=longest).rev().find_map(|end| Some((end, self.tell_whole(&lines[at..end].join("\n"), memory)?)));
            let (end, text) = known.unwrap_or_else(|| (at + 1, lines[at].to_string()));
            told.push(text);
            at = end;
        }
        Some(told.join("\n"))
    }

    fn tell_whole(&self, english: &str, memory: &Memory) -> Option<String> {
        let core = english.trim();
        let told = match memory.find(core) {
            Some(made) => self.filled(made, memory),
            None => self.texts.get(core)?.clone(),
        };
        let begin = english.len() - english.trim_start().len();
        let end = english.trim_end().len().max(begin);
        Some(format!("{}{told}{}", &english[..begin], &english[end..]))
    }

    /// A made sentence in this language, its parts told too.
    fn filled(&self, made: &Made, memory: &Memory) -> String {
        let key = key_of(made.template);
        let template = self.texts.get(&key).map_or(key.as_str(), String::as_str);
        let mut out = String::new();
        let mut next = 0;
        for piece in pieces(template) {
            match piece {
                Piece::Words(words) => out.push_str(&words),
                Piece::Hole(name) => {
                    let unnamed = name.is_empty();
                    let name = if unnamed { next.to_string() } else { name };
                    next += usize::from(unnamed);
                    let part = made.parts.iter().find(|(n, _)| *n == name).map_or("", |(_, part)| part.as_str());
                    out.push_str(&self.told_part(part, memory));
                }
            }
        }
        out.trim().to_string()
    }

    /// A part may be padded to a column: what is told of it is padded again.
    fn told_part(&self, part: &str, memory: &Memory) -> String {
        let Some(told) = self.tell(part, memory) else { return part.to_string() };
        let width = part.chars().count();
        let core = told.trim();
        match (part.starts_with(' '), part.ends_with(' ')) {
            (_, true) if part.trim_start() == part && core.chars().count() < width => format!("{core:<width$}"),
            (true, false) if core.chars().count() < width => format!("{core:>width$}"),
            _ => told,
        }
    }
}

/// How a sentence was made.
struct Made {
    template: &'static str,
    parts: Vec<(String, String)>,
}

/// The sentences made lately, by what they say. Two generations bound it: a program that runs for months forgets.
#[derive(Default)]
struct Memory {
    young: HashMap<String, Made>,
    old: HashMap<String, Made>,
}

impl Memory {
    const GENERATION: usize = 4_096;

    fn find(&self, sentence: &str) -> Option<&Made> {
        self.young.get(sentence).or_else(|| self.old.get(sentence))
    }

    fn keep(&mut self, sentence: &str, made: Made) {
        let sentence = sentence.trim();
        // A frame around nothing but one part is that part; and words of our own beat a frame without any.
        let is_its_part = made.parts.iter().any(|(_, part)| part.trim() == sentence);
        let worded = |made: &Made| pieces(made.template).iter().any(|p| matches!(p, Piece::Words(w) if w.chars().any(char::is_alphabetic)));
        if sentence.is_empty() || is_its_part || !worded(&made) && self.find(sentence).is_some_and(worded) {
            return;
        }
        if self.young.len() >= Self::GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(sentence.to_string(), made);
    }
}

static SPOKEN: OnceLock<Language> = OnceLock::new();
static MEMORY: OnceLock<Mutex<Memory>> = OnceLock::new();

fn memory() -> &'static Mutex<Memory> {
    MEMORY.get_or_init(Mutex::default)
}

/// Speak this language until the process ends. Without it everything is English, and nothing is remembered.
pub fn speak(language: Language) {
    let _ = SPOKEN.set(language);
}

/// Whether `text!` has to remember.
pub fn remembering() -> bool {
    SPOKEN.get().is_some()
}

/// The sentence of a template and its parts (name or position, and text), remembered.
pub fn made(template: &'static str, parts: &[(&str, String)]) -> String {
    let (mut sentence, mut next) = (String::new(), 0);
    for piece in pieces(template) {
        match piece {
            Piece::Words(words) => sentence.push_str(&words),
            Piece::Hole(_) => {
                sentence.push_str(parts.get(next).map_or("", |(_, part)| part.as_str()));
                next += 1;
            }
        }
    }
    let parts = parts.iter().map(|(name, part)| ((*name).to_string(), part.clone())).collect();
    if let Ok(mut memory) = memory().lock() {
        memory.keep(&sentence, Made { template, parts });
    }
    sentence
}

/// Sentences in a row; each is told by itself.
pub fn joined<T: AsRef<str>>(parts: &[T], between: &'static str) -> String {
    let mut all = String::new();
    for part in parts {
        all = if all.is_empty() { part.as_ref().to_string() } else { pair(&all, between, part.as_ref()) };
    }
    all
}

fn pair(first: &str, between: &'static str, second: &str) -> String {
    if remembering() { made("{}{}{}", &[("0", first.into()), ("1", between.into()), ("2", second.into())]) } else { format!("{first}{between}{second}") }
}

/// What a person shall read in place of this English.
pub fn tell(english: &str) -> Cow<'_, str> {
    let told = SPOKEN.get().and_then(|language| memory().lock().ok().and_then(|memory| language.tell(english, &memory)));
    told.map_or(Cow::Borrowed(english), Cow::Owned)
}

/// A template's literal words, or a place for a part.
enum Piece {
    Words(String),
    /// Its name or position; empty for the next one.
    Hole(String),
}

fn pieces(template: &str) -> Vec<Piece> {
    let (mut out, mut words) = (Vec::new(), String::new());
    let mut rest = template;
    while let Some(at) = rest.find(['{', '}']) {
        words.push_str(&rest[..at]);
        let after = &rest[at..];
        if after.starts_with("{{") || after.starts_with("}}") {
            words.push_str(&after[..1]);
            rest = &after[2..];
            continue;
        }
        let end = after.find('}').unwrap_or(after.len() - 1);
        let name = after.get(1..end).unwrap_or("").split(':').next().unwrap_or("").trim().to_string();
        if !words.is_empty() {
            out.push(Piece::Words(std::mem::take(&mut words)));
        }
        out.push(Piece::Hole(name));
        rest = &after[end + 1..];
    }
    words.push_str(rest);
    if !words.is_empty() {
        out.push(Piece::Words(words));
    }
    out
}

/// A template as the catalogue names it: without formats, and without the blanks around it.
pub fn key_of(template: &str) -> String {
    let each = pieces(template).into_iter().map(|piece| match piece {
        Piece::Words(words) => words.replace('{', "{{").replace('}', "}}"),
        Piece::Hole(name) => format!("{{{name}}}"),
    });
    each.collect::<String>().trim().to_string()
}

/// The places of a template; `{}` counts as its position.
fn places(template: &str) -> BTreeSet<String> {
    let mut next = 0..;
    let holes = pieces(template).into_iter().filter_map(|piece| if let Piece::Hole(name) = piece { Some(name) } else { None });
    holes.map(|name| if name.is_empty() { next.next().map_or(name, |n: usize| n.to_string()) } else { name }).collect()
}

/// The pseudo language: every literal word between marks, so that what is not marked was never looked up.
pub fn marked(key: &str) -> String {
    let each = pieces(key).into_iter().map(|piece| match piece {
        Piece::Words(words) if words.chars().any(char::is_alphabetic) => {
            let (begin, end) = (words.len() - words.trim_start().len(), words.trim_end().len());
            let inner = words[begin..end].replace('{', "{{").replace('}', "}}").replace('\n', "\u{27e7}\n\u{27e6}");
            format!("{}\u{27e6}{inner}\u{27e7}{}", &words[..begin], &words[end..])
        }
        Piece::Words(words) => words.replace('{', "{{").replace('}', "}}"),
        Piece::Hole(name) => format!("{{{name}}}"),
    });
    each.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn german() -> Language {
        let texts = "version: 1\nlanguage: de\ntexts:\n  \"done\": \"fertig\"\n  \"{n} of {of} {unit}\": \"von {of} {unit} sind {n} da\"\n  \"tasks\": \"Aufgaben\"\n  \"{} and {}\": \"{1} und {0}\"\n  \"bad {x}\": \"schlecht {y}\"\n";
        Language::parse(texts).unwrap()
    }

    fn remembered(template: &'static str, parts: &[(&str, &str)], sentence: &str, memory: &mut Memory) {
        memory.keep(sentence, Made { template, parts: parts.iter().map(|(n, p)| ((*n).to_string(), (*p).to_string())).collect() });
    }

    #[test]
    fn a_sentence_is_told_with_its_parts_in_their_order_and_columns() {
        let (german, mut memory) = (german(), Memory::default());
        remembered("  {n:>3} of {of} {unit:<10}", &[("n", "  3"), ("of", "9"), ("unit", "tasks     ")], "    3 of 9 tasks     ", &mut memory);
        assert_eq!(german.tell("    3 of 9 tasks     ", &memory).unwrap(), "    von 9 Aufgaben   sind   3 da     ");
        remembered("{} and {}", &[("0", "done"), ("1", "AAPL")], "done and AAPL", &mut memory);
        assert_eq!(german.tell("done and AAPL", &memory).unwrap(), "AAPL und fertig");
        assert_eq!(german.tell("  done\nAAPL", &memory).unwrap(), "  fertig\nAAPL");
        remembered("{} and\n  {n}", &[("0", "done"), ("n", "tasks")], "done and\n  tasks", &mut memory);
        assert_eq!(german.tell("first\ndone and\n  tasks\nlast", &memory).unwrap(), "first\nfertig and\n  Aufgaben\nlast");
        assert!(german.tell("something else", &memory).is_none());
    }

    #[test]
    fn a_frame_around_one_part_is_that_part_and_words_beat_frames() {
        let (german, mut memory) = (german(), Memory::default());
        remembered("{}{}", &[("0", "done"), ("1", "")], "done", &mut memory);
        assert_eq!(german.tell("done", &memory).unwrap(), "fertig");
        remembered("{} and {}", &[("0", "a"), ("1", "b")], "a and b", &mut memory);
        remembered("{} {}", &[("0", "a and"), ("1", "b")], "a and b", &mut memory);
        assert_eq!(german.tell("a and b", &memory).unwrap(), "b und a");
    }

    #[test]
    fn a_translation_with_other_places_is_not_used() {
        let german = german();
        assert_eq!(german.unusable, ["bad {x}"]);
        assert!(!german.knows("bad {x}") && german.knows("tasks"));
        assert!(Language::parse("version: 2\nlanguage: de\ntexts: {}\n").is_err());
    }

    #[test]
    fn keys_leave_formats_out_and_marks_surround_words_only() {
        assert_eq!(key_of("  {:<5} of {n:>3.2}: {{x}}\n"), "{} of {n}: {{x}}");
        assert_eq!(marked("{} of {n}: yes"), "{} \u{27e6}of\u{27e7} {n}\u{27e6}: yes\u{27e7}");
        assert_eq!(text!("{} of {n:>3}", 1, n = 2), "1 of   2");
        let width = 4;
        assert_eq!(text!("{:width$}|{0}", "a"), "a   |a");
    }

    #[test]
    fn memory_forgets_what_is_long_ago() {
        let mut memory = Memory::default();
        for i in 0..3 * Memory::GENERATION {
            remembered("{} and {}", &[("0", "a"), ("1", "b")], &format!("sentence {i}"), &mut memory);
        }
        assert!(memory.young.len() + memory.old.len() <= 2 * Memory::GENERATION);
        assert!(memory.find("sentence 0").is_none());
    }
}
