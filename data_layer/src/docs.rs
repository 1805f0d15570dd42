//! Pages under `docs/` that are made from tables in the code, and the test helper that keeps them equal.

use crate::error::{Code, Exit, code};

/// `docs/errors/<ID>.md`: one page per code.
pub fn error_page(code: &Code) -> String {
    let (label, advice) = exit_advice(code.exit);
    format!(
        "# {id}\n\n{title}.\n\n- Exit status: {status} ({label})\n- Family: {family}\n\n{advice}\n\n\
         The error on the screen says what happened, why, what was found, and the command that mends it; the log whose path \
         it prints holds the steps before it. [All codes](index.md) · [Exit statuses](../exit-codes.md)\n",
        id = code.id,
        title = code.title,
        status = code.exit.status(),
        family = family(code.id),
    )
}

/// `docs/errors/index.md`: the catalogue.
pub fn error_index() -> String {
    let mut out = String::from(
        "# Error codes\n\nGenerated from `data_layer::error::code`; a test keeps these pages equal to the catalogue.\n\n| Code | Exit | Meaning |\n|---|---|---|\n",
    );
    for code in code::ALL {
        out.push_str(&format!("| [{id}]({id}.md) | {} | {} |\n", code.exit.status(), code.title, id = code.id));
    }
    out
}

fn family(id: &str) -> &'static str {
    match id.split('-').nth(1) {
        Some("USE") => "how the program was called",
        Some("CFG") => "configuration",
        Some("SSD") => "the drive and the data root",
        Some("HOST") => "this machine",
        Some("NET") => "vendors and the network",
        Some("KEY") => "keys and plans",
        Some("GATE") => "gates that refuse",
        Some("DATA") => "data that is missing or disagrees",
        Some("QC") => "quality of stored data",
        Some("ML") => "models and statistics",
        Some("ORD") => "orders and accounts",
        Some("SVC") => "the signal service",
        _ => "a defect of the program",
    }
}

fn exit_advice(exit: Exit) -> (&'static str, &'static str) {
    match exit {
        Exit::Done => ("done", "Nothing to do."),
        Exit::Usage => ("usage", "Nothing was changed. Correct the command, the answers or the configuration, and run it again."),
        Exit::Refused => {
            ("refused by a gate", "A rule was not met, so the program stopped on purpose. Waiting or repeating does not help; the printed command does.")
        }
        Exit::Credentials => ("credentials", "Enter or correct the key with `trademl pi-data-node`; finished steps are not repeated."),
        Exit::Paused => ("paused", "Everything so far is recorded. Run the same command to continue."),
        Exit::Host => (
            "host or drive",
            "Nothing that was acknowledged is lost. Mend the machine or the drive as printed, then run the same command; `trademl fsck` checks the drive.",
        ),
        Exit::Held => ("held elsewhere", "Another process or machine is using this. Stop it, or wait for its heartbeat to age."),
        Exit::Incompatible => ("incompatible", "Use the version that wrote the drive, or a newer one."),
        Exit::Unreachable => ("unreachable", "Try again when the other side is back; work already done is kept."),
        Exit::Bug => ("bug", "Please report it with the log. The run can be resumed."),
        Exit::Interrupted => ("interrupted", "Everything so far is recorded. Run the same command to continue."),
        Exit::Terminated => ("terminated", "Everything so far is recorded. Run the same command to continue."),
    }
}

/// Compare a page with what the code says. With `TRADEML_REGENERATE_DOCS=1` it is rewritten in place of failing.
#[cfg(test)]
pub(crate) fn same_or_rewrite(path: &str, wanted: &str) {
    let place = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join(path);
    if std::fs::read_to_string(&place).is_ok_and(|have| have == wanted) {
        return;
    }
    if std::env::var_os("TRADEML_REGENERATE_DOCS").is_some() {
        std::fs::create_dir_all(place.parent().unwrap()).unwrap();
        std::fs::write(&place, wanted).unwrap();
        return;
    }
    panic!("{path} is out of date: run TRADEML_REGENERATE_DOCS=1 cargo test --workspace --lib up_to_date");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_pages_are_up_to_date() {
        same_or_rewrite("docs/errors/index.md", &error_index());
        for code in code::ALL {
            same_or_rewrite(&format!("docs/errors/{}.md", code.id), &error_page(code));
        }
    }

    #[test]
    fn error_ids_are_unique() {
        let ids: std::collections::BTreeSet<&str> = code::ALL.iter().map(|c| c.id).collect();
        assert_eq!(ids.len(), code::ALL.len());
    }
}
