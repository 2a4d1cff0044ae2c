// What starts a kernel: without PyTorch, so that the kernels compile alone. 0 is success, else a cudaError_t.
#pragma once

#include "keyed_normal.h"
#include "lapglow.h"
#include "wavenet_layer.h"
#include "wide_product.h"

enum Operands { HALF = 0, BFLOAT = 1 };

// `wf_size_of` tells how many bytes the arguments of each have, in this order, so that a caller can check its own.
extern "C" {
int wf_normal(const NormalArguments* p, void* stream);
int wf_layer(const LayerArguments* p, int operands, void* stream);
int wf_coupling(const CouplingArguments* p, int operands, void* stream);
int wf_lapped(const LappedArguments* p, void* stream);
int wf_lapglow(const LapglowArguments* p, int operands, void* stream);
int wf_size_of(int which);
const char* wf_error(int code);
}

inline int size_of(int which) {
    constexpr int sizes[] = {sizeof(NormalArguments), sizeof(LayerArguments), sizeof(CouplingArguments),
                             sizeof(LappedArguments), sizeof(LapglowArguments)};
    return which >= 0 && which < 5 ? sizes[which] : 0;
}
