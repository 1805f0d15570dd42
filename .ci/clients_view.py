"""Two clients, one account: what Alpaca's official client sees must be what `trademl paper broker` sees, before and after an order that the
official client's own order stream follows."""

import json
import os
import subprocess
import sys
import threading
import time
import urllib.request

from alpaca.trading.client import TradingClient
from alpaca.trading.enums import OrderSide, QueryOrderStatus, TimeInForce
from alpaca.trading.requests import GetOrdersRequest, MarketOrderRequest, ReplaceOrderRequest
from alpaca.trading.stream import TradingStream

ready = json.loads(open(sys.argv[1], encoding="utf-8").readline())
program, root = sys.argv[2], sys.argv[3]
env, base = ready["env"], f"http://127.0.0.1:{ready['port']}"
key, secret = env["ALPACA_API_KEY"], env["ALPACA_API_SECRET"]
trading = TradingClient(key, secret, paper=True, url_override=env["TRADEML_BASE_URL_ALPACA_TRADING"])


def advance(word: str) -> None:
    request = urllib.request.Request(f"{base}/_world/clock", json.dumps({"advance": word}).encode(), {"content-type": "application/json"})
    urllib.request.urlopen(request).read()


def ours() -> dict:
    out = subprocess.run([program, "paper", "broker", "--root", root], env={**os.environ, **env}, capture_output=True, text=True, check=False)
    assert out.returncode == 0, out.stdout + out.stderr
    return json.loads(out.stdout)


def paged(path: str) -> list:
    rows, token = [], {}
    while page := trading.get(path, {"page_size": 100, "direction": "asc", **token}):
        rows += page
        token = {"page_token": page[-1]["id"]}
    return rows


def theirs() -> dict:
    orders = trading.get_orders(GetOrdersRequest(status=QueryOrderStatus.ALL, limit=500))
    account = trading.get_account()
    return {
        "account": {"account": account.account_number, "cash": account.cash, "equity": account.equity, "buying_power": account.buying_power},
        "orders": {
            o.client_order_id: {"id": str(o.id), "symbol": o.symbol, "side": o.side.value, "qty": o.qty, "status": o.status.value, "filled_qty": o.filled_qty,
                "filled_avg_price": o.filled_avg_price}
            for o in orders
        },
        "positions": {p.symbol: {"qty": p.qty, "avg_price": p.avg_entry_price, "price": p.current_price} for p in trading.get_all_positions()},
        "fills": {f["id"]: {"order_id": f["order_id"], "symbol": f["symbol"], "qty": f["qty"], "price": f["price"]} for f in paged("/account/activities/FILL")},
    }


def same(a, b) -> bool:
    try:
        return abs(float(a) - float(b)) <= 1e-6 * max(1.0, abs(float(a)))
    except (TypeError, ValueError):
        return str(a).lower() == str(b).lower()


def agree(when: str) -> dict:
    mine, official = ours(), theirs()
    view = {
        "account": mine["account"],
        "orders": {o["client_order_id"]: o for o in mine["orders"]},
        "positions": {p["symbol"]: p for p in mine["positions"]},
        "fills": {f["id"]: f for f in mine["fills"]},
    }
    compared = 0
    for part in ("orders", "positions", "fills"):
        assert view[part].keys() == official[part].keys(), (when, part, view[part].keys() ^ official[part].keys())
    for part, rows in official.items():
        for name, row in rows.items() if part != "account" else [("account", rows)]:
            own = view[part][name] if part != "account" else view["account"]
            for field, value in row.items():
                assert same(own[field], value), (when, part, name, field, own[field], value)
                compared += 1
    sizes = {part: len(official[part]) for part in ("orders", "positions", "fills")}
    print(f"{when}: {compared} values agree over {sizes['orders']} orders, {sizes['positions']} positions, {sizes['fills']} fills")
    return official


before = agree("as the run left it")
heard, stream = [], TradingStream(key, secret, paper=True, url_override=f"ws://127.0.0.1:{ready['port']}/alpaca_trading/stream")


async def hear(update) -> None:
    heard.append(update)


stream.subscribe_trade_updates(hear)
threading.Thread(target=stream.run, daemon=True).start()
time.sleep(2)
stamp = len(before["orders"])
placed = trading.submit_order(MarketOrderRequest(symbol="KO", qty=3, side=OrderSide.BUY, time_in_force=TimeInForce.DAY, client_order_id=f"view-{stamp}"))
smaller = trading.replace_order_by_id(placed.id, ReplaceOrderRequest(qty=2, client_order_id=f"view-{stamp}-smaller"))
assert smaller.replaces == placed.id and trading.get_order_by_id(placed.id).status.value == "replaced", smaller
agree("with an order replaced")
advance("next_open")
deadline = time.time() + 20
while time.time() < deadline and not any(str(u.event) in ("fill", "TradeEvent.FILL") and u.order.id == smaller.id for u in heard):
    time.sleep(0.2)
events = [str(getattr(u.event, "value", u.event)) for u in heard if u.order.client_order_id.startswith(f"view-{stamp}")]
assert events.count("fill") == 1 and "new" in events and "replaced" in events, events
fill = next(u for u in heard if str(getattr(u.event, "value", u.event)) == "fill" and u.order.id == smaller.id)
after = agree("after the next open")
own = [f for name, f in after["fills"].items() if f["order_id"] == str(smaller.id) and name.endswith(str(fill.execution_id))]
assert len(own) == 1 and same(own[0]["price"], fill.price) and same(own[0]["qty"], fill.qty), (own, fill)
print(f"stream: {', '.join(events)}; the execution is the one in both lists")
print("one account, two clients: ok")
os._exit(0)
