// Proves that acknowledged flushes survive a crash of the target.
//
//   sequence-writer write DEVICE BLOCKS FLUSH_EVERY   until SIGTERM: stamps blocks 0, 1, …, BLOCKS - 1, 0, … with a
//                                                     growing sequence number; after every FLUSH_EVERY blocks fdatasync,
//                                                     then prints "acked N": all sequence numbers up to N are durable;
//                                                     at the end "longest gap N ms" between two answers of the device
//   sequence-writer check DEVICE BLOCKS ACKED         every block holds an intact stamp at least as new as the newest
//                                                     one up to ACKED that belongs there
//
// Blocks are 4 KiB and go around the page cache (O_DIRECT): what is read is what the target holds. Sequence numbers
// start at 1, and number N belongs to block (N - 1) mod BLOCKS. All 512 words of a block are derived from its
// number, so a torn or misplaced block is found too.

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { kBlockBytes = 4096, kBlockWords = kBlockBytes / 8 };

static volatile sig_atomic_t stop_requested;

static void request_stop(int signal_number) {
  (void)signal_number;
  stop_requested = 1;
}

static uint64_t word_of(uint64_t sequence, uint64_t index) {
  return index == 0 ? sequence : (sequence * 0x9e3779b97f4a7c15u) ^ (index * 0xc2b2ae3d27d4eb4fu);
}

static uint64_t number_argument(const char* text) {
  char* end;
  uint64_t number = strtoull(text, &end, 10);
  if (*text != '\0' && *end == '\0') return number;
  fprintf(stderr, "not a number: %s\n", text);
  exit(2);
}

static int64_t now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int64_t last_answer_ms, longest_gap_ms;

static void note_answer(void) {
  int64_t now = now_ms();
  if (now - last_answer_ms > longest_gap_ms) longest_gap_ms = now - last_answer_ms;
  last_answer_ms = now;
}

static int write_until_stopped(int device, uint64_t* block, uint64_t blocks, uint64_t flush_every) {
  last_answer_ms = now_ms();
  for (uint64_t sequence = 1; !stop_requested; ++sequence) {
    for (uint64_t i = 0; i < kBlockWords; ++i) block[i] = word_of(sequence, i);
    off_t offset = (off_t)((sequence - 1) % blocks * kBlockBytes);
    ssize_t written = pwrite(device, block, kBlockBytes, offset);
    if (written != kBlockBytes) {
      fprintf(stderr, "write of sequence %" PRIu64 ": %s\n", sequence, written < 0 ? strerror(errno) : "short");
      return 1;
    }
    note_answer();
    if (sequence % flush_every != 0) continue;
    if (fdatasync(device) != 0) {
      fprintf(stderr, "flush after sequence %" PRIu64 ": %s\n", sequence, strerror(errno));
      return 1;
    }
    note_answer();
    printf("acked %" PRIu64 "\n", sequence);
    fflush(stdout);
  }
  printf("longest gap %" PRId64 " ms\n", longest_gap_ms);
  return 0;
}

static int check(int device, uint64_t* block, uint64_t blocks, uint64_t acked) {
  int damaged = 0;
  for (uint64_t index = 0; index < blocks && index < acked; ++index) {
    uint64_t oldest_allowed = acked - (acked - 1 - index) % blocks;
    if (pread(device, block, kBlockBytes, (off_t)(index * kBlockBytes)) != kBlockBytes) {
      fprintf(stderr, "block %" PRIu64 ": read: %s\n", index, strerror(errno));
      return 1;
    }
    uint64_t found = block[0];
    uint64_t bad_word = 0;
    for (uint64_t i = 1; i < kBlockWords && bad_word == 0; ++i)
      if (block[i] != word_of(found, i)) bad_word = i;
    if (bad_word != 0) {
      printf("block %" PRIu64 ": torn: sequence %" PRIu64 ", word %" PRIu64 " differs\n", index, found, bad_word);
    } else if (found < oldest_allowed) {
      printf("block %" PRIu64 ": lost: sequence %" PRIu64 " found, %" PRIu64 " was acknowledged\n", index, found,
             oldest_allowed);
    } else if ((found - 1) % blocks != index) {
      printf("block %" PRIu64 ": misplaced: sequence %" PRIu64 "\n", index, found);
    } else {
      continue;
    }
    ++damaged;
  }
  printf("%d damaged of %" PRIu64 " blocks, %" PRIu64 " acknowledged\n", damaged, blocks, acked);
  return damaged == 0 ? 0 : 1;
}

int main(int argc, char** argv) {
  int writing = argc == 5 && strcmp(argv[1], "write") == 0;
  int checking = argc == 5 && strcmp(argv[1], "check") == 0;
  if (!writing && !checking) {
    fprintf(stderr,
            "usage: sequence-writer write DEVICE BLOCKS FLUSH_EVERY\n"
            "       sequence-writer check DEVICE BLOCKS ACKED\n");
    return 2;
  }
  uint64_t blocks = number_argument(argv[3]);
  uint64_t last = number_argument(argv[4]);
  int device = open(argv[2], (writing ? O_RDWR : O_RDONLY) | O_DIRECT);
  if (device < 0 || blocks == 0 || (writing && last == 0)) {
    fprintf(stderr, "%s: %s\n", argv[2], device < 0 ? strerror(errno) : "BLOCKS and FLUSH_EVERY start at 1");
    return 2;
  }
  void* block = NULL;
  if (posix_memalign(&block, kBlockBytes, kBlockBytes) != 0) return 2;
  struct sigaction stop = {.sa_handler = request_stop};
  sigaction(SIGTERM, &stop, NULL);
  return writing ? write_until_stopped(device, block, blocks, last) : check(device, block, blocks, last);
}
