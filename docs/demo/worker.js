// The model, away from the thread that draws. Messages in: {samples, sigma, seed}; out: {facts}, {audio, seconds} or {error}.
import * as ort from "./dist/ort.wasm.bundle.min.mjs";

// The bundle holds the loader; asked for a folder, it would fetch another one from there.
ort.env.wasm.wasmPaths = { wasm: new URL("./dist/ort-wasm-simd-threaded.wasm", import.meta.url).href };
ort.env.wasm.numThreads = 1;

let session;
let facts;

async function start() {
  const answer = await fetch(new URL("./dist/facts.json", import.meta.url));
  if (!answer.ok) throw new Error("the model is not here; build it with scripts/build_demo.py");
  facts = await answer.json();
  session = await ort.InferenceSession.create(new URL("./dist/model.onnx", import.meta.url).href, {
    executionProviders: ["wasm"],
  });
  // The first run allocates; it is nobody's to wait for.
  await run(new Float32Array(facts.samples_per_frame * 32), facts.sigma, 0);
  postMessage({ facts });
}

async function run(samples, sigma, seed) {
  const hop = facts.samples_per_frame;
  const frames = Math.max(facts.min_frames, Math.ceil(samples.length / hop));
  const whole = new Float32Array(frames * hop);
  whole.set(samples);
  const inputs = {
    recording: new ort.Tensor("float32", whole, [1, whole.length]),
    seed: new ort.Tensor("int64", BigInt64Array.of(BigInt(seed)), [1]),
    sigma: new ort.Tensor("float32", Float32Array.of(sigma), []),
  };
  const begun = performance.now();
  const found = await session.run(inputs);
  const seconds = (performance.now() - begun) / 1000;
  return { audio: found[session.outputNames[0]].data.slice(0, samples.length), seconds };
}

const ready = start().catch((error) => postMessage({ error: `The model cannot be started: ${error.message}` }));

onmessage = async ({ data }) => {
  await ready;
  try {
    const { audio, seconds } = await run(data.samples, data.sigma, data.seed);
    postMessage({ audio, seconds }, [audio.buffer]);
  } catch (error) {
    postMessage({ error: `The model failed: ${error.message}` });
  }
};
