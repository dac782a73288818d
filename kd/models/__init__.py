"""Student and teacher networks, one file a family, each returning `Outputs(logits, features)`."""
