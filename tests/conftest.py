"""Settings of the whole suite: one thread, repeatable hypothesis examples, GPU tests only where there is one."""

from __future__ import annotations

import signal
import threading

import hypothesis
import pytest

try:
    import torch
except ImportError:  # tasks and bounds do without
    torch = None
else:
    torch.set_num_threads(1)  # tiny operations collapse when threads outnumber free cores

# A shell lets what it starts in the background ignore Ctrl-C, and processes pass that on to those that they start.
if threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)

hypothesis.settings.register_profile("boundprobe", deadline=None, derandomize=True)
hypothesis.settings.load_profile("boundprobe")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if torch is not None and torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))
