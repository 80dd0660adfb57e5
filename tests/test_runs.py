"""The run folder: what is written into it comes out of it again."""

from pathlib import Path

from unreel.config import RunConfig
from unreel.runs import Run


def test_rows_hold_texts_of_any_letters(tmp_path: Path) -> None:
    """A caption may hold what other programs take for the end of a line: JSON leaves U+0085 and U+2028 as they are."""
    run = Run(tmp_path, RunConfig(), ("a", "b"), (3, 8, 8))
    rows = [{"caption": "a\x85b\u2028c\u2029d\ne\r\x0b"}, {"caption": "東京"}]
    run.write_rows("predictions.jsonl", rows)
    assert run.read_rows("predictions.jsonl") == rows
    assert run.read_rows("none.jsonl") == []
