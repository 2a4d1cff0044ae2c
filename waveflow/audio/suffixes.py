"""How files of audio and of mels are called; nothing here needs torch, for the command line starts with it."""

# What a folder is searched for; `io.read` takes whatever libsndfile does.
AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".aif", ".aiff", ".au", ".caf", ".w64")
# What `mel_files` reads and writes.
MEL_SUFFIXES = (".npy", ".npz", ".pt", ".pth", ".safetensors")
# What `waveflow vocode` appends to the stem of its input, in folders.
VOCODED = "_waveflow"
