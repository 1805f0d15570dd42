//! Points of possible death, for the rigs and the resume suite.

use crate::error::{Error, Result, code};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Names of the points at which `TRADEML_FAILPOINT` can abort the process. `trademl failpoints` prints them.
pub const FAILPOINTS: &[&str] = &[
    "journal.append.before",
    "journal.append.after",
    "store.write.before",
    "store.rename.before",
    "store.rename.after",
    "control.commit.before",
    "control.commit.after",
    "order.intent.after",
    "order.send.before",
    "order.send.after",
    "task.lease.after",
    "registry.commit.before",
    "registry.commit.after",
    "checkpoint.after",
];

/// What a failpoint hit does.
enum Crash {
    /// `abort()`: the real binary, driven from outside.
    Abort,
    /// Every passage from the k-th on returns an error: the in-process resume suite. The flag says it has "died".
    Unwind(AtomicBool),
}

pub struct FailPlan {
    /// `None` = any point.
    name: Option<String>,
    kth: u64,
    passed: AtomicU64,
    crash: Crash,
}

impl FailPlan {
    /// Die by an error, and stay dead: for tests in process. `""` = any point.
    pub fn unwinding(name: &str, kth: u64) -> Self {
        Self { name: (!name.is_empty()).then(|| name.to_string()), kth, passed: AtomicU64::new(0), crash: Crash::Unwind(AtomicBool::new(false)) }
    }

    /// `<k>`, `<name>` or `<name>:<k>`: abort there.
    pub fn parse(text: &str) -> Result<Self> {
        let bad = || Error::new(code::USE_ARGUMENT, text!("TRADEML_FAILPOINT='{text}' is not '<k>', '<name>' or '<name>:<k>'")).fix("trademl failpoints");
        let (name, kth) = match text.split_once(':') {
            Some((name, k)) => (Some(name.to_string()), k.parse().map_err(|_| bad())?),
            None => match text.parse::<u64>() {
                Ok(k) => (None, k),
                Err(_) => (Some(text.to_string()), 1),
            },
        };
        if name.as_deref().is_some_and(|n| !FAILPOINTS.contains(&n)) {
            return Err(bad());
        }
        Ok(FailPlan { name, kth, passed: AtomicU64::new(0), crash: Crash::Abort })
    }

    pub fn passed(&self) -> u64 {
        self.passed.load(Ordering::SeqCst)
    }

    /// Pass a point, or die there.
    pub fn pass(&self, name: &'static str) -> Result<()> {
        debug_assert!(FAILPOINTS.contains(&name), "{name} is not listed");
        let dead = || Err(Error::new(code::BUG_CRASH_POINT, text!("crashed at {name}")));
        if let Crash::Unwind(flag) = &self.crash
            && flag.load(Ordering::SeqCst)
        {
            return dead();
        }
        if self.name.as_deref().is_some_and(|n| n != name) || self.passed.fetch_add(1, Ordering::SeqCst) + 1 != self.kth {
            return Ok(());
        }
        match &self.crash {
            Crash::Abort => std::process::abort(),
            Crash::Unwind(flag) => {
                flag.store(true, Ordering::SeqCst);
                dead()
            }
        }
    }
}
