/* ${title}
 *
 * A network as a library: no allocation, no files, no state but the arena, so that any number of
 * threads may run it at once, each with an arena of its own.
 */
#ifndef ${GUARD}
#define ${GUARD}

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Memory that a run works in, in bytes: where and how much. Nothing needs to be kept in it. */
#define ${PREFIX}_ARENA_SIZE ${arena_size}
#define ${PREFIX}_ARENA_ALIGNMENT ${alignment}

#define ${PREFIX}_STEPS ${steps}
#define ${PREFIX}_INPUTS ${num_inputs}
#define ${PREFIX}_OUTPUTS ${num_outputs}
${sizes}

/* What a run returns: 0, or this if the arena is a null pointer or not aligned. */
#define ${PREFIX}_BAD_ARENA 1

/* Runs the network once.
${tensors}
 */
int ${prefix}_run(${parameters}, void *arena);

/* Runs task(closure, begin, end) on parts that make up 0 to count, each exactly once, on any
 * threads, and returns when all have ended. */
typedef void ${prefix}_task(void *closure, int32_t begin, int32_t end);
typedef void ${prefix}_parallel_for(
    void *context, int32_t count, ${prefix}_task *task, void *closure);

/* Returns the time in any unit. */
typedef uint64_t ${prefix}_clock(void *context);

/* Any of these may be null, and so may be the pointer to them all. */
struct ${prefix}_options {
  /* Is handed to the functions. */
  void *context;
  /* Shares a step among threads. */
  ${prefix}_parallel_for *parallel_for;
  /* Is asked before and after each step ... */
  ${prefix}_clock *clock;
  /* ... and the differences are stored here, one for each step. */
  uint64_t *ticks;
};

/* Runs the network once, with arrays of its inputs and outputs in the order above. */
int ${prefix}_run_with(
    const float *const *inputs, float *const *outputs, void *arena,
    const struct ${prefix}_options *options);

/* What is computed: each step is one kernel. */
struct ${prefix}_step {
  const char *kernel;
  const char *layers; /* the network's layers that it computes, separated by commas */
};
extern const struct ${prefix}_step ${prefix}_steps[${PREFIX}_STEPS];

struct ${prefix}_tensor {
  const char *name;
  int32_t rank;
  int32_t shape[${max_rank}];
  int32_t size; /* in floats */
};
extern const struct ${prefix}_tensor ${prefix}_inputs[${PREFIX}_INPUTS];
extern const struct ${prefix}_tensor ${prefix}_outputs[${PREFIX}_OUTPUTS];

#ifdef __cplusplus
}
#endif

#endif
