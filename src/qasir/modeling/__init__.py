"""Code that needs torch: backbones, the temporal encoder, the scorer and their export."""
