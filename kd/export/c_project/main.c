/* An example: names the class of each golden vector. Put your camera in their place. */
#include <stdint.h>
#include <stdio.h>

#include "kd_golden.h"
#ifdef __has_include
#if __has_include("kd_predict.h")
#include "kd_predict.h"
#endif
#endif

/* The class of the largest number; -1, "I do not know", where the export has the threshold of
 * abstention for 95 % and the network is less sure than that. */
static int class_of(const int8_t *numbers) {
#ifdef KD_ANSWER_95
    return kd_predict_or_abstain(numbers, KD_ANSWER_95);
#else
    int best = 0;
    for (int i = 1; i < KD_CLASSES; ++i) {
        if (numbers[i] > numbers[best]) {
            best = i;
        }
    }
    return best;
#endif
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
        const int best = class_of(logits);
        printf("%s\n", best < 0 ? "I do not know" : kd_labels[best]);
    }
    return 0;
}
