"""oneseek-sandbox: one isolated sandbox per conversation thread, over HTTP."""

__version__ = "0.1.0"
__all__ = ["__version__"]
