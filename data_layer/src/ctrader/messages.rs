//! The messages that travel: questions, answers, events. `…Req` is answered by `…Res` or by an error.

use super::models::{Asset, CtidAccount, Deal, DepositWithdraw, LightSymbol, Order, Position, PositionPnl, Symbol, Trader};

super::macros::messages! {
    /// What every message travels in.
    Envelope "ProtoMessage" {
        payload_type: u32 = uint32 required 1 payloadType,
        payload: Option<Vec<u8>> = bytes("vec") optional 2 payload,
        client_msg_id: Option<String> = string optional 3 clientMsgId,
    }
    /// An error of the connection itself.
    CommonError "ProtoErrorRes" [50] {
        code: String = string required 2 errorCode,
        description: Option<String> = string optional 3 description,
        maintenance_until_s: Option<u64> = uint64 optional 4 maintenanceEndTimestamp,
    }
    Heartbeat "ProtoHeartbeatEvent" [51] {}
    ApplicationAuthReq "ProtoOAApplicationAuthReq" [2100] {
        client_id: String = string required 2 clientId,
        client_secret: String = string required 3 clientSecret,
    }
    ApplicationAuthRes "ProtoOAApplicationAuthRes" [2101] {}
    AccountAuthReq "ProtoOAAccountAuthReq" [2102] {
        account: i64 = int64 required 2 ctidTraderAccountId,
        access_token: String = string required 3 accessToken,
    }
    AccountAuthRes "ProtoOAAccountAuthRes" [2103] {
        account: i64 = int64 required 2 ctidTraderAccountId,
    }
    VersionReq "ProtoOAVersionReq" [2104] {}
    VersionRes "ProtoOAVersionRes" [2105] {
        version: String = string required 2 version,
    }
    /// The time in force is always given: its default would let an order live until somebody cancels it.
    NewOrderReq "ProtoOANewOrderReq" [2106] {
        account: i64 = int64 required 2 ctidTraderAccountId,
        symbol: i64 = int64 required 3 symbolId,
        order_type: i32 = int32 required 4 orderType of "ProtoOAOrderType",
        side: i32 = int32 required 5 tradeSide of "ProtoOATradeSide",
        volume: i64 = int64 required 6 volume,
        limit_price: Option<f64> = double optional 7 limitPrice,
        stop_price: Option<f64> = double optional 8 stopPrice,
        time_in_force: Option<i32> = int32 optional 9 timeInForce of "ProtoOATimeInForce",
        expires_ms: Option<i64> = int64 optional 10 expirationTimestamp,
        comment: Option<String> = string optional 13 comment,
        label: Option<String> = string optional 16 label,
        client_order_id: Option<String> = string optional 18 clientOrderId,
    }
    CancelOrderReq "ProtoOACancelOrderReq" [2108] {
        account: i64 = int64 required 2 ctidTraderAccountId,
        order: i64 = int64 required 3 orderId,
    }
    AssetListReq "ProtoOAAssetListReq" [2112] {
        account: i64 = int64 required 2 ctidTraderAccountId,
    }
    AssetListRes "ProtoOAAssetListRes" [2113] {
        account: i64 = int64 required 2 ctidTraderAccountId,
        assets: Vec<Asset> = message repeated 3 asset of "ProtoOAAsset",
    }
    SymbolsListReq "ProtoOASymbolsListReq" [2114] {
        account: i64 = int64 required 2 ctidTraderAccountId,
    }
    SymbolsListRes "ProtoOASymbolsListRes" [2115] {
        account: i64 = int64 required 2 ctidTraderAccountId,
        symbols: Vec<LightSymbol> = message repeated 3 symbol of "ProtoOALightSymbol",
    }
    SymbolByIdReq "ProtoOASymbolByIdReq" [2116] {
        account: i64 = int64 required 2 ctidTraderAccountId,
        symbols: Vec<i64> = int64 repeated 3 symbolId,
    }
    SymbolByIdRes "ProtoOASymbolByIdRes" [2117] {
        account: i64 = int64 required 2 ctidTraderAccountId,
        symbols: Vec<Symbol> = message repeated 3 symbol of "ProtoOASymbol",
    }
    TraderReq "ProtoOATraderReq" [2121] {
        account: i64 = int64 required 2 ctidTraderAccountId,
    }
    TraderRes "ProtoOATraderRes" [2122] {
        account: i64 = int64 required 2 ctidTraderAccountId,
        trader: Trader = message required 3 trader of "ProtoOATrader",
    }
    ReconcileReq "ProtoOAReconcileReq" [2124] {
        account: i64 = int64 required 2 ctidTraderAccountId,
    }
    ReconcileRes "ProtoOAReconcileRes" [2125] {
        account: i64 = int64 required 2 ctidTraderAccountId,
        positions: Vec<Position> = message repeated 3 position of "ProtoOAPosition",
        orders: Vec<Order> = message repeated 4 order of "ProtoOAOrder",
    }
    /// The answer to an order, and the news of what becomes of it.
    ExecutionEvent "ProtoOAExecutionEvent" [2126] {
        account: i64 = int64 required 2 ctidTraderAccountId,
        kind: i32 = int32 required 3 executionType of "ProtoOAExecutionType",
        position: Option<Position> = message optional 4 position of "ProtoOAPosition",
        order: Option<Order> = message optional 5 order of "ProtoOAOrder",
        deal: Option<Deal> = message optional 6 deal of "ProtoOADeal",
        error_code: Option<String> = string optional 9 errorCode,
        of_the_server: Option<bool> = bool optional 10 isServerEvent,
    }
    SubscribeSpotsReq "ProtoOASubscribeSpotsReq" [2127] {
        account: i64 = int64 required 2 ctidTraderAccountId,
        symbols: Vec<i64> = int64 repeated 3 symbolId,
        with_time: Option<bool> = bool optional 4 subscribeToSpotTimestamp,
    }
    SubscribeSpotsRes "ProtoOASubscribeSpotsRes" [2128] {
        account: i64 = int64 required 2 ctidTraderAccountId,
    }
    UnsubscribeSpotsReq "ProtoOAUnsubscribeSpotsReq" [2129] {
        account: i64 = int64 required 2 ctidTraderAccountId,
        symbols: Vec<i64> = int64 repeated 3 symbolId,
    }
    UnsubscribeSpotsRes "ProtoOAUnsubscribeSpotsRes" [2130] {
        account: i64 = int64 required 2 ctidTraderAccountId,
    }
    SpotEvent "ProtoOASpotEvent" [2131] {
        account: i64 = int64 required 2 ctidTraderAccountId,
        symbol: i64 = int64 required 3 symbolId,
        bid: Option<u64> = uint64 optional 4 bid,
        ask: Option<u64> = uint64 optional 5 ask,
        at_ms: Option<i64> = int64 optional 8 timestamp,
    }
    OrderErrorEvent "ProtoOAOrderErrorEvent" [2132] {
        account: i64 = int64 required 5 ctidTraderAccountId,
        code: String = string required 2 errorCode,
        order: Option<i64> = int64 optional 3 orderId,
        description: Option<String> = string optional 7 description,
    }
    DealListReq "ProtoOADealListReq" [2133] {
        account: i64 = int64 required 2 ctidTraderAccountId,
        from_ms: Option<i64> = int64 optional 3 fromTimestamp,
        to_ms: Option<i64> = int64 optional 4 toTimestamp,
        max_rows: Option<i32> = int32 optional 5 maxRows,
    }
    DealListRes "ProtoOADealListRes" [2134] {
        account: i64 = int64 required 2 ctidTraderAccountId,
        deals: Vec<Deal> = message repeated 3 deal of "ProtoOADeal",
        has_more: bool = bool required 4 hasMore,
    }
    ErrorRes "ProtoOAErrorRes" [2142] {
        account: Option<i64> = int64 optional 2 ctidTraderAccountId,
        code: String = string required 3 errorCode,
        description: Option<String> = string optional 4 description,
        maintenance_until_s: Option<i64> = int64 optional 5 maintenanceEndTimestamp,
        retry_after_s: Option<u64> = uint64 optional 6 retryAfter,
    }
    CashFlowReq "ProtoOACashFlowHistoryListReq" [2143] {
        account: i64 = int64 required 2 ctidTraderAccountId,
        from_ms: i64 = int64 required 3 fromTimestamp,
        to_ms: i64 = int64 required 4 toTimestamp,
    }
    CashFlowRes "ProtoOACashFlowHistoryListRes" [2144] {
        account: i64 = int64 required 2 ctidTraderAccountId,
        rows: Vec<DepositWithdraw> = message repeated 3 depositWithdraw of "ProtoOADepositWithdraw",
    }
    TokenInvalidatedEvent "ProtoOAAccountsTokenInvalidatedEvent" [2147] {
        accounts: Vec<i64> = int64 repeated 2 ctidTraderAccountIds,
        reason: Option<String> = string optional 3 reason,
    }
    ClientDisconnectEvent "ProtoOAClientDisconnectEvent" [2148] {
        reason: Option<String> = string optional 2 reason,
    }
    AccountListReq "ProtoOAGetAccountListByAccessTokenReq" [2149] {
        access_token: String = string required 2 accessToken,
    }
    AccountListRes "ProtoOAGetAccountListByAccessTokenRes" [2150] {
        access_token: String = string required 2 accessToken,
        scope: Option<i32> = int32 optional 3 permissionScope of "ProtoOAClientPermissionScope",
        accounts: Vec<CtidAccount> = message repeated 4 ctidTraderAccount of "ProtoOACtidTraderAccount",
    }
    AccountDisconnectEvent "ProtoOAAccountDisconnectEvent" [2164] {
        account: i64 = int64 required 2 ctidTraderAccountId,
    }
    RefreshTokenReq "ProtoOARefreshTokenReq" [2173] {
        refresh_token: String = string required 2 refreshToken,
    }
    RefreshTokenRes "ProtoOARefreshTokenRes" [2174] {
        access_token: String = string required 2 accessToken,
        token_type: String = string required 3 tokenType,
        expires_in_s: i64 = int64 required 4 expiresIn,
        refresh_token: String = string required 5 refreshToken,
    }
    OrderListReq "ProtoOAOrderListReq" [2175] {
        account: i64 = int64 required 2 ctidTraderAccountId,
        from_ms: Option<i64> = int64 optional 3 fromTimestamp,
        to_ms: Option<i64> = int64 optional 4 toTimestamp,
    }
    OrderListRes "ProtoOAOrderListRes" [2176] {
        account: i64 = int64 required 2 ctidTraderAccountId,
        orders: Vec<Order> = message repeated 3 order of "ProtoOAOrder",
        has_more: bool = bool required 4 hasMore,
    }
    OrderDetailsReq "ProtoOAOrderDetailsReq" [2181] {
        account: i64 = int64 required 2 ctidTraderAccountId,
        order: i64 = int64 required 3 orderId,
    }
    OrderDetailsRes "ProtoOAOrderDetailsRes" [2182] {
        account: i64 = int64 required 2 ctidTraderAccountId,
        order: Order = message required 3 order of "ProtoOAOrder",
        deals: Vec<Deal> = message repeated 4 deal of "ProtoOADeal",
    }
    PnlReq "ProtoOAGetPositionUnrealizedPnLReq" [2187] {
        account: i64 = int64 required 2 ctidTraderAccountId,
    }
    PnlRes "ProtoOAGetPositionUnrealizedPnLRes" [2188] {
        account: i64 = int64 required 2 ctidTraderAccountId,
        rows: Vec<PositionPnl> = message repeated 3 positionUnrealizedPnL of "ProtoOAPositionUnrealizedPnL",
        money_digits: u32 = uint32 required 4 moneyDigits,
    }
}
