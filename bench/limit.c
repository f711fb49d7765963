/* The kernel's own limit: what one C program needs to start and end N containers that run sleep.
 *
 * Each child gets new user, PID, mount, network, UTS and IPC namespaces, a recursive read-only bind of the host's root,
 * its own /proc and tmpfs on /tmp, /run and /dev/shm, and pivot_root. Starts are pipelined: nobody waits for an exec
 * before the next clone. No cgroups, no veth pairs, no seccomp, no logs: a lower bound, not a container runtime.
 *
 * Usage: limit N. Prints "UP DOWN" in nanoseconds: first clone to last exec, first SIGKILL to last wait.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* glibc's sys/mount.h clashes with linux/mount.h in older releases. */
int mount(const char *, const char *, const char *, unsigned long, const void *);
int umount2(const char *, int);
enum { SLAVE = 1 << 19, REC = 16384, QUIET = 2 | 4 | 8, DETACH = 2 };

static int report = 2; /* where failures are told; a child's is a pipe, which stays empty where all went well */

static void fail(const char *step) {
    dprintf(report, "%s: %s\n", step, strerror(errno));
    _exit(1);
}

static void check(long result, const char *step) {
    if (result < 0) fail(step);
}

static long now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000L + t.tv_nsec;
}

static void container(int go) {
    char byte;
    if (read(go, &byte, 1) != 1) _exit(1);
    check(setresgid(0, 0, 0), "setresgid");
    check(setresuid(0, 0, 0), "setresuid");
    check(prctl(PR_SET_PDEATHSIG, SIGKILL), "prctl"); /* not before: a change of ids clears it */
    check(mount("", "/", NULL, REC | SLAVE, NULL), "make the mounts private");
    int tree = syscall(SYS_open_tree, AT_FDCWD, "/", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
    check(tree, "open_tree");
    struct mount_attr attributes = {.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV};
    check(syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH | AT_RECURSIVE, &attributes, sizeof attributes),
          "mount_setattr");
    check(syscall(SYS_move_mount, tree, "", AT_FDCWD, "/tmp", MOVE_MOUNT_F_EMPTY_PATH), "move_mount");
    check(chdir("/tmp"), "chdir");
    check(mount("proc", "proc", "proc", QUIET, NULL), "mount /proc");
    check(mount("tmpfs", "tmp", "tmpfs", QUIET, "mode=1777"), "mount /tmp");
    check(mount("tmpfs", "run", "tmpfs", QUIET, "mode=755"), "mount /run");
    check(mount("tmpfs", "dev/shm", "tmpfs", QUIET, "mode=1777"), "mount /dev/shm");
    check(syscall(SYS_pivot_root, ".", "."), "pivot_root");
    check(umount2(".", DETACH), "umount");
    check(chdir("/"), "chdir");
    check(sethostname("limit", 5), "sethostname");
    execlp("sleep", "sleep", "1000000", (char *)NULL);
    fail("exec sleep");
}

static void put(int pid, const char *name, const char *text) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", pid, name);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    check(fd, path);
    check(write(fd, text, strlen(text)), path);
    close(fd);
}

static int start(int failures) {
    int go[2];
    check(pipe2(go, O_CLOEXEC), "pipe");
    unsigned long flags = CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWUTS | CLONE_NEWIPC;
    int pid = syscall(SYS_clone, flags | SIGCHLD, NULL, NULL, NULL, NULL);
    check(pid, "clone");
    if (pid == 0) {
        report = failures;
        close(go[1]);
        container(go[0]);
    }
    close(go[0]);
    char map[64];
    put(pid, "setgroups", "deny");
    snprintf(map, sizeof map, "0 %d 1", geteuid());
    put(pid, "uid_map", map);
    snprintf(map, sizeof map, "0 %d 1", getegid());
    put(pid, "gid_map", map);
    check(write(go[1], "g", 1), "go");
    close(go[1]);
    return pid;
}

int main(int argc, char **argv) {
    int count = argc == 2 ? atoi(argv[1]) : 0, ends[2];
    if (count < 1) return fprintf(stderr, "usage: limit N\n"), 2;
    int *pids = calloc(count, sizeof *pids);
    if (pids == NULL) fail("calloc");
    check(pipe2(ends, O_CLOEXEC), "pipe");
    long begun = now();
    for (int i = 0; i < count; i++) pids[i] = start(ends[1]);
    close(ends[1]);
    char text[256];
    ssize_t length = read(ends[0], text, sizeof text); /* 0, the end of the file, comes with the last exec */
    long up = now();
    for (int i = 0; i < count; i++) kill(pids[i], SIGKILL);
    for (int i = 0; i < count; i++) waitpid(pids[i], NULL, 0);
    long down = now();
    if (length != 0) return fprintf(stderr, "%.*s", (int)(length > 0 ? length : 0), text), 1;
    printf("%ld %ld\n", up - begun, down - up);
    return 0;
}
