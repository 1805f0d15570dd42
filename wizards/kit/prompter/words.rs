//! The words that work on every question of every front end, and what a paste leaves around a value.

/// A word with a colon, or the key that stands for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    Back,
    Save,
    Help,
    Steps,
}

/// What a typed line means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    Word(Word),
    /// Begins with a colon and is no word of ours.
    Unknown(String),
    Text(String),
}

/// Said when a word is not known.
pub const KNOWN: &str = "the words are :back, :help, :steps and :save";

/// Read a line: a word, or a cleaned text.
pub fn read(line: &str) -> Line {
    let text = clean_paste(line);
    match text.as_str() {
        ":back" | ":b" | "\u{1b}" | "\u{1b}[Z" => Line::Word(Word::Back),
        ":save" | ":pause" | ":quit" | ":q" => Line::Word(Word::Save),
        ":help" | ":h" | "?" => Line::Word(Word::Help),
        ":steps" | ":s" => Line::Word(Word::Steps),
        other if other.starts_with(':') => Line::Unknown(text),
        _ => Line::Text(text),
    }
}

/// What a paste leaves around a value: bracketed-paste marks, line ends, quotes, blanks, a byte-order mark.
pub fn clean_paste(line: &str) -> String {
    let line = line.replace("\u{1b}[200~", "").replace("\u{1b}[201~", "");
    let line = line.trim_matches(|c: char| c.is_whitespace() || c == '\u{feff}');
    let unquoted = line.strip_prefix('"').and_then(|l| l.strip_suffix('"')).or_else(|| line.strip_prefix('\'').and_then(|l| l.strip_suffix('\'')));
    unquoted.unwrap_or(line).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bracketed_paste_with_quotes_and_carriage_return_is_cleaned() {
        assert_eq!(clean_paste("\u{1b}[200~\"PKABC\"\u{1b}[201~\r\n"), "PKABC");
        assert_eq!(clean_paste("  /mnt/my ssd \n"), "/mnt/my ssd");
    }

    #[test]
    fn words_are_told_from_answers() {
        assert_eq!(read(" :back \n"), Line::Word(Word::Back));
        assert_eq!(read("?"), Line::Word(Word::Help));
        assert_eq!(read(":steps\r"), Line::Word(Word::Steps));
        assert_eq!(read(":bakc"), Line::Unknown(":bakc".into()));
        assert_eq!(read("02:00"), Line::Text("02:00".into()));
    }
}
