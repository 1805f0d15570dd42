//! Corporate actions: how many of each kind are applied, and every one that is in doubt, with what is said of it.

use super::{Classes, Section};
use crate::error::Result;
use crate::qc::QcCode;
use crate::reference;
use crate::root::DataRoot;

pub(super) fn section(root: &DataRoot) -> Result<Option<Section>> {
    let (actions, doubts) = (reference::load_actions(root)?, reference::load_doubts(root)?);
    if actions.is_empty() && doubts.is_empty() {
        return Ok(None);
    }
    let mut out = Section { dataset: "corp_actions".into(), ..Section::default() };
    for action in actions.values().flatten() {
        *out.counts.entry(action.event_type.replace('_', " ")).or_default() += 1;
    }
    let mut classes = Classes::default();
    for d in doubts {
        let class = if d.code == QcCode::ActionsDisagree { DISAGREE } else { UNAPPLIED };
        classes.add(class, || format!("{} {}: {}", d.symbol, d.ex_date, d.words));
    }
    out.anomalies = classes.explained(why);
    Ok(Some(out))
}

pub(super) const DISAGREE: &str = "sources tell different actions";
pub(super) const UNAPPLIED: &str = "an action that could not be applied";

pub(super) fn why(class: &str) -> &'static str {
    match class {
        DISAGREE => {
            "Two sources give another ratio, amount or date to one event, one of them does not tell it, or one took back what it had told. The \
             preferred source's word is applied, and the session is AMBER until they agree."
        }
        UNAPPLIED => {
            "The source gives no usable ratio or amount, more is paid than the share was worth, or what was spun off has no first close yet. \
             Prices before that session are not restated for it, and the session is AMBER."
        }
        _ => "",
    }
}
