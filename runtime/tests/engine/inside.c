// What the engine's tests run in their containers: one static program, its deed chosen by its name.
#define _GNU_SOURCE
#include <sched.h>
#include <sys/resource.h>
#include <sys/personality.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static int cat(const char *path) {
  char buffer[4096];
  ssize_t n;
  int fd = open(path, O_RDONLY);
  if (fd < 0) { printf("%s: unreadable\n", path); return 1; }
  while ((n = read(fd, buffer, sizeof buffer)) > 0) fwrite(buffer, 1, (size_t)n, stdout);
  close(fd);
  return 0;
}

static int ls(const char *path) {
  DIR *dir = opendir(path);
  if (!dir) { printf("%s: unreadable\n", path); return 1; }
  for (struct dirent *e; (e = readdir(dir));)
    if (e->d_name[0] != '.' && atoi(e->d_name) != dirfd(dir)) printf("%s\n", e->d_name);
  closedir(dir);
  return 0;
}

// Makes syscalls by number, with -1 or what follows a colon as the first argument and 0 as the others, and
// says what came of each: its errno, or ok.
static int calls(int argc, char **argv) {
  for (int i = 1; i < argc; i++) {
    const char *colon = strchr(argv[i], ':');
    long got = syscall(atol(argv[i]), colon ? strtol(colon + 1, 0, 0) : -1L, 0L, 0L, 0L, 0L, 0L);
    printf("%s %s\n", argv[i], got < 0 ? strerrorname_np(errno) : "ok");
  }
  return 0;
}

// Makes syscalls of the 32-bit architecture.
static int calls32(int argc, char **argv) {
#ifdef __x86_64__
  for (int i = 1; i < argc; i++) {
    const char *colon = strchr(argv[i], ':');
    long got = atol(argv[i]), first = colon ? strtol(colon + 1, 0, 0) : -1L;
    __asm__ volatile("int $0x80" : "+a"(got) : "b"(first), "c"(0L), "d"(0L), "S"(0L), "D"(0L) : "memory", "r8", "r9", "r10", "r11");
    printf("%s %s\n", argv[i], (int)got < 0 ? strerrorname_np(-(int)got) : "ok");
  }
#endif
  return argc < 2;
}

// A seccomp agent on the socket argv[1], for one container: prints what it is sent, then answers each
// question about mkdir with ENOTUNIQ, and lets all others go on, until the filter has nobody left.
static int agent(char **argv) {
  struct sockaddr_un at = {.sun_family = AF_UNIX};
  snprintf(at.sun_path, sizeof at.sun_path, "%s", argv[1]);
  int s = socket(AF_UNIX, SOCK_STREAM, 0);
  if (bind(s, (struct sockaddr *)&at, sizeof at) || listen(s, 1)) return 1;
  printf("ready\n");
  fflush(stdout);
  int c = accept(s, 0, 0), listener = -1;
  close(s);
  char text[4096], control[CMSG_SPACE(sizeof(int))];
  for (ssize_t n = 1; n > 0;) {
    struct iovec part = {text, sizeof text};
    struct msghdr m = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    n = recvmsg(c, &m, 0);
    if (m.msg_controllen && CMSG_FIRSTHDR(&m)) memcpy(&listener, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof listener);
    if (n > 0) fwrite(text, 1, (size_t)n, stdout);
  }
  printf("\n");
  fflush(stdout);
  for (;;) {
    struct seccomp_notif asked;
    struct seccomp_notif_resp answer;
    memset(&asked, 0, sizeof asked);
    memset(&answer, 0, sizeof answer);
    // Where nobody is left, older kernels than 6.11 wait for ever in NOTIF_RECV; poll tells.
    struct pollfd ready = {.fd = listener, .events = POLLIN};
    if (poll(&ready, 1, -1) == 1 && !(ready.revents & POLLIN)) return !(ready.revents & POLLHUP);
    if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &asked)) return errno != ENOENT;
    answer.id = asked.id;
    if (asked.data.nr == SYS_mkdir) answer.error = -ENOTUNIQ;
    else answer.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
    printf("asked %d\n", asked.data.nr);
    fflush(stdout);
    if (ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &answer)) return 3;
  }
}

static int placed(void) {
  int mode = -1;
  cpu_set_t cpus;
  sched_getaffinity(0, sizeof cpus, &cpus);
  syscall(SYS_get_mempolicy, &mode, NULL, 0UL, NULL, 0UL);
  printf("policy %d nice %d io %#lx personality %#x cpus %d memory %d\n", sched_getscheduler(0), getpriority(PRIO_PROCESS, 0),
         syscall(SYS_ioprio_get, 1, 0), personality(0xffffffff), CPU_COUNT(&cpus), mode);
  return 0;
}

// Seizes each process that comes after this one, as early as it can, and says what it had then: its name, effective
// capabilities, filters' mode, descriptors above the standard ones, memory that it shares with others and can write to, and
// whether its root holds argv[1].
static void seized(pid_t pid, const char *canary) {
  char path[4352], line[256], name[64] = "", caps[64] = "", mode[16] = "";
  snprintf(path, sizeof path, "/proc/%d/status", pid);
  FILE *status = fopen(path, "re");
  while (status && fgets(line, sizeof line, status)) {
    sscanf(line, "Name: %63s", name);
    sscanf(line, "CapEff: %63s", caps);
    sscanf(line, "Seccomp: %15s", mode);
  }
  if (status) fclose(status);
  int shared = 0;
  snprintf(path, sizeof path, "/proc/%d/maps", pid);
  FILE *maps = fopen(path, "re");
  while (maps && fgets(line, sizeof line, maps)) shared += strstr(line, " rw-s ") != 0;
  if (maps) fclose(maps);
  int fds = 0;
  snprintf(path, sizeof path, "/proc/%d/fd", pid);
  DIR *dir = opendir(path);
  for (struct dirent *e; dir && (e = readdir(dir));) fds += e->d_name[0] != '.' && atoi(e->d_name) > 2;
  if (dir) closedir(dir);
  snprintf(path, sizeof path, "/proc/%d/root%s", pid, canary);
  printf("%s %s %s %d %d %s\n", name, caps, mode, fds, shared, access(path, F_OK) ? "own" : "host");
}

static int spy(const char *canary) {
  setvbuf(stdout, 0, _IOLBF, 0);
  puts("ready");
  for (pid_t last = getpid();;)
    for (pid_t pid = last + 1; pid < last + 8; pid++) {
      if (ptrace(PTRACE_SEIZE, pid, 0, 0)) continue;
      ptrace(PTRACE_INTERRUPT, pid, 0, 0);
      int how;
      if (waitpid(pid, &how, __WALL) == pid && WIFSTOPPED(how)) {
        seized(pid, canary);
        ptrace(PTRACE_DETACH, pid, 0, 0);
      }
      last = pid;
      break;
    }
}

// SIGTERM to process 1, which takes it from outside of its pid namespace alone: from a sender without a pid.
static int forge(void) {
  siginfo_t info = {.si_signo = SIGTERM, .si_code = SI_QUEUE};
  puts(syscall(SYS_rt_sigqueueinfo, 1, SIGTERM, &info) ? strerrorname_np(errno) : "sent");
  puts(kill(1, SIGTERM) ? strerrorname_np(errno) : "sent");
  int ends[2];
  if (pipe(ends) || fcntl(ends[0], F_SETOWN, 1) || fcntl(ends[0], F_SETSIG, SIGTERM) ||
      fcntl(ends[0], F_SETFL, O_ASYNC) || write(ends[1], "x", 1) != 1) puts(strerrorname_np(errno));
  else puts("sent");
  return 0;
}

int main(int argc, char **argv) {
  const char *name = strrchr(argv[0], '/') ? strrchr(argv[0], '/') + 1 : argv[0];
  if (!strcmp(name, "true")) return 0;
  if (!strcmp(name, "exit")) return atoi(argv[1]);
  if (!strcmp(name, "cat")) { int bad = 0; for (int i = 1; i < argc; i++) bad |= cat(argv[i]); return bad; }
  if (!strcmp(name, "ls")) return ls(argv[1]);
  if (!strcmp(name, "pause")) { for (;;) pause(); }
  if (!strcmp(name, "pwd")) { char b[4096]; printf("%s\n", getcwd(b, sizeof b)); return 0; }
  if (!strcmp(name, "calls")) return calls(argc, argv);
  if (!strcmp(name, "calls32")) return calls32(argc, argv);
  if (!strcmp(name, "agent")) return agent(argv);
  if (!strcmp(name, "spy")) return spy(argv[1]);
  if (!strcmp(name, "forge")) return forge();
  if (!strcmp(name, "mkdir")) { printf("%s\n", mkdir(argv[1], 0755) ? strerrorname_np(errno) : "ok"); return 0; }
  if (!strcmp(name, "placed")) return placed();
  if (!strcmp(name, "owner")) { for (int i = 1; i < argc; i++) { struct stat s; lstat(argv[i], &s); printf("%s %d:%d %o\n", argv[i], s.st_uid, s.st_gid, s.st_mode); } return 0; }
  if (!strcmp(name, "pid")) { printf("%d\n", getpid()); return 0; }
  if (!strcmp(name, "env")) { for (char **e = environ; *e; e++) puts(*e); return 0; }
  if (!strcmp(name, "tty")) { printf("%s\n", ttyname(0) ? ttyname(0) : "none"); return tcgetpgrp(0) != getpid(); }
  if (!strcmp(name, "touch")) { int fd = open(argv[1], O_WRONLY | O_CREAT, 0644); printf("%s\n", fd < 0 ? "refused" : "made"); return 0; }
  if (!strcmp(name, "open")) { printf("%s\n", open(argv[1], O_RDWR) < 0 ? "refused" : "opened"); return 0; }
  if (!strcmp(name, "stat")) { for (int i = 1; i < argc; i++) { struct stat s; if (stat(argv[i], &s)) printf("%s none\n", argv[i]); else printf("%s %o %d:%d\n", argv[i], s.st_mode, (int)(s.st_rdev >> 8), (int)(s.st_rdev & 255)); } return 0; }
  if (!strcmp(name, "eat")) for (size_t n = 0;; n++) memset(malloc(1 << 20), 1, 1 << 20);
  if (!strcmp(name, "orphan")) { if (!fork()) { if (!fork()) { usleep(20000); _exit(0); } _exit(0); } wait(0); pause(); }
  if (!strcmp(name, "forks")) { int n = 0; while (n < 100) { pid_t p = fork(); if (p < 0) break; if (!p) { pause(); } n++; } printf("%d\n", n); fflush(stdout); kill(0, SIGKILL); }
  return 99;
}
