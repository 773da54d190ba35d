"""Whether a Flower is installed. The tests with the oldest versions that we allow run without one."""

from importlib.util import find_spec

import pytest

needed = pytest.mark.skipif(find_spec("flwr") is None, reason="Flower is not installed")
