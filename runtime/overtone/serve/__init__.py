"""The page on which one records or drops speech and hears it enhanced, and its HTTP and WebSocket interface."""
