// A picture of audio: power in mel-spaced bands, 80 dB from dark to light.
const SIZE = 1024;
const HOP = 256;
const BANDS = 96;
const TOP = 8000;
const RANGE = 80;
const COLOURS = [
  [8, 6, 15], [50, 15, 92], [114, 31, 129], [182, 54, 121], [241, 96, 93], [254, 175, 119], [252, 253, 191],
];

const mel = (hertz) => 2595 * Math.log10(1 + hertz / 700);
const hertz = (mels) => 700 * (10 ** (mels / 2595) - 1);

// In place, of a length that is a power of two.
function fft(re, im) {
  const n = re.length;
  for (let i = 1, j = 0; i < n; i++) {
    let bit = n >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
    if (i < j) {
      [re[i], re[j]] = [re[j], re[i]];
      [im[i], im[j]] = [im[j], im[i]];
    }
  }
  for (let size = 2; size <= n; size *= 2) {
    const half = size / 2;
    for (let k = 0; k < half; k++) {
      const c = Math.cos((-2 * Math.PI * k) / size);
      const s = Math.sin((-2 * Math.PI * k) / size);
      for (let a = k; a < n; a += size) {
        const b = a + half;
        const x = re[b] * c - im[b] * s;
        const y = re[b] * s + im[b] * c;
        re[b] = re[a] - x;
        im[b] = im[a] - y;
        re[a] += x;
        im[a] += y;
      }
    }
  }
}

// Decibels of each band of each frame, band after band.
export function bands(samples, rate) {
  const frames = Math.max(1, Math.ceil(samples.length / HOP));
  const edges = Array.from({ length: BANDS + 2 }, (_, i) => (hertz((mel(TOP) * i) / (BANDS + 1)) * SIZE) / rate);
  const window = Float64Array.from({ length: SIZE }, (_, i) => 0.5 - 0.5 * Math.cos((2 * Math.PI * i) / SIZE));
  const found = new Float32Array(BANDS * frames);
  const re = new Float64Array(SIZE);
  const im = new Float64Array(SIZE);
  for (let frame = 0; frame < frames; frame++) {
    for (let i = 0; i < SIZE; i++) re[i] = (samples[frame * HOP + i - SIZE / 2] ?? 0) * window[i];
    im.fill(0);
    fft(re, im);
    for (let band = 0; band < BANDS; band++) {
      const first = Math.floor(edges[band]);
      const last = Math.max(first, Math.ceil(edges[band + 2]) - 1);
      let power = 0;
      for (let k = first; k <= last; k++) power += re[k] * re[k] + im[k] * im[k];
      found[band * frames + frame] = 10 * Math.log10(power / (last - first + 1) + 1e-9);
    }
  }
  return { found, frames };
}

export function draw(canvas, samples, rate) {
  const { found, frames } = bands(samples, rate);
  const top = found.reduce((most, value) => Math.max(most, value), -Infinity);
  canvas.width = frames;
  canvas.height = BANDS;
  const context = canvas.getContext("2d");
  const image = context.createImageData(frames, BANDS);
  for (let band = 0; band < BANDS; band++) {
    for (let frame = 0; frame < frames; frame++) {
      const level = Math.max(0, 1 + (found[band * frames + frame] - top) / RANGE) * (COLOURS.length - 1);
      const low = Math.min(COLOURS.length - 2, Math.floor(level));
      const share = level - low;
      const to = 4 * ((BANDS - 1 - band) * frames + frame);
      for (let c = 0; c < 3; c++) image.data[to + c] = COLOURS[low][c] * (1 - share) + COLOURS[low + 1][c] * share;
      image.data[to + 3] = 255;
    }
  }
  context.putImageData(image, 0, 0);
}
