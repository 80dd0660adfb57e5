"""How captions are judged. Each file has one score; `measures.py` puts them together for a task."""
