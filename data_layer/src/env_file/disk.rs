//! Where the secrets file is, how it is read, and how it is written: privately, atomically, never on the data drive.

#![allow(clippy::disallowed_methods)] // the secrets file is not on the drive, so `store` cannot write it

use super::{Change, EnvFile};
use crate::error::{Error, Result, code};
use crate::host::Host;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

/// What [`save`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SaveReport {
    pub path: PathBuf,
    pub changes: Vec<Change>,
    /// `false` when the file already had exactly these bytes.
    pub written: bool,
}

/// `TRADEML_ENV_FILE`, or `$XDG_CONFIG_HOME/trademl/.env`.
pub fn path(host: &Host) -> PathBuf {
    host.env("TRADEML_ENV_FILE").map_or_else(|| host.config_dir().join(".env"), PathBuf::from)
}

/// The file as it is; an absent one is empty.
pub fn read(host: &Host) -> Result<EnvFile> {
    let place = path(host);
    match fs::read_to_string(&place) {
        Ok(text) => Ok(EnvFile::parse(&text)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(EnvFile::default()),
        Err(e) => Err(Error::new(code::CFG_PARSE, text!("{} cannot be read", place.display())).cause(e.to_string())),
    }
}

/// The file's variables merged with the process's; the process wins. Empty values count as unset.
pub fn load(host: &Host) -> Result<BTreeMap<String, String>> {
    let process = host.env_all();
    let mut out = read(host)?.values(process);
    out.extend(process.iter().filter(|(_, v)| !v.is_empty()).map(|(k, v)| (k.clone(), v.clone())));
    out.retain(|_, v| !v.is_empty());
    Ok(out)
}

/// Write the file: temporary file of mode 0600 beside it, fsync, mode read back, rename, fsync of the folder. Refused
/// when the filesystem does not keep the mode, and anywhere below a data root.
pub fn save(host: &Host, file: &EnvFile) -> Result<SaveReport> {
    let wanted = path(host);
    let place = fs::canonicalize(&wanted).unwrap_or(wanted);
    let folder = place.parent().filter(|p| !p.as_os_str().is_empty()).map_or_else(|| host.cwd().to_path_buf(), Path::to_path_buf);
    refuse_drive(&folder)?;
    let old = match fs::read_to_string(&place) {
        Ok(text) => Some(text),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
        Err(e) => return Err(Error::from(e).during("reading the secrets file")),
    };
    let text = file.to_string();
    let changes = EnvFile::parse(old.as_deref().unwrap_or_default()).changes(file);
    if old.as_deref() == Some(text.as_str()) && mode_of(&place)? == 0o600 {
        return Ok(SaveReport { path: place, changes, written: false });
    }
    create_private_folder(&folder)?;
    let temp = folder.join(format!(".env.{}.tmp", host.pid()));
    let written = write_private(&temp, text.as_bytes()).and_then(|()| Ok(fs::rename(&temp, &place)?));
    if let Err(error) = written {
        drop(fs::remove_file(&temp));
        return Err(error.during("writing the secrets file"));
    }
    File::open(&folder)?.sync_all()?;
    Ok(SaveReport { path: place, changes, written: true })
}

fn write_private(temp: &Path, bytes: &[u8]) -> Result<()> {
    match fs::remove_file(temp) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e.into()),
        _ => {}
    }
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(temp)?;
    #[cfg(unix)]
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    let mode = mode_of(temp)?;
    if mode != 0o600 {
        return Err(Error::new(code::KEY_FILE_MODE, "this filesystem cannot keep the secrets file private")
            .cause("after chmod 600 the file's mode reads back differently, so others on this machine could read the keys")
            .found(text!("mode {mode:o} in {}", temp.parent().unwrap_or(temp).display()))
            .fix("choose a place on ext4, xfs, btrfs or apfs: TRADEML_ENV_FILE=/path/to/.env"));
    }
    file.write_all(bytes)?;
    file.sync_all()?;
    Ok(())
}

fn create_private_folder(folder: &Path) -> Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(folder).map_err(|e| Error::from(e).during("making the folder of the secrets file"))?;
    #[cfg(unix)]
    fs::set_permissions(folder, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
    Ok(())
}

#[cfg(unix)]
fn mode_of(place: &Path) -> Result<u32> {
    use std::os::unix::fs::PermissionsExt;
    Ok(fs::metadata(place)?.permissions().mode() & 0o777)
}

#[cfg(not(unix))]
fn mode_of(_place: &Path) -> Result<u32> {
    Ok(0o600)
}

/// Keys stay on the machine: the drive travels, and may be lost.
fn refuse_drive(folder: &Path) -> Result<()> {
    match folder.ancestors().find(|dir| dir.join(crate::root::SENTINEL).exists()) {
        None => Ok(()),
        Some(root) => Err(Error::new(code::KEY_FILE_MODE, "keys are not written to a data drive")
            .cause("the drive travels between machines and may be lost")
            .found(text!("{} is a data root", root.display()))
            .fix("unset TRADEML_ENV_FILE, or point it at a folder of this machine")),
    }
}
