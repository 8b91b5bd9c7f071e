/*
 * Starts one of the local servers and ties its life to the process that asked for it.
 *
 *   launcher clickhouse PARENT LIBRARY ARGUMENT...   run clickhouse-local out of the shared library LIBRARY
 *   launcher run        PARENT PROGRAM ARGUMENT...   become PROGRAM (looked up on the PATH)
 *
 * PARENT is the process id of the caller. Exit codes of the launcher itself: 64 wrong usage, 69 the parent is gone,
 * 70 the library or the program cannot be started; otherwise those of the server.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/prctl.h>
#endif

enum { EXIT_WRONG_USAGE = 64, EXIT_PARENT_GONE = 69, EXIT_NOT_STARTED = 70 };

typedef void *(*query_command_line)(int argument_count, char **arguments);
typedef const char *(*result_error)(void *result);

/*
 * A parent that is killed with SIGKILL can clean nothing up, so the kernel does it: SIGTERM lets the server close its
 * files. The setting survives exec. It concerns the thread that forked us: callers spawn from their main thread.
 * Elsewhere than on Linux only ClickHouse follows its parent, when its standard input closes.
 */
static int follow_parent(pid_t parent) {
#ifdef __linux__
  if (prctl(PR_SET_PDEATHSIG, SIGTERM) != 0) {
    fprintf(stderr, "prctl(PR_SET_PDEATHSIG): %s\n", strerror(errno));
    return EXIT_NOT_STARTED;
  }
#endif
  /* It may have died between fork and prctl, and then no signal will ever come. */
  if (getppid() != parent) {
    fprintf(stderr, "process %ld, which asked for this server, is gone\n", (long)parent);
    return EXIT_PARENT_GONE;
  }
  return 0;
}

static void *symbol(void *library, const char *name) {
  void *address = dlsym(library, name);
  if (address == NULL) {
    fprintf(stderr, "the library has no function %s: %s\n", name, dlerror());
  }
  return address;
}

/* Runs until clickhouse-local's last query ends (its input is our standard input) or a signal stops it. */
static int run_clickhouse(const char *path, int argument_count, char **arguments) {
  void *library = dlopen(path, RTLD_NOW | RTLD_GLOBAL);
  if (library == NULL) {
    fprintf(stderr, "cannot load %s: %s\n", path, dlerror());
    return EXIT_NOT_STARTED;
  }
  query_command_line run = (query_command_line)symbol(library, "chdb_query_cmdline");
  result_error error_of = (result_error)symbol(library, "chdb_result_error");
  if (run == NULL || error_of == NULL) {
    return EXIT_NOT_STARTED;
  }
  /* Columns and functions without a zone of their own follow the process: a laptop in Paris must not differ. */
  if (setenv("TZ", "UTC", 1) != 0) {
    fprintf(stderr, "setenv: %s\n", strerror(errno));
    return EXIT_NOT_STARTED;
  }
  void *result = run(argument_count, arguments);
  const char *message = result == NULL ? "clickhouse-local gave no result" : error_of(result);
  if (message != NULL) {
    fprintf(stderr, "%s\n", message);
    return EXIT_FAILURE;
  }
  return EXIT_SUCCESS;
}

static int become(char **arguments) {
  execvp(arguments[0], arguments);
  fprintf(stderr, "cannot start %s: %s\n", arguments[0], strerror(errno));
  return EXIT_NOT_STARTED;
}

int main(int argument_count, char **arguments) {
  if (argument_count < 4) {
    fprintf(stderr, "usage: %s clickhouse|run PARENT LIBRARY|PROGRAM ARGUMENT...\n", arguments[0]);
    return EXIT_WRONG_USAGE;
  }
  const char *mode = arguments[1];
  int orphaned = follow_parent((pid_t)strtol(arguments[2], NULL, 10));
  if (orphaned != 0) {
    return orphaned;
  }
  if (strcmp(mode, "run") == 0) {
    return become(arguments + 3);
  }
  if (strcmp(mode, "clickhouse") == 0) {
    const char *library = arguments[3];
    arguments[3] = arguments[0];
    return run_clickhouse(library, argument_count - 3, arguments + 3);
  }
  fprintf(stderr, "unknown mode %s\n", mode);
  return EXIT_WRONG_USAGE;
}
