// A whole LapGlow inverse in one launch, for short stretches: a grid that stays and meets at a barrier between phases.
//
// A unit is 16 frames by 16 outputs of one of the flow's matrix products; a block takes units block, block + grid, ...
// Its weights do not depend on the latent: a block asks for those of its next unit before it waits at the barrier, so
// that they lie in shared memory when the others arrive. The whole model stays in the second-level cache.
#pragma once

#include "portable.h"
#include "wide_product.h"

// The arguments of waveflow's `wavenet_layer` for one layer, as 64-bit numbers in one table.
struct LapglowLayer {
    const void* gate_weight;
    const float* gate_bias;
    const void* mix_weight;  // null in a step's last layer
    const float* mix_bias;
    const void* end_weight;
    const float* end_bias;  // null but in a step's first layer
    int64_t dilation;
};

struct LapglowStep {
    const float* matrix;
    const float* hidden_bias;  // null in the last step
};

struct LapglowArguments {
    const LapglowLayer* layers;  // n_steps * n_layers
    const LapglowStep* steps;
    const float* latent;         // (B, F, M), in the order of the first step
    const float* start_weight;
    const float* start_bias;
    const float* gain_weight;
    const float* gain_bias;
    const float* dct;
    const float* cos;
    const float* sin;
    const int* lengths;
    void* hidden;    // two of (B, F, C + K), their features in place
    void* gated;     // (B, F, n_blocks * block_channels)
    float* out;      // (B, F, M)
    float* latents;  // two of (B, F, M)
    float* log_gain;
    float* frames;
    float* audio;
    unsigned* barrier;
    int batch, n_frames, n_bands, n_channels, n_features, n_told, n_blocks, block_channels, taps, n_steps, n_layers, half;
    float max_log_s;
};

template <class T, int BC> struct LapglowLayout {
    static constexpr int BK = BC < 64 ? BC : 64, LEAD = 20, PART = 16 * LEAD;
    int inputs, rows, weights, scratch, bytes;

#ifdef __CUDACC__
    __host__ __device__
#endif
    explicit LapglowLayout(const LapglowArguments& p) {
        inputs = (p.taps * ceil_div(p.n_channels, BK) + p.n_features / BK) * BK;
        int widest = p.n_bands > p.n_told ? p.n_bands : p.n_told;
        int wide = 16 * (ceil_div(widest, 8) * 8 + 4) * 4, narrow = 16 * (inputs + 8) * 2;
        rows = 0;
        weights = ((wide > narrow ? wide : narrow) + 127) / 128 * 128;
        scratch = weights + ((wide > 2 * narrow ? wide : 2 * narrow) + 127) / 128 * 128;
        bytes = scratch + 2 * WARPS * PART * 4;
    }
};

// Of what other blocks wrote in this launch: past the first-level cache.
DEVICE float fresh(const float* from) {
#ifdef __CUDACC__
    return __ldcg(from);
#else
    return *from;
#endif
}

#ifdef __CUDACC__
#define GRID_HD __host__ __device__ inline
#else
#define GRID_HD inline
#endif

GRID_HD int lapglow_phases(const LapglowArguments& p) { return 3 + p.n_steps * (2 * p.n_layers + 1); }

enum LapglowKind { START, GATE, AFTER, COUPLING, TRANSFORM, ROTATE };

template <class T, int BC> struct LapglowBlock {
    using Layout = LapglowLayout<T, BC>;
    static constexpr int BK = Layout::BK;
    const LapglowArguments& p;
    const Layout layout;
    T* rows;
    T* weights;
    float* wide_rows;
    float* wide_weights;
    float* scratch;
    int kind, step, layer, n_tiles, width;

    DEVICE LapglowBlock(const LapglowArguments& p, unsigned char* shared, int phase) : p(p), layout(p) {
        rows = reinterpret_cast<T*>(shared + layout.rows);
        weights = reinterpret_cast<T*>(shared + layout.weights);
        wide_rows = reinterpret_cast<float*>(rows);
        wide_weights = reinterpret_cast<float*>(weights);
        scratch = reinterpret_cast<float*>(shared + layout.scratch);
        n_tiles = ceil_div(p.n_frames, 16);
        width = p.n_blocks * BC;
        int each = 2 * p.n_layers + 1, within = (phase - 1) % each;
        step = (phase - 1) / each, layer = within / 2;
        kind = within == each - 1 ? COUPLING : within % 2 ? AFTER : GATE;
        if (phase == 0) kind = START, step = layer = 0;
        if (phase == lapglow_phases(p) - 2) kind = TRANSFORM;
        if (phase == lapglow_phases(p) - 1) kind = ROTATE;
    }

    DEVICE const LapglowLayer& own() const { return p.layers[step * p.n_layers + layer]; }
    DEVICE int hidden_slices() const { return ceil_div(p.n_channels, 16); }
    DEVICE int band_slices() const { return ceil_div(p.n_bands, 16); }
    DEVICE int slices() const {
        switch (kind) {
        case START: return hidden_slices() + band_slices();
        case GATE: return width / 16;
        case AFTER: return (own().mix_weight ? hidden_slices() : 0) + band_slices();
        case COUPLING: return ceil_div(p.n_bands + (p.steps[step].hidden_bias ? p.n_channels : 0), 16);
        case TRANSFORM: return band_slices();
        }
        return 1;
    }
    DEVICE int units() const { return p.batch * n_tiles * slices(); }

    DEVICE T* hidden(int which) const {
        return static_cast<T*>(p.hidden) + static_cast<int64_t>(which & 1) * p.batch * p.n_frames * (p.n_channels + p.n_features);
    }
    DEVICE int source() const { return step * (p.n_layers - 1) + layer; }
    DEVICE float* latent_of(int which) const {
        return p.latents + static_cast<int64_t>(which & 1) * p.batch * p.n_frames * p.n_bands;
    }

    // Single-precision products: whose rows of weights a unit takes.
    DEVICE void wide_source(int slice, const float*& from, int& outputs, int& inputs, int& begin) const {
        begin = slice * 16, inputs = p.n_bands, outputs = p.n_bands, from = p.dct;
        if (kind == START && slice < hidden_slices()) {
            from = p.start_weight, inputs = p.n_bands / 2, outputs = p.n_channels;
        } else if (kind == START) {
            from = p.gain_weight, inputs = p.n_told, begin -= hidden_slices() * 16;
        } else if (kind == COUPLING) {
            from = p.steps[step].matrix, outputs += p.steps[step].hidden_bias ? p.n_channels : 0;
        }
    }

    // Begin to copy a unit's weights.
    DEVICE void ask(int unit) {
        if (kind == ROTATE) return;
        int slice = unit % slices();
        if (kind == GATE) {
            const int tiles = layout.inputs / BK, conv = tiles - p.n_features / BK, lead = layout.inputs + 8;
            const int block = slice * 16 / BC, channel = slice * 16 % BC;
            const T* gate = static_cast<const T*>(own().gate_weight);
            EACH_THREAD(i, 32 * tiles * (BK / 8)) {
                int k = i % (BK / 8) * 8, tile = i / (BK / 8) % tiles, row = i / (BK / 8) / tiles;
                int at = tile < conv ? block * conv + tile : p.n_blocks * conv + block * (tiles - conv) + tile - conv;
                int output = row / 16 * BC + channel + row % 16;
                copy_async<16>(weights + row * lead + tile * BK + k,
                               gate + (static_cast<int64_t>(at) * 2 * BC + output) * BK + k, true);
            }
        } else if (kind == AFTER) {
            bool mixes = own().mix_weight && slice < hidden_slices();
            int begin = (slice - (own().mix_weight && !mixes ? hidden_slices() : 0)) * 16;
            const T* from = static_cast<const T*>(mixes ? own().mix_weight : own().end_weight);
            int outputs = mixes ? p.n_channels : p.n_bands;
            EACH_THREAD(i, 16 * (width / 8)) {
                int row = i / (width / 8), k = i % (width / 8) * 8;
                bool exists = begin + row < outputs;
                copy_async<16>(weights + row * (width + 8) + k,
                               from + (exists ? static_cast<int64_t>(begin + row) * width + k : 0), exists);
            }
        } else {
            const float* from;
            int outputs, inputs, begin;
            wide_source(slice, from, outputs, inputs, begin);
            const int full = ceil_div(inputs, 8) * 8, lead = full + 4;
            EACH_THREAD(i, 16 * full) {
                int row = i / full, k = i % full;
                bool exists = begin + row < outputs && k < inputs;
                copy_async<4>(wide_weights + row * lead + k,
                              from + (exists ? static_cast<int64_t>(begin + row) * inputs + k : 0), exists);
            }
        }
    }

    // Add up the warps' shares of a sum.
    DEVICE float total(int part, int i) const {
        float sum = 0.0f;
        for (int warp = 0; warp < WARPS; ++warp)
            sum += scratch[(warp * 2 + part) * Layout::PART + i / 16 * Layout::LEAD + i % 16];
        return sum;
    }

    // 16 rows by 16 outputs (by two, for the gate), their inputs shared out among the warps.
    DEVICE void multiply(int inputs, int lead, int parts) {
        EACH_WARP(warp, slot) {
            for (int part = 0; part < parts; ++part) {
                Sum sum;
                sum.fill(0.0f);
                for (int k = warp * 16; k < inputs; k += WARPS * 16)
                    sum.add(Rows<T>(rows + k, lead), Columns<T>(weights + part * 16 * lead + k, lead));
                sum.store(scratch + (warp * 2 + part) * Layout::PART, Layout::LEAD);
            }
        }
        BLOCK_SYNC();
    }
    DEVICE void multiply_wide(int inputs) {
        const int full = ceil_div(inputs, 8) * 8, lead = full + 4;
        EACH_WARP(warp, slot) {
            WideSum sum;
            sum.fill(0.0f);
            for (int k = warp * 8; k < full; k += WARPS * 8) sum.add_wide(wide_rows + k, lead, wide_weights + k, lead);
            sum.store(scratch + warp * 2 * Layout::PART, Layout::LEAD);
        }
        BLOCK_SYNC();
    }

    // One unit, its weights asked for.
    DEVICE void compute(int unit) {
        const int slice = unit % slices(), tile = unit / slices();
        const int item = tile / n_tiles, frame = tile % n_tiles * 16, length = p.lengths[item];
        const int64_t first = static_cast<int64_t>(item) * p.n_frames;
        const int row_size = p.n_channels + p.n_features;
        if (kind == GATE) {
            const int tap_tiles = ceil_div(p.n_channels, BK), tiles = layout.inputs / BK, lead = layout.inputs + 8;
            const T* from = hidden(source()) + first * row_size;
            EACH_THREAD(i, 16 * tiles * (BK / 8)) {
                int k = i % (BK / 8) * 8, t = i / (BK / 8) % tiles, row = i / (BK / 8) / tiles;
                bool told = t >= p.taps * tap_tiles;
                int at = frame + row + (told ? 0 : (t / tap_tiles - p.taps / 2) * static_cast<int>(own().dilation));
                int column = told ? p.n_channels + (t - p.taps * tap_tiles) * BK : t % tap_tiles * BK;
                bool exists = at >= 0 && at < p.n_frames;
                copy_async<16>(rows + row * lead + t * BK + k,
                               from + (exists ? static_cast<int64_t>(at) * row_size + column + k : 0), exists);
            }
            copies_commit();
            copies_wait<0>();
            BLOCK_SYNC();
            multiply(layout.inputs, lead, 2);
            const int block = slice * 16 / BC, channel = slice * 16 % BC;
            const float* bias = own().gate_bias + block * 2 * BC + channel;
            EACH_THREAD(i, 256) {
                int at = frame + i / 16;
                if (at < p.n_frames)
                    static_cast<T*>(p.gated)[(first + at) * width + slice * 16 + i % 16] =
                        from_float<T>(gate_of(total(0, i) + bias[i % 16], total(1, i) + bias[BC + i % 16]));
            }
        } else if (kind == AFTER) {
            const T* from = static_cast<const T*>(p.gated) + first * width;
            EACH_THREAD(i, 16 * (width / 8)) {
                int row = i / (width / 8), k = i % (width / 8) * 8;
                bool exists = frame + row < p.n_frames;
                copy_async<16>(rows + row * (width + 8) + k,
                               from + (exists ? static_cast<int64_t>(frame + row) * width + k : 0), exists);
            }
            copies_commit();
            copies_wait<0>();
            BLOCK_SYNC();
            multiply(width, width + 8, 1);
            bool mixes = own().mix_weight && slice < hidden_slices();
            int begin = (slice - (own().mix_weight && !mixes ? hidden_slices() : 0)) * 16;
            const T* before = hidden(source());
            T* after = hidden(source() + 1);
            EACH_THREAD(i, 256) {
                int at = frame + i / 16, output = begin + i % 16;
                bool inside = at < length;
                if (at >= p.n_frames || output >= (mixes ? p.n_channels : p.n_bands)) continue;
                float sum = total(0, i);
                if (mixes) {
                    int64_t offset = (first + at) * row_size + output;
                    sum += own().mix_bias[output] + to_float(fresh_half(before + offset));
                    after[offset] = from_float<T>(inside ? sum : 0.0f);
                } else {
                    float* to = p.out + (first + at) * p.n_bands + output;
                    *to = inside ? sum + (own().end_bias ? own().end_bias[output] : fresh(to)) : 0.0f;
                }
            }
        } else if (kind == ROTATE) {
            const int m = p.n_bands;
            EACH_THREAD(i, 16 * m) {
                int at = frame + i / m, n = i % m;
                if (at >= p.n_frames) continue;
                const float* whole = p.frames + (first + at) * m;
                float x = fresh(whole + n);
                if (n < p.half && at > 0 && at < length)
                    x = p.cos[n] * x - p.sin[n] * fresh(whole - 1 - n);
                else if (n >= m - p.half && at + 1 < length)
                    x = p.cos[m - 1 - n] * x + p.sin[m - 1 - n] * fresh(whole + m + m - 1 - n);
                p.audio[(first + at) * m + n] = x;
            }
        } else {
            compute_wide(slice, first, frame, length);
        }
        BLOCK_SYNC();
    }

    DEVICE T fresh_half(const T* from) const {
#ifdef __CUDACC__
        return __ldcg(from);
#else
        return *from;
#endif
    }

    DEVICE void compute_wide(int slice, int64_t first, int frame, int length) {
        const float* from;
        int outputs, inputs, begin;
        wide_source(slice, from, outputs, inputs, begin);
        const int lead = ceil_div(inputs, 8) * 8 + 4, m = p.n_bands, row_size = p.n_channels + p.n_features;
        const bool starts = kind == START && slice < hidden_slices();
        const float* latent = step == 0 && kind != TRANSFORM ? p.latent : latent_of((kind == TRANSFORM ? p.n_steps : step) - 1);
        EACH_THREAD(i, 16 * lead) {
            int row = i / lead, k = i % lead, at = frame + row;
            float x = 0.0f;
            if (k < inputs && at < p.n_frames) {
                int64_t offset = (first + at) * m + k;
                if (kind == START && !starts) {
                    x = to_float(hidden(0)[(first + at) * row_size + p.n_channels + k]);
                } else if (at < length) {
                    x = fresh(latent + offset);
                    if (kind == TRANSFORM) x *= expf(-fresh(p.log_gain + offset));
                    if (kind == COUPLING && k >= m / 2) {
                        float log_s = fresh(p.out + offset);
                        if (p.max_log_s > 0) log_s = p.max_log_s * tanhf(log_s / p.max_log_s);
                        x = (x - fresh(p.out + offset - m / 2)) * expf(-log_s);
                    }
                }
            }
            wide_rows[i] = x;
        }
        copies_commit();
        copies_wait<0>();
        BLOCK_SYNC();
        multiply_wide(inputs);
        EACH_THREAD(i, 256) {
            int at = frame + i / 16, output = begin + i % 16;
            if (at >= p.n_frames || output >= outputs) continue;
            float sum = total(0, i);
            int64_t offset = (first + at) * m + output;
            bool inside = at < length;
            if (kind == TRANSFORM) {
                p.frames[offset] = sum;
            } else if (kind == START && !starts) {
                p.log_gain[offset] = sum + p.gain_bias[output];
            } else if (kind == COUPLING && output < m) {
                latent_of(step)[offset] = inside ? sum : 0.0f;
            } else {
                int channel = starts ? output : output - m;
                float bias = starts ? p.start_bias[channel] : p.steps[step].hidden_bias[channel];
                T* to = hidden(starts ? 0 : (step + 1) * (p.n_layers - 1));
                to[(first + at) * row_size + channel] = from_float<T>(inside ? sum + bias : 0.0f);
            }
        }
    }
};

// All units of a phase that fall to a block; then the first weights of the next phase are on their way.
template <class T, int BC>
DEVICE void lapglow_phase(const LapglowArguments& p, unsigned char* shared, int phase, int block, int n_blocks) {
    LapglowBlock<T, BC> now(p, shared, phase);
    const int units = now.units();
    for (int unit = block; unit < units; unit += n_blocks) {
        if (phase == 0 || unit != block) now.ask(unit);
        now.compute(unit);
    }
    if (phase + 1 < lapglow_phases(p)) {
        LapglowBlock<T, BC> next(p, shared, phase + 1);
        if (block < next.units()) next.ask(block);
    }
}

#ifdef __CUDACC__
template <class T, int BC>
DEVICE void lapglow_grid(const LapglowArguments& p, unsigned char* shared, int block, int n_blocks) {
    const int phases = lapglow_phases(p);
    for (int phase = 0; phase < phases; ++phase) {
        lapglow_phase<T, BC>(p, shared, phase, block, n_blocks);
        __syncthreads();
        if (threadIdx.x == 0) {
            __threadfence();
            atomicAdd(p.barrier, 1u);
            unsigned arrived, all = static_cast<unsigned>(n_blocks) * (phase + 1);
            do {
                asm volatile("ld.acquire.gpu.u32 %0, [%1];" : "=r"(arrived) : "l"(p.barrier) : "memory");
            } while (arrived < all);
            __threadfence();
        }
        __syncthreads();
    }
}
#endif
