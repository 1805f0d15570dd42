//! The wizard kit: five verbs over a journal on the drive, three front ends, one error shape.

pub mod act;
pub mod journal;
pub mod logs;
pub mod prompter;
pub mod question;
pub mod report;
pub mod review;
pub mod run;
pub mod session;
pub mod signals;
pub mod step;
#[cfg(test)]
mod tests;

use data_layer::error::{Error, Result, code};
use std::path::Path;

pub use act::Act;
pub use question::{Choice, Question, SecretSpec};
pub use review::{FileChange, Plan};
pub use run::{Gate, Outcome, Run};
pub use step::{Scope, Step, Verb, Wizard};

/// A text file that the user named on the command line; `-` is standard input.
pub fn read_text(path: &Path) -> Result<String> {
    if path == Path::new("-") {
        return Ok(std::io::read_to_string(std::io::stdin())?);
    }
    std::fs::read_to_string(path).map_err(|e| Error::new(code::USE_ARGUMENT, format!("{} cannot be read", path.display())).cause(e.to_string()))
}
