//! The system services that this program wrote, if any.

use super::{Check, Exam, Family, Finding, quoted};
use crate::commands::service::{self as units, Unit};
use data_layer::error::Result;
use data_layer::root::SENTINEL;
use std::path::Path;

pub const FAMILY: Family =
    Family { name: term!("services"), checks: &[Check { id: "units", what: "installed units start what is there", rooted: false, look: installed }] };

fn installed(exam: &Exam) -> Result<Vec<Finding>> {
    let mut out = Vec::new();
    for unit in Unit::ALL {
        let place = units::place(&exam.host, *unit);
        let Ok(text) = std::fs::read_to_string(&place) else { continue };
        let seen = place.display().to_string();
        let root = units::root_of(&text);
        let again = match (&exam.root, &root) {
            (Some(root), _) => format!("trademl service install {}{}", unit.name(), format_args!(" --root {}", quoted(root.base()))),
            (None, _) => format!("trademl service remove {}", unit.name()),
        };
        out.push(match (units::program_of(&text), root) {
            (Some(program), _) if !Path::new(&program).exists() => Finding::fail(text!("{seen} starts {program}, which is not there"), again),
            (_, Some(root)) if !Path::new(&root).join(SENTINEL).exists() => Finding::fail(text!("{seen} works on {root}, which holds no {SENTINEL}"), again),
            (Some(_), Some(root)) => Finding::pass(text!("{seen} on {root}")),
            _ => Finding::fail(text!("{seen} names no program or no drive"), again),
        });
    }
    if out.is_empty() {
        out.push(Finding::pass("none installed; trademl service install node starts the node with the machine"));
    }
    Ok(out)
}
