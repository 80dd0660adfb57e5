"""What a guide shows is run: its Python blocks, one after another, as one program."""

import re
from pathlib import Path

import torch

GUIDES = Path(__file__).resolve().parents[1] / "docs" / "guides"


def test_the_guide_to_recurrence_runs() -> None:
    text = (GUIDES / "recurrence.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 9
    torch._dynamo.reset()
    exec(compile("\n".join(blocks), "recurrence.md", "exec"), {})
    torch._dynamo.reset()
