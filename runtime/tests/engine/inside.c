// What the engine's tests run in their containers: one static program, its deed chosen by its name.
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
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

int main(int argc, char **argv) {
  const char *name = strrchr(argv[0], '/') ? strrchr(argv[0], '/') + 1 : argv[0];
  if (!strcmp(name, "true")) return 0;
  if (!strcmp(name, "exit")) return atoi(argv[1]);
  if (!strcmp(name, "cat")) { int bad = 0; for (int i = 1; i < argc; i++) bad |= cat(argv[i]); return bad; }
  if (!strcmp(name, "ls")) return ls(argv[1]);
  if (!strcmp(name, "pause")) { for (;;) pause(); }
  if (!strcmp(name, "pwd")) { char b[4096]; printf("%s\n", getcwd(b, sizeof b)); return 0; }
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
