"""Fine-tuning and pre-training on a Hugging Face Trainer, and what a finished run holds."""
