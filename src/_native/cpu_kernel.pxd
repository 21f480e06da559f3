# What kernels/cpu offers to the faces.
from libc.stdint cimport uint32_t


cdef extern from "cpu/cpu.h" nogil:
    enum: PA_CPU_LEVELS

    uint32_t pa_cpu_features()
    int pa_cpu_level_of(uint32_t features)
    const char *pa_cpu_level_name(int level)
    int pa_cpu_level_named(const char *name)
    const char *pa_cpu_feature_name(int bit)
