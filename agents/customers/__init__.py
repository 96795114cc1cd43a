"""Customers: what each orders, by customer_id."""
