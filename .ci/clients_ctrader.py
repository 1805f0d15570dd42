"""cTrader's official Python client against the sandbox: it must not notice that it is one. Then what it sees of an account must be what
`trademl paper broker --broker ctrader` sees, before and after an order that its own event stream follows."""

import json
import os
import subprocess
import sys
import urllib.request

from ctrader_open_api import Auth, Client, Protobuf, TcpProtocol
from ctrader_open_api.messages import OpenApiMessages_pb2 as m
from ctrader_open_api.messages import OpenApiModelMessages_pb2 as e
from twisted.internet import defer, reactor, task, threads

ready = json.loads(open(sys.argv[1], encoding="utf-8").readline())
program, root = sys.argv[2], sys.argv[3]
env, base = ready["env"], f"http://127.0.0.1:{ready['port']}"
host, port = env["TRADEML_BASE_URL_CTRADER"].removeprefix("tls://").rsplit(":", 1)
ACCOUNT, events = None, []


def world(body: dict) -> dict:
    request = urllib.request.Request(f"{base}/_world/clock", json.dumps(body).encode(), {"content-type": "application/json"})
    return json.loads(urllib.request.urlopen(request).read())


def ours() -> dict:
    out = subprocess.run([program, "paper", "broker", "--broker", "ctrader", "--root", root], env={**os.environ, **env}, capture_output=True, text=True, check=False)
    assert out.returncode == 0, out.stdout + out.stderr
    return json.loads(out.stdout)


def oauth() -> None:
    auth = Auth(env["CTRADER_CLIENT_ID"], env["CTRADER_CLIENT_SECRET"], "http://localhost:8765/")
    place = auth.getAuthUri(baseUri=env["TRADEML_BASE_URL_CTRADER_OAUTH"] + "/apps/auth")

    class Stay(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *_):
            return None

    try:
        urllib.request.build_opener(Stay).open(place)
        raise SystemExit("nobody was sent back with a code")
    except urllib.error.HTTPError as back:
        code = back.headers["location"].split("code=")[1]
    uri = env["TRADEML_BASE_URL_CTRADER_OAUTH"] + "/apps/token"
    token = auth.getToken(code, baseUri=uri)
    assert token["accessToken"] and token["expiresIn"] == 2628000, token
    assert auth.getToken(code, baseUri=uri)["errorCode"], "a code was taken twice"
    renewed = auth.refreshToken(token["refreshToken"], baseUri=uri)
    assert renewed["accessToken"] != token["accessToken"] and auth.refreshToken(token["refreshToken"], baseUri=uri)["errorCode"], renewed
    print("oauth: a code works once, a refresh token works once")


client = Client(host, int(port), TcpProtocol, numberOfMessagesToSendPerSecond=40)


@defer.inlineCallbacks
def ask(message, **fields):
    for name, value in fields.items():
        setattr(message, name, value)
    if "ctidTraderAccountId" in message.DESCRIPTOR.fields_by_name and ACCOUNT:
        message.ctidTraderAccountId = ACCOUNT
    answer = yield client.send(message, responseTimeoutInSeconds=20)
    defer.returnValue(Protobuf.extract(answer))


@defer.inlineCallbacks
def history(now_ms, first_ms, message, rows):
    out, end = {}, now_ms
    while end > first_ms:
        start = max(first_ms, end - 604_800_000)
        page = yield ask(message(), fromTimestamp=start, toTimestamp=end)
        assert not page.hasMore
        out.update({rows[1](row): row for row in getattr(page, rows[0])})
        end = start
    defer.returnValue(out)


def same(a, b) -> bool:
    return abs(float(a) - float(b)) <= 1e-6 * max(1.0, abs(float(a)))


@defer.inlineCallbacks
def agree(when):
    mine = yield threads.deferToThread(ours)
    trader = (yield ask(m.ProtoOATraderReq())).trader
    names = {s.symbolId: s.symbolName for s in (yield ask(m.ProtoOASymbolsListReq())).symbol}
    held = (yield ask(m.ProtoOAReconcileReq())).position
    pnl = yield ask(m.ProtoOAGetPositionUnrealizedPnLReq())
    # Its client sends once a second: four weeks hold all that was ever traded on a practice drive.
    face = world_now()
    first = max(trader.registrationTimestamp, face - 4 * 604_800_000)
    orders = yield history(face, first, m.ProtoOAOrderListReq, ("order", lambda o: str(o.orderId)))
    deals = yield history(face, first, m.ProtoOADealListReq, ("deal", lambda d: f"SIM{ACCOUNT}-{d.dealId}"))
    # Version 0.9 of the client reads the net gain as 32 bits, which eight digits overflow; here the gross gain is the same.
    equity = trader.balance / 10**trader.moneyDigits + sum(p.grossUnrealizedPnL for p in pnl.positionUnrealizedPnL) / 10**pnl.moneyDigits
    assert same(mine["account"]["equity"], equity), (when, mine["account"], equity)
    compared = 1
    assert {o["id"] for o in mine["orders"]} == orders.keys() and {f["id"] for f in mine["fills"]} == deals.keys(), when
    for o in mine["orders"]:
        theirs = orders[o["id"]]
        side = "buy" if theirs.tradeData.tradeSide == e.BUY else "sell"
        assert (o["symbol"], o["side"].lower()) == (names[theirs.tradeData.symbolId], side), (when, o)
        assert o["client_order_id"] == theirs.clientOrderId and same(o["qty"], theirs.tradeData.volume / 100), (when, o)
        assert same(o["filled_qty"], theirs.executedVolume / 100) and (o["status"] == "filled") == (theirs.orderStatus == e.ORDER_STATUS_FILLED), (when, o)
        compared += 6
    for f in mine["fills"]:
        theirs = deals[f["id"]]
        assert same(f["qty"], theirs.filledVolume / 100) and same(f["price"], theirs.executionPrice) and f["order_id"] == str(theirs.orderId), (when, f)
        compared += 3
    view = {names[p.tradeData.symbolId]: p for p in held}
    assert {p["symbol"] for p in mine["positions"]} == view.keys(), when
    for p in mine["positions"]:
        theirs = view[p["symbol"]]
        sign = 1 if theirs.tradeData.tradeSide == e.BUY else -1
        assert same(p["qty"], sign * theirs.tradeData.volume / 100) and same(p["avg_price"], theirs.price), (when, p)
        compared += 2
    print(f"{when}: {compared} values agree over {len(orders)} orders, {len(view)} positions, {len(deals)} deals")


def world_now() -> int:
    import datetime as dt

    at = json.loads(urllib.request.urlopen(f"{base}/_world/clock").read())["now"]
    return int(dt.datetime.fromisoformat(at.replace("Z", "+00:00")).timestamp() * 1000) + 60_000


@defer.inlineCallbacks
def heard(kind, label):
    for _ in range(100):
        for event in events:
            if event.executionType == kind and event.order.clientOrderId == label:
                defer.returnValue(event)
        yield task.deferLater(reactor, 0.2, lambda: None)
    raise AssertionError(f"no event {kind} for {label}: {[(x.executionType, x.order.clientOrderId) for x in events]}")


@defer.inlineCallbacks
def play(_):
    global ACCOUNT
    yield threads.deferToThread(oauth)
    early = yield ask(m.ProtoOATraderReq(), ctidTraderAccountId=1)
    assert early.errorCode == "CH_CLIENT_NOT_AUTHENTICATED", early
    yield ask(m.ProtoOAApplicationAuthReq(), clientId=env["CTRADER_CLIENT_ID"], clientSecret=env["CTRADER_CLIENT_SECRET"])
    listed = yield ask(m.ProtoOAGetAccountListByAccessTokenReq(), accessToken=env["CTRADER_ACCESS_TOKEN"])
    demo = [a for a in listed.ctidTraderAccount if not a.isLive]
    assert len(demo) == 1 and listed.permissionScope == e.SCOPE_TRADE, listed
    account = demo[0].ctidTraderAccountId
    yield ask(m.ProtoOAAccountAuthReq(), ctidTraderAccountId=account, accessToken=env["CTRADER_ACCESS_TOKEN"])
    ACCOUNT = account
    print(f"account {account} is open")
    yield agree("as the run left it")
    ids = {s.symbolName: s.symbolId for s in (yield ask(m.ProtoOASymbolsListReq())).symbol}
    label = f"official-{world_now()}"
    order = dict(symbolId=ids["KO"], orderType=e.MARKET, tradeSide=e.BUY, volume=300, timeInForce=e.MARKET_ON_OPEN, clientOrderId=label)
    accepted = yield ask(m.ProtoOANewOrderReq(), **order)
    assert accepted.executionType == e.ORDER_ACCEPTED and accepted.order.clientOrderId == label, accepted
    refused = yield ask(m.ProtoOANewOrderReq(), **{**order, "volume": 150, "clientOrderId": label + "x"})
    assert refused.errorCode == "TRADING_BAD_VOLUME", refused
    yield agree("with an order waiting")
    yield threads.deferToThread(world, {"advance": "next_open"})
    filled = yield heard(e.ORDER_FILLED, label)
    assert filled.deal.filledVolume == 300 and filled.order.orderStatus == e.ORDER_STATUS_FILLED, filled
    yield agree("after the next open")
    print("one cTrader account, two clients: ok")


def finish(result):
    failed = getattr(result, "getTraceback", None)
    if failed:
        print(failed(), file=sys.stderr)
    os._exit(1 if failed else 0)


def received(_, message):
    if message.payloadType == m.ProtoOAExecutionEvent().payloadType:
        events.append(Protobuf.extract(message))


client.setConnectedCallback(lambda c: play(c).addBoth(finish))
client.setMessageReceivedCallback(received)
client.startService()
reactor.callLater(240, lambda: os._exit(3))
reactor.run()
