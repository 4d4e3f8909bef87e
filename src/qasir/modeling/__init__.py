"""Everything that needs torch: backbones, the temporal encoder, the scorer, their export."""
