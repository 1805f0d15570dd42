//! Files on the drive: Parquet with zstd, whole-file reads and writes, digests. How a file becomes durable is [`crate::disk`]'s business.

#![allow(clippy::disallowed_methods)] // the one place that writes files on the drive

pub use crate::disk::create_folder;

use crate::disk;
use crate::error::{Error, Result, code};
use crate::root::{DataPath, DataRoot};
use polars::prelude::{DataFrame, ParallelStrategy, ParquetCompression, ParquetReader, ParquetWriter, SerReader};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs;

mod small;

/// Where a written file is, how long and what it hashes to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileInfo {
    pub path: DataPath,
    pub sha256: String,
    pub bytes: u64,
}

/// Lower-case hexadecimal SHA-256.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// UTF-8 JSON with sorted keys and no spaces: what digests are taken of.
pub fn canonical_json<T: Serialize>(value: &T) -> Result<String> {
    // serde_json's map is sorted (its `preserve_order` feature is off), so a round trip through `Value` sorts keys.
    Ok(serde_json::to_string(&serde_json::to_value(value)?)?)
}

/// SHA-256 of [`canonical_json`].
pub fn digest_of<T: Serialize>(value: &T) -> Result<String> {
    Ok(sha256_hex(canonical_json(value)?.as_bytes()))
}

/// Write a whole file, or nothing. Replaces an existing file atomically.
pub fn write_atomic(root: &DataRoot, path: &DataPath, bytes: &[u8]) -> Result<FileInfo> {
    disk::replace(root.host(), &root.locate(path), bytes).map_err(|e| e.during(&text!("writing {path}")))?;
    root.host().ack("file", path.as_str());
    Ok(FileInfo { path: path.clone(), sha256: sha256_hex(bytes), bytes: bytes.len() as u64 })
}

/// Where files that are written together have their first names.
const UNFINISHED: &str = "control/unfinished";

/// [`write_atomic`] of many files: the drive is waited for twice, not once a file.
pub fn write_all(root: &DataRoot, files: &[(&DataPath, &[u8])]) -> Result<()> {
    let places: Vec<(std::path::PathBuf, &[u8])> = files.iter().map(|(path, bytes)| (root.locate(path), *bytes)).collect();
    let beside = root.locate(&DataPath::new(UNFINISHED)?);
    disk::replace_all(root.host(), &beside, &places).map_err(|e| e.during(&text!("writing {} files", files.len())))?;
    files.iter().for_each(|(path, _)| root.host().ack("file", path.as_str()));
    Ok(())
}

/// Most bytes that are held to be written together: as little as a Pi can spare, enough for the drive to be waited for seldom.
const TOGETHER: usize = 16 << 20;

/// [`write_all`] of files that are made one after another, a few megabytes at a time. One that holds its bytes already is left alone.
pub fn write_each(root: &DataRoot, files: impl IntoIterator<Item = Result<(DataPath, Vec<u8>)>>) -> Result<()> {
    let (mut held, mut bytes) = (Vec::new(), 0);
    for file in files {
        let file = file?;
        if read(root, &file.0)?.as_ref() == Some(&file.1) {
            continue;
        }
        bytes += file.1.len();
        held.push(file);
        if bytes >= TOGETHER {
            write_held(root, &held)?;
            (held, bytes) = (Vec::new(), 0);
        }
    }
    write_held(root, &held)
}

fn write_held(root: &DataRoot, held: &[(DataPath, Vec<u8>)]) -> Result<()> {
    write_all(root, &held.iter().map(|(path, bytes)| (path, bytes.as_slice())).collect::<Vec<_>>())
}

/// Read a whole file; `None` when there is none.
pub fn read(root: &DataRoot, path: &DataPath) -> Result<Option<Vec<u8>>> {
    #[cfg(test)]
    looks::count();
    match fs::read(root.locate(path)) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::from(e).during(&text!("reading {path}"))),
    }
}

/// Give a file its final name, durably and without reading it: for files that are too large for memory.
pub fn rename(root: &DataRoot, from: &DataPath, to: &DataPath) -> Result<()> {
    disk::rename(root.host(), &root.locate(from), &root.locate(to)).map_err(|e| e.during(&text!("naming {to}")))
}

/// A file of that many bytes which really takes the room.
pub fn allocate(root: &DataRoot, path: &DataPath, bytes: u64) -> Result<()> {
    let place = root.locate(path);
    if let Some(folder) = place.parent() {
        create_folder(folder)?;
    }
    let file = fs::File::create(&place)?;
    if rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, bytes).is_err() {
        // A file system that cannot promise room is filled with zeros.
        let mut file = &file;
        std::io::copy(&mut std::io::Read::take(std::io::repeat(0), bytes), &mut file)?;
    }
    file.sync_all()?;
    Ok(())
}

/// Remove a file if it is there.
pub fn remove(root: &DataRoot, path: &DataPath) -> Result<()> {
    match fs::remove_file(root.locate(path)) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e.into()),
        _ => Ok(()),
    }
}

/// Remove a file for good: after a power cut it is still gone. `false` when there was none.
pub fn remove_durably(root: &DataRoot, path: &DataPath) -> Result<bool> {
    let place = root.locate(path);
    match fs::remove_file(&place) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(e) => return Err(e.into()),
        Ok(()) => {}
    }
    if let Some(folder) = place.parent() {
        fs::File::open(folder)?.sync_all()?;
    }
    Ok(true)
}

/// JSON that carries the digest of the rest of itself as `sha256`; `value` must be an object. A file that was changed in
/// any bit reads as damaged ([`read_signed`]).
pub fn signed_json<T: Serialize>(value: &T) -> Result<Vec<u8>> {
    let json = serde_json::to_value(value)?;
    let fields = json.as_object().ok_or_else(|| Error::bug("only an object can be signed"))?;
    // Every field is put in words once, for the digest and for the file alike.
    signed(fields.iter().map(|(name, value)| Ok((name.as_str(), serde_json::to_string(value)?))).collect::<Result<_>>()?)
}

/// [`signed_json`] of an object by its fields, each as canonical JSON: for what is large and has its keys in order already.
pub fn signed(mut fields: BTreeMap<&str, String>) -> Result<Vec<u8>> {
    let whole = |fields: &BTreeMap<&str, String>| -> Result<Vec<u8>> {
        let mut out = Vec::with_capacity(2 + fields.iter().map(|(name, value)| name.len() + value.len() + 4).sum::<usize>());
        for (name, value) in fields {
            out.push(if out.is_empty() { b'{' } else { b',' });
            serde_json::to_writer(&mut out, name)?;
            out.push(b':');
            out.extend_from_slice(value.as_bytes());
        }
        out.extend_from_slice(if out.is_empty() { b"{}" } else { b"}" });
        Ok(out)
    };
    fields.remove("sha256");
    fields.insert("sha256", format!("\"{}\"", sha256_hex(&whole(&fields)?)));
    whole(&fields)
}

/// An object as [`signed`] wrote it, without its own digest, and the digest; `None`: it was not written so.
fn unsigned(bytes: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    const KEY: &[u8] = b"\"sha256\":\"";
    let (mut depth, mut at) = (0, 0);
    while at < bytes.len() {
        match bytes[at] {
            b'"' if depth == 1 && bytes[at..].starts_with(KEY) => {
                let said = bytes.get(at + KEY.len()..at + KEY.len() + 64)?;
                let (mut from, mut to) = (at, at + KEY.len() + 65);
                if bytes.get(to - 1) != Some(&b'"') {
                    return None;
                }
                if bytes.get(to) == Some(&b',') {
                    to += 1;
                } else if bytes.get(from - 1) == Some(&b',') {
                    from -= 1;
                }
                return Some(([bytes.get(..from)?, bytes.get(to..)?].concat(), said));
            }
            b'"' => {
                at += 1;
                while *bytes.get(at)? != b'"' {
                    at += if bytes[at] == b'\\' { 2 } else { 1 };
                }
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            _ => {}
        }
        at += 1;
    }
    None
}

/// Read what [`signed_json`] wrote. `None`: no such file. Without its digest it counts as damaged.
pub fn read_signed<T: serde::de::DeserializeOwned>(root: &DataRoot, path: &DataPath) -> Result<Option<T>> {
    let Some(bytes) = read(root, path)? else { return Ok(None) };
    parse_signed(&bytes).map(Some).map_err(|e| e.during(path.as_str()))
}

/// The same of bytes.
pub fn parse_signed<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    let damaged = |why: String| Error::new(code::SSD_DAMAGED, "a record is damaged").cause(why).fix("trademl node audit --full");
    if let Some((rest, said)) = unsigned(bytes)
        && sha256_hex(&rest).as_bytes() == said
    {
        return serde_json::from_slice(&rest).map_err(|e| damaged(e.to_string()));
    }
    // Somebody wrote the same with other spaces or in another order.
    let mut json: serde_json::Value = serde_json::from_slice(bytes).map_err(|e| damaged(e.to_string()))?;
    let said = json.as_object_mut().and_then(|o| o.remove("sha256"));
    if said.as_ref().and_then(serde_json::Value::as_str) != Some(digest_of(&json)?.as_str()) {
        return Err(damaged("it does not match its own digest".into()));
    }
    serde_json::from_value(json).map_err(|e| damaged(e.to_string()))
}

/// Files below a folder (recursively) in sorted order, temporary files left out. Empty when there is no such folder.
pub fn list(root: &DataRoot, folder: &DataPath) -> Result<Vec<DataPath>> {
    let mut out = Vec::new();
    let mut stack = vec![root.locate(folder)];
    while let Some(dir) = stack.pop() {
        let entries = match fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
            Err(e) => return Err(e.into()),
        };
        for entry in entries {
            #[cfg(test)]
            looks::count();
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.file_type()?.is_dir() {
                stack.push(entry.path());
            } else if !name.ends_with(".tmp") {
                out.push(root.relative(&entry.path())?);
            }
        }
    }
    out.sort();
    Ok(out)
}

/// The length of a file in bytes; `None` when it is not there.
pub fn size(root: &DataRoot, path: &DataPath) -> Option<u64> {
    #[cfg(test)]
    looks::count();
    fs::metadata(root.locate(path)).ok().map(|m| m.len())
}

/// Parquet bytes of a frame: zstd at its default level (3), 131,072 rows a group, statistics on. Equal frames give equal bytes.
pub fn parquet_bytes(frame: &mut DataFrame) -> Result<Vec<u8>> {
    frame.rechunk_mut();
    if (1..=small::MOST_ROWS).contains(&frame.height()) {
        return small::encode(frame);
    }
    large(frame)
}

fn large(frame: &mut DataFrame) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    ParquetWriter::new(&mut bytes).with_compression(ParquetCompression::Zstd(None)).with_row_group_size(Some(131_072)).set_parallel(false).finish(frame)?;
    Ok(bytes)
}

/// [`parquet_bytes`], then [`write_atomic`].
pub fn write_parquet(root: &DataRoot, path: &DataPath, frame: &mut DataFrame) -> Result<FileInfo> {
    let bytes = parquet_bytes(frame)?;
    write_atomic(root, path, &bytes)
}

/// A frame from Parquet bytes.
pub fn parquet_frame(bytes: Vec<u8>) -> Result<DataFrame> {
    Ok(ParquetReader::new(std::io::Cursor::new(bytes)).finish()?)
}

/// Some columns of Parquet bytes.
pub fn parquet_columns(bytes: Vec<u8>, names: &[&str]) -> Result<DataFrame> {
    let names = names.iter().map(|n| (*n).to_string()).collect();
    Ok(ParquetReader::new(std::io::Cursor::new(bytes)).with_columns(Some(names)).finish()?)
}

/// Some rows (from the first on, so many) of some columns of Parquet bytes, by the calling thread alone: for whoever reads several files
/// side by side. A thread that waits for the frame library's own threads takes up the next file meanwhile, on top of the one that it
/// is at, and hundreds of files do not fit its stack.
pub fn parquet_rows(bytes: &[u8], names: &[&str], (first, n): (usize, usize)) -> Result<DataFrame> {
    let names = names.iter().map(|n| (*n).to_string()).collect();
    let reader = ParquetReader::new(std::io::Cursor::new(bytes)).read_parallel(ParallelStrategy::None);
    Ok(reader.with_columns(Some(names)).with_slice(Some((first, n))).finish()?)
}

/// [`parquet_columns`] of an open file, of which only those columns are read.
pub fn parquet_file_columns(file: std::fs::File, names: &[&str]) -> Result<DataFrame> {
    let names = names.iter().map(|n| (*n).to_string()).collect();
    Ok(ParquetReader::new(file).with_columns(Some(names)).finish()?)
}

/// Read a Parquet file; an absent file is `DATA_MISSING`.
pub fn read_parquet(root: &DataRoot, path: &DataPath) -> Result<DataFrame> {
    let bytes = read(root, path)?.ok_or_else(|| Error::new(code::DATA_MISSING, text!("{path} is not on the drive")).fix("trademl fsck"))?;
    parquet_frame(bytes).map_err(|e| e.during(&text!("reading {path}")))
}

/// Read a Parquet file as it was when its digest was `sha256`: the file itself, else the copy that [`keep`] made. Refused
/// where neither has those bytes.
pub fn read_parquet_verified(root: &DataRoot, path: &DataPath, sha256: &str) -> Result<DataFrame> {
    let now = read(root, path)?;
    let found = match now.filter(|bytes| sha256_hex(bytes) == sha256) {
        Some(bytes) => Some(bytes),
        None => read(root, &kept(sha256)?)?.filter(|bytes| sha256_hex(bytes) == sha256),
    };
    let Some(bytes) = found else {
        if !root.locate(path).exists() {
            return Err(Error::new(code::DATA_MISSING, text!("{path} is not on the drive")));
        }
        return Err(Error::new(code::SSD_DAMAGED, text!("{path} does not match its recorded digest")).fix("trademl fsck"));
    };
    parquet_frame(bytes).map_err(|e| e.during(&text!("reading {path}")))
}

/// Where files stay as they were when they were pinned, by digest.
pub const KEPT: &str = "manifests/snapshots/kept";

fn kept(sha256: &str) -> Result<DataPath> {
    DataPath::new(format!("{KEPT}/{sha256}.parquet"))
}

/// Keep a file's present bytes for whoever asks for this digest, however often the file is replaced. Costs no room until it
/// is, where the file system has hard links.
pub fn keep(root: &DataRoot, path: &DataPath, sha256: &str) -> Result<()> {
    let target = kept(sha256)?;
    if root.locate(&target).exists() || disk::link(&root.locate(path), &root.locate(&target))? {
        return Ok(());
    }
    let bytes = read(root, path)?.ok_or_else(|| Error::new(code::DATA_MISSING, text!("{path} is not on the drive")))?;
    write_atomic(root, &target, &bytes).map(drop)
}

/// A second name for a file, and the digest that its bytes must have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Twin {
    pub from: DataPath,
    pub to: DataPath,
    pub sha256: String,
}

/// Give files a second name each; a copy where the file system knows no such thing. Both names show the same bytes until one of
/// them is replaced, which leaves the other as it is (a file is never changed in place), so a second name costs no room. Returns the
/// first file that does not hold the bytes it should.
pub fn name_again(root: &DataRoot, twins: &[Twin]) -> Result<Option<DataPath>> {
    let mut missing = Vec::new();
    for twin in twins {
        // A file of that name may be what a process that died wrote half of.
        if !holds(root, &twin.to, &twin.sha256)? {
            remove(root, &twin.to)?;
            missing.push(twin);
        }
    }
    let places: Vec<_> = missing.iter().map(|twin| (root.locate(&twin.from), root.locate(&twin.to))).collect();
    if !disk::link_all(&places)? {
        let copied = |twin: &&Twin| {
            let bytes = read(root, &twin.from)?.ok_or_else(|| Error::new(code::DATA_MISSING, text!("{} is not on the drive", twin.from)))?;
            Ok((twin.to.clone(), bytes))
        };
        write_each(root, missing.iter().map(copied))?;
    }
    // Looked at under the new name: the old one may be replaced by anybody at any time.
    for twin in missing {
        if !holds(root, &twin.to, &twin.sha256)? {
            return Ok(Some(twin.from.clone()));
        }
    }
    Ok(None)
}

fn holds(root: &DataRoot, path: &DataPath, sha256: &str) -> Result<bool> {
    Ok(read(root, path)?.is_some_and(|bytes| sha256_hex(&bytes) == sha256))
}

/// Remove a folder with all that is in it.
pub fn remove_folder(root: &DataRoot, folder: &DataPath) -> Result<()> {
    match fs::remove_dir_all(root.locate(folder)) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e.into()),
        _ => Ok(()),
    }
}

/// Whether [`keep`] was done for a digest.
pub fn is_kept(root: &DataRoot, sha256: &str) -> Result<bool> {
    Ok(root.locate(&kept(sha256)?).exists())
}

/// How many files this thread read, met in a list or looked for: tests say of a piece of work that it does not grow with the drive.
#[cfg(test)]
pub(crate) mod looks {
    use std::cell::Cell;

    thread_local!(static COUNTED: Cell<u64> = const { Cell::new(0) });

    pub fn count() {
        COUNTED.set(COUNTED.get() + 1);
    }
    pub fn of<T>(work: impl FnOnce() -> T) -> (u64, T) {
        let before = COUNTED.get();
        let done = work();
        (COUNTED.get() - before, done)
    }
}
