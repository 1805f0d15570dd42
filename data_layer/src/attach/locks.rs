//! OS locks in `control/locks/`: they vanish with the process that holds them, however it ends.

use crate::error::{Error, Result, code};
use crate::root::{DataPath, DataRoot};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};

/// Held while it lives.
#[derive(Debug)]
pub struct Guard {
    file: File,
    name: String,
}

impl Guard {
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.file.unlock());
    }
}

/// Take `control/locks/<name>`, or fail with `SSD_HELD` and who holds it. Names: `node`, `wizard-<name>`, `account-<id>`.
pub fn lock(root: &DataRoot, name: &str) -> Result<Guard> {
    let mut file = open(root, name)?;
    match file.try_lock() {
        Ok(()) => sign(root, file, name),
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            drop(file.read_to_string(&mut holder));
            Err(Error::new(code::SSD_HELD, text!("'{name}' is already running on this drive"))
                .cause("each of these may run once at a time; others may run beside it")
                .found(if holder.trim().is_empty() { "an OS lock without a signature".to_string() } else { holder.trim().to_string() })
                .fix("stop the other one first (Ctrl-C in its window), or wait until it ends"))
        }
        Err(TryLockError::Error(e)) => Err(Error::from(e).during(&text!("locking control/locks/{name}"))),
    }
}

/// Wait for a lock that is only ever held for a moment.
pub fn wait_lock(root: &DataRoot, name: &str) -> Result<Guard> {
    let file = open(root, name)?;
    file.lock().map_err(|e| Error::from(e).during(&text!("locking control/locks/{name}")))?;
    Ok(Guard { file, name: name.to_string() })
}

/// Whether somebody holds a lock now. For `status`; the answer may be old when it arrives.
pub fn is_locked(root: &DataRoot, name: &str) -> Result<bool> {
    let file = open(root, name)?;
    match file.try_lock() {
        Ok(()) => {
            drop(file.unlock());
            Ok(false)
        }
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(e)) => Err(e.into()),
    }
}

/// Who is at work on the drive now: `node: pid 12 on machine ...`. Locks that are only ever held for a moment are not told.
pub fn busy(root: &DataRoot) -> Result<Vec<String>> {
    let folder = root.locate(&DataPath::new("control/locks")?);
    let Ok(entries) = std::fs::read_dir(&folder) else { return Ok(Vec::new()) };
    let mut out = Vec::new();
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let long = name == "node" || name.starts_with("wizard-") || name.starts_with("account-");
        // Opened for reading only: looking must work on a read-only drive too.
        if let Some(mut file) = File::open(entry.path()).ok().filter(|_| long)
            && matches!(file.try_lock(), Err(TryLockError::WouldBlock))
        {
            let mut holder = String::new();
            drop(file.read_to_string(&mut holder));
            out.push(format!("{name}: {}", holder.trim()));
        }
    }
    out.sort();
    Ok(out)
}

/// The lock of one wizard: the same wizard twice is refused.
pub fn wizard_lock(root: &DataRoot, wizard: &str) -> Result<Guard> {
    lock(root, &format!("wizard-{wizard}"))
}

/// The lock of whoever may send orders for an account.
pub fn account_lock(root: &DataRoot, account: &str) -> Result<Guard> {
    lock(root, &format!("account-{}", crate::root::encode_symbol(account)?))
}

fn open(root: &DataRoot, name: &str) -> Result<File> {
    let path = DataPath::new(format!("control/locks/{name}"))?;
    let place = root.locate(&path);
    if let Some(folder) = place.parent() {
        crate::store::create_folder(folder)?;
    }
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(place).map_err(|e| Error::from(e).during(&text!("opening {path}")))
}

fn sign(root: &DataRoot, mut file: File, name: &str) -> Result<Guard> {
    let host = root.host();
    let text = text!("pid {} on machine {} since {}\n", host.pid(), host.machine_id(), host.now());
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(text.as_bytes())?;
    Ok(Guard { file, name: name.to_string() })
}
