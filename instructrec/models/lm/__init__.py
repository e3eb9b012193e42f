"""Pretrained language models: loading, prompts, scoring, constrained decoding and LoRA."""
