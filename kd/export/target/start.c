/* Start of a Cortex-M without an operating system, for the boards MPS2 and for QEMU's models of
 * them. On another board, take the startup file and the linker script of its vendor instead. */
#include <stdint.h>
#include <stdlib.h>

/* Of the linker script. */
extern uint32_t load_data, begin_data, end_data, begin_bss, end_bss, stack_top;

int main(void);
void reset(void);
void fault(void);
void report_fault(const uint32_t *frame) __attribute__((noreturn, used));

/* Opens the standard streams of newlib's rdimon, where that is linked. */
extern void initialise_monitor_handles(void) __attribute__((weak));

__attribute__((section(".vectors"), used)) static const void *const vectors[16] = {
    &stack_top,           (const void *)reset, (const void *)fault, (const void *)fault,
    (const void *)fault, (const void *)fault, (const void *)fault};

void reset(void) {
    const uint32_t *from = &load_data;
    for (uint32_t *to = &begin_data; to < &end_data; ++to) {
        *to = *from++;
    }
    for (uint32_t *to = &begin_bss; to < &end_bss; ++to) {
        *to = 0;
    }
    if (initialise_monitor_handles) {
        initialise_monitor_handles();
    }
    exit(main());
}

/* Semihosting (ARM): the debugger or the emulator does operation `number` for the program. */
static int semihost(int number, const void *argument) {
    register int r0 __asm__("r0") = number;
    register const void *r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

static void say_hexadecimal(const char *what, uint32_t value) {
    char text[12] = "0x";
    for (int i = 0; i < 8; ++i) {
        text[2 + i] = "0123456789abcdef"[(value >> (28 - 4 * i)) & 15];
    }
    text[10] = '\0';
    semihost(4, what);
    semihost(4, text);
}

void report_fault(const uint32_t *frame) {
    const uint32_t block[2] = {0x20026, 70};
    say_hexadecimal("fault at ", frame[6]);
    say_hexadecimal(", CFSR ", *(volatile uint32_t *)0xE000ED28);
    semihost(4, "\n");
    semihost(0x20, block);
    for (;;) {
    }
}

__attribute__((naked)) void fault(void) {
    __asm__ volatile("mrs r0, msp\n\tb report_fault");
}
