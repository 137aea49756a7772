"""The handlers of the API, one module per noun. Each takes the broker and the call."""
