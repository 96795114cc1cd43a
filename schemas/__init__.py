"""Words: the records that travel, the topics they travel on, and how they are written as bytes."""
