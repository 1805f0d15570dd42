//! A question that is asked for the moment of its answer alone.

use super::Fetcher;
use crate::error::Result;
use crate::sourcing::Vendor;
use crate::vendor::{Request, alpaca, finnhub, fred, massive, tiingo, treasury};

/// Cheap questions to vendors that count minutes, not a day's few calls. Any answer tells the time, a refusal too.
fn questions(year: i16) -> [(Vendor, Request); 6] {
    [
        (Vendor::Alpaca, alpaca::clock()),
        (Vendor::Finnhub, finnhub::market_status()),
        (Vendor::Massive, massive::market_status()),
        (Vendor::Fred, fred::series("VIXCLS")),
        (Vendor::Tiingo, tiingo::test()),
        (Vendor::Treasury, treasury::curve(year)),
    ]
}

impl Fetcher {
    /// Ask one vendor what time it is: another one each time, so that neither a vendor that is away nor one whose own clock is wrong
    /// is asked for ever. The second's and minute's limits are kept; the day's are not booked, because the day is what is in doubt.
    pub async fn ask_the_time(&self) -> Result<()> {
        let all = questions(self.host.now().utc_day().year());
        let able = |(vendor, request): &(Vendor, Request)| Some((*vendor, request.weight, self.call(request).ok()?));
        let known: Vec<_> = all.iter().filter(|(vendor, _)| self.vendors.missing_keys(*vendor).is_empty()).filter_map(able).collect();
        let turn = self.clock.count_question().checked_rem(known.len()).unwrap_or(0);
        let Some((vendor, weight, call)) = known.into_iter().nth(turn) else { return Ok(()) };
        let short = self.short_windows(vendor)?;
        let ticket = self.pacer.admit(&self.host, vendor.as_str(), &short, weight).await?;
        self.pacer.leaves(&self.host, vendor.as_str(), &short, ticket, self.db.as_ref().map(|db| db.root())).await?;
        self.calls.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        // No answer says nothing: the next round asks the next one.
        if let Ok(raw) = self.transport.send(&call).await? {
            self.clock.hear(&self.host, vendor, &raw.headers);
        }
        Ok(())
    }
}
