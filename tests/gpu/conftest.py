"""Tests that need a GPU: `make test-gpu`. The ordinary run deselects them by their marker."""

import os
from typing import Any

import pytest
import torch

from spillway_engine.cuda.device import CudaDevice, cuda_problem


@pytest.fixture(scope="session", autouse=True)
def gpu() -> Any:
    """The GPU. Whoever asked for these tests has one, or is told what is wrong."""
    problem = cuda_problem()
    assert problem is None, problem
    assert os.environ.get("TRITON_INTERPRET") == "0", "run `make test-gpu`: kernels are interpreted otherwise"
    device = CudaDevice()
    torch.manual_seed(0)
    return device
