use super::*;

fn class(vendor: Vendor, status: u16, body: &str) -> Class {
    classify(&Answer { vendor, status, headers: &BTreeMap::new(), body: body.as_bytes() }).class
}
fn per(per: Per) -> Class {
    Class::RateLimited { per: Some(per), seconds: None }
}

#[test]
fn lesson_009_every_known_refusal_has_its_class() {
    use Vendor::{AlphaVantage as AV, *};
    let burst = r#"{"Information":"Thank you for using Alpha Vantage! Please consider spreading out your free API requests more sparingly (1 request per second). You may subscribe to any of the premium plans at https://www.alphavantage.co/premium/ to lift the free key rate limit (25 requests per day), raise the per-second burst limit, and instantly unlock all premium endpoints"}"#;
    let table: &[(Vendor, u16, &str, Class)] = &[
        (Alpaca, 403, r#"{"message":"subscription does not permit querying recent SIP data"}"#, Class::WindowTooFresh),
        (Alpaca, 403, r#"{"message":"subscription does not permit querying 1Min bars"}"#, Class::NotEntitled),
        (Alpaca, 403, r#"{"message":"forbidden."}"#, Class::BadKey),
        (
            Massive,
            403,
            r#"{"status":"NOT_AUTHORIZED","message":"Your plan doesn't include this data timeframe. Please upgrade your plan"}"#,
            Class::BeyondDepth,
        ),
        (
            Massive,
            403,
            r#"{"status":"NOT_AUTHORIZED","message":"Attempted to request today's data before end of day. Please upgrade your plan"}"#,
            Class::WindowTooFresh,
        ),
        (Alpaca, 401, r#"{"message":"unauthorized."}"#, Class::BadKey),
        (Alpaca, 429, r#"{"message":"too many requests."}"#, per(Per::Minute)),
        (Alpaca, 422, r#"{"code":40010001,"message":"client_order_id must be unique"}"#, Class::Duplicate),
        (Alpaca, 422, r#"{"code":40010001,"message":"qty or notional is required"}"#, Class::Refused),
        (Alpaca, 403, r#"{"code":40310000,"message":"insufficient buying power"}"#, Class::Refused),
        (Alpaca, 400, r#"{"message":"invalid symbol: FOO"}"#, Class::UnknownSymbol),
        (Alpaca, 400, r#"{"message":"something new"}"#, Class::Unclassified),
        (Alpaca, 502, "<html>bad gateway</html>", Class::Transient),
        (
            Tiingo,
            429,
            r#"{"detail":"Error: You have run over your hourly request allocation. Please upgrade at https://api.tiingo.com/pricing"}"#,
            per(Per::Hour),
        ),
        (Tiingo, 200, r#"{"detail":"Error: You have run over your daily request allocation. Please upgrade"}"#, per(Per::Day)),
        (Tiingo, 200, r#"{"detail":"Error: You have run over your monthly unique symbol request allocation."}"#, per(Per::Month)),
        (Tiingo, 404, r#"{"detail":"Not found."}"#, Class::UnknownSymbol),
        (Tiingo, 200, r#"{"detail":"You do not have permission to access the News API"}"#, Class::NotEntitled),
        (Tiingo, 403, r#"{"detail":"You do not have permission to access the News API"}"#, Class::NotEntitled),
        (
            Massive,
            429,
            r#"{"status":"ERROR","request_id":"1","error":"You've exceeded the maximum requests per minute, please wait or upgrade your subscription to continue."}"#,
            per(Per::Minute),
        ),
        (Massive, 403, r#"{"status":"NOT_AUTHORIZED","message":"You are not entitled to this data. Please upgrade your plan"}"#, Class::NotEntitled),
        (Massive, 401, r#"{"status":"ERROR","error":"Unknown API Key"}"#, Class::BadKey),
        (Finnhub, 429, "API limit reached. Please try again later.", per(Per::Minute)),
        (Finnhub, 429, r#"{"error":"API limit reached. Please try again later. Remaining Limit: 0"}"#, per(Per::Minute)),
        (Finnhub, 403, r#"{"error":"You don't have access to this resource."}"#, Class::NotEntitled),
        (Finnhub, 401, r#"{"error":"Invalid API key."}"#, Class::BadKey),
        (Finnhub, 200, "<!DOCTYPE html><html></html>", Class::Malformed),
        (Finnhub, 200, r#"{"s":"no_data"}"#, Class::ValidEmpty),
        (AV, 200, burst, Class::RateLimited { per: Some(Per::Second), seconds: Some(1.5) }),
        (
            AV,
            200,
            r#"{"Information":"We have detected your API key as XXXX and our standard API rate limit is 25 requests per day. Please subscribe to any of the premium plans"}"#,
            per(Per::Day),
        ),
        (
            AV,
            200,
            r#"{"Information":"Thank you for using Alpha Vantage! Our standard API rate limit is 25 requests per day. Please subscribe"}"#,
            per(Per::Day),
        ),
        (
            AV,
            200,
            r#"{"Note":"Thank you for using Alpha Vantage! Our standard API call frequency is 5 calls per minute and 500 calls per day."}"#,
            per(Per::Minute),
        ),
        (AV, 200, r#"{"Information":"Thank you for using Alpha Vantage! This is a premium endpoint. You may subscribe"}"#, Class::NotEntitled),
        (AV, 200, r#"{"Error Message":"Invalid API call. Please retry or visit the documentation"}"#, Class::UnknownSymbol),
        (AV, 200, r#"{"Error Message":"the parameter apikey is invalid or missing. Please claim your free API key"}"#, Class::BadKey),
        (AV, 200, "{}", Class::SuspiciousEmpty),
        (Fred, 400, r#"{"error_code":400,"error_message":"Bad Request. The series does not exist."}"#, Class::UnknownSymbol),
        (Fred, 400, r#"{"error_code":400,"error_message":"Bad Request.  The value for variable api_key is not registered.  Read"}"#, Class::BadKey),
        (
            Fred,
            400,
            r#"{"error_code":400,"error_message":"Bad Request.  There are 2004 vintage dates in the specified real-time period: 1. This exceeds the maximum number of vintage dates allowed (2000)."}"#,
            Class::SplitWindow,
        ),
        (
            Fred,
            429,
            r#"{"error_code":429,"error_message":"Too Many Requests. Exceeded Rate Limit."}"#,
            Class::RateLimited { per: Some(Per::Second), seconds: Some(20.0) },
        ),
        (Fmp, 429, r#"{"Error Message":"Limit Reach . Please upgrade your plan or visit our documentation"}"#, per(Per::Day)),
        (Fmp, 402, "Premium Query Parameter: this value is not available", Class::NotEntitled),
        (Fmp, 402, "Special Endpoint : this value set for 'symbol' is not available under your current subscription", Class::NotEntitled),
        (Fmp, 403, r#"{"Error Message":"Legacy Endpoint : Due to Legacy endpoints being no longer supported"}"#, Class::Unclassified),
        (Fmp, 401, r#"{"Error Message":"Invalid API KEY. Please retry"}"#, Class::BadKey),
        (SecEdgar, 403, "<!DOCTYPE html><html><body>Request Rate Threshold Exceeded</body></html>", Class::RateLimited { per: None, seconds: Some(600.0) }),
        (SecEdgar, 429, "<html>Undeclared Automated Tool</html>", Class::RateLimited { per: None, seconds: Some(600.0) }),
    ];
    for (vendor, status, body, want) in table {
        assert_eq!(&class(*vendor, *status, body), want, "{vendor} {status} {body}");
    }
}

#[test]
fn lesson_010_a_success_is_never_searched_for_refusal_words() {
    let headline = r#"[{"headline":"Premium plan upgrade: rate limit of 25 requests per day, subscription does not permit, code 429","mic_code":"XNGS"}]"#;
    let rows = r#"{"bars":{"PLAN":[]},"next_page_token":null,"message":"upgrade your plan"}"#;
    for vendor in Vendor::ALL {
        assert_eq!(class(*vendor, 200, headline), Class::Ok, "{vendor}");
        assert_eq!(class(*vendor, 200, rows), Class::Ok, "{vendor}");
    }
    assert_eq!(class(Vendor::AlphaVantage, 200, r#"{"Information":"25 requests per day","data":[]}"#), Class::Ok, "a second key: not a refusal");
    assert_eq!(class(Vendor::AlphaVantage, 200, "symbol,name\nPLAN,premium endpoint per day\n"), Class::Ok);
}

#[test]
fn only_the_vendors_own_words_close_a_lane() {
    let page = "<html><body>403: You are not authorized to access this page. Please upgrade your plan, premium subscription.</body></html>";
    for vendor in Vendor::ALL {
        for status in [400, 402, 403, 407, 451] {
            let class = class(*vendor, status, page);
            let want = match (vendor, status) {
                // The SEC turns those away with a page whom it takes for too busy.
                (Vendor::SecEdgar, 403) => Class::RateLimited { per: None, seconds: Some(600.0) },
                (Vendor::SecEdgar | Vendor::Treasury, _) => Class::Unclassified,
                _ => Class::Transient,
            };
            assert_eq!(class, want, "{vendor} {status}");
        }
        // The same words of a proxy that speaks JSON are nobody's plan, except where the vendor is known to use them.
        let proxy = r#"{"message":"access denied by policy: not authorized, please upgrade"}"#;
        assert_eq!(class(*vendor, 403, proxy), Class::Unclassified, "{vendor}");
    }
}
