//! The wizard kit: five verbs over a journal on the drive, three front ends, one error shape.

pub mod act;
pub mod catalogue;
pub mod journal;
pub mod logs;
pub mod notify;
pub mod paths;
pub mod prompter;
pub mod question;
pub mod recover;
pub mod report;
pub mod review;
pub mod run;
pub mod session;
pub mod signals;
pub mod step;
pub mod undo;
#[cfg(test)]
mod tests;

use data_layer::error::{Error, Result, code};
use std::path::Path;

pub use act::Act;
pub use question::{Choice, Question, SecretSpec};
pub use review::{FileChange, Plan};
pub use run::{Gate, KeyRing, Outcome, Run, Tried};
pub use step::{Asks, Scope, Step, Verb, Wizard};

/// A text file that the user named on the command line; `-` is standard input.
pub fn read_text(path: &Path) -> Result<String> {
    if path == Path::new("-") {
        return Ok(std::io::read_to_string(std::io::stdin())?);
    }
    std::fs::read_to_string(path).map_err(|e| Error::new(code::USE_ARGUMENT, text!("{} cannot be read", path.display())).cause(e.to_string()))
}

/// A share as a percentage that is never rounded up: 119,725 of 119,729 is 99.99 %, not 100.
pub fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "0.00 %".into();
    }
    let hundredths = u128::from(part) * 10_000 / u128::from(whole);
    format!("{}.{:02} %", hundredths / 100, hundredths % 100)
}
