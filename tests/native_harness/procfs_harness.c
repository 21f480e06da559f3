/* Measure real processes without Python, under sanitizers: several threads add, remove, measure and
 * read at the same time. Prints "ok". */
#define _GNU_SOURCE
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <netinet/in.h>
#include <unistd.h>

#include "procfs/sampler.h"
#include "procfs/text.h"

static atomic_int stop;

static pid_t idle_child(int files) {
    const pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (int i = 0; i < files; i++) {
            (void)open("/dev/null", O_RDONLY);
        }
        for (;;) {
            pause();
        }
    }
    assert(pid > 0);
    return pid;
}

static void known_texts(void) {
    static const char status[] = "Name:\tx\nVmHWM:\t    1234 kB\nvoluntary_ctxt_switches:\t5\n"
                                 "nonvoluntary_ctxt_switches:\t6\n";
    static const char older[] = "cache 1\nshmem 2\ntotal_cache 9000\ntotal_shmem 1000\n";
    static const char newer[] = "anon 1\nfile 5000\nshmem 1500\n";
    pa_text_of_status found;
    uint64_t number = 0;
    assert(pa_text_statm("12 34 5 6", 9, &number) == 0 && number == 34);
    assert(pa_text_statm("12", 2, &number) == EBADMSG);
    assert(pa_text_statm("1 99999999999999999999", 22, &number) == EBADMSG);
    pa_text_status(status, sizeof status - 1, &found);
    assert(found.has_peak && found.peak_kib == 1234 && found.has_switches);
    assert(found.voluntary == 5 && found.involuntary == 6);
    pa_text_status(status, sizeof status - 3, &found);
    assert(!found.has_switches); /* Cut: it may be half of a number. */
    assert(pa_text_first_number("usage_usec 77\nuser 1", 20, &number) == 0 && number == 77);
    assert(pa_text_first_number("max\n", 4, &number) == EBADMSG);
    assert(pa_text_cached(older, sizeof older - 1) == 8000);
    assert(pa_text_cached(newer, sizeof newer - 1) == 3500);
}

static void counts(pa_sampler *sampler) {
    pa_usage usage;
    pa_bounds bounds;
    uint64_t start;
    uint32_t place, found = 0;
    const pid_t child = idle_child(20);
    assert(pa_sampler_add(sampler, child, &place, &start) == 0);
    do {
        pa_sampler_pass(sampler, PA_USAGE_CONNECTIONS | PA_USAGE_PEAK | PA_USAGE_SWITCHES);
        pa_sampler_read(sampler, place, &usage);
    } while (usage.descriptors < 23);
    /* A sanitizer may have a thread of its own. */
    assert(usage.descriptors == 23 && usage.threads >= 1 && usage.connections == 0);
    assert(usage.memory > 0 && usage.peak > 0 && usage.state == PA_PROCESS_LIVE);
    memset(&bounds, 0, sizeof bounds);
    bounds.set = 1;
    bounds.memory = UINT64_MAX;
    bounds.threads = 8;
    bounds.descriptors_before = 3;
    bounds.descriptors = 19;
    assert(pa_sampler_bound(sampler, place, &bounds) == 0);
    pa_sampler_pass(sampler, 0);
    assert(pa_sampler_next_over(sampler, &found) && found == place);
    pa_sampler_read(sampler, place, &usage);
    assert(usage.over == PA_USAGE_DESCRIPTORS);
    kill(child, SIGKILL);
    assert(waitpid(child, NULL, 0) == child);
    assert(pa_sampler_one(sampler, place, 0) == 0);
    pa_sampler_read(sampler, place, &usage);
    assert(usage.known == 0 && usage.state == PA_PROCESS_GONE && usage.error == ESRCH);
    pa_sampler_remove(sampler, place);
    assert(pa_sampler_one(sampler, place, 0) == ESRCH);
    assert(pa_sampler_bound(sampler, place, &bounds) == ESRCH);
    pa_sampler_read(sampler, UINT32_MAX, &usage);
    assert(usage.known == 0);
}

/* A group is three files here: what counts is what they say. */
static void groups(pa_sampler *sampler) {
    char directory[] = "/tmp/procfs-XXXXXX", path[64];
    static const char *const names[] = {"memory", "stat", "cpu", "tasks"};
    static const char *const texts[] = {"5000000\n", "file 3000000\nshmem 1000000\n",
                                        "usage_usec 12\nuser_usec 3\n", "7\n"};
    int files[4];
    pa_group group;
    pa_usage usage;
    uint64_t start;
    uint32_t place;
    assert(mkdtemp(directory) != NULL);
    for (int i = 0; i < 4; i++) {
        snprintf(path, sizeof path, "%s/%s", directory, names[i]);
        files[i] = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        assert(write(files[i], texts[i], strlen(texts[i])) == (ssize_t)strlen(texts[i]));
        unlink(path);
    }
    rmdir(directory);
    pa_group_none(&group);
    group.memory = files[0];
    group.stat = files[1];
    group.cpu = files[2];
    group.tasks = files[3];
    group.cpu_unit = 1000;
    assert(pa_sampler_add(sampler, getpid(), &place, &start) == 0);
    assert(pa_sampler_attach(sampler, place, &group) == 0);
    assert(pa_sampler_one(sampler, place, 0) == 0);
    pa_sampler_read(sampler, place, &usage);
    assert(usage.group_memory == 3000000 && usage.group_cpu_ns == 12000 && usage.group_tasks == 7);
    pa_sampler_remove(sampler, place);
    pa_group_none(&group);
    group.memory = open("/dev/null", O_RDONLY | O_CLOEXEC);
    /* Nothing is there: they are closed all the same. */
    assert(pa_sampler_attach(sampler, place, &group) == ESRCH);
    assert(fcntl(group.memory, F_GETFD) < 0);
}

static void *come_and_go(void *sampler) {
    while (!stop) {
        uint64_t start;
        uint32_t places[20];
        pa_usage usage;
        for (int i = 0; i < 20; i++) {
            assert(pa_sampler_add(sampler, getpid(), &places[i], &start) == 0);
        }
        for (int i = 0; i < 20; i++) {
            assert(pa_sampler_one(sampler, places[i], 0) == 0);
            pa_sampler_read(sampler, places[i], &usage);
            assert(usage.threads > 0);
            pa_sampler_remove(sampler, places[i]);
        }
    }
    return NULL;
}

static void *measure(void *sampler) {
    while (!stop) {
        uint32_t place = 0;
        pa_sampler_facts facts;
        pa_sampler_pass(sampler, PA_USAGE_CONNECTIONS);
        assert(!pa_sampler_next_over(sampler, &place));
        pa_sampler_tell(sampler, &facts);
    }
    return NULL;
}

static void busy_connections(pa_sampler *sampler) {
    struct sockaddr_in at = {.sin_family = AF_INET};
    socklen_t size = sizeof at;
    const int server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int ends[64];
    uint64_t start;
    uint32_t place;
    pa_usage usage;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert(bind(server, (struct sockaddr *)&at, sizeof at) == 0 && listen(server, 64) == 0);
    assert(getsockname(server, (struct sockaddr *)&at, &size) == 0);
    assert(pa_sampler_add(sampler, getpid(), &place, &start) == 0);
    for (int i = 0; i < 64; i++) {
        ends[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert(connect(ends[i], (struct sockaddr *)&at, sizeof at) == 0);
        pa_sampler_pass(sampler, PA_USAGE_CONNECTIONS);
        pa_sampler_read(sampler, place, &usage);
        assert(usage.connections == (uint32_t)i + 1);
    }
    for (int i = 0; i < 64; i++) {
        close(ends[i]);
    }
    close(server);
    pa_sampler_remove(sampler, place);
}

int main(void) {
    pthread_t threads[4];
    pa_sampler *sampler;
    pa_sampler_facts facts;
    const int before = open("/dev/null", O_RDONLY | O_CLOEXEC);
    int after;
    close(before);
    known_texts();
    for (uint32_t keep = 0; keep < 200; keep += 100) {
        assert(pa_sampler_new(keep, &sampler) == 0);
        counts(sampler);
        groups(sampler);
        busy_connections(sampler);
        stop = 0;
        for (int i = 0; i < 4; i++) {
            pthread_create(&threads[i], NULL, i % 2 ? measure : come_and_go, sampler);
        }
        usleep(300000);
        stop = 1;
        for (int i = 0; i < 4; i++) {
            pthread_join(threads[i], NULL);
        }
        pa_sampler_tell(sampler, &facts);
        assert(facts.processes == 0 && facts.descriptors == 0 && facts.kept == 0);
        pa_sampler_free(sampler);
    }
    after = open("/dev/null", O_RDONLY | O_CLOEXEC);
    assert(after == before);
    puts("ok");
    return 0;
}
