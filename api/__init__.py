"""The HTTP API: what people's screens and other programs may ask and do."""
