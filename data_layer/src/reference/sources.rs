//! Raw manifests of one table, and verified reading of their segments.

use crate::error::Result;
use crate::qc::QcCode;
use crate::root::{DataPath, DataRoot};
use crate::segment::{self, Manifest, Segment};
use crate::store;
pub(crate) use crate::store::size;
use polars::prelude::DataFrame;

/// The manifests of a raw table, oldest first. Data of another world than the root's is refused.
pub(crate) fn manifests(root: &DataRoot, table: &str) -> Result<Vec<(DataPath, Manifest)>> {
    segment::manifests_for(root, table)
}

/// What the answers of a table came to, kept so that the next reading reads only those that came since.
#[derive(Default)]
pub(crate) struct Merged<T> {
    read: Vec<DataPath>,
    pub value: T,
    /// Segments that could not be used.
    pub damaged: Vec<String>,
}

impl<T: Default> Merged<T> {
    /// The position of the first answer to be read. All are read again where one of those that were read has gone, came before another that
    /// was read already, could not be used, or has a file of another length now; of a file that was changed otherwise this knows nothing.
    pub fn go_on(&mut self, root: &DataRoot, manifests: &[(DataPath, Manifest)]) -> usize {
        let whole = |(path, (now, m)): (&DataPath, &(DataPath, Manifest))| path == now && m.segments.iter().all(|s| size(root, &s.path) == Some(s.bytes));
        if self.read.len() > manifests.len() || !self.damaged.is_empty() || !self.read.iter().zip(manifests).all(whole) {
            *self = Self::default();
        }
        let known = self.read.len();
        self.read.extend(manifests.iter().skip(known).map(|(path, _)| path.clone()));
        known
    }
}

/// Why a segment's contents cannot be used.
pub(crate) type Damage = QcCode;

/// Read a segment, verify its digest and row count. `Err` of the inner result is the damage found.
pub(crate) fn read(root: &DataRoot, segment: &Segment) -> Result<std::result::Result<DataFrame, Damage>> {
    read_with(root, segment, store::parquet_frame)
}

/// The same of some columns. The digest is taken of all bytes.
pub(crate) fn read_columns(root: &DataRoot, segment: &Segment, names: &[&str]) -> Result<std::result::Result<DataFrame, Damage>> {
    read_with(root, segment, |bytes| store::parquet_columns(bytes, names))
}

/// The bytes of a segment, which are those that its manifest vouches for.
pub(crate) fn verified(root: &DataRoot, segment: &Segment) -> Result<std::result::Result<Vec<u8>, Damage>> {
    let Some(bytes) = store::read(root, &segment.path)? else { return Ok(Err(QcCode::Missing)) };
    Ok(if store::sha256_hex(&bytes) == segment.sha256 { Ok(bytes) } else { Err(QcCode::ChecksumMismatch) })
}

fn read_with(root: &DataRoot, segment: &Segment, decode: impl Fn(Vec<u8>) -> Result<DataFrame>) -> Result<std::result::Result<DataFrame, Damage>> {
    let bytes = match verified(root, segment)? {
        Ok(bytes) => bytes,
        Err(damage) => return Ok(Err(damage)),
    };
    let Ok(frame) = decode(bytes) else { return Ok(Err(QcCode::Schema)) };
    if frame.height() as u64 != segment.rows {
        return Ok(Err(QcCode::Schema));
    }
    Ok(Ok(frame))
}
