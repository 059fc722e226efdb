/* ${title}
 *
 * Starts the example on Arm's MPS2 board, which qemu-system-arm emulates, with files and output
 * through semihosting. Another board brings its own start-up code.
 */
#include <stdint.h>

/* From the C library: prepares memory and the command line, and calls main. */
extern void _start(void);
extern unsigned char __stack[];

/* The coprocessor access control register of Cortex-M. */
#define CPACR (*(volatile uint32_t *)0xE000ED88u)

static void start(void) {
  /* The floating-point unit is off after a reset. */
  CPACR |= 0xFu << 20;
  __asm__ volatile("dsb\n\tisb");
  _start();
}

/* Ends the emulation with an error that can be seen, rather than never. */
static void fail(void) {
  __asm__ volatile("movs r0, #0x18\n\tmovs r1, #0\n\tbkpt 0xAB");
}

/* What the processor reads after a reset and on faults. */
__attribute__((section(".vectors"), used)) static const struct {
  void *stack;
  void (*handlers[6])(void);
} vectors = {__stack, {start, fail, fail, fail, fail, fail}};
