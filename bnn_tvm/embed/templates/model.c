/* ${title} */
#include "${prefix}.h"

#include <stddef.h>
#include <string.h>

/* In the object file beside this one. */
${declarations}

/* Where each tensor lies in the arena. */
${run_parts}

static const struct {
  ${prefix}_task *run;
  int32_t count;
  int32_t step;
} parts[${num_parts}] = {
${parts}
};

const struct ${prefix}_step ${prefix}_steps[${PREFIX}_STEPS] = {
${step_names}
};

const struct ${prefix}_tensor ${prefix}_inputs[${PREFIX}_INPUTS] = {
${input_tensors}
};

const struct ${prefix}_tensor ${prefix}_outputs[${PREFIX}_OUTPUTS] = {
${output_tensors}
};

static void run_part(int part, void *arena, const struct ${prefix}_options *options) {
  if (options->parallel_for != NULL && parts[part].count > 1)
    options->parallel_for(options->context, parts[part].count, parts[part].run, arena);
  else
    parts[part].run(arena, 0, parts[part].count);
}

static void run_timed(int part, void *arena, const struct ${prefix}_options *options) {
  const uint64_t start = options->clock(options->context);
  run_part(part, arena, options);
  options->ticks[parts[part].step] += options->clock(options->context) - start;
}

int ${prefix}_run_with(
    const float *const *inputs, float *const *outputs, void *arena,
    const struct ${prefix}_options *options) {
  static const struct ${prefix}_options none = {NULL, NULL, NULL, NULL};
  unsigned char *const bytes = arena;
  if (options == NULL) options = &none;
  const int timed = options->clock != NULL && options->ticks != NULL;
  if (arena == NULL || (uintptr_t)arena % ${PREFIX}_ARENA_ALIGNMENT != 0)
    return ${PREFIX}_BAD_ARENA;
${copy_in}
  if (timed) memset(options->ticks, 0, ${PREFIX}_STEPS * sizeof *options->ticks);
  for (int part = 0; part < ${num_parts}; ++part)
    (timed ? run_timed : run_part)(part, arena, options);
${copy_out}
  return 0;
}

int ${prefix}_run(${parameters}, void *arena) {
  const float *const inputs[] = {${input_names}};
  float *const outputs[] = {${output_names}};
  return ${prefix}_run_with(inputs, outputs, arena, NULL);
}
