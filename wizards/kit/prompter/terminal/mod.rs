//! The face of a capable terminal: our own fields and lists, so that every key works on every question.
//!
//! `dialoguer` draws the items of a list; its own prompts cannot go back by Shift-Tab, explain themselves, take a word with
//! a colon, or survive Ctrl-C with the cursor shown.

mod field;
mod keys;
mod list;

use super::Place;
use super::talk::{Attention, Face, Input, PAUSED, Tone, typed};
use super::words::Word;
use crate::kit::report::wrapped;
use crate::kit::signals;
use console::{Term, style};
use data_layer::error::Result;
use data_layer::words::tell;
use field::Field;
use keys::{Key, Keyboard};
use list::List;

/// A person at a capable terminal. The conversation goes to standard error.
pub struct Terminal {
    term: Term,
    keys: Keyboard,
}

impl Default for Terminal {
    fn default() -> Self {
        Self { term: Term::stderr(), keys: Keyboard::default() }
    }
}

impl Terminal {
    fn width(&self) -> usize {
        usize::from(self.term.size().1).max(20)
    }

    /// `None` = go on with the question.
    fn pause_menu(&mut self) -> Result<Option<Word>> {
        self.say(Tone::Plain, PAUSED)?;
        loop {
            match self.keys.next()? {
                Key::Char('1') | Key::Enter => return Ok(None),
                Key::Char('2') | Key::Escape | Key::BackTab => return Ok(Some(Word::Back)),
                Key::Char('3') => return Ok(Some(Word::Save)),
                Key::Interrupt | Key::End => return Err(signals::interrupted()),
                Key::Suspend => self.keys.suspend(),
                _ => {}
            }
        }
    }

    /// A colon was typed where a list is shown: read the rest of the word.
    fn word(&mut self) -> Result<Option<Input>> {
        let mut field = Field::begun(":");
        loop {
            self.term.write_str(&field.draw(self.width()))?;
            match self.keys.next()? {
                Key::Enter => {
                    self.term.write_line("")?;
                    return typed(self, &field.text());
                }
                Key::Escape | Key::Interrupt | Key::End => {
                    self.term.write_line("")?;
                    return Ok(None);
                }
                key => field.edit(&key),
            }
        }
    }
}

impl Face for Terminal {
    fn attend(&mut self) -> Attention {
        Attention::of(Some(self.keys.begin()))
    }

    fn screen(&self) -> Option<(usize, usize)> {
        Some((self.width(), usize::from(self.term.size().0)))
    }

    fn say(&mut self, tone: Tone, text: &str) -> Result<()> {
        let text = wrapped(&tell(text), Some(self.width()));
        let text = match tone {
            Tone::Plain => text,
            Tone::Faint => style(text).dim().for_stderr().to_string(),
            Tone::Wrong => style(text).red().for_stderr().to_string(),
        };
        Ok(self.term.write_line(&text)?)
    }

    fn heading(&mut self, place: &Place, prompt: &str) -> Result<()> {
        let number = style(format!("[{}/{}]", place.n, place.of)).cyan().for_stderr();
        let text = wrapped(&tell(prompt), Some(self.width().saturating_sub(8)));
        Ok(self.term.write_line(&text!("{number} {}", style(text).bold().for_stderr()))?)
    }

    fn line(&mut self, initial: &str, hidden: bool) -> Result<Input> {
        let mut field = Field::new(initial, hidden);
        loop {
            self.term.write_str(&field.draw(self.width()))?;
            let key = self.keys.next()?;
            let leave = match &key {
                Key::Enter => {
                    self.term.write_line("")?;
                    match typed(self, &field.text())? {
                        Some(input) => return Ok(input),
                        None => {
                            field.edit(&Key::Clear);
                            continue;
                        }
                    }
                }
                Key::Escape | Key::BackTab => Some(Word::Back),
                Key::Char('?') if field.is_untouched() => Some(Word::Help),
                Key::Interrupt => {
                    self.term.write_line("")?;
                    match self.pause_menu()? {
                        Some(word) => return Ok(Input::Word(word, field.text())),
                        None => continue,
                    }
                }
                Key::Suspend => {
                    self.keys.suspend();
                    None
                }
                Key::End if field.is_empty() => {
                    self.term.write_line("")?;
                    return Ok(Input::End);
                }
                _ => None,
            };
            if let Some(word) = leave {
                self.term.write_line("")?;
                let draft = if hidden { String::new() } else { field.text() };
                return Ok(Input::Word(word, draft));
            }
            field.edit(&key);
        }
    }

    fn pick(&mut self, labels: &[String], at: usize) -> Result<Input> {
        let labels: Vec<String> = labels.iter().map(|label| tell(label).into_owned()).collect();
        let mut list = List::new(&labels, at);
        self.term.write_str(&list.draw(self.width()))?;
        loop {
            let key = self.keys.next()?;
            let word = match &key {
                Key::Enter => {
                    self.term.write_str(&list.settled(self.width()))?;
                    return Ok(Input::Pick(list.at()));
                }
                Key::Escape | Key::BackTab => Some(Word::Back),
                Key::Char('?') => Some(Word::Help),
                Key::End => return Ok(Input::End),
                _ => None,
            };
            if let Some(word) = word {
                // Where the choice stood: help must not move it.
                return Ok(Input::Word(word, list.at().to_string()));
            }
            match &key {
                Key::Interrupt => {
                    if let Some(word) = self.pause_menu()? {
                        return Ok(Input::Word(word, list.at().to_string()));
                    }
                    list.forget();
                }
                Key::Char(':') => {
                    match self.word()? {
                        Some(Input::Word(word, _)) => return Ok(Input::Word(word, list.at().to_string())),
                        Some(input) => return Ok(input),
                        None => {}
                    }
                    list.forget();
                }
                Key::Suspend => {
                    self.keys.suspend();
                    list.forget();
                }
                Key::Resized => list.forget(),
                key => list.steer(key),
            }
            self.term.write_str(&list.draw(self.width()))?;
        }
    }
}
