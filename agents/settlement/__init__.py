"""Settlement: one order and its money, by order_id."""
