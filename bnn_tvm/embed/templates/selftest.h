/* ${title}
 *
 * What the inputs are filled with, one after the other and again from the start, in
 * 1/${input_scale}, and the outputs that the compiling machine computed for them.
 */
#ifndef ${GUARD}
#define ${GUARD}

#include <stdint.h>

/* Largest difference that rounding may make. */
static const float selftest_tolerance = ${tolerance};

${arrays}

static const float *const selftest_outputs[] = {${output_names}};

#endif
