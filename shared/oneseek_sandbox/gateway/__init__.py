"""The eight functions under one base URL in one process: what `oneseek-sandbox serve` runs."""
