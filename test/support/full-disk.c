/*
 * A disk that is full, for tests: LD_PRELOAD this to a database server, and name a file of one byte in
 * KEYTURN_TEST_DISK_FILE. While that byte is 1, whatever makes a regular file larger fails as on a full
 * disk; it may change at any time.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static volatile char *full;

__attribute__((constructor)) static void begin(void) {
  const char *path = getenv("KEYTURN_TEST_DISK_FILE");
  int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
  if (file < 0) return;
  void *page = mmap(NULL, 1, PROT_READ, MAP_SHARED, file, 0);
  if (page != MAP_FAILED) full = page;
  close(file);
}

static int is_refused(int file, off_t end) {
  struct stat seen;
  return full && *full == 1 && !fstat(file, &seen) && S_ISREG(seen.st_mode) && end > seen.st_size;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t pwrite64(int file, const void *bytes, size_t size, off64_t at) {
  if (is_refused(file, at + (off_t)size)) return errno = ENOSPC, -1;
  return REAL(pwrite64)(file, bytes, size, at);
}

ssize_t pwrite(int file, const void *bytes, size_t size, off_t at) { return pwrite64(file, bytes, size, at); }

static ssize_t vector_size(const struct iovec *parts, int count) {
  ssize_t size = 0;
  for (int part = 0; part < count; part++) size += parts[part].iov_len;
  return size;
}

ssize_t pwritev64(int file, const struct iovec *parts, int count, off64_t at) {
  if (is_refused(file, at + vector_size(parts, count))) return errno = ENOSPC, -1;
  return REAL(pwritev64)(file, parts, count, at);
}

ssize_t pwritev(int file, const struct iovec *parts, int count, off_t at) { return pwritev64(file, parts, count, at); }

int posix_fallocate64(int file, off64_t at, off64_t size) {
  if (is_refused(file, at + size)) return ENOSPC;
  return REAL(posix_fallocate64)(file, at, size);
}

int posix_fallocate(int file, off_t at, off_t size) { return posix_fallocate64(file, at, size); }
