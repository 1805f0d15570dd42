-- A fill names the broker's order: without this every fill of a reconciliation reads all orders of the account.
CREATE INDEX idx_orders_broker ON orders (broker_order_id);
