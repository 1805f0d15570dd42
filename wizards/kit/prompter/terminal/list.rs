//! A list to choose from: arrows or numbers, drawn again in place.

use super::keys::Key;
use crate::kit::report::wrapped;
use console::style;
use dialoguer::theme::{SimpleTheme, Theme};

pub struct List<'a> {
    labels: &'a [String],
    at: usize,
    /// Lines that the last drawing took; they are drawn over.
    drawn: usize,
}

impl<'a> List<'a> {
    pub fn new(labels: &'a [String], at: usize) -> Self {
        Self { labels, at: at.min(labels.len().saturating_sub(1)), drawn: 0 }
    }

    pub fn at(&self) -> usize {
        self.at
    }

    /// Something else was written since: do not draw over it.
    pub fn forget(&mut self) {
        self.drawn = 0;
    }

    pub fn steer(&mut self, key: &Key) {
        let last = self.labels.len().saturating_sub(1);
        match key {
            Key::Up | Key::Char('k') => self.at = if self.at == 0 { last } else { self.at - 1 },
            Key::Down | Key::Char('j') => self.at = if self.at == last { 0 } else { self.at + 1 },
            Key::Home => self.at = 0,
            Key::EndOfLine => self.at = last,
            Key::Char(c) => {
                let number = c.to_digit(10).and_then(|n| usize::try_from(n).ok()).and_then(|n| n.checked_sub(1));
                if let Some(i) = number.filter(|i| *i <= last) {
                    self.at = i;
                }
            }
            _ => {}
        }
    }

    pub fn draw(&mut self, width: usize) -> String {
        let mut out = self.over();
        let mut lines = 0;
        for (i, label) in self.labels.iter().enumerate() {
            let text = wrapped(&self.item(i, label), Some(width.saturating_sub(1)));
            lines += text.lines().count();
            let text = if i == self.at { style(text).cyan().for_stderr().to_string() } else { text };
            out.push_str(&format!("{text}\r\n"));
        }
        self.drawn = lines;
        out
    }

    /// The list is over: the choice stays on the screen.
    pub fn settled(&self, width: usize) -> String {
        let chosen = self.labels.get(self.at).map_or("", String::as_str);
        format!("{}{}\r\n", self.over(), wrapped(&text!("> {chosen}"), Some(width.saturating_sub(1))))
    }

    fn item(&self, i: usize, label: &str) -> String {
        let mut out = String::new();
        let numbered = text!("{}) {label}", i + 1);
        // The theme writes to a string: it cannot fail.
        let _ = SimpleTheme.format_select_prompt_item(&mut out, &numbered, i == self.at);
        out
    }

    fn over(&self) -> String {
        if self.drawn == 0 { String::new() } else { format!("\u{1b}[{}A\r\u{1b}[J", self.drawn) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_move_the_choice_and_the_drawing_stays_in_place() {
        let labels = ["one", "two", "three"].map(String::from);
        let mut list = List::new(&labels, 1);
        assert!(list.draw(80).contains("> 2) two"));
        list.steer(&Key::Down);
        list.steer(&Key::Down);
        assert_eq!(list.at(), 0);
        list.steer(&Key::Char('3'));
        list.steer(&Key::Char('9'));
        assert_eq!(list.at(), 2);
        assert!(list.draw(80).starts_with("\u{1b}[3A"));
        assert!(list.settled(80).ends_with("> three\r\n"));
    }

    #[test]
    fn long_labels_wrap_and_are_counted() {
        let labels = ["a long label that does not fit into so few columns".to_string(), "b".to_string()];
        let mut list = List::new(&labels, 0);
        let first = list.draw(24);
        assert!(first.lines().all(|l| console::measure_text_width(l) < 24), "{first}");
        assert!(list.draw(24).starts_with(&format!("\u{1b}[{}A", first.lines().count())));
    }
}
