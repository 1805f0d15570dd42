//! The enums of the Open API that are used here. On the wire they are numbers, and a number may be newer than this program.

super::macros::words! {
    /// Which way a trade goes.
    TradeSide "ProtoOATradeSide" { Buy = 1 "BUY", Sell = 2 "SELL", }
    OrderType "ProtoOAOrderType" {
        Market = 1 "MARKET", Limit = 2 "LIMIT", Stop = 3 "STOP", StopLossTakeProfit = 4 "STOP_LOSS_TAKE_PROFIT", MarketRange = 5 "MARKET_RANGE",
        StopLimit = 6 "STOP_LIMIT",
    }
    TimeInForce "ProtoOATimeInForce" {
        GoodTillDate = 1 "GOOD_TILL_DATE", GoodTillCancel = 2 "GOOD_TILL_CANCEL", ImmediateOrCancel = 3 "IMMEDIATE_OR_CANCEL", FillOrKill = 4 "FILL_OR_KILL",
        MarketOnOpen = 5 "MARKET_ON_OPEN",
    }
    OrderStatus "ProtoOAOrderStatus" {
        Accepted = 1 "ORDER_STATUS_ACCEPTED", Filled = 2 "ORDER_STATUS_FILLED", Rejected = 3 "ORDER_STATUS_REJECTED", Expired = 4 "ORDER_STATUS_EXPIRED",
        Cancelled = 5 "ORDER_STATUS_CANCELLED",
    }
    /// What an execution event tells.
    ExecutionType "ProtoOAExecutionType" {
        Accepted = 2 "ORDER_ACCEPTED", Filled = 3 "ORDER_FILLED", Replaced = 4 "ORDER_REPLACED", Cancelled = 5 "ORDER_CANCELLED", Expired = 6 "ORDER_EXPIRED",
        Rejected = 7 "ORDER_REJECTED", CancelRejected = 8 "ORDER_CANCEL_REJECTED", Swap = 9 "SWAP", DepositWithdraw = 10 "DEPOSIT_WITHDRAW",
        PartialFill = 11 "ORDER_PARTIAL_FILL", BonusDepositWithdraw = 12 "BONUS_DEPOSIT_WITHDRAW",
    }
    DealStatus "ProtoOADealStatus" {
        Filled = 2 "FILLED", PartiallyFilled = 3 "PARTIALLY_FILLED", Rejected = 4 "REJECTED", InternallyRejected = 5 "INTERNALLY_REJECTED", Error = 6 "ERROR",
        Missed = 7 "MISSED",
    }
    PositionStatus "ProtoOAPositionStatus" {
        Open = 1 "POSITION_STATUS_OPEN", Closed = 2 "POSITION_STATUS_CLOSED", Created = 3 "POSITION_STATUS_CREATED", Error = 4 "POSITION_STATUS_ERROR",
    }
    /// What the owner of an account may do with it.
    AccessRights "ProtoOAAccessRights" { FullAccess = 0 "FULL_ACCESS", CloseOnly = 1 "CLOSE_ONLY", NoTrading = 2 "NO_TRADING", NoLogin = 3 "NO_LOGIN", }
    /// Whether a symbol may have several positions at once.
    AccountType "ProtoOAAccountType" { Hedged = 0 "HEDGED", Netted = 1 "NETTED", SpreadBetting = 2 "SPREAD_BETTING", }
    TradingMode "ProtoOATradingMode" {
        Enabled = 0 "ENABLED", DisabledWithoutPendings = 1 "DISABLED_WITHOUT_PENDINGS_EXECUTION", DisabledWithPendings = 2 "DISABLED_WITH_PENDINGS_EXECUTION",
        CloseOnly = 3 "CLOSE_ONLY_MODE",
    }
    /// What an access token may do.
    Scope "ProtoOAClientPermissionScope" { View = 0 "SCOPE_VIEW", Trade = 1 "SCOPE_TRADE", }
    /// The bookings that this program gives a meaning; any other counts as a fee or a transfer.
    BalanceChange "ProtoOAChangeBalanceType" {
        Deposit = 0 "BALANCE_DEPOSIT", Withdraw = 1 "BALANCE_WITHDRAW", DepositDividends = 15 "BALANCE_DEPOSIT_DIVIDENDS",
        WithdrawDividends = 16 "BALANCE_WITHDRAW_DIVIDENDS", DepositSwap = 21 "BALANCE_DEPOSIT_SWAP", WithdrawSwap = 22 "BALANCE_WITHDRAW_SWAP",
        DepositTransfer = 36 "BALANCE_DEPOSIT_TRANSFER", WithdrawTransfer = 37 "BALANCE_WITHDRAW_TRANSFER",
    }
}
