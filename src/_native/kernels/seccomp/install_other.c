#include <errno.h>

#include "install.h"

/* seccomp(2) is Linux's; filters can be made and looked at everywhere. */
#ifndef __linux__
int pa_seccomp_install(void *user) {
    pa_seccomp_request *request = user;
    request->result = -1;
    request->failed = "seccomp";
    return ENOSYS;
}

int pa_seccomp_knows(unsigned action) {
    (void)action;
    return ENOSYS;
}
#endif
