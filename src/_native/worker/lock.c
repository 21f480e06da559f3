#define _GNU_SOURCE
#include "lock.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SEALS (F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

static int read_sealed(int fd, pa_lock *lock) {
    struct stat found;
    size_t step;
    const int seals = fcntl(fd, F_GET_SEALS);
    if (seals < 0 || (seals & SEALS) != SEALS || fstat(fd, &found) != 0 || found.st_size <= 0 ||
        (size_t)found.st_size > PA_PLAN_MOST_BYTES) {
        return 0;
    }
    lock->size = (size_t)found.st_size;
    lock->plan = malloc(lock->size);
    return lock->plan != NULL &&
           pread(fd, lock->plan, lock->size, 0) == (ssize_t)lock->size &&
           pa_plan_check(lock->plan, lock->size, 0, &step) == PA_PLAN_OK;
}

int pa_lock_read(int fd, pa_lock *lock) {
    const int good = read_sealed(fd, lock);
    (void)close(fd);
    return good;
}

int pa_lock_close(const pa_lock *lock, pa_plan_result *result) {
    memset(result, 0, sizeof *result);
    return lock->plan == NULL ? 0 : pa_plan_run(lock->plan, lock->size, NULL, result);
}
