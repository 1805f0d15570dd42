//! The generated pages: one runbook per wizard, from its table of steps, and the schema of its answers file.

use crate::kit::question::Kind;
use crate::kit::{Asks, Question, Verb, Wizard, catalogue};
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
    out.push_str(&questions(wizard));
    out
}

/// What is asked, for whoever writes an answers file.
fn questions(wizard: &Wizard) -> String {
    let mut rows = String::new();
    for step in wizard.steps {
        if let Asks::Question(make) = step.asks {
            let q = make();
            let default = match (&q.default, q.no_default) {
                (Some((value, evidence)), _) => format!("`{}` ({evidence})", value.as_str().map_or_else(|| value.to_string(), str::to_string)),
                (None, reason) => format!("none: {}", reason.unwrap_or_default()),
            };
            let env = q.env.map_or(String::new(), |name| format!("; also `{name}`"));
            rows.push_str(&format!("| `{}` | {}{env} | {default} | {} {} |\n", q.id, accepted(&q), q.prompt, q.help));
        }
        for key in step.keys() {
            rows.push_str(&format!(
                "| `{}` | a secret; also `{}` | none: the stored one is kept | {}. Without it: {}. |\n",
                key.id(),
                key.var,
                key.label,
                key.without
            ));
        }
        if let Asks::Token(form) = step.asks {
            rows.push_str(&format!("| `confirm:` | `{form}` | none, and `--yes` does not give it | {} |\n", step.why));
        }
    }
    format!("\n## Questions\n\nAs JSON Schema: `trademl {} --questions`.\n\n| id | answer | default | question |\n|---|---|---|---|\n{rows}", wizard.name)
}

fn accepted(question: &Question) -> String {
    match &question.kind {
        Kind::Text => "text".into(),
        Kind::Path => "a path".into(),
        Kind::Confirm => "`true`, `false`".into(),
        Kind::Number { min, max } => format!("{min} to {max}"),
        Kind::Several(choices) => format!("one or more of {}", choices.iter().map(|c| format!("`{}`", c.value)).collect::<Vec<_>>().join(", ")),
        Kind::Select(choices) => choices.iter().map(|c| format!("`{}`", c.value)).collect::<Vec<_>>().join(", "),
    }
}

/// Every generated file of this module: path below `docs/`, contents.
pub fn pages() -> Vec<(String, String)> {
    let mut out = Vec::new();
    for wizard in crate::wizards() {
        out.push((format!("runbooks/{}.md", wizard.name), runbook(wizard)));
        out.push((format!("reference/answers/{}.schema.json", wizard.name), format!("{:#}\n", catalogue::schema(wizard))));
    }
    out
}

/// Write every page below `folder`.
#[allow(clippy::disallowed_methods)] // writes into the source tree, not onto a drive
pub fn write(folder: &Path) -> Result<()> {
    for (path, text) in pages() {
        let place = folder.join(path);
        if let Some(parent) = place.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(place, text)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn runbooks_and_schemas_are_up_to_date() {
        let docs = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
        for (path, text) in super::pages() {
            let place = docs.join(&path);
            if std::env::var_os("TRADEML_REGENERATE_DOCS").is_some() {
                super::write(&docs).unwrap();
            }
            assert!(std::fs::read_to_string(&place).is_ok_and(|t| t == text), "docs/{path} is out of date: make docs");
        }
    }
}
