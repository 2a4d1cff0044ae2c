// One layer of a WaveNet: the gate's matrix product, and the two that follow it, on tiles that never leave the chip.
//
// A block makes one position of ROWS frames of one item, as the Triton kernel does; shapes, packing and the meaning of
// every argument are those of waveflow/ops/wavenet_layer.
#pragma once

#include "portable.h"

struct LayerArguments {
    const float* latent;       // null: the hidden state is read, not made
    const void* first_weight;  // with latent
    const void* start_weight;  // with latent
    const void* hidden;
    const void* gate_weight;
    const float* gate_bias;
    const void* mix_weight;    // null in the last layer
    const float* mix_bias;
    const void* end_weight;
    const float* end_bias;     // null: add to `out`
    const int* lengths;
    void* hidden_out;
    float* out;
    int64_t stride_zb, stride_zl;
    int batch, n_frames, n_positions, n_channels, n_features, n_blocks, block_channels, n_out, taps, half, seen, dilation;
};

// Where things lie in shared memory, for ROWS = 32 * STRIPS frames and blocks of BC channels.
template <class T, int BC, int STRIPS, int STAGES> struct LayerLayout {
    static constexpr int ROWS = 32 * STRIPS, BK = BC < 64 ? BC : 64, LEAD = BK + 8;
    // Outputs of a staged weight tile: those of the gate's block, or as many of what follows.
    static constexpr int OUTPUTS = 2 * BC > 128 ? 2 * BC : 128;
    static constexpr int STAGE = (ROWS + OUTPUTS) * LEAD;
    static constexpr int SCRATCH_LEAD = 20, SCRATCH = WARPS * 16 * SCRATCH_LEAD, BIAS = 16 * 2 * BC;
    int gated_lead, seen_lead, gated, seen, scratch, bytes;

#ifdef __CUDACC__
    __host__ __device__
#endif
    LayerLayout(int n_blocks, int n_seen) {
        gated_lead = n_blocks * BC + 8;
        seen_lead = n_seen ? ceil_div(n_seen, BK) * BK + 8 : 0;
        gated = STAGES * STAGE * 2;
        seen = gated + ROWS * gated_lead * 2;
        scratch = (seen + ROWS * seen_lead * 2 + 127) / 128 * 128;
        bytes = scratch + (SCRATCH > BIAS ? SCRATCH : BIAS) * 4;
    }
};

// What a tap of the first layer sees of the latent, in the order of `packing.pack_first`.
template <class T> DEVICE T seen_of(const LayerArguments& p, int item, int position, int length, int column) {
    int each = 2 * p.half + 1, tap = column / each, part = column % each;
    int at = position + (tap - p.taps / 2) * p.dilation;
    if (tap >= p.taps || at < 0 || at >= length) return from_float<T>(0.0f);
    if (part == 2 * p.half) return from_float<T>(1.0f);
    float x = p.latent[item * p.stride_zb + at * p.stride_zl + part % p.half];
    T rounded = from_float<T>(x);
    return part < p.half ? rounded : from_float<T>(x - to_float(rounded));
}

template <class T, int BC, int STRIPS, int STAGES>
DEVICE void layer_block(const LayerArguments& p, unsigned char* shared, int64_t block_index) {
    using Layout = LayerLayout<T, BC, STRIPS, STAGES>;
    constexpr int ROWS = Layout::ROWS, BK = Layout::BK, LEAD = Layout::LEAD, CHUNKS = BK / 8;
    // Columns of 16 channels that a warp makes of a block; two rows of warps share the frames.
    constexpr int WIDE = BC >= 64 ? BC / 64 : 1;
    const Layout layout(p.n_blocks, p.latent ? p.seen : 0);
    T* stages = reinterpret_cast<T*>(shared);
    T* gated = reinterpret_cast<T*>(shared + layout.gated);
    T* seen = reinterpret_cast<T*>(shared + layout.seen);
    float* scratch = reinterpret_cast<float*>(shared + layout.scratch);

    const int n_tiles = ceil_div(p.n_frames, ROWS);
    const int frame = static_cast<int>(block_index % n_tiles) * ROWS;
    const int position = static_cast<int>(block_index / n_tiles % p.n_positions);
    const int item = static_cast<int>(block_index / n_tiles / p.n_positions);
    const int length = p.lengths[item];
    const int row_size = p.n_positions * p.n_channels + p.n_features;
    const T* hidden = static_cast<const T*>(p.hidden) + static_cast<int64_t>(item) * p.n_frames * row_size;

    const bool first = p.latent != nullptr;
    const int tap_tiles = ceil_div(p.n_channels, BK), conv_tiles = first ? 0 : p.taps * tap_tiles;
    const int seen_tiles = first ? ceil_div(p.seen, BK) : 0, told_tiles = p.n_features / BK;
    const int shift = ceil_div((p.taps / 2) * p.dilation, p.n_positions);

    if (first) {
        const int width = seen_tiles * BK;
        EACH_THREAD(i, ROWS * width) {
            int row = i / width, column = i % width;
            seen[row * layout.seen_lead + column] =
                seen_of<T>(p, item, (frame + row) * p.n_positions + position, length, column);
        }
        BLOCK_SYNC();
    }

    // A tile of inputs: BK columns of ROWS frames, zero outside the item.
    auto load_rows = [&](T* to, int start, int column) {
        EACH_THREAD(i, ROWS * CHUNKS) {
            int row = i / CHUNKS, at = start + row, k = i % CHUNKS * 8;
            bool exists = at >= 0 && at < p.n_frames;
            copy_async<16>(to + row * LEAD + k, hidden + (exists ? static_cast<int64_t>(at) * row_size + column + k : 0), exists);
        }
    };
    // A tile of weights: BK columns of `count` outputs, of which `n` exist.
    auto load_weights = [&](T* to, const T* from, int lead, int count, int n, int width) {
        EACH_THREAD(i, count * CHUNKS) {
            int row = i / CHUNKS, k = i % CHUNKS * 8;
            bool exists = row < n && k < width;
            copy_async<16>(to + row * LEAD + k, from + (exists ? static_cast<int64_t>(row) * lead + k : 0), exists);
        }
    };

    for (int block = 0; block < p.n_blocks; ++block) {
        const float* bias = p.gate_bias + (position * p.n_blocks + block) * 2 * BC;
        EACH_THREAD(i, 16 * 2 * BC) scratch[i] = bias[i % (2 * BC)];
        BLOCK_SYNC();
        Sum a[SLOTS][STRIPS][WIDE], b[SLOTS][STRIPS][WIDE];
        EACH_WARP(warp, slot) {
            int column = warp / 2 * WIDE * 16;
            UNROLL
            for (int j = 0; j < WIDE; ++j) {
                UNROLL
                for (int s = 0; s < STRIPS; ++s) {
                    if (column < BC) {
                        a[slot][s][j].load(scratch + column + 16 * j, 2 * BC);
                        b[slot][s][j].load(scratch + BC + column + 16 * j, 2 * BC);
                    }
                }
            }
        }
        BLOCK_SYNC();
        auto load = [&](int stage, int tile) {
            T* rows = stages + stage * Layout::STAGE;
            T* weights = rows + ROWS * LEAD;
            if (tile < seen_tiles) {
                const T* from = static_cast<const T*>(p.first_weight) + static_cast<int64_t>(block) * 2 * BC * p.seen;
                load_weights(weights, from + tile * BK, p.seen, 2 * BC, 2 * BC, p.seen - tile * BK);
                return;
            }
            int t = tile - seen_tiles, at;
            if (t < conv_tiles) {
                int reach = position + (t / tap_tiles - p.taps / 2) * p.dilation + shift * p.n_positions;
                load_rows(rows, frame + reach / p.n_positions - shift,
                          reach % p.n_positions * p.n_channels + t % tap_tiles * BK);
                at = block * conv_tiles + t;
            } else {
                load_rows(rows, frame, p.n_positions * p.n_channels + (t - conv_tiles) * BK);
                at = p.n_blocks * conv_tiles + (position * p.n_blocks + block) * told_tiles + t - conv_tiles;
            }
            load_weights(weights, static_cast<const T*>(p.gate_weight) + static_cast<int64_t>(at) * 2 * BC * BK, BK,
                         2 * BC, 2 * BC, BK);
        };
        auto use = [&](int stage, int tile) {
            const T* rows = stages + stage * Layout::STAGE;
            const T* weights = rows + ROWS * LEAD;
            int lead = LEAD;
            if (tile < seen_tiles) rows = seen + tile * BK, lead = layout.seen_lead;
            EACH_WARP(warp, slot) {
                int column = warp / 2 * WIDE * 16;
                if (column < BC) {
                    UNROLL
                    for (int k = 0; k < BK; k += 16) {
                        UNROLL
                        for (int s = 0; s < STRIPS; ++s) {
                            Rows<T> x(rows + (warp % 2 * STRIPS + s) * 16 * lead + k, lead);
                            UNROLL
                            for (int j = 0; j < WIDE; ++j) {
                                a[slot][s][j].add(x, Columns<T>(weights + (column + 16 * j) * LEAD + k, LEAD));
                                b[slot][s][j].add(x, Columns<T>(weights + (BC + column + 16 * j) * LEAD + k, LEAD));
                            }
                        }
                    }
                }
            }
        };
        pipeline<STAGES>(seen_tiles + conv_tiles + told_tiles, load, use);
        EACH_WARP(warp, slot) {
            int column = warp / 2 * WIDE * 16;
            float* own = scratch + warp * 16 * Layout::SCRATCH_LEAD;
            // Unrolled, for sums that are indexed at run time would leave the registers.
            UNROLL
            for (int s = 0; s < STRIPS; ++s) {
                UNROLL
                for (int j = 0; j < WIDE; ++j) {
                    if (column >= BC) continue;
                    UNROLL
                    for (int i = 0; i < Sum::SIZE; ++i)
                        a[slot][s][j][i] = gate_of(a[slot][s][j][i], b[slot][s][j][i]);
                    a[slot][s][j].store(own, Layout::SCRATCH_LEAD);
                    WARP_SYNC();
                    T* to = gated + (warp % 2 * STRIPS + s) * 16 * layout.gated_lead + block * BC + column + 16 * j;
                    EACH_LANE(lane) {
                        for (int i = lane; i < 256; i += 32)
                            to[i / 16 * layout.gated_lead + i % 16] =
                                from_float<T>(own[i / 16 * Layout::SCRATCH_LEAD + i % 16]);
                    }
                    WARP_SYNC();
                }
            }
        }
        BLOCK_SYNC();
    }

    // Apply a weight to the gate's output, 128 outputs at a time, and hand every sum to `finish(row, output, sum)`.
    auto apply = [&](const T* weight, int n_outputs, const T* seen_weight, auto finish) {
        constexpr int AT_ONCE = 128, EACH = 2;
        const int width = p.n_blocks * BC, gated_tiles = width / BK, tiles = gated_tiles + (seen_weight ? seen_tiles : 0);
        for (int begin = 0; begin < n_outputs; begin += AT_ONCE) {
            Sum sums[SLOTS][STRIPS][EACH];
            EACH_WARP(warp, slot) {
                UNROLL
                for (int s = 0; s < STRIPS; ++s)
                    UNROLL
                    for (int j = 0; j < EACH; ++j) sums[slot][s][j].fill(0.0f);
            }
            auto load = [&](int stage, int tile) {
                T* weights = stages + stage * Layout::STAGE + ROWS * LEAD;
                if (tile < gated_tiles)
                    load_weights(weights, weight + static_cast<int64_t>(begin) * width + tile * BK, width, AT_ONCE,
                                 n_outputs - begin, BK);
                else
                    load_weights(weights, seen_weight + static_cast<int64_t>(begin) * p.seen + (tile - gated_tiles) * BK,
                                 p.seen, AT_ONCE, n_outputs - begin, p.seen - (tile - gated_tiles) * BK);
            };
            auto use = [&](int stage, int tile) {
                const T* weights = stages + stage * Layout::STAGE + ROWS * LEAD;
                bool of_gate = tile < gated_tiles;
                const T* rows = of_gate ? gated + tile * BK : seen + (tile - gated_tiles) * BK;
                int lead = of_gate ? layout.gated_lead : layout.seen_lead;
                EACH_WARP(warp, slot) {
                    int column = warp / 2 * EACH * 16;
                    if (begin + column < n_outputs) {
                        UNROLL
                        for (int k = 0; k < BK; k += 16) {
                            UNROLL
                            for (int s = 0; s < STRIPS; ++s) {
                                Rows<T> x(rows + (warp % 2 * STRIPS + s) * 16 * lead + k, lead);
                                UNROLL
                                for (int j = 0; j < EACH; ++j)
                                    sums[slot][s][j].add(x, Columns<T>(weights + (column + 16 * j) * LEAD + k, LEAD));
                            }
                        }
                    }
                }
            };
            pipeline<STAGES>(tiles, load, use);
            EACH_WARP(warp, slot) {
                float* own = scratch + warp * 16 * Layout::SCRATCH_LEAD;
                UNROLL
                for (int s = 0; s < STRIPS; ++s) {
                    UNROLL
                    for (int j = 0; j < EACH; ++j) {
                        int column = begin + (warp / 2 * EACH + j) * 16;
                        if (column < n_outputs) {
                            sums[slot][s][j].store(own, Layout::SCRATCH_LEAD);
                            WARP_SYNC();
                            EACH_LANE(lane) {
                                for (int i = lane; i < 256; i += 32) {
                                    int output = column + i % 16;
                                    if (output < n_outputs)
                                        finish((warp % 2 * STRIPS + s) * 16 + i / 16, output,
                                               own[i / 16 * Layout::SCRATCH_LEAD + i % 16]);
                                }
                            }
                            WARP_SYNC();
                        }
                    }
                }
            }
        }
    };

    if (p.mix_weight) {
        T* hidden_out = static_cast<T*>(p.hidden_out) + static_cast<int64_t>(item) * p.n_frames * row_size;
        apply(static_cast<const T*>(p.mix_weight), p.n_channels, first ? static_cast<const T*>(p.start_weight) : nullptr,
              [&](int row, int channel, float sum) {
                  int at = frame + row;
                  if (at >= p.n_frames) return;
                  int64_t offset = static_cast<int64_t>(at) * row_size + position * p.n_channels + channel;
                  sum += p.mix_bias[channel] + (first ? 0.0f : to_float(hidden[offset]));
                  hidden_out[offset] = from_float<T>(at * p.n_positions + position < length ? sum : 0.0f);
              });
    }
    float* out = p.out + static_cast<int64_t>(item) * p.n_frames * p.n_positions * p.n_out;
    apply(static_cast<const T*>(p.end_weight), p.n_out, nullptr, [&](int row, int output, float sum) {
        int at = (frame + row) * p.n_positions + position;
        if (frame + row >= p.n_frames) return;
        float* to = out + static_cast<int64_t>(at) * p.n_out + output;
        if (p.end_bias)
            *to = at < length ? sum + p.end_bias[output] : 0.0f;
        else if (at < length)
            *to += sum;
    });
}
