#!/usr/bin/env python3
"""Alpaca's own Python client (alpaca-py) against a running sandbox.

Needs `pip install alpaca-py` (tried with 0.44) and a sandbox that runs the replay world:

    trademl sandbox --world replay --state DIR        # first line: {"event":"sandbox.ready","port":PORT,...}
    python tests/clients/alpaca_py.py PORT

Moves the sandbox's clock forward by two sessions. Exit status 0: every check passed. `make clients` runs it.
"""
import datetime as dt
import json
import sys
import urllib.request
import uuid

from alpaca.common.exceptions import APIError
from alpaca.data.enums import DataFeed
from alpaca.data.historical import StockHistoricalDataClient
from alpaca.data.requests import StockBarsRequest
from alpaca.data.timeframe import TimeFrame
from alpaca.trading.client import TradingClient
from alpaca.trading.enums import AssetStatus, OrderSide, OrderStatus, QueryOrderStatus, TimeInForce
from alpaca.trading.requests import GetAssetsRequest, GetCalendarRequest, GetOrdersRequest, LimitOrderRequest, MarketOrderRequest

KEY, SECRET = "PKSANDBOX00000000001", "sandbox-practice-secret-opens-nothing-real"
NAMES = ["MSFT", "AAPL", "BRK.B", "KEY", "ALL", "T", "IT", "F", "GE", "XOM", "CVX", "JPM"]
checks = 0


def check(what, condition):
    global checks
    if not condition:
        sys.exit(f"FAIL {what}")
    checks += 1
    print(f"ok   {what}")


def world(base, path="", body=None):
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(f"{base}/_world{path}", data=data)) as answer:
        return json.load(answer)


def bars(base, day):
    client = StockHistoricalDataClient(KEY, SECRET, url_override=f"{base}/alpaca_data")
    end = dt.datetime.combine(day, dt.time(0), dt.timezone.utc)
    ask = dict(timeframe=TimeFrame.Day, start=dt.datetime(2013, 2, 8, tzinfo=dt.timezone.utc), end=end, feed=DataFeed.SIP)
    got = client.get_stock_bars(StockBarsRequest(symbol_or_symbols=NAMES, **ask))
    lengths = {s: len(b) for s, b in got.data.items()}
    rows = sum(lengths.values())
    check(f"{rows} bars of {len(NAMES)} symbols, more than a page holds", set(lengths) == set(NAMES) and len(set(lengths.values())) == 1 and rows > 10_000)
    stamps = [b.timestamp for b in got.data["AAPL"]]
    check("stamps ascend and none is twice", stamps == sorted(set(stamps)))
    limited = client.get_stock_bars(StockBarsRequest(symbol_or_symbols=["AAPL", "MSFT"], limit=150, **ask))
    check("a limit holds over symbols", sum(map(len, limited.data.values())) == 150)
    try:
        client.get_stock_bars(StockBarsRequest(symbol_or_symbols="AAPL", timeframe=TimeFrame.Minute, start=ask["start"], end=ask["end"]))
        check("minutes are refused", False)
    except APIError as e:
        check("minutes are refused with 403", e.status_code == 403)


def trading(base):
    client = TradingClient(KEY, SECRET, paper=True, url_override=f"{base}/alpaca_trading")
    account = client.get_account()
    check(f"account {account.account_number}", account.account_number.startswith("SIM") and float(account.equity) > 0)
    check("clock", client.get_clock().timestamp.tzinfo is not None)
    days = client.get_calendar(GetCalendarRequest(start=dt.date(2017, 11, 20), end=dt.date(2017, 11, 24)))
    check("calendar knows the half day", len(days) == 4 and days[-1].close.hour == 13)
    check("assets", any(a.symbol == "BRK.B" for a in client.get_all_assets(GetAssetsRequest(status=AssetStatus.ACTIVE))))
    client_id = f"tm1-{uuid.uuid4().hex[:24]}"
    market = MarketOrderRequest(symbol="AAPL", qty=3, side=OrderSide.BUY, time_in_force=TimeInForce.DAY, client_order_id=client_id)
    placed = client.submit_order(market)
    check("order accepted", placed.status == OrderStatus.ACCEPTED and placed.qty == "3")
    check("found by client id", client.get_order_by_client_id(client_id).id == placed.id)
    check("found by id", client.get_order_by_id(placed.id).client_order_id == client_id)
    check("listed", any(o.id == placed.id for o in client.get_orders(GetOrdersRequest(status=QueryOrderStatus.OPEN))))
    try:
        client.submit_order(market)
        check("a second order with the same id is refused", False)
    except APIError as e:
        check("a second order with the same id is refused", e.code == 40010001 and e.message == "client_order_id must be unique")
    far = LimitOrderRequest(symbol="MSFT", qty=1, side=OrderSide.BUY, time_in_force=TimeInForce.GTC, limit_price=1.25)
    resting = client.submit_order(far)
    client.cancel_order_by_id(resting.id)
    check("cancelled", client.get_order_by_id(resting.id).status == OrderStatus.CANCELED)
    before = {p.symbol: float(p.qty) for p in client.get_all_positions()}.get("AAPL", 0.0)
    world(base, "/clock", {"advance": "next_close"})
    world(base, "/clock", {"advance": "next_close"})
    filled = client.get_order_by_id(placed.id)
    check("filled at an open", filled.status == OrderStatus.FILLED and filled.filled_at is not None)
    position = client.get_open_position("AAPL")
    check("position", float(position.qty) == before + 3)
    fills = client.get("/account/activities/FILL", {"page_size": 5})
    check("fill activity", fills[0]["order_id"] == str(placed.id))


def main():
    base = f"http://127.0.0.1:{int(sys.argv[1])}"
    info = world(base)
    if info["now"] < "2017-11-24":
        world(base, "/clock", {"to": "2017-11-24T18:30:00Z"})
    bars(base, dt.date.fromisoformat(world(base)["session"]))
    trading(base)
    print(f"{checks} checks passed against {info['dataset']}")


if __name__ == "__main__":
    main()
