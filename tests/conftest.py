"""What all tests share: no test is decided by how fast the machine is."""

from hypothesis import HealthCheck, settings

settings.register_profile("unrolled", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unrolled")
