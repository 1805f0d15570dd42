//! The US Treasury's par yield curve: one calendar year a call, Atom XML, no key.
//!
//! Quotes are of about 15:30 in New York, so a curve counts as published on its own day and is usable at the next open.
//! Tenors appear and vanish over the decades; an empty tag or `m:null` is a missing value.

use super::{Auth, Batch, Connector, Macro, Page, Request, Rows, day_of_stamp};
use crate::error::{Error, Result};
use crate::schema::dataset;
use crate::sourcing::{Base, Vendor};

/// The connector.
pub struct Treasury;

impl Connector for Treasury {
    fn plan(&self, batch: &Batch) -> Result<Vec<Request>> {
        if batch.dataset != dataset::TREASURY {
            return Err(Error::bug(text!("the treasury does not serve {}", batch.dataset)));
        }
        Ok((batch.range.start.year()..=batch.range.end.plus_days(-1).year()).map(curve).collect())
    }

    fn decode(&self, batch: &Batch, request: &Request, body: &[u8]) -> std::result::Result<Page, String> {
        let text = std::str::from_utf8(body).map_err(|e| e.to_string())?;
        if !text.contains("<feed") || !text.trim_end().ends_with("</feed>") {
            return Err("not an Atom feed, or a cut one".into());
        }
        let mut rows = Vec::new();
        for entry in text.split("<m:properties>").skip(1) {
            let entry = entry.split("</m:properties>").next().unwrap_or_default();
            let mut date = None;
            let mut values = Vec::new();
            for (name, value) in tags(entry) {
                if name == "NEW_DATE" {
                    date = Some(day_of_stamp(value)?);
                } else if name.starts_with("BC_") && !name.ends_with("DISPLAY") {
                    let number = if value.is_empty() { None } else { Some(value.parse::<f64>().map_err(|_| text!("'{value}' is not a yield"))?) };
                    values.push((name, number.filter(|v| v.is_finite())));
                }
            }
            let date = date.ok_or("an entry without its date")?;
            if values.is_empty() {
                return Err(text!("an entry of {date} without a yield"));
            }
            if batch.range.contains(date) {
                rows.extend(values.into_iter().map(|(name, value)| Macro {
                    series: name.to_string(),
                    observed: date,
                    value,
                    realtime_start: date,
                    realtime_end: None,
                    source_uri: request.question(),
                }));
            }
        }
        Ok(Page::last(Rows::Macros(rows)))
    }

    fn may_be_empty(&self, _dataset: &str) -> bool {
        true
    }
}

/// One year's curves.
pub fn curve(year: i16) -> Request {
    Request {
        vendor: Vendor::Treasury,
        base: Base::Treasury,
        path: "/resource-center/data-chart-center/interest-rates/pages/xml".into(),
        query: vec![("data".into(), "daily_treasury_yield_curve".into()), ("field_tdr_date_value".into(), year.to_string())],
        auth: Auth::None,
        api_version: "xml",
        weight: 1,
        unique: None,
    }
}

/// `<d:NAME ...>value</d:NAME>` and `<d:NAME m:null="true"/>`, in order.
fn tags(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.split("<d:").skip(1).filter_map(|rest| {
        let (head, tail) = rest.split_once('>')?;
        let name = head.split([' ', '/', '\t', '\n', '\r']).next()?;
        let value = if head.ends_with('/') { "" } else { tail.split('<').next().unwrap_or_default() };
        Some((name, value.trim()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::DateRange;

    #[test]
    fn tenors_come_and_go_and_null_is_missing() {
        let range = DateRange::new("2025-12-30".parse().unwrap(), "2026-01-03".parse().unwrap()).unwrap();
        let b = Batch { dataset: dataset::TREASURY.into(), symbols: Vec::new(), range, page_rows: 400, under: Default::default() };
        let asks = Treasury.plan(&b).unwrap();
        assert_eq!(asks.iter().map(|r| r.query[1].1.as_str()).collect::<Vec<_>>(), ["2025", "2026"]);
        let body = br#"<?xml version="1.0"?><feed xmlns="a"><entry><content type="application/xml"><m:properties>
            <d:NEW_DATE m:type="Edm.DateTime">2025-12-31T00:00:00</d:NEW_DATE><d:BC_1MONTH m:type="Edm.Double">3.9</d:BC_1MONTH>
            <d:BC_4MONTH m:type="Edm.Double" m:null="true" /><d:BC_10YEAR m:type="Edm.Double">4.05</d:BC_10YEAR><d:BC_30YEARDISPLAY m:type="Edm.Double">0</d:BC_30YEARDISPLAY>
            </m:properties></content></entry></feed>"#;
        let Rows::Macros(rows) = Treasury.decode(&b, &asks[0], body).unwrap().rows else { panic!("macros") };
        assert_eq!(
            rows.iter().map(|m| (m.series.as_str(), m.value)).collect::<Vec<_>>(),
            [("BC_1MONTH", Some(3.9)), ("BC_4MONTH", None), ("BC_10YEAR", Some(4.05))]
        );
        assert!(Treasury.decode(&b, &asks[0], &body[..300]).is_err(), "cut off");
        let other = String::from_utf8_lossy(body).replace("BC_", "TC_");
        assert!(Treasury.decode(&b, &asks[0], other.as_bytes()).is_err(), "another feed");
        assert!(Treasury.decode(&b, &asks[0], b"<!DOCTYPE html><html></html>").is_err());
    }
}
