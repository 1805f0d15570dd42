//! The review screen: every answer, the exact diff of every file, the work to be seeded, before the first write.

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
    /// Plain sentences: budgets, time, space, how to undo.
    pub notes: Vec<String>,
}

impl Plan {
    /// The screen as text: ASCII, no colour needed to read it.
    pub fn render(&self, answers: &[(String, String)]) -> String {
        let mut out = String::new();
        // Long things first: on a small screen what a decision needs stands right above the choices.
        for file in &self.files {
            let verb = if file.before.is_some() { "changes" } else { "new file" };
            out.push_str(&format!("  {verb}: {}\n", file.path));
            out.push_str(&diff(file.before.as_deref().unwrap_or(""), &file.after));
        }
        let width = answers.iter().map(|(label, _)| label.chars().count()).max().unwrap_or(0);
        for (label, value) in answers {
            out.push_str(&format!("  {label:width$}  {value}\n"));
        }
        for (what, count) in &self.work {
            out.push_str(&format!("  will be queued: {count} x {what}\n"));
        }
        for note in &self.notes {
            out.push_str(&format!("  - {note}\n"));
        }
        out
    }
}

/// The changed lines with `+` and `-`, at most 40 of them (the rest is counted).
pub fn diff(before: &str, after: &str) -> String {
    const SHOWN: usize = 40;
    let changes: Vec<String> = similar::TextDiff::from_lines(before, after)
        .iter_all_changes()
        .filter_map(|change| match change.tag() {
            similar::ChangeTag::Delete => Some(format!("    - {}", clipped(change.value()))),
            similar::ChangeTag::Insert => Some(format!("    + {}", clipped(change.value()))),
            similar::ChangeTag::Equal => None,
        })
        .collect();
    let mut out = changes.iter().take(SHOWN).fold(String::new(), |all, line| all + line + "\n");
    if changes.len() > SHOWN {
        out.push_str(&format!("    ... and {} more lines\n", changes.len() - SHOWN));
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
    if length <= WIDE { line.to_string() } else { format!("{} ... ({} more characters)", line.chars().take(WIDE).collect::<String>(), length - WIDE) }
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
}
