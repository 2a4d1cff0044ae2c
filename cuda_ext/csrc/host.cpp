// The kernels as loops over their blocks, for a C++ compiler: to test the arithmetic where there is no GPU.

#include "launch.h"

#include <vector>

namespace {

// Shared memory of a block, filled with NaNs of every type so that what is read unwritten shows.
struct Shared {
    std::vector<unsigned char> bytes;
    explicit Shared(int n) : bytes(n + 128, 0xFF) {}
    unsigned char* begin() { return bytes.data() + (128 - reinterpret_cast<uintptr_t>(bytes.data()) % 128); }
};

template <class T, int BC, int STRIPS, int STAGES> void run_layer(const LayerArguments& p) {
    using Layout = LayerLayout<T, BC, STRIPS, STAGES>;
    for (int64_t block = 0; block < ceil_div(p.n_frames, Layout::ROWS) * p.n_positions * p.batch; ++block) {
        Shared shared(Layout(p.n_blocks, p.latent ? p.seen : 0).bytes);
        layer_block<T, BC, STRIPS, STAGES>(p, shared.begin(), block);
    }
}

template <class T> int run_blocks(const LayerArguments& p) {
    bool tall = p.n_frames > 32;
    switch (p.block_channels) {
    case 128: return (tall ? run_layer<T, 128, 2, 3>(p) : run_layer<T, 128, 1, 2>(p)), 0;
    case 64: return (tall ? run_layer<T, 64, 2, 3>(p) : run_layer<T, 64, 1, 2>(p)), 0;
    case 32: return (tall ? run_layer<T, 32, 2, 2>(p) : run_layer<T, 32, 1, 2>(p)), 0;
    case 16: return (tall ? run_layer<T, 16, 2, 3>(p) : run_layer<T, 16, 1, 2>(p)), 0;
    }
    return 1;
}

template <class T, int BC> void run_lapglow(const LapglowArguments& p) {
    constexpr int BLOCKS = 5;
    std::vector<Shared> shared(BLOCKS, Shared(LapglowLayout<T, BC>(p).bytes));
    for (int phase = 0; phase < lapglow_phases(p); ++phase)
        for (int block = 0; block < BLOCKS; ++block) lapglow_phase<T, BC>(p, shared[block].begin(), phase, block, BLOCKS);
}

template <class T> int run_widths(const LapglowArguments& p) {
    switch (p.block_channels) {
    case 64: return run_lapglow<T, 64>(p), 0;
    case 32: return run_lapglow<T, 32>(p), 0;
    case 16: return run_lapglow<T, 16>(p), 0;
    }
    return 1;
}

}  // namespace

extern "C" {

int wf_normal(const NormalArguments* p, void*) {
    int64_t counters = (p->start + p->n + 3) / 4 - p->start / 4;
    for (int item = 0; item < p->batch; ++item)
        for (int64_t block = 0; block * THREADS < counters; ++block) normal_block(*p, block, item);
    return 0;
}

void wf_words(uint64_t counter, uint64_t seed, uint32_t* words) { philox(counter, seed, words); }

int wf_layer(const LayerArguments* p, int operands, void*) {
    return operands == HALF ? run_blocks<half_t>(*p) : run_blocks<bfloat_t>(*p);
}

int wf_coupling(const CouplingArguments* p, int operands, void*) {
    int bytes = WideLayout(p->n + p->n_early, p->n + p->n_early + p->n_hidden).bytes;
    for (int64_t block = 0; block < ceil_div(p->n_vectors, WideLayout::ROWS) * p->batch; ++block) {
        Shared shared(bytes);
        operands == HALF ? coupling_block<half_t>(*p, shared.begin(), block)
                         : coupling_block<bfloat_t>(*p, shared.begin(), block);
    }
    return 0;
}

int wf_lapped(const LappedArguments* p, void*) {
    for (int64_t block = 0; block < ceil_div(p->n_frames, WideLayout::ROWS - 2) * p->batch; ++block) {
        Shared shared(WideLayout(p->n_bands, p->n_bands).bytes);
        lapped_block(*p, shared.begin(), block);
    }
    return 0;
}

int wf_lapglow(const LapglowArguments* p, int operands, void*) {
    return operands == HALF ? run_widths<half_t>(*p) : run_widths<bfloat_t>(*p);
}

int wf_size_of(int which) { return size_of(which); }

const char* wf_error(int) { return "block_channels is none of those compiled"; }
}
