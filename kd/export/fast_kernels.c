int32_t kd_net_q31_high_mul(int32_t a, int32_t b) {
    if (a == INT32_MIN && b == INT32_MIN) {
        return INT32_MAX;
    }
    /* To the nearest, halves up. The shift of a negative number is arithmetic, as C23 and all
     * compilers for microcontrollers have it. */
    return (int32_t)(((int64_t)a * (int64_t)b + (INT64_C(1) << 30)) >> 31);
}

int32_t kd_net_q31_round_div_pot(int32_t value, int32_t exponent) {
    /* To the nearest, halves away from zero. */
    if (exponent > 30) {
        const int64_t magnitude = value < 0 ? -(int64_t)value : (int64_t)value;
        const int64_t quotient = (magnitude + (INT64_C(1) << (exponent - 1))) >> exponent;
        return (int32_t)(value < 0 ? -quotient : quotient);
    }
    const int32_t mask = (int32_t)((UINT32_C(1) << exponent) - 1);
    const int32_t half = (mask >> 1) + (value < 0);
    return (value >> exponent) + ((value & mask) > half);
}

int32_t kd_net_q31_requantize(int32_t value, int32_t multiplier, int32_t shift) {
    const uint32_t left_shift = shift > 0 ? (uint32_t)shift : 0;
    const int32_t right_shift = shift < 0 ? -shift : 0;
    const int32_t shifted = (int32_t)((uint32_t)value << left_shift);
    return kd_net_q31_round_div_pot(kd_net_q31_high_mul(shifted, multiplier), right_shift);
}

/* The output of a sum, as kd_net_q31_requantize and a clamp give it: a multiplier is positive. */
static inline int8_t kd_net_output(
    int32_t sum, int32_t multiplier, int32_t shift, int32_t zero, int32_t least, int32_t most) {
    int32_t scaled;
    if (shift > 0 || shift < -30) {
        scaled = kd_net_q31_requantize(sum, multiplier, shift);
    } else {
        const int32_t high =
            (int32_t)(((int64_t)sum * (int64_t)multiplier + (INT64_C(1) << 30)) >> 31);
        const int32_t mask = (int32_t)((UINT32_C(1) << -shift) - 1);
        scaled = (high >> -shift) + ((high & mask) > (mask >> 1) + (high < 0));
    }
    scaled = scaled < least - zero ? least - zero : scaled;
    scaled = scaled > most - zero ? most - zero : scaled;
    return (int8_t)(scaled + zero);
}

/* Adds to each of four sums the products of the inputs, less their zero point, and a row of
 * weights: each input is read once for four of them. */
static inline void kd_net_dot4(
    const int8_t *input, const int8_t *weight, size_t row, size_t count, int32_t zero,
    int32_t *sums) {
    const int8_t *const end = input + count;
    const int8_t *weight1 = weight + row;
    const int8_t *weight2 = weight1 + row;
    const int8_t *weight3 = weight2 + row;
    int32_t sum0 = sums[0], sum1 = sums[1], sum2 = sums[2], sum3 = sums[3];
    while (input < end) {
        const int32_t value = *input++ - zero;
        sum0 += value * *weight++;
        sum1 += value * *weight1++;
        sum2 += value * *weight2++;
        sum3 += value * *weight3++;
    }
    sums[0] = sum0;
    sums[1] = sum1;
    sums[2] = sum2;
    sums[3] = sum3;
}

static inline int32_t kd_net_dot(
    const int8_t *input, const int8_t *weight, size_t count, int32_t zero, int32_t sum) {
    const int8_t *const end = input + count;
    while (input < end) {
        sum += (*input++ - zero) * *weight++;
    }
    return sum;
}

void kd_net_linear_s8(
    const int8_t *input,
    const int8_t *weight,
    const int32_t *bias,
    const int32_t *multiplier,
    const int32_t *shift,
    int8_t *output,
    size_t input_count,
    size_t output_count,
    int32_t input_zero_point,
    int32_t output_zero_point,
    int32_t activation_min,
    int32_t activation_max) {
    size_t channel = 0;
    for (; channel + 4 <= output_count; channel += 4) {
        int32_t sums[4] = {
            bias[channel], bias[channel + 1], bias[channel + 2], bias[channel + 3]};
        kd_net_dot4(
            input, weight + channel * input_count, input_count, input_count, input_zero_point,
            sums);
        for (size_t k = 0; k < 4; ++k) {
            output[channel + k] = kd_net_output(
                sums[k], multiplier[channel + k], shift[channel + k], output_zero_point,
                activation_min, activation_max);
        }
    }
    for (; channel < output_count; ++channel) {
        const int32_t sum = kd_net_dot(
            input, weight + channel * input_count, input_count, input_zero_point, bias[channel]);
        output[channel] = kd_net_output(
            sum, multiplier[channel], shift[channel], output_zero_point, activation_min,
            activation_max);
    }
}

/* The part [*first, *last) of a kernel of `size` taps from `start` on that lies in the map. */
static inline void kd_net_inside(
    int32_t start, size_t size, size_t dilation, size_t map, size_t *first, size_t *last) {
    size_t from = 0, to = size;
    while (from < to && start + (int32_t)(from * dilation) < 0) {
        ++from;
    }
    while (to > from && start + (int32_t)((to - 1) * dilation) >= (int32_t)map) {
        --to;
    }
    *first = from;
    *last = to;
}

void kd_net_conv2d_s8(
    const int8_t *input,
    const int8_t *weight,
    const int32_t *bias,
    const int32_t *multiplier,
    const int32_t *shift,
    int8_t *output,
    size_t input_height,
    size_t input_width,
    size_t input_channels,
    size_t output_height,
    size_t output_width,
    size_t output_channels,
    size_t groups,
    size_t kernel_height,
    size_t kernel_width,
    size_t stride_height,
    size_t stride_width,
    size_t dilation_height,
    size_t dilation_width,
    size_t pad_top,
    size_t pad_left,
    int32_t input_zero_point,
    int32_t output_zero_point,
    int32_t activation_min,
    int32_t activation_max) {
    const size_t depth = input_channels / groups;
    const size_t width = output_channels / groups;
    const size_t row = kernel_height * kernel_width * depth;
    /* Neighbouring taps of a row are one run of numbers, in the map as in the weights. */
    const int joined = groups == 1 && dilation_width == 1;
    for (size_t output_y = 0; output_y < output_height; ++output_y) {
        const int32_t start_y = (int32_t)(output_y * stride_height) - (int32_t)pad_top;
        size_t top, bottom;
        kd_net_inside(start_y, kernel_height, dilation_height, input_height, &top, &bottom);
        for (size_t output_x = 0; output_x < output_width; ++output_x) {
            const int32_t start_x = (int32_t)(output_x * stride_width) - (int32_t)pad_left;
            size_t left, right;
            kd_net_inside(start_x, kernel_width, dilation_width, input_width, &left, &right);
            const size_t taps = joined ? right - left : 1;
            for (size_t channel = 0; channel < output_channels;) {
                const size_t group = groups == 1 ? 0 : channel / width;
                const size_t rest = (group + 1) * width - channel;
                const size_t block = rest < 4 ? 1 : 4;
                int32_t sums[4] = {bias[channel]};
                if (block == 4) {
                    sums[1] = bias[channel + 1];
                    sums[2] = bias[channel + 2];
                    sums[3] = bias[channel + 3];
                }
                for (size_t y = top; y < bottom; ++y) {
                    const size_t line =
                        (size_t)(start_y + (int32_t)(y * dilation_height)) * input_width;
                    for (size_t x = left; x < right; x += taps) {
                        const size_t column =
                            (size_t)(start_x + (int32_t)(x * dilation_width));
                        const int8_t *const from =
                            input + (line + column) * input_channels + group * depth;
                        const int8_t *const by =
                            weight + channel * row + (y * kernel_width + x) * depth;
                        if (block == 4) {
                            kd_net_dot4(from, by, row, taps * depth, input_zero_point, sums);
                        } else {
                            sums[0] =
                                kd_net_dot(from, by, taps * depth, input_zero_point, sums[0]);
                        }
                    }
                }
                for (size_t k = 0; k < block; ++k, ++channel) {
                    *output++ = kd_net_output(
                        sums[k], multiplier[channel], shift[channel], output_zero_point,
                        activation_min, activation_max);
                }
            }
        }
    }
}

void kd_net_depthwise_conv2d_s8(
    const int8_t *input,
    const int8_t *weight,
    const int32_t *bias,
    const int32_t *multiplier,
    const int32_t *shift,
    int8_t *output,
    size_t input_height,
    size_t input_width,
    size_t input_channels,
    size_t output_height,
    size_t output_width,
    size_t output_channels,
    size_t kernel_height,
    size_t kernel_width,
    size_t depth_multiplier,
    size_t stride_height,
    size_t stride_width,
    size_t dilation_height,
    size_t dilation_width,
    size_t pad_top,
    size_t pad_left,
    int32_t input_zero_point,
    int32_t output_zero_point,
    int32_t activation_min,
    int32_t activation_max) {
    for (size_t output_y = 0; output_y < output_height; ++output_y) {
        const int32_t start_y = (int32_t)(output_y * stride_height) - (int32_t)pad_top;
        size_t top, bottom;
        kd_net_inside(start_y, kernel_height, dilation_height, input_height, &top, &bottom);
        for (size_t output_x = 0; output_x < output_width; ++output_x) {
            const int32_t start_x = (int32_t)(output_x * stride_width) - (int32_t)pad_left;
            size_t left, right;
            kd_net_inside(start_x, kernel_width, dilation_width, input_width, &left, &right);
            for (size_t channel = 0; channel < output_channels;) {
                const size_t block =
                    depth_multiplier == 1 && channel + 4 <= output_channels ? 4 : 1;
                const size_t source = block == 4 ? channel : channel / depth_multiplier;
                int32_t sums[4] = {bias[channel]};
                if (block == 4) {
                    sums[1] = bias[channel + 1];
                    sums[2] = bias[channel + 2];
                    sums[3] = bias[channel + 3];
                }
                for (size_t y = top; y < bottom && left < right; ++y) {
                    const size_t line =
                        (size_t)(start_y + (int32_t)(y * dilation_height)) * input_width;
                    const size_t column =
                        (size_t)(start_x + (int32_t)(left * dilation_width));
                    const int8_t *from = input + (line + column) * input_channels + source;
                    const int8_t *by =
                        weight + (y * kernel_width + left) * output_channels + channel;
                    int32_t sum0 = sums[0], sum1 = sums[1], sum2 = sums[2], sum3 = sums[3];
                    for (size_t x = left; x < right; ++x) {
                        sum0 += (from[0] - input_zero_point) * by[0];
                        if (block == 4) {
                            sum1 += (from[1] - input_zero_point) * by[1];
                            sum2 += (from[2] - input_zero_point) * by[2];
                            sum3 += (from[3] - input_zero_point) * by[3];
                        }
                        from += dilation_width * input_channels;
                        by += output_channels;
                    }
                    sums[0] = sum0;
                    sums[1] = sum1;
                    sums[2] = sum2;
                    sums[3] = sum3;
                }
                for (size_t k = 0; k < block; ++k, ++channel) {
                    *output++ = kd_net_output(
                        sums[k], multiplier[channel], shift[channel], output_zero_point,
                        activation_min, activation_max);
                }
            }
        }
    }
}
