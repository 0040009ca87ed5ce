// The first process of a guest: runs the shell commands that the host sends and streams back what they print.
//
// Talks over one virtio-serial port, a byte stream without loss. Frames, in both directions, are a line of text
// and as many raw bytes as the line announces:
//
//   host to guest   run ID LENGTH\n<command>     start `/bin/sh -c <command>` as job ID
//                   kill ID SIGNAL\n             signal the job's whole process group
//   guest to host   ready\n                      once, before anything else
//                   out ID LENGTH\n<bytes>       what the job printed, standard output and error merged
//                   exit ID STATUS\n             last frame of a job; STATUS as a shell reports it (128 + signal)
//
// A malformed frame ends the agent, and with it the guest (the kernel panics when its first process ends), so
// that the host sees a dead guest with a message on its console rather than a silent one.

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

enum { kMaxJobs = 64, kMaxCommand = 256 * 1024, kOutputChunk = 16 * 1024 };

struct Job {
  unsigned id;
  pid_t pid;   // 0: the slot is free
  int output;  // read end of the job's pipe, non-blocking
};

static struct Job jobs[kMaxJobs];
static int control = -1;

static void die(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  fprintf(stderr, "agent: ");
  vfprintf(stderr, format, arguments);
  fprintf(stderr, "\n");
  va_end(arguments);
  exit(1);
}

static void send_bytes(const char* bytes, size_t length) {
  while (length > 0) {
    ssize_t n = write(control, bytes, length);
    if (n < 0 && errno != EINTR) die("cannot write to the control port: %s", strerror(errno));
    if (n > 0) bytes += n, length -= (size_t)n;
  }
}

static void send_line(const char* format, ...) {
  char line[64];
  va_list arguments;
  va_start(arguments, format);
  int n = vsnprintf(line, sizeof line, format, arguments);
  va_end(arguments);
  send_bytes(line, (size_t)n);
}

static void receive_bytes(char* bytes, size_t length) {
  while (length > 0) {
    ssize_t n = read(control, bytes, length);
    if (n == 0) die("the host closed the control port");
    if (n < 0 && errno != EINTR) die("cannot read the control port: %s", strerror(errno));
    if (n > 0) bytes += n, length -= (size_t)n;
  }
}

static void receive_line(char* line, size_t size) {
  for (size_t i = 0; i + 1 < size; ++i) {
    receive_bytes(&line[i], 1);
    if (line[i] != '\n') continue;
    line[i] = '\0';
    return;
  }
  die("a frame header longer than %zu bytes", size);
}

static struct Job* find_job(unsigned id) {
  for (int i = 0; i < kMaxJobs; ++i)
    if (jobs[i].pid != 0 && jobs[i].id == id) return &jobs[i];
  return NULL;
}

static void start_job(unsigned id, const char* command) {
  struct Job* job = NULL;
  for (int i = 0; i < kMaxJobs && job == NULL; ++i)
    if (jobs[i].pid == 0) job = &jobs[i];
  if (job == NULL) die("more than %d jobs at once", kMaxJobs);

  int pipe_ends[2];
  if (pipe2(pipe_ends, O_CLOEXEC) != 0) die("pipe: %s", strerror(errno));
  pid_t pid = fork();
  if (pid < 0) die("fork: %s", strerror(errno));
  if (pid == 0) {
    setsid();
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    int nothing = open("/dev/null", O_RDONLY);
    dup2(nothing, 0);
    dup2(pipe_ends[1], 1);
    dup2(pipe_ends[1], 2);
    execl("/bin/sh", "sh", "-c", command, (char*)NULL);
    _exit(127);
  }
  close(pipe_ends[1]);
  fcntl(pipe_ends[0], F_SETFL, O_NONBLOCK);
  *job = (struct Job){.id = id, .pid = pid, .output = pipe_ends[0]};
}

// Forwards what the job has printed so far. Closes the pipe at its end.
static void forward_output(struct Job* job) {
  static char chunk[kOutputChunk];
  while (job->output >= 0) {
    ssize_t n = read(job->output, chunk, sizeof chunk);
    if (n > 0) {
      send_line("out %u %zd\n", job->id, n);
      send_bytes(chunk, (size_t)n);
    } else if (n < 0 && errno == EINTR) {
      continue;
    } else if (n < 0 && errno == EAGAIN) {
      return;
    } else {
      close(job->output);
      job->output = -1;
    }
  }
}

// As the first process the agent inherits every orphan; those that are no job of ours are only buried.
static void bury_children(void) {
  int status;
  pid_t pid;
  while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
    for (int i = 0; i < kMaxJobs; ++i) {
      struct Job* job = &jobs[i];
      if (job->pid != pid) continue;
      forward_output(job);  // background children may hold the pipe open: what they print later is dropped
      if (job->output >= 0) close(job->output);
      send_line("exit %u %d\n", job->id, WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
      job->pid = 0;
    }
  }
}

static void obey(void) {
  static char command[kMaxCommand + 1];
  char line[64];
  unsigned id;
  size_t length;
  int signal_number;
  receive_line(line, sizeof line);
  if (sscanf(line, "run %u %zu", &id, &length) == 2) {
    if (length > kMaxCommand) die("a command of %zu bytes; at most %d", length, kMaxCommand);
    receive_bytes(command, length);
    command[length] = '\0';
    start_job(id, command);
  } else if (sscanf(line, "kill %u %d", &id, &signal_number) == 2) {
    struct Job* job = find_job(id);
    if (job != NULL) kill(-job->pid, signal_number);
  } else {
    die("unknown frame \"%s\"", line);
  }
}

int main(int argc, char** argv) {
  if (argc != 2) die("usage: agent CONTROL_PORT");
  control = open(argv[1], O_RDWR | O_CLOEXEC);
  if (control < 0) die("cannot open %s: %s", argv[1], strerror(errno));

  sigset_t child;
  sigemptyset(&child);
  sigaddset(&child, SIGCHLD);
  sigprocmask(SIG_BLOCK, &child, NULL);
  int child_events = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
  if (child_events < 0) die("signalfd: %s", strerror(errno));

  send_line("ready\n");
  for (;;) {
    struct pollfd watched[2 + kMaxJobs] = {{.fd = control, .events = POLLIN}, {.fd = child_events, .events = POLLIN}};
    for (int i = 0; i < kMaxJobs; ++i)
      watched[2 + i] = (struct pollfd){.fd = jobs[i].pid != 0 ? jobs[i].output : -1, .events = POLLIN};
    if (poll(watched, 2 + kMaxJobs, -1) < 0) {
      if (errno == EINTR) continue;
      die("poll: %s", strerror(errno));
    }
    for (int i = 0; i < kMaxJobs; ++i)
      if (watched[2 + i].revents != 0) forward_output(&jobs[i]);
    if (watched[1].revents != 0) {
      struct signalfd_siginfo ignored;
      while (read(child_events, &ignored, sizeof ignored) > 0) continue;
      bury_children();
    }
    if (watched[0].revents != 0) obey();
  }
}
