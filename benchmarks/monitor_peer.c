/* Idle processes to be measured: monitor_peer COUNT PORT.
 *
 * Each has 4 threads, 12 files and 4 TCP connections to the port. Writes a line "ready" when all
 * are there; they end with their parent, which ends when its input does. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

static void *rest(void *unused) {
    for (;;) {
        pause();
    }
    return unused;
}

static void be_idle(int port, int ready) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};
    pthread_attr_t small;
    pthread_t thread;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    for (int i = 0; i < 12; i++) {
        if (open("/dev/null", O_RDONLY) < 0) {
            exit(2);
        }
    }
    for (int i = 0; i < 4; i++) {
        const int made = socket(AF_INET, SOCK_STREAM, 0);
        if (made < 0 || connect(made, (struct sockaddr *)&to, sizeof to) != 0) {
            exit(3);
        }
    }
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 65536);
    for (int i = 0; i < 3; i++) {
        pthread_create(&thread, &small, rest, NULL);
    }
    if (write(ready, "r", 1) != 1) {
        exit(4);
    }
    close(ready);
    rest(NULL);
}

int main(int count, char **args) {
    int pipes[2], made;
    char byte;
    if (count != 3 || pipe(pipes) != 0) {
        return 1;
    }
    made = atoi(args[1]);
    for (int i = 0; i < made; i++) {
        const pid_t pid = fork();
        if (pid == 0) {
            close(pipes[0]);
            close(0);
            be_idle(atoi(args[2]), pipes[1]);
        }
        if (pid < 0 || read(pipes[0], &byte, 1) != 1) {
            return 2;
        }
        printf("%d\n", (int)pid);
    }
    printf("ready\n");
    fflush(stdout);
    while (read(0, &byte, 1) > 0) {
    }
    return 0;
}
