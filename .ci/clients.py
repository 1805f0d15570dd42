"""Alpaca's official Python client against the sandbox: bars, the clock, an order and its look-up."""

import datetime as dt
import json
import sys
import urllib.request

from alpaca.common.exceptions import APIError
from alpaca.data.historical import StockHistoricalDataClient
from alpaca.data.requests import StockBarsRequest
from alpaca.data.timeframe import TimeFrame
from alpaca.trading.client import TradingClient
from alpaca.trading.enums import OrderSide, TimeInForce
from alpaca.trading.requests import MarketOrderRequest

ready = json.loads(open(sys.argv[1], encoding="utf-8").readline())
env = ready["env"]
key, secret = env.get("ALPACA_API_KEY", "practice"), env.get("ALPACA_API_SECRET", "practice")
base = f"http://127.0.0.1:{ready['port']}"


def advance(to: str) -> None:
    body = json.dumps({"to": to}).encode()
    request = urllib.request.Request(f"{base}/_world/clock", body, {"content-type": "application/json"})
    urllib.request.urlopen(request).read()


advance("2017-11-30T21:30:00Z")
data = StockHistoricalDataClient(key, secret, url_override=env["TRADEML_BASE_URL_ALPACA_DATA"])
bars = data.get_stock_bars(
    StockBarsRequest(
        symbol_or_symbols=["AAPL", "MSFT"],
        timeframe=TimeFrame.Day,
        start=dt.datetime(2017, 11, 1, tzinfo=dt.timezone.utc),
        end=dt.datetime(2017, 11, 30, 21, tzinfo=dt.timezone.utc),
    )
)
assert len(bars["AAPL"]) == len(bars["MSFT"]) == 21, {k: len(v) for k, v in bars.data.items()}
assert all(b.low <= b.open <= b.high for b in bars["AAPL"])
print("bars: 21 sessions for each of 2 symbols, in order")

trading = TradingClient(key, secret, paper=True, url_override=env["TRADEML_BASE_URL_ALPACA_TRADING"])
account = trading.get_account()
assert account.account_number.startswith("SIM"), account.account_number
assert trading.get_clock().is_open is False
order = MarketOrderRequest(symbol="AAPL", qty=1, side=OrderSide.BUY, time_in_force=TimeInForce.DAY, client_order_id="client-check-1")
placed = trading.submit_order(order)
assert trading.get_order_by_client_id("client-check-1").id == placed.id
try:
    trading.submit_order(order)
    raise SystemExit("the same client_order_id was accepted twice")
except APIError as error:
    assert error.status_code == 422, error
advance("2017-12-01T14:35:00Z")
filled = trading.get_order_by_id(placed.id)
assert str(filled.status.value) == "filled", filled.status
print(f"order: placed once, refused twice, filled at the next open at {filled.filled_avg_price}")
print("clients: ok")
