//! The newest quote of a symbol: subscribe, hear the first one, unsubscribe.

use super::session::{Failure, News};
use super::{About, CTraderBroker, failed};
use data_layer::ctrader::messages as m;
use data_layer::ctrader::{QUOTE_UNITS, Wire, moment};
use data_layer::error::Result;
use data_layer::time::UtcTime;
use std::time::Duration;
use tokio::sync::broadcast;

/// Real time for a subscription's first quote.
const QUOTE: Duration = Duration::from_secs(5);

impl CTraderBroker {
    /// The middle of the newest quote; none where nobody makes one, where it has no moment, or where the server does not tell it.
    pub(super) fn quote(&self, symbol: &str) -> Result<Option<(f64, UtcTime)>> {
        // Twice, where the first question had to log in anew: what is heard must come over the connection that was asked.
        for _ in 0..2 {
            let link = self.link()?;
            let Ok(id) = link.symbols.id(symbol) else { return Ok(None) };
            let mut news = link.session.listen();
            let question = |account| m::SubscribeSpotsReq { account, symbols: vec![id], with_time: Some(true) };
            match self.put::<m::SubscribeSpotsRes, _>(About::Now, question)? {
                Ok(_) => {}
                // An earlier unsubscribing was lost: the quotes come all the same.
                Err(Failure::Refused { code, .. }) if code == "ALREADY_SUBSCRIBED" => {}
                Err(Failure::Refused { .. }) => return Ok(None),
                Err(other) => return Err(failed(other)),
            }
            if !self.is_current(&link) {
                continue;
            }
            let quote = self.host.block_on(async { tokio::time::timeout(QUOTE, first(&mut news, id)).await })?.ok().flatten();
            let ended = self.put::<m::UnsubscribeSpotsRes, _>(About::Now, |account| m::UnsubscribeSpotsReq { account, symbols: vec![id] });
            if !matches!(ended, Ok(Ok(_))) {
                // A connection that goes on telling what nobody asked for is given up; the price is a price.
                self.unlink(&link);
            }
            return Ok(quote.as_ref().and_then(middle));
        }
        Ok(None)
    }
}

async fn first(news: &mut broadcast::Receiver<News>, id: i64) -> Option<m::SpotEvent> {
    loop {
        match news.recv().await {
            Ok(News::Message(e)) => match m::SpotEvent::unwrapped(&e).filter(|s| s.symbol == id) {
                Some(quote) => return Some(quote),
                None => continue,
            },
            Err(broadcast::error::RecvError::Lagged(_)) => {}
            Ok(News::Lost(_)) | Err(broadcast::error::RecvError::Closed) => return None,
        }
    }
}

fn middle(quote: &m::SpotEvent) -> Option<(f64, UtcTime)> {
    let sides: Vec<f64> = [quote.bid, quote.ask].into_iter().flatten().filter(|p| *p > 0).map(|p| p as f64 / QUOTE_UNITS).collect();
    let price = (!sides.is_empty()).then(|| sides.iter().sum::<f64>() / sides.len() as f64);
    price.zip(quote.at_ms.and_then(moment))
}
