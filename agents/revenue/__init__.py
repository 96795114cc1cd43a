"""Revenue: totals per merchant, currency and window, by merchant_id."""
