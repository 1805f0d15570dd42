//! One error type for the whole program: what happened, why, what was found, and the command that fixes it.
//!
//! The screen and the JSON form are rendered from this one struct (see `docs/errors/`). An [`Error`] carries a
//! stable [`Code`]; a code decides the process's exit status.

use std::fmt;

/// The documented exit statuses of `trademl` (`docs/exit-codes.md`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Exit {
    Done = 0,
    Usage = 2,
    Refused = 3,
    Credentials = 4,
    Paused = 5,
    Host = 6,
    Held = 7,
    Incompatible = 8,
    Unreachable = 9,
    Bug = 70,
    Interrupted = 130,
    Terminated = 143,
}

impl Exit {
    /// The number handed to the operating system.
    pub fn status(self) -> u8 {
        self as u8
    }
}

/// A stable identifier such as `TML-SSD-003`, with the exit status it leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code {
    pub id: &'static str,
    pub exit: Exit,
    /// One line for `docs/errors/`.
    pub title: &'static str,
}

macro_rules! codes {
    ($($name:ident = $id:literal, $exit:ident, $title:literal;)*) => {
        $(#[doc = $title] pub const $name: Code = Code { id: $id, exit: Exit::$exit, title: $title };)*
        /// Every code there is, for the documentation and the test that each has a page.
        pub const ALL: &[Code] = &[$($name),*];
    };
}

/// The catalogue. A new refusal gets a new line here and a page under `docs/errors/`.
pub mod code {
    use super::{Code, Exit};
    codes! {
        USE_ARGUMENT = "TML-USE-001", Usage, "A command-line argument is missing or wrong";
        USE_ANSWER_MISSING = "TML-USE-002", Usage, "A question has no answer and nobody to ask";
        USE_ANSWER_INVALID = "TML-USE-003", Usage, "An answer does not pass the question's validation";
        USE_ANSWER_UNUSED = "TML-USE-004", Usage, "An answers file holds keys that no question uses";
        USE_NO_RUN = "TML-USE-005", Usage, "No such wizard run on this drive";
        USE_PAUSED = "TML-USE-006", Paused, "The run was paused and can be resumed";
        USE_INTERRUPTED = "TML-USE-007", Interrupted, "The run was interrupted and can be resumed";
        USE_TERMINATED = "TML-USE-008", Terminated, "The run was asked to stop and can be resumed";
        CFG_PARSE = "TML-CFG-001", Usage, "A configuration file cannot be parsed";
        CFG_UNKNOWN_KEY = "TML-CFG-002", Usage, "A configuration file has an unknown key or value";
        CFG_VALUE = "TML-CFG-003", Usage, "A configured value is out of range";
        CFG_STAGE_DAMAGED = "TML-CFG-004", Host, "control/stage.yml does not match its own digest";
        CFG_DATASET_MIXED = "TML-CFG-005", Refused, "Data of one world was offered to a root of another";
        SSD_NO_ROOT = "TML-SSD-001", Host, "There is no data root here";
        SSD_IS_CHECKOUT = "TML-SSD-002", Host, "A source checkout cannot be a data root";
        SSD_NOT_MOUNTED = "TML-SSD-003", Host, "The drive is not mounted";
        SSD_FILESYSTEM = "TML-SSD-004", Host, "The filesystem gives no durability guarantees";
        SSD_READ_ONLY = "TML-SSD-005", Host, "The drive is read-only";
        SSD_FULL = "TML-SSD-006", Host, "The drive is full";
        SSD_IO = "TML-SSD-007", Host, "The drive reported an input/output error";
        SSD_PATH = "TML-SSD-008", Host, "A path is not acceptable on the drive";
        SSD_DAMAGED = "TML-SSD-009", Host, "A file on the drive is damaged";
        SSD_HELD = "TML-SSD-010", Held, "The drive or the wizard is in use elsewhere";
        SSD_TAKEN_OVER = "TML-SSD-011", Held, "Another process has taken this drive over";
        SSD_NEWER = "TML-SSD-012", Incompatible, "The drive was written by a newer TradeML";
        SSD_CHAIN = "TML-SSD-013", Host, "The journal's hash chain is broken";
        SSD_DATABASE = "TML-SSD-014", Host, "A control database cannot be read or written";
        HOST_CLOCK = "TML-HOST-001", Host, "The clock cannot be trusted";
        HOST_TERMINAL = "TML-HOST-002", Usage, "There is no terminal to ask on";
        HOST_SYSTEM = "TML-HOST-003", Host, "The operating system refused a call";
        NET_UNREACHABLE = "TML-NET-001", Unreachable, "A vendor or broker cannot be reached";
        NET_RATE_LIMITED = "TML-NET-002", Unreachable, "A vendor's rate limit or our own budget is exhausted";
        NET_MALFORMED = "TML-NET-003", Unreachable, "A vendor answered something that is not its format";
        NET_FORBIDDEN_HOST = "TML-NET-004", Usage, "Plain HTTP is allowed to loopback only";
        KEY_MISSING = "TML-KEY-001", Credentials, "A key is missing";
        KEY_REJECTED = "TML-KEY-002", Credentials, "A vendor rejected the key";
        KEY_FILE_MODE = "TML-KEY-003", Credentials, "The secrets file cannot be kept private";
        KEY_NOT_ENTITLED = "TML-KEY-004", Credentials, "The key's plan does not include this data";
        GATE_REFUSED = "TML-GATE-001", Refused, "A confirmation gate was not passed";
        GATE_GREEN = "TML-GATE-002", Refused, "The data window is not GREEN enough";
        GATE_LEAK = "TML-GATE-003", Refused, "The leak detector found look-ahead";
        GATE_HURDLES = "TML-GATE-004", Refused, "The model does not meet the go/no-go bars";
        GATE_KILL_SWITCH = "TML-GATE-005", Refused, "The kill switch is engaged";
        DATA_MISSING = "TML-DATA-001", Refused, "Data that is needed is not on the drive";
        DATA_CONFLICT = "TML-DATA-002", Refused, "Two records of the same fact disagree";
        QC_FAILED = "TML-QC-001", Refused, "Stored data failed its quality check";
        ML_UNDEFINED = "TML-ML-001", Refused, "A statistic is undefined for this input";
        ML_TRAIN = "TML-ML-002", Bug, "The learner failed";
        ML_ARTIFACT = "TML-ML-003", Refused, "A model artifact does not match its recorded digest or schema";
        ML_NO_CHAMPION = "TML-ML-004", Refused, "The registry has no champion for this strategy";
        ORD_REFUSED = "TML-ORD-001", Refused, "An order or an account was refused";
        ORD_UNKNOWN = "TML-ORD-002", Unreachable, "The outcome of an order is not known yet";
        ORD_HALT = "TML-ORD-003", Refused, "The same order id came back with another payload";
        ORD_LIVE = "TML-ORD-004", Refused, "A live account cannot be used here";
        SVC_BIND = "TML-SVC-001", Usage, "The service cannot listen on that address";
        SVC_REQUEST = "TML-SVC-002", Usage, "A request to the service is not valid";
        BUG = "TML-BUG-001", Bug, "A bug in TradeML";
        BUG_CRASH_POINT = "TML-BUG-002", Bug, "A test asked for a crash here";
    }
}

/// What went wrong, in the words a user can act on.
#[derive(Clone)]
pub struct Error(Box<Body>);

/// The fields of an [`Error`], public for rendering.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body {
    pub code: Code,
    pub what: String,
    pub cause: Option<String>,
    pub found: Option<String>,
    pub fix: Vec<String>,
}

/// The result type used everywhere below the top layer.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// A new error; `what` is a sentence without a full stop.
    pub fn new(code: Code, what: impl Into<String>) -> Self {
        Self(Box::new(Body { code, what: what.into(), cause: None, found: None, fix: Vec::new() }))
    }
    /// Why it happened.
    #[must_use]
    pub fn cause(mut self, cause: impl Into<String>) -> Self {
        self.0.cause = Some(cause.into());
        self
    }
    /// What was seen in place of what was expected.
    #[must_use]
    pub fn found(mut self, found: impl Into<String>) -> Self {
        self.0.found = Some(found.into());
        self
    }
    /// A command, or one short instruction, that mends it. May be called several times.
    #[must_use]
    pub fn fix(mut self, command: impl Into<String>) -> Self {
        self.0.fix.push(command.into());
        self
    }
    /// The same error with its fixes rewritten.
    #[must_use]
    pub fn with_fixes(mut self, rewrite: impl Fn(&str) -> String) -> Self {
        self.0.fix.iter_mut().for_each(|fix| *fix = rewrite(fix));
        self
    }
    /// Put the surrounding action in front of `what`: `"reading stage.yml: …"`.
    #[must_use]
    pub fn during(mut self, action: &str) -> Self {
        self.0.what = format!("{action}: {}", self.0.what);
        self
    }
    /// A bug of ours: an invariant that should hold did not.
    pub fn bug(what: impl Into<String>) -> Self {
        Self::new(code::BUG, what)
    }
    pub fn code(&self) -> Code {
        self.0.code
    }
    pub fn is(&self, code: Code) -> bool {
        self.0.code == code
    }
    pub fn body(&self) -> &Body {
        &self.0
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.code.id, self.0.what)?;
        if let Some(cause) = &self.0.cause {
            write!(f, " ({cause})")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Error {}

impl From<std::io::Error> for Error {
    fn from(e: std::io::Error) -> Self {
        use std::io::ErrorKind as K;
        match e.kind() {
            K::StorageFull | K::QuotaExceeded | K::FileTooLarge => Self::new(code::SSD_FULL, "the drive is full")
                .cause(e.to_string())
                .fix("free some space on the drive, then run the same command again; nothing was lost"),
            K::ReadOnlyFilesystem => Self::new(code::SSD_READ_ONLY, "the drive is mounted read-only")
                .cause(e.to_string())
                .fix("remount it for writing (the kernel log says why it turned read-only): sudo mount -o remount,rw DRIVE"),
            _ if e.raw_os_error() == Some(5) => Self::new(code::SSD_IO, "the drive reported an input/output error")
                .cause(e.to_string())
                .fix("check the cable and the kernel log (dmesg), then run: trademl fsck"),
            K::PermissionDenied => Self::new(code::HOST_SYSTEM, "a file may not be read or written by this user")
                .cause(e.to_string())
                .fix("look at its owner with ls -l; give it to yourself (sudo chown), or choose another folder: --root DIR"),
            K::NotFound => Self::new(code::HOST_SYSTEM, "a file or folder is not there")
                .cause(e.to_string())
                .fix("check the path and whether its drive is mounted, then run the same command"),
            _ => Self::new(code::HOST_SYSTEM, "a file operation failed")
                .cause(e.to_string())
                .fix("check the path and the kernel log (dmesg), then run the same command; finished work is kept"),
        }
    }
}

impl From<rusqlite::Error> for Error {
    fn from(e: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode as C;
        let text = e.to_string();
        match e.sqlite_error_code() {
            Some(C::DiskFull) => {
                Self::new(code::SSD_FULL, "the drive is full").cause(text).fix("free some space on the drive, then run the same command again")
            }
            Some(C::ReadOnly) => Self::new(code::SSD_READ_ONLY, "a control database cannot be written")
                .cause(format!("the drive is mounted read-only, or the file belongs to another user ({text})"))
                .fix("remount it for writing (the kernel log says why it turned read-only): sudo mount -o remount,rw DRIVE")
                .fix("or make the drive's folder yours: sudo chown -R \"$USER\" DIR"),
            Some(C::DatabaseBusy | C::DatabaseLocked) => Self::new(code::SSD_HELD, "another process holds the control database")
                .cause(text)
                .fix("stop it first (Ctrl-C in its window, or: systemctl stop trademl-node), then run the same command"),
            Some(C::SystemIoFailure) => Self::new(code::SSD_IO, "the drive reported an input/output error")
                .cause(text)
                .fix("check the cable and the kernel log (dmesg), then run: trademl fsck"),
            Some(C::DatabaseCorrupt | C::NotADatabase) => Self::new(code::SSD_DAMAGED, "a control database is damaged").cause(text).fix("trademl fsck"),
            _ => Self::new(code::SSD_DATABASE, "a control database call failed").cause(text).fix("trademl doctor"),
        }
    }
}

impl From<polars::error::PolarsError> for Error {
    fn from(e: polars::error::PolarsError) -> Self {
        match e {
            polars::error::PolarsError::IO { error, .. } => std::io::Error::new(error.kind(), error.to_string()).into(),
            other => Self::new(code::SSD_DAMAGED, "a Parquet file cannot be read or written").cause(other.to_string()),
        }
    }
}

impl From<serde_json::Error> for Error {
    fn from(e: serde_json::Error) -> Self {
        Self::new(code::SSD_DAMAGED, "a JSON document is not valid").cause(e.to_string())
    }
}
