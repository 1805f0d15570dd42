//! Pages under `docs/` that are made from tables in the code, and the test helper that keeps them equal.

mod causes;

use crate::error::{Code, Exit, code};

/// `docs/errors/<ID>.md`: one page per code.
pub fn error_page(code: &Code) -> String {
    let (label, advice) = exit_advice(code.exit);
    let (leads, first) = causes::of(code);
    format!(
        "# {id}\n\n{title}.\n\n- Exit status: {status} ({label})\n- Family: {family}\n\n**What leads here.** {leads}\n\n**Look first.** {first}\n\n{advice}\n\n\
         [All codes](index.md) · [Exit statuses](../exit-codes.md)\n",
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
        Exit::Usage => ("usage", "Correct the command, the answers or the configuration, and run it again; what was finished before stays finished."),
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

    /// Numbers of failures (`lesson_017_…`) with the names of the tests that carry them.
    fn lessons() -> std::collections::BTreeMap<u32, std::collections::BTreeSet<String>> {
        let top = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let mut stack: Vec<_> = ["data_layer/src", "src", "wizards", "tests"].iter().map(|f| top.join(f)).collect();
        let mut out = std::collections::BTreeMap::new();
        while let Some(dir) = stack.pop() {
            for path in std::fs::read_dir(dir).into_iter().flatten().flatten().map(|e| e.path()) {
                if path.is_dir() {
                    stack.push(path);
                } else if path.extension().is_some_and(|e| e == "rs") {
                    let text = std::fs::read_to_string(path).unwrap();
                    for name in text.split("fn lesson_").skip(1) {
                        let name: String = name.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                        let Ok(number) = name.chars().take(3).collect::<String>().parse() else { continue };
                        out.entry(number).or_insert_with(std::collections::BTreeSet::new).insert(format!("lesson_{name}"));
                    }
                }
            }
        }
        out
    }

    #[test]
    fn failures_page_is_up_to_date() {
        let place = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("docs/failures.md");
        let page = std::fs::read_to_string(place).unwrap();
        let lessons = lessons();
        let mut numbers = Vec::new();
        let wanted: Vec<String> = page
            .lines()
            .map(|line| {
                let cells: Vec<&str> = line.split(" | ").collect();
                let Some(number) = cells[0].trim_start_matches("| ").parse::<u32>().ok().filter(|_| cells.len() == 3) else { return line.to_string() };
                numbers.push(number);
                let tests = lessons.get(&number).map_or("-".to_string(), |names| names.iter().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(" "));
                format!("{} | {} | {tests} |", cells[0], cells[1])
            })
            .collect();
        assert_eq!(numbers, (1..=126).collect::<Vec<u32>>());
        same_or_rewrite("docs/failures.md", &(wanted.join("\n") + "\n"));
    }

    #[test]
    fn error_ids_are_unique() {
        let ids: std::collections::BTreeSet<&str> = code::ALL.iter().map(|c| c.id).collect();
        assert_eq!(ids.len(), code::ALL.len());
    }
}
