//! SEC EDGAR: every number a company has reported, with the day on which it was filed; [`super::sec_identity`] reads who the
//! companies are and what they filed.
//!
//! A symbol here is a company's permanent number (CIK, ten digits). The body may be tens of megabytes: it is read as a
//! stream of facts, of which only those filed inside the window are kept; nothing else of it is ever in memory twice.

use super::{Auth, Batch, Connector, Fact, Page, Request, Rows, sec_identity};
use crate::error::{Error, Result};
use crate::schema::dataset;
use crate::sourcing::{Base, Vendor};
use crate::time::TradingDay;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

/// Concepts that count a company's shares, the best first: the cover page's count, the balance sheet's, the average of the
/// period for a company that states no count of all its classes.
pub const SHARE_COUNTS: [(&str, &str); 3] =
    [("dei", "EntityCommonStockSharesOutstanding"), ("us-gaap", "CommonStockSharesOutstanding"), ("us-gaap", "WeightedAverageNumberOfSharesOutstandingBasic")];

/// The connector.
pub struct SecEdgar;

impl Connector for SecEdgar {
    fn plan(&self, batch: &Batch) -> Result<Vec<Request>> {
        match batch.dataset.as_str() {
            dataset::FUNDAMENTALS | dataset::SHARES => Ok(batch.symbols.iter().map(|cik| company_facts(cik)).collect()),
            dataset::COMPANIES => Ok(vec![sec_identity::company_tickers()]),
            dataset::FILINGS => Ok(batch.symbols.iter().map(|cik| sec_identity::submissions(cik)).collect()),
            other => Err(Error::bug(text!("sec_edgar does not serve {other}"))),
        }
    }

    fn decode(&self, batch: &Batch, request: &Request, body: &[u8]) -> std::result::Result<Page, String> {
        match batch.dataset.as_str() {
            dataset::COMPANIES => sec_identity::companies(batch, request, body),
            dataset::FILINGS => sec_identity::filings(batch, request, body),
            _ => facts(batch, request, body),
        }
    }

    fn may_be_empty(&self, name: &str) -> bool {
        name != dataset::COMPANIES
    }
}

fn facts(batch: &Batch, request: &Request, body: &[u8]) -> std::result::Result<Page, String> {
    let cik = request.path.trim_start_matches("/api/xbrl/companyfacts/CIK").trim_end_matches(".json");
    let only_shares = batch.dataset == dataset::SHARES;
    let mut sink = Sink { batch, only_shares, cik: cik.into(), uri: request.question().into(), forms: BTreeSet::new(), facts: Vec::new() };
    let mut json = serde_json::Deserializer::from_slice(body);
    Company(&mut sink).deserialize(&mut json).and_then(|()| json.end()).map_err(|e| e.to_string())?;
    Ok(Page::last(Rows::Facts(sink.facts)))
}

/// All facts of one company.
pub fn company_facts(cik: &str) -> Request {
    request(Base::SecData, format!("/api/xbrl/companyfacts/CIK{cik:0>10}.json"), "companyfacts")
}

/// A file of one of the SEC's hosts.
pub(super) fn request(base: Base, path: String, api_version: &'static str) -> Request {
    Request {
        vendor: Vendor::SecEdgar,
        base,
        path,
        query: Vec::new(),
        // The fair-access rules ask for a name and an address in this header; it is no secret.
        auth: Auth::Headers(&[("User-Agent", "", "SEC_CONTACT")]),
        api_version,
        weight: 1,
        unique: None,
    }
}

/// Where facts go.
struct Sink<'a> {
    batch: &'a Batch,
    /// Of all concepts only [`SHARE_COUNTS`].
    only_shares: bool,
    cik: Arc<str>,
    uri: Arc<str>,
    /// Names of forms that were met: a few dozen for any number of facts.
    forms: BTreeSet<Arc<str>>,
    facts: Vec<Fact>,
}

impl Sink<'_> {
    fn wants(&self, taxonomy: &str, concept: &str) -> bool {
        !self.only_shares || SHARE_COUNTS.contains(&(taxonomy, concept))
    }
    fn form(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.forms.get(name) {
            return Arc::clone(known);
        }
        let new: Arc<str> = name.into();
        self.forms.insert(Arc::clone(&new));
        new
    }
}

#[derive(Deserialize)]
struct Raw {
    #[serde(default)]
    start: Option<TradingDay>,
    end: TradingDay,
    val: f64,
    accn: Box<str>,
    #[serde(default)]
    form: Box<str>,
    filed: TradingDay,
}

/// A company's number, which the files write as a number or as text, in ten digits.
pub(super) struct Number(pub(super) String);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(d: D) -> std::result::Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Either {
            Number(u64),
            Text(String),
        }
        Ok(Self(match Either::deserialize(d)? {
            Either::Number(n) => format!("{n:0>10}"),
            Either::Text(t) => format!("{t:0>10}"),
        }))
    }
}

/// `{"cik", "entityName", "facts": {taxonomy: {concept: {"units": {unit: [fact]}}}}}`, one level after the other.
struct Company<'s, 'a>(&'s mut Sink<'a>);
struct Level<'s, 'a> {
    sink: &'s mut Sink<'a>,
    names: Vec<String>,
}
struct Units<'s, 'a> {
    sink: &'s mut Sink<'a>,
    names: Vec<String>,
}
struct List<'s, 'a> {
    sink: &'s mut Sink<'a>,
    taxonomy: Arc<str>,
    concept: Arc<str>,
    unit: Arc<str>,
}

impl<'de> DeserializeSeed<'de> for Company<'_, '_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> std::result::Result<(), D::Error> {
        d.deserialize_map(self)
    }
}
impl<'de> Visitor<'de> for Company<'_, '_> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a company's facts")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<(), A::Error> {
        let mut seen = false;
        while let Some(key) = map.next_key::<String>()? {
            if key == "cik" {
                let cik = map.next_value::<Number>()?.0;
                if *cik != *self.0.cik {
                    return Err(serde::de::Error::custom(text!("the facts of company {cik}, not of {}", self.0.cik)));
                }
            } else if key == "facts" {
                seen = true;
                map.next_value_seed(Level { sink: &mut *self.0, names: Vec::new() })?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        if seen { Ok(()) } else { Err(serde::de::Error::custom("no facts")) }
    }
}

impl<'de> DeserializeSeed<'de> for Level<'_, '_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> std::result::Result<(), D::Error> {
        d.deserialize_map(self)
    }
}
impl<'de> Visitor<'de> for Level<'_, '_> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of taxonomies or concepts")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            let mut names = self.names.clone();
            names.push(key);
            if names.len() == 1 {
                map.next_value_seed(Level { sink: &mut *self.sink, names })?;
            } else if !self.sink.wants(&names[0], &names[1]) {
                map.next_value::<IgnoredAny>()?;
            } else {
                map.next_value_seed(Units { sink: &mut *self.sink, names })?;
            }
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Units<'_, '_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> std::result::Result<(), D::Error> {
        d.deserialize_map(self)
    }
}
impl<'de> Visitor<'de> for Units<'_, '_> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a concept with its units")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<(), A::Error> {
        // Both the concept (`label`, `description`, `units`) and its `units` are maps: lists are facts, maps lead deeper.
        while let Some(key) = map.next_key::<String>()? {
            match (key.as_str(), self.names.len()) {
                ("units", 2) => {
                    let mut names = self.names.clone();
                    names.push(String::new());
                    map.next_value_seed(Units { sink: &mut *self.sink, names })?;
                }
                (_, 2) => drop(map.next_value::<IgnoredAny>()?),
                (unit, _) => map.next_value_seed(List {
                    sink: &mut *self.sink,
                    taxonomy: self.names[0].as_str().into(),
                    concept: self.names[1].as_str().into(),
                    unit: unit.into(),
                })?,
            }
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for List<'_, '_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> std::result::Result<(), D::Error> {
        d.deserialize_seq(self)
    }
}
impl<'de> Visitor<'de> for List<'_, '_> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of facts")
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> std::result::Result<(), A::Error> {
        while let Some(raw) = seq.next_element::<Raw>()? {
            if !self.sink.batch.range.contains(raw.filed) {
                continue;
            }
            let form = self.sink.form(&raw.form);
            self.sink.facts.push(Fact {
                cik: Arc::clone(&self.sink.cik),
                taxonomy: Arc::clone(&self.taxonomy),
                concept: Arc::clone(&self.concept),
                unit: Arc::clone(&self.unit),
                start: raw.start,
                end: raw.end,
                value: raw.val,
                accession: raw.accn,
                form,
                filed: raw.filed,
                source_uri: Arc::clone(&self.sink.uri),
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::DateRange;

    #[test]
    fn a_large_companys_facts_share_their_texts_and_its_shares_alone_are_a_handful() {
        let range = DateRange::new("2009-01-01".parse().unwrap(), "2020-01-01".parse().unwrap()).unwrap();
        let fact = |i: usize| {
            format!(
                r#"{{"end":"2017-06-30","val":{i},"accn":"0000000001-17-{i:06}","fy":2017,"fp":"Q2","form":"10-Q","filed":"2017-08-01","frame":"CY2017Q2I"}}"#
            )
        };
        let list = |n: usize| (0..n).map(fact).collect::<Vec<_>>().join(",");
        let body = format!(
            r#"{{"cik":1,"entityName":"A","facts":{{"us-gaap":{{"Assets":{{"label":null,"description":null,"units":{{"USD":[{}]}}}}}},"dei":{{"EntityCommonStockSharesOutstanding":{{"units":{{"shares":[{}]}}}}}}}}}}"#,
            list(10_000),
            list(3)
        );
        let decoded = |name: &str| {
            let b = Batch { dataset: name.into(), symbols: vec!["1".into()], range, page_rows: 1, under: Default::default() };
            let request = SecEdgar.plan(&b).unwrap().remove(0);
            let Rows::Facts(facts) = SecEdgar.decode(&b, &request, body.as_bytes()).unwrap().rows else { panic!("facts") };
            facts
        };
        assert_eq!(decoded(dataset::SHARES).len(), 3);
        let all = decoded(dataset::FUNDAMENTALS);
        // What a fact holds of its own: numbers, days and its accession. Everything else is counted once.
        assert!(all.len() == 10_003 && size_of::<Fact>() <= 144, "{}", size_of::<Fact>());
        let held: usize = all.iter().map(|f| size_of::<Fact>() + f.accession.len()).sum();
        assert!(held < 2 * body.len() && all.iter().all(|f| Arc::ptr_eq(&f.source_uri, &all[0].source_uri) && Arc::ptr_eq(&f.form, &all[0].form)));
        assert_eq!((Arc::strong_count(&all[0].concept), Arc::strong_count(&all[10_000].concept)), (10_000, 3));
    }

    #[test]
    fn facts_are_kept_by_the_day_they_were_filed() {
        let range = DateRange::new("2009-01-01".parse().unwrap(), "2009-10-01".parse().unwrap()).unwrap();
        let b = Batch { dataset: dataset::FUNDAMENTALS.into(), symbols: vec!["320193".into()], range, page_rows: 1, under: Default::default() };
        let request = SecEdgar.plan(&b).unwrap().remove(0);
        assert_eq!(request.path, "/api/xbrl/companyfacts/CIK0000320193.json");
        // Two real facts of Apple's filings: the second was filed after the window.
        let body = br#"{"cik":320193,"entityName":"Apple Inc.","facts":{"dei":{"EntityCommonStockSharesOutstanding":{"label":"x","description":null,"units":{"shares":[
            {"end":"2009-06-27","val":895816758,"accn":"0001193125-09-153165","fy":2009,"fp":"Q3","form":"10-Q","filed":"2009-07-22","frame":"CY2009Q2I"},
            {"end":"2009-10-16","val":900678473,"accn":"0001193125-09-214859","fy":2009,"fp":"FY","form":"10-K","filed":"2009-10-27"}]}}}}}"#;
        let Rows::Facts(facts) = SecEdgar.decode(&b, &request, body).unwrap().rows else { panic!("facts") };
        assert_eq!(facts.len(), 1);
        assert_eq!(
            (&*facts[0].cik, &*facts[0].concept, &*facts[0].unit, facts[0].value),
            ("0000320193", "EntityCommonStockSharesOutstanding", "shares", 895_816_758.0)
        );
        assert!(SecEdgar.decode(&b, &request, &body[..300]).is_err(), "cut off");
        assert!(SecEdgar.decode(&b, &request, br#"{"cik":"0000789019","facts":{}}"#).unwrap_err().contains("0000789019"), "another company");
        assert!(SecEdgar.decode(&b, &request, br#"{"message":"x"}"#).is_err());
    }
}
