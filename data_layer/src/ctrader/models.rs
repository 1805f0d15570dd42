//! The parts that messages are made of: accounts, symbols, orders, deals, positions. Enums are numbers ([`super::words`]).

super::macros::messages! {
    /// An account that an access token opens.
    CtidAccount "ProtoOACtidTraderAccount" {
        id: u64 = uint64 required 1 ctidTraderAccountId,
        is_live: Option<bool> = bool optional 2 isLive,
        login: Option<i64> = int64 optional 3 traderLogin,
        broker: Option<String> = string optional 6 brokerTitleShort,
    }
    Asset "ProtoOAAsset" {
        id: i64 = int64 required 1 assetId,
        name: String = string required 2 name,
        digits: Option<i32> = int32 optional 4 digits,
    }
    /// A trading account. Amounts are multiplied by ten to the power of `money_digits`.
    Trader "ProtoOATrader" {
        account: i64 = int64 required 1 ctidTraderAccountId,
        balance: i64 = int64 required 2 balance,
        access_rights: Option<i32> = int32 optional 7 accessRights of "ProtoOAAccessRights",
        deposit_asset: i64 = int64 required 8 depositAssetId,
        leverage_in_cents: Option<u32> = uint32 optional 10 leverageInCents,
        login: Option<i64> = int64 optional 14 traderLogin,
        account_type: Option<i32> = int32 optional 15 accountType of "ProtoOAAccountType",
        broker: Option<String> = string optional 16 brokerName,
        registered_ms: Option<i64> = int64 optional 17 registrationTimestamp,
        money_digits: Option<u32> = uint32 optional 20 moneyDigits,
    }
    /// A symbol in a list.
    LightSymbol "ProtoOALightSymbol" {
        id: i64 = int64 required 1 symbolId,
        name: Option<String> = string optional 2 symbolName,
        enabled: Option<bool> = bool optional 3 enabled,
        base_asset: Option<i64> = int64 optional 4 baseAssetId,
        quote_asset: Option<i64> = int64 optional 5 quoteAssetId,
        description: Option<String> = string optional 7 description,
    }
    /// A symbol's rules. Volumes are in hundredths of a unit.
    Symbol "ProtoOASymbol" {
        id: i64 = int64 required 1 symbolId,
        digits: i32 = int32 required 2 digits,
        pip_position: i32 = int32 required 3 pipPosition,
        short_selling: Option<bool> = bool optional 4 enableShortSelling,
        max_volume: Option<i64> = int64 optional 9 maxVolume,
        min_volume: Option<i64> = int64 optional 10 minVolume,
        step_volume: Option<i64> = int64 optional 11 stepVolume,
        trading_mode: Option<i32> = int32 optional 27 tradingMode of "ProtoOATradingMode",
        lot_size: Option<i64> = int64 optional 30 lotSize,
    }
    /// What an order and a position have in common.
    TradeData "ProtoOATradeData" {
        symbol: i64 = int64 required 1 symbolId,
        volume: i64 = int64 required 2 volume,
        side: i32 = int32 required 3 tradeSide of "ProtoOATradeSide",
        opened_ms: Option<i64> = int64 optional 4 openTimestamp,
        label: Option<String> = string optional 5 label,
        comment: Option<String> = string optional 7 comment,
    }
    Order "ProtoOAOrder" {
        id: i64 = int64 required 1 orderId,
        trade: TradeData = message required 2 tradeData of "ProtoOATradeData",
        order_type: i32 = int32 required 3 orderType of "ProtoOAOrderType",
        status: i32 = int32 required 4 orderStatus of "ProtoOAOrderStatus",
        expires_ms: Option<i64> = int64 optional 6 expirationTimestamp,
        execution_price: Option<f64> = double optional 7 executionPrice,
        executed_volume: Option<i64> = int64 optional 8 executedVolume,
        updated_ms: Option<i64> = int64 optional 9 utcLastUpdateTimestamp,
        closing: Option<bool> = bool optional 12 closingOrder,
        limit_price: Option<f64> = double optional 13 limitPrice,
        stop_price: Option<f64> = double optional 14 stopPrice,
        client_order_id: Option<String> = string optional 17 clientOrderId,
        time_in_force: Option<i32> = int32 optional 18 timeInForce of "ProtoOATimeInForce",
        position: Option<i64> = int64 optional 19 positionId,
        stop_out: Option<bool> = bool optional 22 isStopOut,
    }
    /// Amounts are multiplied by ten to the power of `money_digits`.
    Position "ProtoOAPosition" {
        id: i64 = int64 required 1 positionId,
        trade: TradeData = message required 2 tradeData of "ProtoOATradeData",
        status: i32 = int32 required 3 positionStatus of "ProtoOAPositionStatus",
        swap: i64 = int64 required 4 swap,
        price: Option<f64> = double optional 5 price,
        updated_ms: Option<i64> = int64 optional 8 utcLastUpdateTimestamp,
        commission: Option<i64> = int64 optional 9 commission,
        used_margin: Option<u64> = uint64 optional 13 usedMargin,
        money_digits: Option<u32> = uint32 optional 15 moneyDigits,
    }
    /// What closing a part of a position brought.
    CloseDetail "ProtoOAClosePositionDetail" {
        entry_price: f64 = double required 1 entryPrice,
        gross_profit: i64 = int64 required 2 grossProfit,
        swap: i64 = int64 required 3 swap,
        commission: i64 = int64 required 4 commission,
        balance: i64 = int64 required 5 balance,
        closed_volume: Option<i64> = int64 optional 7 closedVolume,
        money_digits: Option<u32> = uint32 optional 9 moneyDigits,
    }
    /// An execution.
    Deal "ProtoOADeal" {
        id: i64 = int64 required 1 dealId,
        order: i64 = int64 required 2 orderId,
        position: i64 = int64 required 3 positionId,
        volume: i64 = int64 required 4 volume,
        filled_volume: i64 = int64 required 5 filledVolume,
        symbol: i64 = int64 required 6 symbolId,
        created_ms: i64 = int64 required 7 createTimestamp,
        executed_ms: i64 = int64 required 8 executionTimestamp,
        updated_ms: Option<i64> = int64 optional 9 utcLastUpdateTimestamp,
        price: Option<f64> = double optional 10 executionPrice,
        side: i32 = int32 required 11 tradeSide of "ProtoOATradeSide",
        status: i32 = int32 required 12 dealStatus of "ProtoOADealStatus",
        commission: Option<i64> = int64 optional 14 commission,
        close: Option<CloseDetail> = message optional 16 closePositionDetail of "ProtoOAClosePositionDetail",
        money_digits: Option<u32> = uint32 optional 17 moneyDigits,
    }
    /// A booking without an order.
    DepositWithdraw "ProtoOADepositWithdraw" {
        operation: i32 = int32 required 1 operationType of "ProtoOAChangeBalanceType",
        id: i64 = int64 required 2 balanceHistoryId,
        balance: i64 = int64 required 3 balance,
        delta: i64 = int64 required 4 delta,
        at_ms: i64 = int64 required 5 changeBalanceTimestamp,
        note: Option<String> = string optional 6 externalNote,
        money_digits: Option<u32> = uint32 optional 9 moneyDigits,
    }
    /// What a position has gained and not realised.
    PositionPnl "ProtoOAPositionUnrealizedPnL" {
        position: i64 = int64 required 1 positionId,
        gross: i64 = int64 required 2 grossUnrealizedPnL,
        net: i64 = int64 required 3 netUnrealizedPnL,
    }
}
