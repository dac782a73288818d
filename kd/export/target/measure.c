/* Runs a network on the vectors of inputs.bin, writes outputs.bin, and prints what it took: for
 * each of the first TIMED vectors the ticks of REPEATS or fewer calls, and the depth of the stack.
 * Files and text go through semihosting. No function of a library is called, so that those in the
 * program are the network's. */
#include <stdint.h>

#define PAINT 65536u
#define LOOPS 1000000u

int INVOKE(const int8_t *in, int8_t *out);

typedef int (*function)(const int8_t *in, int8_t *out);

static uint32_t semihost(uint32_t number, const void *argument) {
    register uint32_t r0 __asm__("r0") = number;
    register const void *r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

static void say(const char *text) { semihost(4, text); }

static void say_number(const char *what, uint32_t value) {
    char text[12];
    char *first = text + sizeof text - 1;
    *first = '\0';
    do {
        *--first = (char)('0' + value % 10);
        value /= 10;
    } while (value);
    say(what);
    say(first);
}

void exit(int status) {
    const uint32_t block[2] = {0x20026, (uint32_t)status};
    semihost(0x20, block);
    for (;;) {
    }
}

static uint32_t open_file(const char *name, uint32_t length, uint32_t mode) {
    const uint32_t block[3] = {(uint32_t)(uintptr_t)name, mode, length};
    return semihost(1, block);
}

/* Reads or writes all bytes, or returns how many it did not. */
static uint32_t transfer(uint32_t operation, uint32_t file, void *bytes, uint32_t size) {
    const uint32_t block[3] = {file, (uint32_t)(uintptr_t)bytes, size};
    return semihost(operation, block);
}

/* Timer 0 of the board counts down from 2^32 - 1. */
#define TIMER ((volatile uint32_t *)0x40000000)

static void start_timer(void) {
    TIMER[2] = TIMER[1] = UINT32_MAX;
    TIMER[0] = 1;
}

/* Ticks of a loop of 2 * LOOPS instructions. */
__attribute__((noinline)) static uint32_t calibrate(void) {
    uint32_t count = LOOPS;
    const uint32_t before = TIMER[1];
    __asm__ volatile("1: subs %0, %0, #1\n\tbne 1b" : "+l"(count) : : "cc");
    return before - TIMER[1];
}

static int nothing(const int8_t *in, int8_t *out) {
    (void)in;
    (void)out;
    return 0;
}

__attribute__((noinline)) static uint32_t ticks(
    function call, const int8_t *in, int8_t *out, uint32_t repeats) {
    const uint32_t before = TIMER[1];
    for (uint32_t i = 0; i < repeats; ++i) {
        call(in, out);
    }
    return before - TIMER[1];
}

/* Bytes below this function's frame that a call changes. */
__attribute__((noinline)) static uint32_t depth(const int8_t *in, int8_t *out) {
    uintptr_t top;
    __asm__ volatile("mov %0, sp" : "=r"(top));
    volatile uint8_t *const bottom = (volatile uint8_t *)(top - PAINT);
    for (uint32_t i = 0; i < PAINT; ++i) {
        bottom[i] = 0xA5;
    }
    INVOKE(in, out);
    uint32_t untouched = 0;
    while (untouched < PAINT && bottom[untouched] == 0xA5) {
        ++untouched;
    }
    return PAINT - untouched;
}

int main(void) {
    static int8_t in[INPUT_SIZE], out[OUTPUT_SIZE];
    const uint32_t inputs = open_file("inputs.bin", 10, 1);
    const uint32_t outputs = open_file("outputs.bin", 11, 5);
    start_timer();
    say_number("loop ", 2 * LOOPS);
    say_number(" ", calibrate());
    say("\n");
    for (uint32_t i = 0; transfer(6, inputs, in, sizeof in) == 0; ++i) {
        if (INVOKE(in, out) != 0) {
            say("the network's function does not return 0\n");
            return 71;
        }
        if (transfer(5, outputs, out, sizeof out) != 0) {
            say("outputs.bin cannot be written\n");
            return 72;
        }
        if (i < TIMED) {
            const uint32_t once = ticks(INVOKE, in, out, 1);
            const uint32_t repeats = once > 8192 ? 1 : 64;
            say_number("vector ", repeats);
            say_number(" ", ticks(INVOKE, in, out, repeats));
            say_number(" ", ticks(nothing, in, out, repeats));
            say_number(" ", depth(in, out));
            say("\n");
        }
    }
    say("done\n");
    return 0;
}
