"""Whether freed memory stays with the process, seen by the page faults of a child."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

_BLOCK_BYTES = 20_000_000
_BLOCKS = 5
_TOUCH_BLOCKS = f"""
import ctypes, resource, sys
from beam_jobs.allocator import keep_freed_memory

if sys.argv[1] == "keep":
    assert keep_freed_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.free.argtypes = [ctypes.c_void_p]
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    blocks = [libc.malloc({_BLOCK_BYTES}) for _ in range({_BLOCKS})]
    for block in blocks:
        ctypes.memset(block, 1, {_BLOCK_BYTES})
    for block in blocks:
        libc.free(block)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def _page_faults(mode: str) -> int:
    child = subprocess.run(
        [sys.executable, "-c", _TOUCH_BLOCKS, mode],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return int(child.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="mallopt is glibc's")
def test_freed_blocks_are_reused_without_asking_the_kernel_for_their_pages_again() -> None:
    pages_of_a_round = _BLOCKS * _BLOCK_BYTES // resource.getpagesize()
    assert _page_faults("keep") < 1.5 * pages_of_a_round
    assert _page_faults("default") > 10 * pages_of_a_round
