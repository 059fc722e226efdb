/* ${title}
 *
 * Inputs, in 1/${input_scale}, and the outputs that the compiling machine computed for them.
 */
#ifndef ${GUARD}
#define ${GUARD}

#include <stdint.h>

/* Largest difference that rounding may make. */
static const float selftest_tolerance = ${tolerance};

${arrays}

static const int8_t *const selftest_inputs[] = {${input_names}};
static const float *const selftest_outputs[] = {${output_names}};

#endif
