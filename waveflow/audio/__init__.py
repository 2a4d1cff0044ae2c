"""Sound files in and out, and the mel contract between audio and models."""
