/* An example: names the class of each golden vector. Put your camera in their place. */
#include <stdint.h>
#include <stdio.h>

#include "kd_golden.h"

/* The index of the largest number, of equal ones the first. */
static int largest(const int8_t *numbers, int count) {
    int best = 0;
    for (int i = 1; i < count; ++i) {
        if (numbers[i] > numbers[best]) {
            best = i;
        }
    }
    return best;
}

int main(void) {
    static int8_t logits[KD_OUTPUT_SIZE];
    for (int i = 0; i < KD_GOLDEN_COUNT; ++i) {
        /* @INPUT@. */
        const int8_t *in = kd_golden_inputs[i];
        if (kd_invoke(in, logits) != 0) {
            printf("kd_invoke failed\n");
            return 1;
        }
        const int best = largest(logits, KD_CLASSES);
        printf("%s\n", kd_labels[best]);
    }
    return 0;
}
