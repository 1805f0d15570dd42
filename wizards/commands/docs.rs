//! The generated pages: one runbook per wizard, from its table of steps.

use crate::kit::{Verb, Wizard};
use data_layer::error::Result;
use std::path::Path;

/// The page of one wizard.
pub fn runbook(wizard: &Wizard) -> String {
    let mut out = format!("# {}\n\n{}\n\nGenerated from the wizard's table of steps by `trademl docs docs`.\n\n", wizard.name, wizard.purpose);
    out.push_str("| # | step | kind | belongs to | what | why |\n|---|---|---|---|---|---|\n");
    for (i, step) in wizard.steps.iter().enumerate() {
        let verb = match step.verb {
            Verb::Ask => "question",
            Verb::Act => "act",
            Verb::Check => "check",
            Verb::Review => "review",
            Verb::Gate => "gate",
            Verb::Send => "send",
            Verb::KeepRunning => "keeps running",
        };
        out.push_str(&format!("| {} | `{}` | {verb} | {} | {} | {} |\n", i + 1, step.id, step.scope.as_str(), step.title, step.why));
    }
    out
}

/// Write every page below `folder`.
#[allow(clippy::disallowed_methods)] // writes into the source tree, not onto a drive
pub fn write(folder: &Path) -> Result<()> {
    let runbooks = folder.join("runbooks");
    std::fs::create_dir_all(&runbooks)?;
    for wizard in crate::wizards() {
        std::fs::write(runbooks.join(format!("{}.md", wizard.name)), runbook(wizard))?;
    }
    Ok(())
}
