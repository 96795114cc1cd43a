"""Dead letters as an inbox: what their reasons ask of producers."""
