//! A line editor: keeps its text, scrolls sideways, hides secrets.

use super::keys::Key;

/// One line being edited.
pub struct Field {
    text: Vec<char>,
    at: usize,
    hidden: bool,
    /// The text stood there before anybody typed: the first letter takes its place, an arrow or Backspace begins to edit it.
    offered: bool,
}

const PROMPT: &str = "> ";

impl Field {
    pub fn new(initial: &str, hidden: bool) -> Self {
        let text: Vec<char> = initial.chars().collect();
        Self { at: text.len(), offered: !text.is_empty(), text, hidden }
    }

    /// The same with a text that was typed just now.
    pub fn begun(text: &str) -> Self {
        Self { offered: false, ..Self::new(text, false) }
    }

    /// Nobody has typed anything yet.
    pub fn is_untouched(&self) -> bool {
        self.offered || self.is_empty()
    }

    pub fn text(&self) -> String {
        self.text.iter().collect()
    }

    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    pub fn edit(&mut self, key: &Key) {
        if std::mem::take(&mut self.offered) && matches!(key, Key::Char(_) | Key::Paste(_)) {
            self.text.clear();
            self.at = 0;
        }
        match key {
            Key::Char(c) => self.insert(*c),
            // A line end inside a paste must not answer the next question.
            Key::Paste(text) => text.trim_matches(['\r', '\n']).chars().filter(|c| !c.is_control()).for_each(|c| self.insert(c)),
            Key::Backspace if self.at > 0 => {
                self.at -= 1;
                self.text.remove(self.at);
            }
            Key::Delete if self.at < self.text.len() => drop(self.text.remove(self.at)),
            Key::Left => self.at = self.at.saturating_sub(1),
            Key::Right => self.at = (self.at + 1).min(self.text.len()),
            Key::Home => self.at = 0,
            Key::EndOfLine => self.at = self.text.len(),
            Key::Clear => {
                self.text.clear();
                self.at = 0;
            }
            Key::ClearWord => {
                let kept = self.text[..self.at]
                    .iter()
                    .rposition(|c| !c.is_whitespace())
                    .map_or(0, |end| self.text[..end].iter().rposition(|c| c.is_whitespace()).map_or(0, |gap| gap + 1));
                self.text.drain(kept..self.at);
                self.at = kept;
            }
            _ => {}
        }
    }

    fn insert(&mut self, c: char) {
        self.text.insert(self.at, c);
        self.at += 1;
    }

    /// The bytes that show the field on its line and put the cursor where it belongs.
    pub fn draw(&self, width: usize) -> String {
        let room = width.saturating_sub(PROMPT.len() + 1).max(8);
        let cells: Vec<(char, usize)> = self.text.iter().map(|c| if self.hidden { ('*', 1) } else { (*c, cell(*c)) }).collect();
        let mut first = 0;
        while cells[first..self.at].iter().map(|(_, w)| w).sum::<usize>() > room {
            first += 1;
        }
        let (mut shown, mut used, mut before) = (String::new(), 0, 0);
        for (i, (c, w)) in cells.iter().enumerate().skip(first) {
            if used + w > room {
                break;
            }
            shown.push(*c);
            used += w;
            if i < self.at {
                before += w;
            }
        }
        let back = used - before;
        let home = if back > 0 { format!("\u{1b}[{back}D") } else { String::new() };
        format!("\r\u{1b}[K{PROMPT}{shown}{home}")
    }
}

/// Columns of a character (two for East Asian wide ones).
fn cell(c: char) -> usize {
    console::measure_text_width(c.encode_utf8(&mut [0; 4]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(keys: &[Key]) -> Field {
        let mut field = Field::new("", false);
        keys.iter().for_each(|k| field.edit(k));
        field
    }

    #[test]
    fn text_is_edited_in_place() {
        let mut field = Field::new("node one", false);
        field.edit(&Key::ClearWord);
        assert_eq!(field.text(), "node ");
        field.edit(&Key::Home);
        field.edit(&Key::Char('x'));
        field.edit(&Key::Delete);
        assert_eq!(field.text(), "xode ");
        field.edit(&Key::Clear);
        assert!(field.is_empty());
    }

    #[test]
    fn the_first_letter_takes_the_place_of_an_offered_text_and_an_arrow_edits_it() {
        let mut field = Field::new("100000", false);
        assert!(field.is_untouched());
        field.edit(&Key::Char('1'));
        field.edit(&Key::Char('0'));
        assert_eq!((field.text().as_str(), field.is_untouched()), ("10", false));
        for first in [Key::Left, Key::EndOfLine, Key::Backspace] {
            let mut field = Field::new("/tmp/drvx", false);
            field.edit(&first);
            field.edit(&Key::EndOfLine);
            field.edit(&Key::Char('y'));
            assert!(field.text().starts_with("/tmp/drv") && field.text().ends_with('y'), "{first:?}");
        }
        let mut word = Field::begun(":");
        word.edit(&Key::Char('s'));
        assert_eq!(word.text(), ":s");
    }

    #[test]
    fn a_paste_is_text_without_its_line_ends_and_controls() {
        let field = typed(&[Key::Paste("PK\u{3}ABC\r\n".into())]);
        assert_eq!(field.text(), "PKABC");
    }

    #[test]
    fn long_and_wide_text_stays_on_one_line_and_secrets_are_stars() {
        let mut field = Field::new(&"x".repeat(200), false);
        assert!(field.draw(60).chars().count() < 70);
        field.edit(&Key::Home);
        assert!(field.draw(60).ends_with("D"), "the cursor goes back to the beginning");
        let wide = Field::new(&"\u{4e2d}".repeat(60), false).draw(40);
        assert!(console::measure_text_width(&wide) <= 40, "{wide}");
        assert!(!Field::new("secret", true).draw(40).contains('s'));
    }
}
