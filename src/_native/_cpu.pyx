"""Which compiled paths this processor can run, and which one is in use.

The environment variable PLUGINAPI_CPU lowers the level for tests and benchmarks. It is read when
a level is asked for, so that a wrong value is an error of that call and not of the import.
"""

import os

from pluginapi.errors import ConfigError

cimport cpu_kernel as cpu

ENVIRONMENT_VARIABLE = "PLUGINAPI_CPU"


cdef tuple level_names():
    return tuple([
        cpu.pa_cpu_level_name(number).decode("ascii") for number in range(cpu.PA_CPU_LEVELS)
    ])


LEVELS = level_names()


def features():
    """Return the names of the processor features that the operating system lets us use."""
    cdef int bit = 0
    cdef const char *name = cpu.pa_cpu_feature_name(bit)
    found = []
    while name is not NULL:
        if cpu.pa_cpu_features() >> bit & 1:
            found.append(name.decode("ascii"))
        bit += 1
        name = cpu.pa_cpu_feature_name(bit)
    return tuple(found)


def detected():
    """Return the number of the highest level that this machine can run: its index in LEVELS."""
    return cpu.pa_cpu_level_of(cpu.pa_cpu_features())


def level():
    """Return the number of the level to use: what was detected, or less as PLUGINAPI_CPU says.

    Raises:
        ConfigError: With code ``config.cpu_level`` when PLUGINAPI_CPU names no level.
    """
    wanted = os.environ.get(ENVIRONMENT_VARIABLE)
    if wanted is None:
        return detected()
    return min(detected(), number_of(wanted))


def number_of(str name not None):
    """Return the number of the level of this name.

    Raises:
        ConfigError: With code ``config.cpu_level`` when there is none.
    """
    cdef bytes encoded = name.encode("utf-8", "surrogateescape")
    cdef int number = -1 if b"\0" in encoded else cpu.pa_cpu_level_named(encoded)
    if number < 0:
        raise ConfigError(
            f"the CPU level {name!r} ({ENVIRONMENT_VARIABLE}) is none that exists",
            code="config.cpu_level",
            hint=f"use one of {', '.join(LEVELS)}, or unset {ENVIRONMENT_VARIABLE}",
            value=name,
        )
    return number
