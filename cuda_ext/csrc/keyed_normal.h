// Keyed noise: sample `i` of key `seed` is one number, whatever block computes it.
#pragma once

#include "portable.h"

// Philox4x32-10 (Salmon et al., SC 2011): the four words of a counter.
DEVICE void philox(uint64_t counter, uint64_t seed, uint32_t words[4]) {
    uint32_t c0 = static_cast<uint32_t>(counter), c1 = static_cast<uint32_t>(counter >> 32), c2 = 0, c3 = 0;
    uint32_t k0 = static_cast<uint32_t>(seed), k1 = static_cast<uint32_t>(seed >> 32);
    UNROLL
    for (int round = 0; round < 10; ++round) {
        uint64_t p0 = static_cast<uint64_t>(c0) * 0xD2511F53u, p1 = static_cast<uint64_t>(c2) * 0xCD9E8D57u;
        uint32_t n0 = static_cast<uint32_t>(p1 >> 32) ^ c1 ^ k0, n2 = static_cast<uint32_t>(p0 >> 32) ^ c3 ^ k1;
        c0 = n0, c1 = static_cast<uint32_t>(p1), c2 = n2, c3 = static_cast<uint32_t>(p0);
        k0 += 0x9E3779B9u, k1 += 0xBB67AE85u;
    }
    words[0] = c0, words[1] = c1, words[2] = c2, words[3] = c3;
}

// Two samples of two words; 23 bits and a half are exact in single precision, so no uniform is 0 or 1.
DEVICE void box_muller(uint32_t word_0, uint32_t word_1, float samples[2]) {
    float u_0 = (static_cast<float>(word_0 >> 9) + 0.5f) * (1.0f / 8388608);
    float u_1 = (static_cast<float>(word_1 >> 9) + 0.5f) * (1.0f / 8388608);
    float radius = sqrtf(-2 * logf(u_0)), angle = 6.283185307179586f * u_1;
    samples[0] = radius * cosf(angle), samples[1] = radius * sinf(angle);
}

struct NormalArguments {
    const int64_t* seeds;
    float* out;
    int64_t start, n;
    int batch;
};

// A block draws the samples of THREADS counters of one item.
DEVICE void normal_block(const NormalArguments& p, int64_t block, int item) {
    EACH_THREAD(i, THREADS) {
        int64_t counter = p.start / 4 + block * THREADS + i;
        uint32_t words[4];
        float samples[4];
        philox(static_cast<uint64_t>(counter), static_cast<uint64_t>(p.seeds[item]), words);
        box_muller(words[0], words[1], samples);
        box_muller(words[2], words[3], samples + 2);
        for (int j = 0; j < 4; ++j) {
            int64_t index = counter * 4 + j - p.start;
            if (index >= 0 && index < p.n) p.out[item * p.n + index] = samples[j];
        }
    }
}
