import { draw } from "./spectrogram.js";
import { toWav } from "./wav.js";

const MAX_SECONDS = 20;
const MIN_SECONDS = 0.1;
// Less than half a step of 16 bits.
const SILENCE = 1 / 65536;
const at = (id) => document.getElementById(id);
const worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });

let facts;
let samples;
let note = "";
let recorder;
let busy = false;
let again = false;

function say(text, state = "") {
  at("status").textContent = text;
  at("status").dataset.state = state;
}

function show(id, audio) {
  draw(at(`${id}-picture`), audio, facts.sample_rate);
  const player = at(id);
  URL.revokeObjectURL(player.src);
  player.src = URL.createObjectURL(toWav(audio, facts.sample_rate));
}

function synthesise() {
  if (!samples) return;
  if (busy) {
    again = true;
    return;
  }
  busy = true;
  say("Speaking.");
  const seed = Math.min(Number.MAX_SAFE_INTEGER, Math.max(0, Math.trunc(Number(at("seed").value) || 0)));
  worker.postMessage({ samples, sigma: Number(at("sigma").value), seed });
}

function refuse(text) {
  at("speed").hidden = true;
  say(`${text}${samples ? " Below is still the recording before." : ""}`, "wrong");
}

async function take(blob) {
  let decoded;
  say("Reading the recording.");
  try {
    // A context at the model's rate resamples while it decodes.
    const context = new OfflineAudioContext(1, 1, facts.sample_rate);
    decoded = await context.decodeAudioData(await blob.arrayBuffer());
  } catch {
    refuse("This is no recording that the browser can read; try wav, mp3 or flac.");
    return;
  }
  if (decoded.duration < MIN_SECONDS) {
    refuse(`The recording is ${decoded.duration.toFixed(2)} s long; at least ${MIN_SECONDS} s are needed.`);
    return;
  }
  const length = Math.min(decoded.length, MAX_SECONDS * facts.sample_rate);
  const mixed = new Float32Array(length);
  for (let channel = 0; channel < decoded.numberOfChannels; channel++) {
    const data = decoded.getChannelData(channel);
    for (let i = 0; i < length; i++) mixed[i] += data[i] / decoded.numberOfChannels;
  }
  if (!mixed.some((value) => Math.abs(value) > SILENCE)) {
    refuse("The recording is silent; choose another, or look at the microphone's level.");
    return;
  }
  note = length < decoded.length ? ` The first ${MAX_SECONDS} of ${decoded.duration.toFixed(0)} s were taken.` : "";
  samples = mixed;
  show("recording", samples);
  synthesise();
}

async function record() {
  if (recorder) {
    recorder.stop();
    return;
  }
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ audio: true });
  } catch {
    say("The microphone is not available; allow it, or choose a file.", "wrong");
    return;
  }
  const parts = [];
  recorder = new MediaRecorder(stream);
  recorder.ondataavailable = (event) => parts.push(event.data);
  recorder.onstop = () => {
    stream.getTracks().forEach((track) => track.stop());
    clearTimeout(limit);
    const type = recorder.mimeType;
    recorder = undefined;
    at("record").textContent = "Record";
    at("record").classList.remove("recording");
    take(new Blob(parts, { type }));
  };
  recorder.start();
  const limit = setTimeout(() => recorder?.stop(), MAX_SECONDS * 1000);
  at("record").textContent = "Stop";
  at("record").classList.add("recording");
  say("Recording.");
}

worker.onmessage = ({ data }) => {
  if (data.error) {
    busy = false;
    say(data.error, "wrong");
    return;
  }
  if (data.facts) {
    facts = data.facts;
    at("sigma").value = facts.sigma;
    at("sigma-value").textContent = facts.sigma;
    at("facts").textContent = `Model: ${facts.name}, ${facts.megabytes} MB, in ONNX Runtime Web on one thread.`;
    at("record").disabled = at("file").disabled = false;
    say("Ready.", "ready");
    return;
  }
  busy = false;
  show("resynthesis", data.audio);
  const length = data.audio.length / facts.sample_rate;
  at("factor").textContent = (length / data.seconds).toFixed(length / data.seconds < 10 ? 1 : 0);
  at("detail").textContent =
    `${length.toFixed(2)} s of audio in ${data.seconds.toFixed(2)} s, from recording to mel to audio, on this device.`;
  at("speed").hidden = false;
  say(`Done.${note}`, "done");
  if (again) {
    again = false;
    synthesise();
  }
};
worker.onerror = () => say("The model cannot be started: its files are not here; run scripts/build_demo.py.", "wrong");

at("record").onclick = record;
at("file").onchange = (event) => {
  if (event.target.files.length) take(event.target.files[0]);
  // Or the same file, chosen again, would be no change.
  event.target.value = "";
};
at("sigma").oninput = () => (at("sigma-value").textContent = at("sigma").value);
at("sigma").onchange = synthesise;
at("seed").onchange = synthesise;
document.ondragover = (event) => event.preventDefault();
document.ondrop = (event) => {
  event.preventDefault();
  if (facts && event.dataTransfer.files.length) take(event.dataTransfer.files[0]);
};
