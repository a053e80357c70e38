"""What all tests share: no test is decided by how fast the machine is."""

import os

# Tests are many small computations: a second thread would wait for the first more than it helps.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import jaxtyping
from hypothesis import HealthCheck, settings

import type_checker

# What the import hook puts on every function and class of the package.
jaxtyping.jaxtyped = type_checker.jaxtyped

settings.register_profile("unrolled", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unrolled")
