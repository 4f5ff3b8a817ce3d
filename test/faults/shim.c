/*
 * Stands between a process (LD_PRELOAD) and the kernel, and does what a failing disk would do, or writes down what the
 * process asks of the disk. The environment says which:
 *
 *   SHIM_FAIL_NAME, SHIM_FAIL_NTH, SHIM_FAIL_ALWAYS=1
 *       The n-th sync of files whose path ends in the name fails with EIO, and nothing is asked of the disk; with ALWAYS
 *       each later one as well.
 *   SHIM_RECORD, SHIM_FOLDER
 *       What is done to the files that stand in the folder is appended to the file SHIM_RECORD, in the order in which the
 *       kernel did it. recording.ts reads it, and knows `struct head` and the kinds.
 *
 * A seccomp filter turns the calls into signals, wherever they come from: SQLite calls the C library, but the runtime
 * calls the kernel by itself, and a library's functions put before those of C would not see that. Linux on x86-64.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <ucontext.h>
#include <unistd.h>

/* The one place from which the calls get through the filter; gives the negative of an error, as the kernel does. */
long ask(long call, long a, long b, long c, long d);
extern const char asked[];
__asm__(".text\n"
        "ask:\n"
        "  mov %rdi, %rax\n  mov %rsi, %rdi\n  mov %rdx, %rsi\n  mov %rcx, %rdx\n  mov %r8, %r10\n"
        "  syscall\n"
        "asked:\n"
        "  ret\n");

enum { WRITE = 1, TRUNCATE = 2, SYNC = 3, SYNC_FAILED = 4, CREATE = 5, UNLINK = 6, SYNC_FOLDER = 7 };

/* Followed by the file's name and the data. `inode` tells apart the files that had one name in turn. */
struct head {
  uint32_t kind;
  uint32_t name_length;
  uint64_t inode;
  int64_t offset;
  uint64_t length;
};

static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;
static int record_fd = -1;
static char folder[PATH_MAX];
static const char *fail_name;
static long fail_nth;
static int fail_always;
static long syncs_seen;

/* The name of a file that stands in the folder, "" for the folder itself, NULL for everything else. */
static const char *name_in_folder(const char *path) {
  size_t length = strlen(folder);
  if (record_fd < 0 || strncmp(path, folder, length) != 0) return NULL;
  if (path[length] == '\0') return path + length;
  if (path[length] != '/' || strchr(path + length + 1, '/') != NULL) return NULL;
  return path + length + 1;
}

static const char *path_of(int fd, char *path) {
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, PATH_MAX - 1);
  path[length < 0 ? 0 : length] = '\0';
  char *deleted = strstr(path, " (deleted)");
  if (deleted != NULL) *deleted = '\0';
  return path;
}

static void append(struct head head, const char *name, const void *data, size_t length) {
  head.name_length = (uint32_t)strlen(name);
  head.length = length;
  struct iovec parts[3] = {{&head, sizeof head}, {(void *)name, head.name_length}, {(void *)data, length}};
  /* A recording with a hole would prove nothing. */
  if (writev(record_fd, parts, 3) != (ssize_t)(sizeof head + head.name_length + length)) abort();
}

static void append_for(int fd, uint32_t kind, int64_t offset, const void *data, size_t length) {
  char path[PATH_MAX];
  struct stat about;
  const char *name = name_in_folder(path_of(fd, path));
  if (name == NULL || fstat(fd, &about) != 0) return;
  if (*name == '\0' && kind == SYNC) kind = SYNC_FOLDER;
  append((struct head){.kind = kind, .inode = about.st_ino, .offset = offset}, name, data, length);
}

static int must_fail(int fd) {
  char path[PATH_MAX];
  if (fail_name == NULL) return 0;
  path_of(fd, path);
  size_t length = strlen(path), ending = strlen(fail_name);
  if (length < ending || strcmp(path + length - ending, fail_name) != 0) return 0;
  syncs_seen += 1;
  return syncs_seen == fail_nth || (fail_always && syncs_seen > fail_nth);
}

static long sync_file(long call, int fd) {
  long result = must_fail(fd) ? -EIO : ask(call, fd, 0, 0, 0);
  append_for(fd, result == 0 ? SYNC : SYNC_FAILED, 0, NULL, 0);
  return result;
}

static long write_at(long call, int fd, const void *data, long length, long offset) {
  long result = ask(call, fd, (long)data, length, offset);
  if (result <= 0) return result;
  /* Where an append went is known afterwards. */
  if (call == SYS_write) offset = lseek(fd, 0, SEEK_CUR) - result;
  if (offset >= 0) append_for(fd, WRITE, offset, data, (size_t)result);
  return result;
}

static long truncate_to(int fd, long length) {
  long result = ask(SYS_ftruncate, fd, length, 0, 0);
  if (result == 0) append_for(fd, TRUNCATE, length, NULL, 0);
  return result;
}

static long open_at(int at, const char *path, long flags, long mode) {
  struct stat about;
  int is_new = name_in_folder(path) != NULL && stat(path, &about) != 0;
  long fd = ask(SYS_openat, at, (long)path, flags, mode);
  if (fd >= 0 && is_new) append_for((int)fd, CREATE, 0, NULL, 0);
  else if (fd >= 0 && (flags & O_TRUNC) != 0) append_for((int)fd, TRUNCATE, 0, NULL, 0);
  return fd;
}

static long unlink_at(int at, const char *path, long flags) {
  long result = ask(SYS_unlinkat, at, (long)path, flags, 0);
  const char *name = name_in_folder(path);
  if (result == 0 && name != NULL) append((struct head){.kind = UNLINK}, name, NULL, 0);
  return result;
}

static long do_call(long call, const greg_t *of) {
  long a = of[REG_RDI], b = of[REG_RSI], c = of[REG_RDX], d = of[REG_R10];
  if (call == SYS_fsync || call == SYS_fdatasync) return sync_file(call, (int)a);
  if (call == SYS_write || call == SYS_pwrite64) return write_at(call, (int)a, (const void *)b, c, d);
  if (call == SYS_ftruncate) return truncate_to((int)a, b);
  if (call == SYS_openat) return open_at((int)a, (const char *)b, c, d);
  if (call == SYS_unlink) return unlink_at(AT_FDCWD, (const char *)a, 0);
  return unlink_at((int)a, (const char *)b, c);
}

/* One call at a time, with its record: so the record has one order, and it is the true one. */
static void on_call(int signal, siginfo_t *info, void *context) {
  (void)signal;
  greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
  int kept = errno;
  pthread_mutex_lock(&one_at_a_time);
  registers[REG_RAX] = do_call(info->si_syscall, registers);
  pthread_mutex_unlock(&one_at_a_time);
  errno = kept;
}

#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)(offsetof(struct seccomp_data, field)))
#define LOAD_HIGH(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)(offsetof(struct seccomp_data, field) + 4))
#define EQUALS(value, then, other) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)(value), then, other)
#define HAS(bits, then, other) BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, (uint32_t)(bits), then, other)

static int set_action(int signal, const struct sigaction *action, struct sigaction *old) {
  int (*real)(int, const struct sigaction *, struct sigaction *) =
      (int (*)(int, const struct sigaction *, struct sigaction *))dlsym(RTLD_NEXT, "sigaction");
  return real(signal, action, old);
}

/* The runtime has a handler of its own for this signal, which would take the place of ours. */
int sigaction(int signal, const struct sigaction *action, struct sigaction *old) {
  return signal == SIGSYS ? 0 : set_action(signal, action, old);
}

static void filter(void) {
  uint64_t pass = (uint64_t)(uintptr_t)asked;
  struct sock_filter steps[] = {
      LOAD(instruction_pointer), EQUALS(pass, 0, 2), LOAD_HIGH(instruction_pointer), EQUALS(pass >> 32, 11, 0),
      LOAD(nr),
      EQUALS(SYS_fsync, 10, 0), EQUALS(SYS_fdatasync, 9, 0), EQUALS(SYS_pwrite64, 8, 0), EQUALS(SYS_write, 7, 0),
      EQUALS(SYS_ftruncate, 6, 0), EQUALS(SYS_unlink, 5, 0), EQUALS(SYS_unlinkat, 4, 0),
      /* Only the opening that may make or empty a file. */
      EQUALS(SYS_openat, 0, 2), LOAD(args[2]), HAS(O_CREAT | O_TRUNC, 1, 0),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
  };
  struct sock_fprog program = {.len = sizeof steps / sizeof *steps, .filter = steps};
  struct sigaction action = {.sa_sigaction = on_call, .sa_flags = SA_SIGINFO | SA_NODEFER | SA_RESTART};
  if (set_action(SIGSYS, &action, NULL) != 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
      prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) {
    perror("the shim can't filter");
    abort();
  }
}

__attribute__((constructor)) static void start(void) {
  const char *record = getenv("SHIM_RECORD"), *in = getenv("SHIM_FOLDER"), *nth = getenv("SHIM_FAIL_NTH");
  fail_name = nth == NULL ? NULL : getenv("SHIM_FAIL_NAME");
  fail_nth = nth == NULL ? 0 : atol(nth);
  fail_always = getenv("SHIM_FAIL_ALWAYS") != NULL;
  if (record != NULL && in != NULL) {
    snprintf(folder, sizeof folder, "%s", in);
    int fd = open(record, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    /* Out of the way of programs that care about low numbers. */
    record_fd = fcntl(fd, F_DUPFD_CLOEXEC, 500);
    close(fd);
    if (record_fd < 0) abort();
  }
  if (fail_name != NULL || record_fd >= 0) filter();
}
