"""Other vendors' Python clients against the sandbox: Tiingo's, Massive's and Finnhub's own, and FMP's best-known one.

The SEC and the Treasury publish no client: they are asked as their own pages say, with nothing but the standard library.
"""

import json
import sys
import urllib.error
import urllib.request

import finnhub
from fmp_data import ClientConfig, FMPDataClient
from massive import RESTClient
from tiingo import TiingoClient

ready = json.loads(open(sys.argv[1], encoding="utf-8").readline())
env = ready["env"]
base = f"http://127.0.0.1:{ready['port']}"


def get(url: str, agent: str) -> bytes:
    return urllib.request.urlopen(urllib.request.Request(url, headers={"User-Agent": agent})).read()


tiingo = TiingoClient({"api_key": env["TIINGO_API_KEY"], "session": True})
tiingo._base_url = env["TRADEML_BASE_URL_TIINGO"]
prices = tiingo.get_ticker_price("AAPL", startDate="2017-11-01", endDate="2017-11-29", frequency="daily")
assert len(prices) == 20 and {"close", "adjClose", "divCash", "splitFactor"} <= set(prices[0]), prices[:1]
assert tiingo.get_ticker_metadata("BRK-B")["ticker"] == "BRK-B"
print("tiingo: 20 sessions, raw and adjusted; a name's life")

massive = RESTClient(env["MASSIVE_API_KEY"], base=env["TRADEML_BASE_URL_MASSIVE"], retries=0)
bars = list(massive.list_aggs("AAPL", 1, "day", "2017-11-01", "2017-11-29", adjusted=False, limit=7))
assert [b.close for b in bars] == [p["close"] for p in prices], "pages of seven are followed by next_url"
grouped = massive.get_grouped_daily_aggs("2017-11-29", adjusted=False)
assert {"AAPL", "MSFT"} <= {b.ticker for b in grouped}
names = [t.ticker for t in massive.list_tickers(market="stocks", active=True, limit=30)]
assert len(names) == len(set(names)) == 100, len(names)
assert not list(massive.list_splits("AAPL")), "the replayed prices are split-adjusted: there is none to serve"
print("massive: 20 sessions in pages of 7, a day of the market, 100 tickers in pages of 30")

client = finnhub.Client(api_key=env["FINNHUB_API_KEY"])
client.API_URL = env["TRADEML_BASE_URL_FINNHUB"]
assert client.market_status(exchange="US")["exchange"] == "US"
print("finnhub: the market's status, over a path with two slashes")

fmp = FMPDataClient(config=ClientConfig(api_key=env["FMP_API_KEY"], base_url=env["TRADEML_BASE_URL_FMP"]))
profile = fmp.company.get_profile("AAPL")
assert profile.symbol == "AAPL" and profile.price > 0, profile
print(f"fmp: the profile of {profile.company_name}")

try:
    get(env["TRADEML_BASE_URL_SEC_WWW"] + "/files/company_tickers.json", "python")
    raise SystemExit("the SEC let an undeclared tool in")
except urllib.error.HTTPError as error:
    assert error.code == 403 and b"Undeclared Automated Tool" in error.read()
json.loads(get(env["TRADEML_BASE_URL_SEC_WWW"] + "/files/company_tickers.json", env["SEC_CONTACT"]))
feed = get(env["TRADEML_BASE_URL_TREASURY"] + "/resource-center/data-chart-center/interest-rates/pages/xml"
           "?data=daily_treasury_yield_curve&field_tdr_date_value=2017", "python")
assert b"<feed" in feed
print("sec, treasury: as their own pages say")
print("clients: ok")
