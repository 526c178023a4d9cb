"""What holds for every test."""

import structlog
from hypothesis import HealthCheck, settings

# Its limits of time are for a machine that does nothing else. In a fresh clone it also makes its tables of Unicode
# first, which alone takes longer under coverage than a health check allows.
settings.register_profile("holdfast", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("holdfast")

# Where rich is installed structlog shows the local variables of a traceback by default: that takes seconds here.
structlog.configure(processors=[structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)])
