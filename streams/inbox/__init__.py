"""Dead letters as an inbox: read, understood, mended, sent back, and what was done remembered."""
