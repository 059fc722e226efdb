/* ${title}
 *
 * Checks the library against recorded numbers, runs it on .npy files, and prints the time of each
 * step as JSON:
 *
 *   ${prefix}_check [--input X.npy --output Y.npy] [--repeats N]
 *
 * Give --input and --output once for each of the network's, in order. A file may hold several
 * batches along its first axis. The exit status is 0, 1 if the numbers are wrong, 2 for bad
 * arguments and files.
 */
#ifndef _POSIX_C_SOURCE
#define _POSIX_C_SOURCE 199309L
#endif
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "${prefix}.h"
#include "${prefix}_selftest.h"

#define INPUTS ${PREFIX}_INPUTS
#define OUTPUTS ${PREFIX}_OUTPUTS
#define STEPS ${PREFIX}_STEPS
#define MAX_HEADER 1024
#define MAX_REPEATS 100

/* The arena needs its alignment: one array that is large enough, and the first aligned byte. */
static unsigned char memory[${PREFIX}_ARENA_SIZE + ${PREFIX}_ARENA_ALIGNMENT];
static float values[${input_floats} + ${output_floats}];
static const float *inputs[INPUTS];
static float *outputs[OUTPUTS];
static uint64_t ticks[MAX_REPEATS][STEPS], whole[MAX_REPEATS];

static void *arena(void) {
  const uintptr_t rest = (uintptr_t)memory % ${PREFIX}_ARENA_ALIGNMENT;
  return memory + (${PREFIX}_ARENA_ALIGNMENT - rest) % ${PREFIX}_ARENA_ALIGNMENT;
}

/* Nanoseconds. */
static uint64_t read_clock(void *context) {
  (void)context;
#ifdef CLOCK_MONOTONIC
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
#else
  return (uint64_t)clock() * (1000000000u / (uint64_t)CLOCKS_PER_SEC);
#endif
}

#ifdef _OPENMP
static void share(void *context, int32_t count, ${prefix}_task *task, void *closure) {
  (void)context;
#pragma omp parallel for schedule(static)
  for (int32_t i = 0; i < count; ++i) task(closure, i, i + 1);
}
#else
#define share NULL
#endif

static void run(uint64_t *step_ticks) {
  const struct ${prefix}_options options = {NULL, share, read_clock, step_ticks};
  if (${prefix}_run_with(inputs, outputs, arena(), &options) != 0) abort();
}

static void lay_out_tensors(void) {
  float *next = values;
  for (int i = 0; i < INPUTS; next += ${prefix}_inputs[i++].size) inputs[i] = next;
  for (int i = 0; i < OUTPUTS; next += ${prefix}_outputs[i++].size) outputs[i] = next;
}

/* The largest difference from the recorded outputs; infinite for what is not a number, unless that
 * is what was recorded. */
static float check(void) {
  const int32_t period = (int32_t)sizeof selftest_pattern;
  float largest = 0;
  for (int32_t k = 0; k < ${input_floats}; ++k)
    values[k] = (float)selftest_pattern[k % period] / ${input_scale}.0f;
  /* What is in the arena must not matter. */
  memset(memory, 0xff, sizeof memory);
  run(ticks[0]);
  for (int i = 0; i < OUTPUTS; ++i) {
    for (int32_t k = 0; k < ${prefix}_outputs[i].size; ++k) {
      const float difference = fabsf(outputs[i][k] - selftest_outputs[i][k]);
      if (isnan(selftest_outputs[i][k])) continue;
      if (isnan(difference)) return INFINITY;
      if (difference > largest) largest = difference;
    }
  }
  return largest;
}

static int fail(const char *what, const char *path) {
  fprintf(stderr, "error: %s: %s\n", path, what);
  return 2;
}

/* Compares the header of a .npy file with a tensor; returns how many batches it holds, 0 if the
 * header does not fit. */
static long count_batches(const char *header, const struct ${prefix}_tensor *tensor) {
  const char *shape = strstr(header, "'shape': (");
  if (strstr(header, "'descr': '<f4'") == NULL || strstr(header, "'fortran_order': False") == NULL)
    return 0;
  if (shape == NULL) return 0;
  shape += strlen("'shape': (");
  long first = 0;
  for (int32_t axis = 0; axis < tensor->rank; ++axis) {
    char *end;
    const long extent = strtol(shape, &end, 10);
    if (end == shape) return 0;
    if (axis == 0 ? extent % tensor->shape[0] != 0 : extent != tensor->shape[axis]) return 0;
    if (axis == 0) first = extent;
    for (shape = end; *shape == ',' || *shape == ' ';) ++shape;
  }
  return *shape == ')' ? first / tensor->shape[0] : 0;
}

/* Opens a .npy file of version 1 at its first number. */
static FILE *open_input(const char *path, const struct ${prefix}_tensor *tensor, long *batches) {
  static char header[MAX_HEADER + 1];
  unsigned char start[10];
  FILE *file = fopen(path, "rb");
  if (file == NULL) return NULL;
  *batches = 0;
  if (fread(start, 1, sizeof start, file) == sizeof start && memcmp(start, "\x93NUMPY\x01", 7) == 0) {
    const size_t length = start[8] | (size_t)start[9] << 8;
    if (length <= MAX_HEADER && fread(header, 1, length, file) == length) {
      header[length] = '\0';
      *batches = count_batches(header, tensor);
    }
  }
  return file;
}

static int write_header(FILE *file, const struct ${prefix}_tensor *tensor, long batches) {
  char header[128] = "";
  int length = snprintf(header, sizeof header, "{'descr': '<f4', 'fortran_order': False, 'shape': (%ld,",
                        batches * tensor->shape[0]);
  for (int32_t axis = 1; axis < tensor->rank; ++axis)
    length += snprintf(header + length, sizeof header - (size_t)length, " %ld,", (long)tensor->shape[axis]);
  length += snprintf(header + length, sizeof header - (size_t)length, ")}");
  fwrite("\x93NUMPY\x01\x00\x76\x00", 1, 10, file);
  /* The header and what is before it fill 128 bytes, up to a line feed. */
  return fprintf(file, "%-117s\n", header) == 118;
}

static int run_batches(FILE **sources, FILE **sinks, long batches) {
  for (long batch = 0; batch < batches; ++batch) {
    float *next = values;
    for (int i = 0; i < INPUTS; next += ${prefix}_inputs[i++].size) {
      const size_t size = (size_t)${prefix}_inputs[i].size;
      if (fread(next, sizeof *next, size, sources[i]) != size) return 0;
    }
    run(ticks[0]);
    for (int i = 0; i < OUTPUTS; ++i) {
      const size_t size = (size_t)${prefix}_outputs[i].size;
      if (fwrite(outputs[i], sizeof *next, size, sinks[i]) != size) return 0;
    }
  }
  return 1;
}

static int run_files(char **in, char **out) {
  FILE *sources[INPUTS], *sinks[OUTPUTS];
  long batches = 0, others;
  for (int i = 0; i < INPUTS; ++i) {
    sources[i] = open_input(in[i], &${prefix}_inputs[i], i == 0 ? &batches : &others);
    if (sources[i] == NULL) return fail("cannot be read", in[i]);
    if (batches == 0 || (i > 0 && others != batches))
      return fail("is not a .npy file of float32 numbers with the shape of the input", in[i]);
  }
  for (int i = 0; i < OUTPUTS; ++i) {
    sinks[i] = fopen(out[i], "wb");
    if (sinks[i] == NULL || !write_header(sinks[i], &${prefix}_outputs[i], batches))
      return fail("cannot be written", out[i]);
  }
  if (!run_batches(sources, sinks, batches)) return fail("ends early, or the output is full", in[0]);
  for (int i = 0; i < INPUTS; ++i) fclose(sources[i]);
  for (int i = 0; i < OUTPUTS; ++i)
    if (fclose(sinks[i]) != 0) return fail("cannot be written", out[i]);
  return 0;
}

static void time_runs(int repeats) {
  for (int i = 0; i < repeats; ++i) {
    const uint64_t start = read_clock(NULL);
    run(ticks[i]);
    whole[i] = read_clock(NULL) - start;
  }
}

/* Prints numbers that lie `stride` apart. */
static void print_seconds(const uint64_t *nanoseconds, int stride, int count) {
  printf("\"seconds\": [");
  for (int i = 0; i < count; ++i)
    printf("%s%.9g", i ? ", " : "", (double)nanoseconds[i * stride] * 1e-9);
  printf("]");
}

static void print_times(int repeats) {
  printf(" ");
  print_seconds(whole, 1, repeats);
  printf(",\n \"steps\": [");
  for (int step = 0; step < STEPS; ++step) {
    printf("%s\n  {\"kernel\": \"%s\", \"layers\": \"%s\", ", step ? "," : "",
           ${prefix}_steps[step].kernel, ${prefix}_steps[step].layers);
    print_seconds(&ticks[0][step], STEPS, repeats);
    printf("}");
  }
  printf("\n ]\n");
}

int main(int argc, char **argv) {
  char *in[INPUTS] = {NULL}, *out[OUTPUTS] = {NULL};
  int num_in = 0, num_out = 0, repeats = 0;
  for (int i = 1; i + 1 < argc; i += 2) {
    if (strcmp(argv[i], "--input") == 0 && num_in < INPUTS) in[num_in++] = argv[i + 1];
    else if (strcmp(argv[i], "--output") == 0 && num_out < OUTPUTS) out[num_out++] = argv[i + 1];
    else if (strcmp(argv[i], "--repeats") == 0) repeats = atoi(argv[i + 1]);
    else return fail("unknown option, or too many of it", argv[i]);
  }
  if (argc % 2 == 0 || (num_in > 0 && num_in < INPUTS) || (num_out > 0) != (num_in > 0) ||
      (num_out > 0 && num_out < OUTPUTS) || repeats < 0 || repeats > MAX_REPEATS)
    return fail("[--input X.npy --output Y.npy] [--repeats N], once for each of its tensors", argv[0]);
  lay_out_tensors();
  const float difference = check();
  const int passed = difference <= selftest_tolerance;
  time_runs(repeats);
  printf("{\"name\": \"${prefix}\",\n \"self_test\": {\"passed\": %s, \"largest_difference\": %.9g},\n",
         passed ? "true" : "false", difference <= 3e38f ? (double)difference : 3e38);
  print_times(repeats);
  printf("}\n");
  return num_in > 0 && passed ? run_files(in, out) : !passed;
}
