"""Where tensors are computed: what the process does with memory that it freed."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource, torch
from unreel.devices import keep_freed_memory

def touched():
    for _ in range(2):
        torch.ones(2**25)  # 128 MiB
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(3):
        torch.ones(2**25)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

first = touched()
keep_freed_memory()
print(first, touched())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other allocators are left as they are")
def test_freed_memory_is_used_again_without_asking_the_system():
    said = subprocess.run([sys.executable, "-c", FAULTS], check=True, capture_output=True, text=True).stdout
    given_back, kept = map(int, said.split())
    assert given_back > 100  # pages, which may be huge ones
    assert kept < given_back / 10
