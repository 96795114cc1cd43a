"""Windows over what flows: declared, added up, closed when the watermark has passed them."""
