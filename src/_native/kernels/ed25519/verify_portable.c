/* Verification in standard C: any machine, any byte order, any compiler. */
#define PA_TARGET
#define PA_NAME(name) name##_portable

#include "verify_scalar.h"
