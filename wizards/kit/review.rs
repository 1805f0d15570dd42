//! The review screen: every answer, the exact diff of every file, the work to be seeded, before the first write.
//!
//! It is told in two lengths: whole, and in short for a screen that the whole does not fit.

use data_layer::words::tell;

/// One file that will change. `path` is how the user knows it (relative to the drive, or `~/.config/trademl/.env`).
pub struct FileChange {
    pub path: String,
    /// `None` = the file does not exist yet.
    pub before: Option<String>,
    pub after: String,
}

/// What a wizard is about to do.
#[derive(Default)]
pub struct Plan {
    pub files: Vec<FileChange>,
    /// "BOOTSTRAP equities_eod", 600
    pub work: Vec<(String, u64)>,
    /// Plain sentences that a decision needs: time, space, how to undo.
    pub notes: Vec<String>,
    /// Sentences that can be left out of the short form.
    pub asides: Vec<String>,
}

impl Plan {
    /// The screen as text: ASCII, no colour needed to read it.
    pub fn render(&self, answers: &[(String, String)]) -> String {
        let mut out = String::new();
        // Long things first: on a small screen what a decision needs stands right above the choices.
        for file in &self.files {
            let verb = if file.before.is_some() { term!("changes") } else { term!("new file") };
            out.push_str(&text!("  {verb}: {}\n", file.path));
            out.push_str(&diff(file.before.as_deref().unwrap_or(""), &file.after));
        }
        let answers = told(answers);
        let width = answers.iter().map(|(label, _)| label.chars().count()).max().unwrap_or(0);
        for (label, value) in &answers {
            out.push_str(&text!("  {label:width$}  {value}\n"));
        }
        for (what, count) in &self.work {
            out.push_str(&text!("  to do: {count} x {what}\n"));
        }
        for note in self.sentences() {
            out.push_str(&text!("  - {note}\n"));
        }
        out
    }

    /// The same in short: files and work are counted, answers are one line each. `width` is the screen's, in columns.
    pub fn brief(&self, answers: &[(String, String)], width: usize) -> String {
        let mut out = String::new();
        for file in &self.files {
            let (written, gone) = counts(file.before.as_deref().unwrap_or(""), &file.after);
            match file.before {
                Some(_) => out.push_str(&text!("  changes: {} (+{written} -{gone} lines)\n", file.path)),
                None => out.push_str(&text!("  new file: {} ({written} lines)\n", file.path)),
            }
        }
        let answers = told(answers);
        let column = answers.iter().map(|(label, _)| label.chars().count()).max().unwrap_or(0);
        for (label, value) in &answers {
            out.push_str(&text!("  {label:column$}  {}\n", shortened(value, width.saturating_sub(column + 5))));
        }
        let queued: u64 = self.work.iter().map(|(_, count)| count).sum();
        if queued > 0 {
            out.push_str(&text!("  to do: {queued} tasks of {} kinds\n", self.work.len()));
        }
        for note in &self.notes {
            out.push_str(&text!("  - {note}\n"));
        }
        out
    }

    /// Everything that is said, what a decision needs first.
    pub fn sentences(&self) -> impl Iterator<Item = &String> {
        self.notes.iter().chain(&self.asides)
    }
}

/// Labels and values in the person's language, before they are put in columns.
fn told(answers: &[(String, String)]) -> Vec<(String, String)> {
    answers.iter().map(|(label, value)| (tell(label).into_owned(), tell(value).into_owned())).collect()
}

/// Lines that come and lines that go.
fn counts(before: &str, after: &str) -> (usize, usize) {
    let changes = similar::TextDiff::from_lines(before, after);
    let of = |tag| changes.iter_all_changes().filter(|change| change.tag() == tag).count();
    (of(similar::ChangeTag::Insert), of(similar::ChangeTag::Delete))
}

/// At most `width` characters, with dots where something is left out.
fn shortened(value: &str, width: usize) -> String {
    if value.chars().count() <= width { value.to_string() } else { value.chars().take(width.saturating_sub(4)).collect::<String>() + " ..." }
}

/// The changed lines with `+` and `-`, at most 40 of them (the rest is counted).
pub fn diff(before: &str, after: &str) -> String {
    const SHOWN: usize = 40;
    let changes: Vec<String> = similar::TextDiff::from_lines(before, after)
        .iter_all_changes()
        .filter_map(|change| match change.tag() {
            similar::ChangeTag::Delete => Some(text!("    - {}", clipped(change.value()))),
            similar::ChangeTag::Insert => Some(text!("    + {}", clipped(change.value()))),
            similar::ChangeTag::Equal => None,
        })
        .collect();
    let mut out = changes.iter().take(SHOWN).fold(String::new(), |all, line| all + line + "\n");
    if changes.len() > SHOWN {
        out.push_str(&text!("    ... and {} more lines\n", changes.len() - SHOWN));
    }
    if changes.is_empty() {
        out.push_str("    (unchanged)\n");
    }
    out
}

/// A line that fits a wide screen; what is cut off is counted.
fn clipped(line: &str) -> String {
    const WIDE: usize = 100;
    let line = line.trim_end();
    let length = line.chars().count();
    if length <= WIDE { line.to_string() } else { text!("{} ... ({} more characters)", line.chars().take(WIDE).collect::<String>(), length - WIDE) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_diff_shows_only_what_changes() {
        let text = diff("A=1\nB=2\n", "A=1\nB=3\n");
        assert_eq!(text, "    - B=2\n    + B=3\n");
        assert!(diff("x\n", "x\n").contains("unchanged"));
        assert!(diff("", &"l\n".repeat(100)).contains("60 more lines"));
    }

    #[test]
    fn the_short_form_counts_what_the_long_one_shows() {
        let file = FileChange { path: "a.yml".into(), before: Some("A=1\nB=2\n".into()), after: "A=1\nB=3\nC=4\n".into() };
        let new = FileChange { path: "b.yml".into(), before: None, after: "x\n".repeat(9) };
        let plan =
            Plan { files: vec![file, new], work: vec![("one".into(), 600), ("two".into(), 4)], notes: vec!["undo".into()], asides: vec!["weekly".into()] };
        let answers = [("Keys".to_string(), "k ".repeat(100))];
        let brief = plan.brief(&answers, 80);
        for said in ["changes: a.yml (+2 -1 lines)", "new file: b.yml (9 lines)", "604 tasks of 2 kinds", "- undo"] {
            assert!(brief.contains(said), "{said}: {brief}");
        }
        assert!(!brief.contains("weekly") && brief.lines().all(|l| l.chars().count() < 80), "{brief}");
        assert!(plan.render(&answers).contains("weekly"));
    }
}
