// Products of single-precision matrices, as good as single precision: what lies between two WaveNets.
#pragma once

#include "portable.h"

// Where things lie in shared memory: rows (n_rows, width), result (n_rows, outputs), two stages of the matrix.
struct WideLayout {
    static constexpr int ROWS = 32, AT_ONCE = 128, INPUTS = 32, LEAD = INPUTS + 4, STAGES = 2;
    int rows_lead, result_lead, result, stages, bytes;

#ifdef __CUDACC__
    __host__ __device__
#endif
    WideLayout(int width, int outputs) {
        rows_lead = ceil_div(width, INPUTS) * INPUTS + 4;
        result_lead = ceil_div(outputs, 16) * 16 + 4;
        result = ROWS * rows_lead * 4;
        stages = result + ROWS * result_lead * 4;
        bytes = stages + STAGES * AT_ONCE * LEAD * 4;
    }
};

// result = rows matrix^T for a matrix (outputs, width); columns of `rows` from width to its lead must be zero.
DEVICE void wide_product(unsigned char* shared, const WideLayout& layout, const float* matrix, int outputs, int width) {
    using W = WideLayout;
    const float* rows = reinterpret_cast<const float*>(shared);
    float* result = reinterpret_cast<float*>(shared + layout.result);
    float* stages = reinterpret_cast<float*>(shared + layout.stages);
    for (int begin = 0; begin < outputs; begin += W::AT_ONCE) {
        WideSum sums[SLOTS][2];
        EACH_WARP(warp, slot) {
            UNROLL
            for (int j = 0; j < 2; ++j) sums[slot][j].fill(0.0f);
        }
        auto load = [&](int stage, int tile) {
            float* to = stages + stage * W::AT_ONCE * W::LEAD;
            EACH_THREAD(i, W::AT_ONCE * W::INPUTS) {
                int row = i / W::INPUTS, k = i % W::INPUTS, column = tile * W::INPUTS + k;
                bool exists = begin + row < outputs && column < width;
                copy_async<4>(to + row * W::LEAD + k,
                              matrix + (exists ? static_cast<int64_t>(begin + row) * width + column : 0), exists);
            }
        };
        auto use = [&](int stage, int tile) {
            const float* weights = stages + stage * W::AT_ONCE * W::LEAD;
            EACH_WARP(warp, slot) {
                int column = warp / 2 * 32;
                if (begin + column < outputs) {
                    for (int k = 0; k < W::INPUTS; k += 8) {
                        const float* x = rows + warp % 2 * 16 * layout.rows_lead + tile * W::INPUTS + k;
                        UNROLL
                        for (int j = 0; j < 2; ++j)
                            sums[slot][j].add_wide(x, layout.rows_lead, weights + (column + 16 * j) * W::LEAD + k, W::LEAD);
                    }
                }
            }
        };
        pipeline<W::STAGES>(ceil_div(width, W::INPUTS), load, use);
        EACH_WARP(warp, slot) {
            UNROLL
            for (int j = 0; j < 2; ++j) {
                int column = begin + warp / 2 * 32 + 16 * j;
                if (column < outputs)
                    sums[slot][j].store(result + warp % 2 * 16 * layout.result_lead + column, layout.result_lead);
            }
        }
    }
    BLOCK_SYNC();
}

struct CouplingArguments {
    const float* latent;
    const float* parameters;
    const float* early;  // null for none
    const float* matrix;
    const float* hidden_bias;
    const int* lengths;
    float* latent_out;
    void* hidden_out;  // null for none
    int64_t stride_zb, stride_zl, stride_eb, stride_el;
    int batch, n_vectors, n_frames, n, n_early, n_hidden, row_size, n_positions;
    float max_log_s;
};

// [early, x_a, (x_b - t) exp(-log_s)], one number of it.
DEVICE float uncoupled(const CouplingArguments& p, int item, int position, int column) {
    if (column < p.n_early) return p.early[item * p.stride_eb + position * p.stride_el + column];
    int channel = column - p.n_early, half = p.n / 2;
    float x = p.latent[item * p.stride_zb + position * p.stride_zl + channel];
    if (channel < half) return x;
    const float* told = p.parameters + (static_cast<int64_t>(item) * p.n_vectors + position) * p.n;
    float log_s = told[channel];
    if (p.max_log_s > 0) log_s = p.max_log_s * tanhf(log_s / p.max_log_s);
    return (x - told[channel - half]) * expf(-log_s);
}

// A block makes all outputs of ROWS positions of one item; arguments are those of waveflow/ops/coupling_inverse.
template <class T> DEVICE void coupling_block(const CouplingArguments& p, unsigned char* shared, int64_t block_index) {
    constexpr int ROWS = WideLayout::ROWS;
    const int width = p.n + p.n_early, outputs = width + p.n_hidden;
    const WideLayout layout(width, outputs);
    const int n_tiles = ceil_div(p.n_vectors, ROWS);
    const int item = static_cast<int>(block_index / n_tiles), begin = static_cast<int>(block_index % n_tiles) * ROWS;
    const int length = p.lengths[item];
    float* rows = reinterpret_cast<float*>(shared);
    EACH_THREAD(i, ROWS * layout.rows_lead) {
        int position = begin + i / layout.rows_lead, column = i % layout.rows_lead;
        rows[i] = position < length && column < width ? uncoupled(p, item, position, column) : 0.0f;
    }
    BLOCK_SYNC();
    wide_product(shared, layout, p.matrix, outputs, width);
    const float* result = reinterpret_cast<const float*>(shared + layout.result);
    EACH_THREAD(i, ROWS * outputs) {
        int position = begin + i / outputs, output = i % outputs;
        if (position >= p.n_vectors) continue;
        float sum = result[i / outputs * layout.result_lead + output];
        int64_t at = static_cast<int64_t>(item) * p.n_vectors + position;
        if (output < width) {
            p.latent_out[at * width + output] = position < length ? sum : 0.0f;
        } else if (p.hidden_out) {
            int channel = output - width;
            int64_t frame = static_cast<int64_t>(item) * p.n_frames + position / p.n_positions;
            static_cast<T*>(p.hidden_out)[frame * p.row_size + position % p.n_positions * p.n_hidden + channel] =
                from_float<T>(position < length ? sum + p.hidden_bias[channel] : 0.0f);
        }
    }
}

struct LappedArguments {
    const float* bands;
    const float* log_gain;  // null for no gain
    const int* lengths;
    const float* dct;
    const float* cos;
    const float* sin;
    float* audio;
    int batch, n_frames, n_bands, half;
};

// A block makes ROWS - 2 frames, from the transforms of these and of the two that meet them.
DEVICE void lapped_block(const LappedArguments& p, unsigned char* shared, int64_t block_index) {
    constexpr int ROWS = WideLayout::ROWS, MADE = ROWS - 2;
    const int m = p.n_bands;
    const WideLayout layout(m, m);
    const int n_tiles = ceil_div(p.n_frames, MADE);
    const int item = static_cast<int>(block_index / n_tiles), begin = static_cast<int>(block_index % n_tiles) * MADE - 1;
    const int length = p.lengths[item];
    float* rows = reinterpret_cast<float*>(shared);
    EACH_THREAD(i, ROWS * layout.rows_lead) {
        int frame = begin + i / layout.rows_lead, column = i % layout.rows_lead;
        float x = 0.0f;
        if (frame >= 0 && frame < length && frame < p.n_frames && column < m) {
            int64_t at = (static_cast<int64_t>(item) * p.n_frames + frame) * m + column;
            x = p.log_gain ? p.bands[at] * expf(-p.log_gain[at]) : p.bands[at];
        }
        rows[i] = x;
    }
    BLOCK_SYNC();
    // The transform's matrix is symmetric.
    wide_product(shared, layout, p.dct, m, m);
    const float* result = reinterpret_cast<const float*>(shared + layout.result);
    EACH_THREAD(i, MADE * m) {
        int row = 1 + i / m, n = i % m, frame = begin + row;
        if (frame >= p.n_frames) continue;
        const float* own = result + row * layout.result_lead;
        float x = own[n];
        if (n < p.half && frame > 0 && frame < length)
            x = p.cos[n] * x - p.sin[n] * own[m - 1 - n - layout.result_lead];
        else if (n >= m - p.half && frame + 1 < length)
            x = p.cos[m - 1 - n] * x + p.sin[m - 1 - n] * own[m - 1 - n + layout.result_lead];
        p.audio[(static_cast<int64_t>(item) * p.n_frames + frame) * m + n] = x;
    }
}
