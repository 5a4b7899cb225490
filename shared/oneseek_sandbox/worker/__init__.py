"""The program inside every sandbox (`worker.py`), and the client that talks to it (`client.py`)."""
