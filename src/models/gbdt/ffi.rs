//! The only `unsafe` of the program: the handful of LightGBM C calls that the safe bindings do not offer.
//!
//! `lightgbm3` has no dataset subsets, so every cross-validation split would bin the same rows again. Here one binned
//! [`Table`] serves all splits ([`Table::subset`] copies bins, labels and weights of chosen rows). Bin edges are found on
//! all rows: they carry the distribution of the features of held-out rows, never a label.
//!
//! Rules kept here: handles are freed exactly once, in `Drop`; a [`Learner`] borrows the table it was made from; pointers
//! passed to C come from slices whose length is checked first; LightGBM is built without OpenMP, so a call runs on its
//! caller's thread alone.
#![allow(unsafe_code)]

use data_layer::error::{Error, Result, code};
use lightgbm3_sys as c;
use std::ffi::{CStr, CString, c_char, c_int, c_void};

/// A binned dataset with labels and weights.
pub(super) struct Table {
    handle: c::DatasetHandle,
    rows: usize,
    cols: usize,
    params: CString,
}

// SAFETY: the only operation on a shared `&Table` from several threads is `subset`, which LightGBM declares `const` on the
// full dataset and which only reads it (c_api.cpp, LGBM_DatasetGetSubset; dataset.cpp, CopySubrow). All mutation happens in
// `from_rows`, before the value exists. `Learner::train` takes a table that its own thread made.
unsafe impl Sync for Table {}

impl Table {
    /// Bin `rows x cols` row-major features. `labels` and `weights` have one value per row and must be finite.
    pub(super) fn from_rows(features: &[f32], cols: usize, labels: &[f32], weights: &[f32], names: &[String], params: &str) -> Result<Self> {
        let rows = labels.len();
        if rows == 0 || cols == 0 || features.len() != rows * cols || weights.len() != rows || names.len() != cols {
            return Err(Error::bug(text!("{} features, {} labels, {} weights, {} names", features.len(), rows, weights.len(), names.len())));
        }
        let params = text(params)?;
        let mut handle: c::DatasetHandle = std::ptr::null_mut();
        // SAFETY: `features` holds `rows * cols` f32 (checked above), LightGBM copies it before returning, and `handle` is a
        // valid place for the result.
        check(unsafe {
            c::LGBM_DatasetCreateFromMat(
                features.as_ptr().cast::<c_void>(),
                constant(c::C_API_DTYPE_FLOAT32),
                count(rows)?,
                count(cols)?,
                1,
                params.as_ptr(),
                std::ptr::null_mut(),
                &mut handle,
            )
        })?;
        let table = Self { handle, rows, cols, params };
        table.set_field("label", labels)?;
        table.set_field("weight", weights)?;
        table.set_names(names)?;
        Ok(table)
    }

    fn set_field(&self, name: &str, values: &[f32]) -> Result<()> {
        let name = text(name)?;
        // SAFETY: `values` holds `values.len()` f32 and is copied; the handle is alive as long as `self`.
        check(unsafe {
            c::LGBM_DatasetSetField(self.handle, name.as_ptr(), values.as_ptr().cast::<c_void>(), count(values.len())?, constant(c::C_API_DTYPE_FLOAT32))
        })
    }

    /// How many neighbouring rows are ranked against each other, in order.
    pub(super) fn set_groups(&self, sizes: &[i32]) -> Result<()> {
        let name = text("group")?;
        if sizes.iter().map(|n| i64::from(*n)).sum::<i64>() != i64::from(count(self.rows)?) {
            return Err(Error::bug("the groups of a ranking do not add up to its rows"));
        }
        // SAFETY: `sizes` holds `sizes.len()` i32 and is copied; the handle is alive, and no other thread has this subset yet.
        check(unsafe {
            c::LGBM_DatasetSetField(self.handle, name.as_ptr(), sizes.as_ptr().cast::<c_void>(), count(sizes.len())?, constant(c::C_API_DTYPE_INT32))
        })
    }

    fn set_names(&self, names: &[String]) -> Result<()> {
        let owned = names.iter().map(|n| text(n)).collect::<Result<Vec<_>>>()?;
        let mut pointers: Vec<*const c_char> = owned.iter().map(|n| n.as_ptr()).collect();
        // SAFETY: `pointers` holds as many valid, NUL-terminated strings as are announced; they outlive the call, which copies them.
        check(unsafe { c::LGBM_DatasetSetFeatureNames(self.handle, pointers.as_mut_ptr(), count(pointers.len())?) })
    }

    /// The given rows (ascending, distinct) with the same bins.
    pub(super) fn subset(&self, rows: &[u32]) -> Result<Self> {
        let ordered = rows.windows(2).all(|w| w[0] < w[1]);
        if rows.is_empty() || !ordered || rows.last().is_some_and(|r| *r as usize >= self.rows) {
            return Err(Error::bug("a subset needs ascending row numbers inside the table"));
        }
        let wanted = rows.iter().map(|r| count(*r as usize)).collect::<Result<Vec<i32>>>()?;
        let mut handle: c::DatasetHandle = std::ptr::null_mut();
        // SAFETY: `wanted` holds valid row numbers (checked above) and outlives the call; the source is only read.
        check(unsafe { c::LGBM_DatasetGetSubset(self.handle, wanted.as_ptr(), count(wanted.len())?, self.params.as_ptr(), &mut handle) })?;
        Ok(Self { handle, rows: rows.len(), cols: self.cols, params: self.params.clone() })
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        // SAFETY: the handle came from LightGBM, is freed only here, and no learner borrows `self` any more.
        let _freed = unsafe { c::LGBM_DatasetFree(self.handle) };
    }
}

/// When learning ends before its last round.
pub(super) struct Stop<'t> {
    pub held_out: &'t Table,
    /// Rounds without improvement.
    pub patience: usize,
    /// 1 where less of the metric is better, -1 where more is.
    pub sign: f64,
}

/// A booster, bound to the table it learns from.
pub(super) struct Learner<'t> {
    handle: c::BoosterHandle,
    cols: usize,
    /// LightGBM keeps a raw pointer to the training data: it must outlive the booster.
    _table: std::marker::PhantomData<&'t Table>,
}

impl<'t> Learner<'t> {
    /// Learn up to `rounds` trees, or until [`Stop`] says so: then the trees after the best one are dropped.
    pub(super) fn train(table: &'t Table, params: &str, rounds: usize, stop: Option<Stop<'t>>) -> Result<Self> {
        let params = text(params)?;
        let mut handle: c::BoosterHandle = std::ptr::null_mut();
        // SAFETY: the table is alive and stays so for `'t`; `handle` is a valid place for the result.
        check(unsafe { c::LGBM_BoosterCreate(table.handle, params.as_ptr(), &mut handle) })?;
        let learner = Self { handle, cols: table.cols, _table: std::marker::PhantomData };
        if let Some(stop) = &stop {
            // SAFETY: both handles are alive; the held-out table stays so for `'t`.
            check(unsafe { c::LGBM_BoosterAddValidData(learner.handle, stop.held_out.handle) })?;
        }
        let (mut best, mut since) = (f64::INFINITY, 0usize);
        for _ in 0..rounds {
            let mut finished: c_int = 0;
            // SAFETY: the booster is alive and used by this thread alone.
            check(unsafe { c::LGBM_BoosterUpdateOneIter(learner.handle, &mut finished) })?;
            if finished != 0 {
                break;
            }
            let Some(stop) = &stop else { continue };
            let score = stop.sign * learner.metric(1)?;
            since = if score < best { 0 } else { since + 1 };
            best = best.min(score);
            if since >= stop.patience.max(1) {
                break;
            }
        }
        // Also when the rounds ran out, or no further split was found, before patience did.
        for _ in 0..since {
            // SAFETY: as above; `since` trees were added after the best one, none of them without a held-out table.
            check(unsafe { c::LGBM_BoosterRollbackOneIter(learner.handle) })?;
        }
        Ok(learner)
    }

    /// The first metric on data set `index` (0 training, 1 held out).
    fn metric(&self, index: c_int) -> Result<f64> {
        let (mut values, mut got) = ([f64::NAN; 16], 0 as c_int);
        // SAFETY: every objective here has one metric; the buffer has room for sixteen.
        check(unsafe { c::LGBM_BoosterGetEval(self.handle, index, &mut got, values.as_mut_ptr()) })?;
        if got < 1 {
            return Err(Error::new(code::ML_TRAIN, "LightGBM reported no metric on the held-out rows"));
        }
        Ok(values[0])
    }

    /// The model as LightGBM's own text format.
    pub(super) fn model_text(&self) -> Result<String> {
        let mut needed: i64 = 0;
        // SAFETY: a buffer of length 0 is never written; the call reports the size that is needed.
        check(unsafe { c::LGBM_BoosterSaveModelToString(self.handle, 0, -1, 0, 0, &mut needed, std::ptr::null_mut()) })?;
        let mut buffer = vec![0u8; usize::try_from(needed).map_err(|_| Error::bug("a negative model size"))?];
        // SAFETY: the buffer has `needed` bytes, which is what the call is told.
        check(unsafe { c::LGBM_BoosterSaveModelToString(self.handle, 0, -1, 0, needed, &mut needed, buffer.as_mut_ptr().cast::<c_char>()) })?;
        let end = buffer.iter().position(|b| *b == 0).unwrap_or(buffer.len());
        buffer.truncate(end);
        String::from_utf8(buffer).map_err(|e| Error::new(code::ML_TRAIN, "LightGBM's model is not text").cause(e.to_string()))
    }

    /// A learner from model text, for prediction only.
    pub(super) fn from_text(model: &str, cols: usize) -> Result<Learner<'static>> {
        let model = text(model)?;
        let (mut handle, mut trees): (c::BoosterHandle, c_int) = (std::ptr::null_mut(), 0);
        // SAFETY: `model` is NUL-terminated and outlives the call.
        check(unsafe { c::LGBM_BoosterLoadModelFromString(model.as_ptr(), &mut trees, &mut handle) })?;
        Ok(Learner { handle, cols, _table: std::marker::PhantomData })
    }

    /// Raw scores of row-major rows.
    pub(super) fn predict(&self, features: &[f32]) -> Result<Vec<f64>> {
        if self.cols == 0 || !features.len().is_multiple_of(self.cols) {
            return Err(Error::bug(text!("{} values are not rows of {}", features.len(), self.cols)));
        }
        let rows = features.len() / self.cols;
        let mut out = vec![0.0f64; rows];
        if rows == 0 {
            return Ok(out);
        }
        let params = text("num_threads=1 verbosity=-1")?;
        let mut written: i64 = 0;
        // SAFETY: `features` holds `rows * cols` f32 and `out` one f64 per row, as a single-output model writes.
        check(unsafe {
            c::LGBM_BoosterPredictForMat(
                self.handle,
                features.as_ptr().cast::<c_void>(),
                constant(c::C_API_DTYPE_FLOAT32),
                count(rows)?,
                count(self.cols)?,
                1,
                constant(c::C_API_PREDICT_RAW_SCORE),
                0,
                -1,
                params.as_ptr(),
                &mut written,
                out.as_mut_ptr(),
            )
        })?;
        if usize::try_from(written).ok() != Some(rows) {
            return Err(Error::new(code::ML_TRAIN, text!("LightGBM wrote {written} predictions for {rows} rows")));
        }
        Ok(out)
    }
}

impl Drop for Learner<'_> {
    fn drop(&mut self) {
        // SAFETY: the handle came from LightGBM and is freed only here.
        let _freed = unsafe { c::LGBM_BoosterFree(self.handle) };
    }
}

fn check(status: c_int) -> Result<()> {
    if status == 0 {
        return Ok(());
    }
    // SAFETY: LightGBM returns a NUL-terminated string that lives as long as the thread.
    let message = unsafe { CStr::from_ptr(c::LGBM_GetLastError()) }.to_string_lossy().into_owned();
    Err(Error::new(code::ML_TRAIN, "LightGBM refused a call").cause(message))
}

fn count(n: usize) -> Result<i32> {
    i32::try_from(n).map_err(|_| Error::new(code::ML_TRAIN, text!("{n} rows are more than LightGBM can number")))
}

fn constant(value: u32) -> c_int {
    c_int::try_from(value).unwrap_or(0)
}

fn text(s: &str) -> Result<CString> {
    CString::new(s).map_err(|_| Error::bug("a string for LightGBM holds a NUL byte"))
}
