// Prints the dynamic shared memory of the kernels for the models they are made for, as JSON.

#include "launch.h"

int main() {
    LapglowArguments lapglow{};
    lapglow.n_bands = 256, lapglow.n_channels = 192, lapglow.n_features = 320, lapglow.n_told = 320, lapglow.taps = 3;
    std::printf("{\"layer, WaveGlow-256, 64 frames, 3 stages\": %d,\n", LayerLayout<half_t, 128, 2, 3>(2, 0).bytes);
    std::printf("\"layer, WaveGlow-256, 64 frames, 2 stages\": %d,\n", LayerLayout<half_t, 128, 2, 2>(2, 0).bytes);
    std::printf("\"first layer, WaveGlow-256, 64 frames, 2 stages\": %d,\n", LayerLayout<half_t, 128, 2, 2>(2, 32).bytes);
    std::printf("\"layer, WaveGlow-256, 32 frames, 2 stages\": %d,\n", LayerLayout<half_t, 128, 1, 2>(2, 32).bytes);
    std::printf("\"layer, LapGlow, 64 frames, 3 stages\": %d,\n", LayerLayout<half_t, 64, 2, 3>(3, 0).bytes);
    std::printf("\"layer, LapGlow, 32 frames, 2 stages\": %d,\n", LayerLayout<half_t, 64, 1, 2>(3, 0).bytes);
    std::printf("\"coupling, LapGlow\": %d,\n", WideLayout(256, 448).bytes);
    std::printf("\"lapped inverse, LapGlow\": %d,\n", WideLayout(256, 256).bytes);
    std::printf("\"one launch, LapGlow\": %d}\n", LapglowLayout<half_t, 64>(lapglow).bytes);
}
